# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every command against a fake daemon on a real socket: what it asks, what it prints, how it ends.

Names the modules of the verbs: harp.cli.folders, harp.cli.members, harp.cli.status, harp.cli.versions, harp.cli.safety,
harp.cli.waiting, harp.cli.settings, harp.cli.keeping, harp.cli.identity, harp.cli.doctor, harp.cli.process.
"""

import json
import os
import re
import stat
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

import harp.daemon as harp_daemon
from harp.base.config import Config
from harp.base.errors import FolderError
from harp.bridge import doorway, model
from harp.cli import qr
from harp.cli.main import run
from harp.identity import device, keyring
from tests.fakes.control import served
from tests.fakes.daemon import BOB, ENTRY, HOSTILE_NAME, PHOTOS, FakeDaemon

Said = pytest.CaptureFixture[str]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def daemon(home: Path) -> Iterator[FakeDaemon]:
    with served(home) as fake:
        yield fake


def harp(home: Path, *arguments: str) -> int:
    return run([*arguments, "--home", str(home)])


def test_share_sends_the_whole_path_and_prints_the_id(
    daemon: FakeDaemon, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    (tmp_path / "Music").mkdir()
    monkeypatch.chdir(tmp_path)
    assert harp(home, "share", "Music", "--name", "Tunes") == 0
    assert daemon.calls == [("share", tmp_path / "Music", "Tunes", False)]
    assert capsys.readouterr().out == "ac" * 32 + "\n"
    assert harp(home, "share", "nothing") == 2
    assert "is not a folder" in capsys.readouterr().err


def test_a_path_that_is_not_text_is_shared_as_it_is(
    daemon: FakeDaemon, home: Path, tmp_path: Path, capsys: Said
) -> None:
    raw = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(raw)
    assert harp(home, "share", os.fsdecode(raw)) == 0
    assert [os.fsencode(str(call[1])) for call in daemon.calls] == [raw]
    capsys.readouterr()


def test_accounts_are_listed_and_a_folder_of_one_is_shared(daemon: FakeDaemon, home: Path, capsys: Said) -> None:
    assert harp(home, "account", "list") == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "work  https://cloud.example  alice  Photos   ok",
        "old   https://old.example    alice  –        revoked",
        "told  https://c.example      alice  –        ok, changes are pushed",
        "mute  https://d.example      alice  –        ok, changes are not pushed: the server hangs up",
    ]
    assert harp(home, "share", "work:/Documents", "--at", "/srv/papers", "--merge") == 0
    assert harp(home, "share", "work:/") == 0
    assert daemon.calls[1:] == [
        ("share_account", "work", "/Documents", None, Path("/srv/papers"), True),
        ("share_account", "work", "/", None, None, False),
    ]
    capsys.readouterr()
    assert harp(home, "share", "work:Documents", "--merge") == 2, "an account's folder begins with a slash"
    assert "are for folders of an account" in capsys.readouterr().err


def test_a_status_says_what_a_folder_mirrors_and_what_to_do(daemon: FakeDaemon, home: Path, capsys: Said) -> None:
    daemon.mirror = model.MirrorStatus(
        account="work",
        path="/Documents",
        state=model.MirrorState.STOPPED,
        error="the app password was revoked",
        remedy="harp account add work https://cloud.example",
        note="what is shared in it is mirrored here for ben too",
    )
    assert harp(home, "status") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "  mirrors work:/Documents  [stopped]" in lines
    assert "    harp account add work https://cloud.example" in lines
    assert "    what is shared in it is mirrored here for ben too" in lines


def test_invite_prints_the_ticket_alone(daemon: FakeDaemon, home: Path, capsys: Said) -> None:
    assert harp(home, "invite", "Photos") == 0
    assert capsys.readouterr().out == "harp1abc\n"
    assert harp(home, "invite", "Photos", "--read-only", "--expires", "30m", "--json") == 0
    assert json.loads(capsys.readouterr().out)["ticket"] == "harp1abc"
    assert daemon.calls == [("invite", PHOTOS, False, 3600.0), ("invite", PHOTOS, True, 1800.0)]


def test_invite_draws_the_ticket_as_a_code_that_says_the_same(daemon: FakeDaemon, home: Path, capsys: Said) -> None:
    assert harp(home, "invite", "Photos", "--qr") == 0
    ticket, _, drawing = capsys.readouterr().out.partition("\n")
    assert ticket == "harp1abc"
    assert drawing == qr.drawn("harp1abc")
    assert harp(home, "invite", "Photos", "--qr", "--json") == 2
    assert "--qr and --json do not go together" in capsys.readouterr().err


def test_join_sends_ticket_path_and_whether_to_merge(
    daemon: FakeDaemon, home: Path, tmp_path: Path, capsys: Said
) -> None:
    assert harp(home, "join", "harp1x", str(tmp_path / "new")) == 0
    assert capsys.readouterr().out == f"joined Photos as owner; it lies at {tmp_path}/new\n"
    assert harp(home, "join", "harp1x", str(tmp_path / "new"), "--merge") == 0
    assert harp(home, "join", "nonsense", str(tmp_path / "new")) == 5
    assert [call[3] for call in daemon.calls] == [False, True, False]
    assert "harp: this is not a ticket\n" in capsys.readouterr().err


def test_status_shows_folders_peers_and_troubles_on_lines_of_their_own(
    daemon: FakeDaemon, home: Path, capsys: Said
) -> None:
    assert harp(home, "status") == 0
    said = capsys.readouterr().out
    for part in (
        "alice  ALICEAL-ICEALIC\n",
        "! inotify's limit is reached\n",
        "Photos  [idle]  /home/alice/x\n",
        "  owner, 2 files, 2.0 KiB; 1 of 1 other connected\n",
        "  lacks 1 file, 5 B\n",
        "  ! 1 held: harp held Photos\n",
        "  ! 1 conflict: harp conflicts Photos\n",
        "  waits: bad\\x1b[2J\\xff\\nname.txt: permission denied\n",
        "  … and 2 more (harp status --json)\n",
        "bob  LAN 10.0.0.2:8783  in 1.5 KiB/s, out 0 B/s\n",
        "e\\x1bve  not connected  connection refused\n",
    ):
        assert part in said
    assert "\x1b" not in said
    assert harp(home, "status", "--json") == 0
    assert json.loads(capsys.readouterr().out)["bytes_in"] == 7


def test_an_empty_daemon_says_what_to_do_first(daemon: FakeDaemon, home: Path, capsys: Said) -> None:
    daemon.names.clear()
    assert harp(home, "folders") == 0
    assert harp(home, "status") == 0
    assert capsys.readouterr().out.count("harp share PATH, or harp join TICKET PATH") == 2


def test_peers_and_folders_are_tables(daemon: FakeDaemon, home: Path, capsys: Said) -> None:
    assert harp(home, "peers") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["NAME", "ID", "REACHED", "LACKS", "IN", "/", "OUT"]
    assert re.split(" {2,}", lines[1]) == [
        "bob",
        "BOBBOBB",
        "LAN 10.0.0.2:8783",
        "1 file, 2.0 KiB",
        "1.5 KiB/s / 0 B/s",
    ]
    assert "e\\x1bve" in lines[2]
    assert "no (connection refused)" in lines[2]
    assert harp(home, "folders") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["Photos", "a" * 12, "owner", "idle", "2", "/home/alice/x"]
    for verb in ("peers", "folders"):
        assert harp(home, verb, "--json") == 0
        assert len(json.loads(capsys.readouterr().out)[verb]) == 2


@pytest.mark.parametrize(("verb", "word"), [("pause", "paused"), ("resume", "resumed")])
def test_what_a_folder_is_told(daemon: FakeDaemon, home: Path, capsys: Said, verb: str, word: str) -> None:
    assert harp(home, verb, "Photos") == 0
    assert daemon.calls == [(verb, PHOTOS)]
    assert capsys.readouterr().out == f"{word}\n"


@pytest.mark.parametrize(("options", "for_all"), [((), False), (("--for-all",), True)])
def test_leaving_is_for_this_device_or_for_all(
    daemon: FakeDaemon, home: Path, capsys: Said, options: tuple[str, ...], for_all: bool
) -> None:
    assert harp(home, "leave", "Photos", *options) == 0
    assert daemon.calls == [("leave", PHOTOS, for_all)]
    assert capsys.readouterr().out == "left\n"


def test_forget_says_where_it_worked_and_where_not(daemon: FakeDaemon, home: Path, capsys: Said) -> None:
    assert harp(home, "forget", BOB) == 0
    said = capsys.readouterr().out
    assert daemon.calls == [("forget", BOB)]
    assert "Photos: no longer a member\n" in said
    assert "Notes: still a member" in said


# --- waiting ----------------------------------------------------------------------------------------------------------


def test_wait_is_quiet_and_ends_well(daemon: FakeDaemon, home: Path, capsys: Said) -> None:
    assert harp(home, "wait", "Photos", "--timeout", "2m") == 0
    assert daemon.calls == [("wait", PHOTOS, 120.0)]
    assert capsys.readouterr() == ("", "")
    assert harp(home, "wait", "Photos", "--json") == 0
    assert json.loads(capsys.readouterr().out)["phase"] == "done"


def test_wait_ends_with_one_and_the_reason(daemon: FakeDaemon, home: Path, capsys: Said) -> None:
    failed = model.Progress(phase=model.Phase.FAILED, reason="no peer is connected", hint="is the other one on?")
    daemon.progress = [failed]
    assert harp(home, "wait", "Photos") == 1
    assert capsys.readouterr() == ("", "harp: no peer is connected\n      is the other one on?\n")


def test_a_daemon_that_stops_while_one_waits_is_not_success(daemon: FakeDaemon, home: Path, capsys: Said) -> None:
    daemon.progress = daemon.progress[:2]
    assert harp(home, "wait", "Photos") == 4
    assert "stopped in the middle" in capsys.readouterr().err


def test_on_a_terminal_there_is_a_bar(
    daemon: FakeDaemon, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    monkeypatch.setattr("harp.cli.show._REDRAW_S", 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert harp(home, "wait", "Photos") == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "syncing [###############---------------]  50%  1 of 2 files  5 B of 10 B" in said.err
    assert said.err.endswith("\r\x1b[K")


def test_verify_says_that_all_is_well(daemon: FakeDaemon, home: Path, capsys: Said) -> None:
    assert harp(home, "verify", "Photos") == 0
    assert capsys.readouterr().out == "all is well: 2 files, 10 B\n"


def test_verify_names_what_is_wrong_and_ends_with_one(daemon: FakeDaemon, home: Path, capsys: Said) -> None:
    finding = model.Problem(path="bad\x1b.txt", why="its content differs")
    daemon.progress = [
        model.Progress(phase=model.Phase.VERIFYING, finding=finding),
        model.Progress(phase=model.Phase.FAILED, reason="1 thing is wrong"),
    ]
    assert harp(home, "verify", "Photos") == 1
    said = capsys.readouterr()
    assert said.out == "✗ bad\\x1b.txt: its content differs\n"
    assert said.err == "harp: 1 thing is wrong\n"


def test_verify_that_found_something_never_ends_well(daemon: FakeDaemon, home: Path, capsys: Said) -> None:
    finding = model.Problem(path="a", why="gone")
    daemon.progress.insert(1, model.Progress(phase=model.Phase.VERIFYING, finding=finding))
    assert harp(home, "verify", "Photos", "--json") == 1
    assert json.loads(capsys.readouterr().out)["phase"] == "done"


# --- versions and decisions -------------------------------------------------------------------------------------------


def test_why_says_what_a_file_waits_for(daemon: FakeDaemon, home: Path, capsys: Said) -> None:
    assert harp(home, "why", "Photos", "a.txt") == 0
    assert daemon.calls == [("why", PHOTOS, b"a.txt")]
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "a.txt: waits for content"
    assert said[1] == "lacks 3 pieces, 257.0 KiB"
    assert re.split(r" {2,}", said[3]) == ["abababababab", "256.0 KiB", "left to a neighbour", "nas (LAN)"]
    assert said[-1] == "… and 1 more"


def test_history_is_a_table_of_entries(daemon: FakeDaemon, home: Path, capsys: Said) -> None:
    assert harp(home, "history", "Photos", "./x/../a.txt") == 0
    assert daemon.calls == [("history", PHOTOS, b"a.txt")]
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("e1e1e1e1e1e1  ")
    assert lines[1].endswith("b\\x1bob  1.5 KiB  now, restorable")
    assert harp(home, "history", "Photos", "b.txt") == 0
    assert capsys.readouterr().out == "nothing is known of that path\n"


def test_a_file_of_any_name_can_be_asked_for(daemon: FakeDaemon, home: Path, capsys: Said) -> None:
    name = os.fsdecode(HOSTILE_NAME)
    assert harp(home, "history", "Photos", name) == 0
    assert harp(home, "restore", "Photos", f"{name}@{ENTRY.upper()}") == 0
    assert daemon.calls == [("history", PHOTOS, HOSTILE_NAME), ("restore", PHOTOS, HOSTILE_NAME, ENTRY)]
    capsys.readouterr()


def test_restore_takes_the_entry_after_the_last_at(daemon: FakeDaemon, home: Path, capsys: Said) -> None:
    assert harp(home, "restore", "Photos", "me@home.txt@e1e1") == 0
    assert daemon.calls == [("restore", PHOTOS, b"me@home.txt", "e1e1")]
    assert capsys.readouterr().out == "restored\n"


def test_conflicts_show_both_versions_and_where_the_copy_lies(daemon: FakeDaemon, home: Path, capsys: Said) -> None:
    assert harp(home, "conflicts", "Photos") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "a.txt"
    assert lines[2].endswith("a (conflict).txt")
    assert harp(home, "conflicts", "Photos", "--json") == 0
    assert json.loads(capsys.readouterr().out)["conflicts"][0]["path"] == "a.txt"


def test_resolve_keeps_one_or_both(daemon: FakeDaemon, home: Path, capsys: Said) -> None:
    assert harp(home, "resolve", "Photos", "a.txt", "--keep", "E1e1") == 0
    assert harp(home, "resolve", "Photos", "a.txt", "--keep", "both") == 0
    assert daemon.calls == [("resolve", PHOTOS, b"a.txt", "e1e1"), ("resolve", PHOTOS, b"a.txt", "both")]
    assert capsys.readouterr().out == "resolved\nresolved\n"


def test_held_says_what_would_happen_and_how_to_decide(daemon: FakeDaemon, home: Path, capsys: Said) -> None:
    assert harp(home, "held", "Photos") == 0
    said = capsys.readouterr().out
    assert "h1  120 files would be deleted (since " in said
    assert "  harp approve Photos h1   or   harp reject Photos h1\n" in said
    assert "harp approve Photos h2" not in said
    assert "  mount it again\n" in said
    daemon.held_sets.clear()
    assert harp(home, "held", "Photos") == 0
    assert capsys.readouterr().out == "nothing is held\n"


def test_approve_and_reject_name_the_held_set(daemon: FakeDaemon, home: Path, capsys: Said) -> None:
    assert harp(home, "approve", "Photos", "h1") == 0
    assert harp(home, "reject", "Photos", "h/2") == 0
    assert daemon.calls == [("approve", PHOTOS, "h1"), ("reject", PHOTOS, "h/2")]
    assert capsys.readouterr().out == "approved\nrejected\n"


# --- settings, keeping, doctor, identity ------------------------------------------------------------------------------


def test_settings_go_through_the_daemon_while_it_runs(daemon: FakeDaemon, home: Path, capsys: Said) -> None:
    assert harp(home, "config", "set", "guard_files", "9") == 0
    assert daemon.calls == [("config_set", "guard_files", "9")]
    assert not (home / "config.toml").exists()
    assert harp(home, "config", "get", "guard_files") == 0
    assert capsys.readouterr().out == "9\n"
    assert harp(home, "config", "set", "listen", "[::]:0") == 0
    assert "from the next start on" in capsys.readouterr().out
    assert harp(home, "config", "get") == 0
    assert "guard_files          9 " in capsys.readouterr().out


def test_settings_without_a_daemon_are_in_the_file(home: Path, capsys: Said) -> None:
    assert harp(home, "config", "set", "guard_files", "9") == 0
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert harp(home, "config", "get", "guard_files") == 0
    assert capsys.readouterr().out == "9\n"
    assert harp(home, "config", "get", "--json") == 0
    settings = {each["key"]: each["value"] for each in json.loads(capsys.readouterr().out)["settings"]}
    assert settings["guard_files"] == "9"
    assert settings["log_level"] == "info"


@pytest.mark.parametrize(("key", "value"), [("colour", "red"), ("guard_files", "none")])
def test_a_wrong_setting_changes_nothing(home: Path, capsys: Said, key: str, value: str) -> None:
    assert harp(home, "config", "set", key, value) == 2
    assert key in capsys.readouterr().err
    assert not home.exists()


def test_backup_names_the_file_and_never_overwrites(
    daemon: FakeDaemon, home: Path, tmp_path: Path, capsys: Said
) -> None:
    assert harp(home, "backup", str(tmp_path / "b")) == 0
    assert daemon.calls == [("backup", tmp_path / "b")]
    assert capsys.readouterr().out == f"{tmp_path}/b: 4.0 KiB; keep it as secret as a key\n"
    (tmp_path / "b").write_text("old")
    assert harp(home, "backup", str(tmp_path / "b")) == FolderError.exit_code


@pytest.fixture
def restored(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, Path]]:
    """What the store was asked to restore; the store itself is not part of these tests."""
    calls: list[tuple[Path, Path]] = []

    def restore(home: Path, file: Path) -> None:
        assert doorway.is_claimed(home)
        calls.append((home, file))

    fake = types.ModuleType("harp.sync.store.backup")
    fake.restore = restore  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "harp.sync.store.backup", fake)
    import harp.sync.store

    monkeypatch.setattr(harp.sync.store, "backup", fake, raising=False)
    return calls


def test_a_backup_is_restored_into_a_home_without_identity(
    home: Path, tmp_path: Path, restored: list[tuple[Path, Path]], capsys: Said
) -> None:
    (tmp_path / "b").write_text("backup")
    assert harp(home, "restore-backup", str(tmp_path / "b")) == 0
    assert restored == [(home, tmp_path / "b")]
    capsys.readouterr()


def test_a_backup_is_never_restored_over_an_identity_or_a_running_daemon(
    home: Path, tmp_path: Path, restored: list[tuple[Path, Path]], capsys: Said
) -> None:
    (tmp_path / "b").write_text("backup")
    with served(home):
        assert harp(home, "restore-backup", str(tmp_path / "b")) == 3
        assert "a daemon runs in" in capsys.readouterr().err
    key = keyring.load_or_make(home)
    assert harp(home, "restore-backup", str(tmp_path / "b")) == 2
    assert "has an identity already" in capsys.readouterr().err
    assert restored == []
    assert keyring.load_or_make(home).seed == key.seed


def test_id_needs_no_daemon_but_an_identity(home: Path, capsys: Said) -> None:
    assert harp(home, "id") == 3
    assert "no identity" in capsys.readouterr().err
    assert not home.exists()
    key = keyring.load_or_make(home)
    assert harp(home, "id") == 0
    assert capsys.readouterr().out == device.text(key.device_id) + "\n"
    assert harp(home, "id", "--json") == 0
    assert json.loads(capsys.readouterr().out)["id"] == device.text(key.device_id)
    (home / "device.key").chmod(0o644)
    assert harp(home, "id") == 3


def test_doctor_shows_a_line_a_check_and_a_remedy_a_failure(daemon: FakeDaemon, home: Path, capsys: Said) -> None:
    assert harp(home, "doctor") == 0
    assert capsys.readouterr().out == "✓ daemon: runs\n"
    daemon.checks.append(model.Check(name="peer e\x1bve", ok=False, text="not reached", remedy="is it on?"))
    assert harp(home, "doctor") == 1
    assert capsys.readouterr().out.endswith("✗ peer e\\x1bve: not reached\n    is it on?\n")


def test_doctor_without_a_daemon_says_so_and_checks_the_rest(home: Path, capsys: Said) -> None:
    assert harp(home, "doctor", "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert report["is_running"] is False
    assert report["checks"][0]["remedy"] == "harp up"
    assert len(report["checks"]) >= 9
    assert not home.exists()


# --- the process ------------------------------------------------------------------------------------------------------


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Config, Path | None]]:
    """What the daemon was started with; it answers 7."""
    calls: list[tuple[Config, Path | None]] = []

    def run_daemon(config: Config, shared: Path | None) -> int:
        calls.append((config, shared))
        return 7

    fake = types.ModuleType("harp.daemon.composition")
    fake.run = run_daemon  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "harp.daemon.composition", fake)
    monkeypatch.setattr(harp_daemon, "composition", fake, raising=False)
    return calls


def test_up_runs_the_daemon_with_what_the_command_line_says(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[tuple[Config, Path | None]]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert harp(home, "up") == 7
    assert harp(home, "up", "Harp", "--listen", "[::1]:0", "--no-discovery", "--no-console") == 7
    assert harp(home, "up", "--console", "127.0.0.1:9") == 7
    (plain, nothing), (told, shared), (seen, _) = started
    assert [str(one.console) for one in (plain, told, seen)] == ["127.0.0.1:8785", "None", "127.0.0.1:9"]
    assert (str(plain.listen), plain.discovery, nothing) == ("0.0.0.0:8783", True, None)
    assert (str(told.listen), told.discovery, shared) == ("[::1]:0", False, tmp_path / "Harp")
    assert told.home == home


def test_up_refuses_a_wrong_address_before_it_starts(
    home: Path, started: list[tuple[Config, Path | None]], capsys: Said
) -> None:
    assert harp(home, "up", "--listen", "nowhere") == 3
    assert "listen = 'nowhere' (on the command line)" in capsys.readouterr().err
    assert started == []


def test_down_waits_until_the_home_is_free(daemon: FakeDaemon, home: Path, capsys: Said) -> None:
    assert harp(home, "down") == 0
    assert not doorway.is_claimed(home)
    assert capsys.readouterr().out == "stopped\n"
    assert daemon.calls == [("down",)]
