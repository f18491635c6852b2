# SPDX-License-Identifier: AGPL-3.0-or-later
"""The verbs that look around, against a fake daemon on a real socket: harp.cli.browsing and harp.cli.console."""

import json
import stat
import webbrowser
from collections.abc import Iterator
from pathlib import Path

import pytest

from harp.cli.main import run
from harp.console.password import FILE_NAME, Password
from tests.fakes.browsing import CONTENT
from tests.fakes.control import served
from tests.fakes.daemon import ENTRY, PHOTOS, FakeDaemon

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


def test_files_lists_a_directory_and_finds_by_text(daemon: FakeDaemon, home: Path, capsys: Said) -> None:
    assert harp(home, "files", "Photos", "holiday/") == 0
    assert "1.5 KiB  a.txt" in capsys.readouterr().out
    assert harp(home, "files", "Photos", "--find", "a", "--limit", "1") == 0
    assert "… and more" in capsys.readouterr().out
    assert daemon.calls == [
        ("files", PHOTOS, b"holiday", "", b"", 200, False),
        ("files", PHOTOS, b"", "a", b"", 1, False),
    ]


def test_names_in_a_list_cannot_speak_to_the_terminal(daemon: FakeDaemon, home: Path, capsys: Said) -> None:
    assert harp(home, "files", "Photos", "--deleted") == 0
    said = capsys.readouterr().out
    assert "deleted  bad\\x1b[2J" in said
    assert "\x1b" not in said


def test_changes_shows_what_happened_last(daemon: FakeDaemon, home: Path, capsys: Said) -> None:
    assert harp(home, "changes", "Photos", "--limit", "1") == 0
    assert capsys.readouterr().out.splitlines()[1].split()[0] == ENTRY[:12]
    assert harp(home, "changes", "Photos", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["changes"]) == 2


def test_cat_puts_the_pieces_together_and_keeps_to_one_version(
    daemon: FakeDaemon, home: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert harp(home, "cat", "Photos", "a.txt") == 0
    assert capfdbinary.readouterr().out == CONTENT
    assert [call[3] for call in daemon.calls] == ["", ENTRY, ENTRY]
    assert harp(home, "cat", "Photos", "a.txt@e2e2") == 0
    assert daemon.calls[-1][2:4] == (b"a.txt", "e2e2")


def test_rules_are_shown_and_taken_from_a_file(daemon: FakeDaemon, home: Path, tmp_path: Path, capsys: Said) -> None:
    assert harp(home, "ignore", "Photos") == 0
    said = capsys.readouterr()
    assert said.out.startswith("*.tmp\n")
    assert said.err == "! line 2 is not followed\n"
    (tmp_path / "rules").write_text("*.bak\n")
    assert harp(home, "ignore", "Photos", "--set", str(tmp_path / "rules")) == 0
    assert capsys.readouterr().out == "*.bak\n"
    assert harp(home, "ignore", "Photos", "--set", str(tmp_path / "rules"), "--local") == 0
    assert daemon.calls[1:] == [("leave_out", PHOTOS, "*.bak\n", None), ("leave_out", PHOTOS, None, "*.bak\n")]
    (tmp_path / "rules").write_bytes(b"\xff")
    assert harp(home, "ignore", "Photos", "--set", str(tmp_path / "rules")) == 2
    assert harp(home, "ignore", "Photos", "--set", str(tmp_path / "nothing")) == 2


def test_traffic_and_log_are_tables(daemon: FakeDaemon, home: Path, capsys: Said) -> None:
    assert harp(home, "traffic", "--days", "2") == 0
    assert "2026-11-25  25 B  50 B  3 B" in capsys.readouterr().out
    assert harp(home, "log", "--lines", "2") == 0
    assert [line.rpartition("WARNING ")[2] for line in capsys.readouterr().out.splitlines()] == ["line 1", "line 2"]


def test_console_prints_its_link_and_opens_it(
    daemon: FakeDaemon, home: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    assert harp(home, "console", "--print") == 0
    assert capsys.readouterr().out == "http://127.0.0.1:8785/in/once\n"
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("BROWSER", raising=False)
    assert harp(home, "console") == 0
    assert opened == [], "without a screen nothing is opened"
    monkeypatch.setenv("DISPLAY", ":0")
    assert harp(home, "console") == 0
    assert opened == ["http://127.0.0.1:8785/in/once"]
    daemon.has_console = False
    assert harp(home, "console") == 2


def test_a_password_is_asked_for_twice_and_only_its_hash_is_kept(
    home: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = iter(["correct horse battery", "correct horse battery", "short", "short"])
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda *_: next(given))
    monkeypatch.setattr("click.termui.hidden_prompt_func", lambda *_: next(given))
    assert harp(home, "console", "--set-password") == 0
    kept = (home / FILE_NAME).read_text()
    assert kept.startswith("$argon2id$")
    assert "horse" not in kept
    assert stat.S_IMODE((home / FILE_NAME).stat().st_mode) == 0o600
    assert Password(home).is_set
    assert harp(home, "console", "--set-password") == 2
    assert "10 to 1024 characters" in capsys.readouterr().err


def test_the_status_is_shown_again_whenever_something_has_changed(daemon: FakeDaemon, home: Path, capsys: Said) -> None:
    assert harp(home, "status", "--follow") == 4, "the fake ends after three events"
    said = capsys.readouterr()
    assert said.out.count("listens on") == 3
    assert "the daemon stopped" in said.err
