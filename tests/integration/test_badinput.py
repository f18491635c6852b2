# SPDX-License-Identifier: AGPL-3.0-or-later
"""What people and disks do wrong: one line says what it is, one what to do, and nothing is damaged."""

import contextlib
import os
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harp.bridge import model
from harp.cli.client import Client
from tests.integration.office import NAME, Desk, Office, until

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]


def _fails_to_start(desk: Desk, *words: str | Path) -> str:
    """``harp up`` ends by itself, not well, with a line and a hint."""
    said = desk.refuses("up", *words, "--no-discovery")
    return said.err


def test_a_bad_ticket(office: Office) -> None:
    ben = office.desk("ben").start()
    for ticket in ("", "harp1", "harp1" + "a" * 200, "nonsense", "harp1" + "🎻" * 50):
        assert "ticket" in ben.refuses("join", ticket, ben.folder).err
    assert not ben.folder.exists()


def test_a_ticket_may_be_said_where_no_other_user_can_read_it(office: Office) -> None:
    ada = office.founder()
    ben = office.desk("ben").start()
    assert "ticket" in ben.refuses("join", "-", ben.folder, typed="\n").err
    ben.do("join", "-", ben.folder, typed=f"{ada.invites()}\n")
    ada.write("file", b"f")
    assert len(office.agreed(ada, ben)) == 1


def test_a_path_that_is_no_folder(office: Office, tmp_path: Path) -> None:
    ada = office.founder()
    file = tmp_path / "file"
    file.write_bytes(b"f")
    assert "not a folder" in ada.refuses("share", file).err
    assert "not a folder" in ada.refuses("share", tmp_path / "nowhere").err
    ben = office.desk("ben").start()
    assert "not a folder" in ben.refuses("join", ada.invites(), file).err
    assert "file" in ben.refuses("join", ada.invites(), file / "below").err
    other = office.desk("other")
    assert "not a folder" in _fails_to_start(other, file, "--listen", "127.0.0.1:0")
    assert file.read_bytes() == b"f"


def test_a_folder_in_a_shared_folder_and_around_one(office: Office) -> None:
    ada = office.founder()
    inside = ada.at("inside")
    inside.mkdir()
    link = ada.folder.parent / "link"
    link.symlink_to(inside)
    for path in (inside, ada.folder.parent, link):
        assert "one in the other" in ada.refuses("share", path).err
    assert not (inside / ".harp").exists()
    assert not (ada.folder.parent / ".harp").exists()
    ben = office.founder("ben")
    for path in (ben.at("deeper/inside"), ben.folder.parent):
        assert "one in the other" in ben.refuses("join", ada.invites(), path).err
    # The second device of one machine: a folder that another home shares is refused as well.
    assert "another device" in ben.refuses("share", ada.folder).err
    assert len(ada.ask("folders")["folders"]) == len(ben.ask("folders")["folders"]) == 1


def test_a_port_in_use(office: Office) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ada = office.desk("ada")
        assert "in use" in _fails_to_start(ada, ada.folder, "--listen", address)
    assert "listen" in _fails_to_start(ada, ada.folder, "--listen", "nonsense")
    ada.start(ada.folder)


def test_a_second_daemon_in_the_same_home(office: Office) -> None:
    ada = office.founder()
    assert "runs" in _fails_to_start(ada, "--listen", "127.0.0.1:0")
    assert ada.status().name == NAME


def test_no_daemon(office: Office) -> None:
    ada = office.founder()
    ada.stop()
    for words in (["status"], ["wait", NAME], ["invite", NAME], ["down"], ["peers"]):
        said = ada.refuses(*words)
        assert said.code == 4
        assert "harp up" in said.err


def test_unknown_names(office: Office) -> None:
    ada = office.founder()
    ada.write("file", b"f")
    for words in (
        ["wait", "nobody"],
        ["history", NAME, "never there"],
        ["restore", NAME, "file@ffffffff"],
        ["restore", NAME, "file"],
        ["resolve", NAME, "file", "--keep", "both"],
        ["approve", NAME, "nothing"],
        ["reject", NAME, "nothing"],
        ["forget", "nobody"],
        ["config", "get", "nothing"],
        ["config", "set", "scan_interval_s", "often"],
    ):
        ada.refuses(*words)
    assert ada.read("file") == b"f"


def test_a_damaged_ledger_stops_its_folder_only(office: Office, tmp_path: Path) -> None:
    ada, ben = office.pair()
    second = tmp_path / "second"
    second.mkdir()
    ada.do("share", second, "--name", "second")
    ada.write("file", b"f")
    office.agreed(ada, ben)
    ada.stop()
    folder_id = ben.status().id
    ledger = ada.home / "folders" / f"{folder_id[:32]}.db"
    for suffix in ("-wal", "-shm"):
        ledger.with_name(ledger.name + suffix).unlink(missing_ok=True)
    ledger.write_bytes(b"this is not a database" * 1000)
    ada.start()
    folders = {folder["name"]: folder for folder in ada.ask("folders")["folders"]}
    assert folders[NAME]["state"] == "stopped"
    assert "damaged" in folders[NAME]["error"]
    assert folders["second"]["state"] != "stopped"
    assert "damaged" in ada.refuses("wait", NAME).err
    assert ada.read("file") == b"f"
    # The way out that the hint names: leave, and join again with what lies there.
    ada.do("leave", NAME)
    ben.write("on", b"o")
    assert ada.tree().keys() == {b"file"}


def test_a_ledger_that_makes_no_sense_stops_its_folder_only(office: Office, tmp_path: Path) -> None:
    ada = office.founder()
    second = tmp_path / "second"
    second.mkdir()
    ada.do("share", second, "--name", "second")
    folder_id = next(folder["id"] for folder in ada.ask("folders")["folders"] if folder["name"] == NAME)
    ada.stop()
    with contextlib.closing(sqlite3.connect(ada.home / "folders" / f"{folder_id[:32]}.db")) as ledger, ledger:
        ledger.execute("UPDATE fact SET value = x'00' WHERE name = 'keys'")
    ada.start()
    folders = {folder["name"]: folder for folder in ada.ask("folders")["folders"]}
    assert folders[NAME]["state"] == "stopped"
    assert "damaged: what it holds makes no sense" in folders[NAME]["error"]
    assert folders["second"]["state"] != "stopped"


def test_a_damaged_registry_refuses_the_start(office: Office) -> None:
    ada = office.founder()
    ada.stop()
    for suffix in ("-wal", "-shm"):
        (ada.home / f"registry.db{suffix}").unlink(missing_ok=True)
    damaged = b"this is not a database" * 1000
    (ada.home / "registry.db").write_bytes(damaged)
    assert "damaged" in _fails_to_start(ada, "--listen", "127.0.0.1:0")
    assert (ada.home / "registry.db").read_bytes() == damaged


def test_a_key_that_others_can_read(office: Office) -> None:
    ada = office.founder()
    ada.stop()
    key = ada.home / "device.key"
    content = key.read_bytes()
    key.chmod(0o644)
    assert "chmod 600" in _fails_to_start(ada, "--listen", "127.0.0.1:0")
    key.chmod(0o600)
    key.write_bytes(b"nonsense")
    _fails_to_start(ada, "--listen", "127.0.0.1:0")
    assert key.read_bytes() == b"nonsense"
    key.write_bytes(content)
    ada.start()


def test_a_setting_that_cannot_be(office: Office) -> None:
    ada = office.desk("ada")
    ada.home.mkdir()
    (ada.home / "config.toml").write_text('scan_interval_s = "never"\n')
    assert "scan_interval_s" in _fails_to_start(ada, ada.folder)
    (ada.home / "config.toml").write_text("this is not TOML")
    assert "TOML" in _fails_to_start(ada, ada.folder)


# --- disks ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounts need root")
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", "-l", place], check=False)


@pytest.mark.root
def test_a_full_disk_holds_up_what_does_not_fit_only(office: Office, small_disk: Path) -> None:
    ada = office.founder()
    ben = office.desk("ben")
    ben.folder = small_disk / NAME
    ben.start()
    ben.join(ada.invites())
    ada.write("first", b"1")
    office.agreed(ada, ben)
    (small_disk / "ballast").write_bytes(bytes(14_000_000))
    ada.write("large", content := os.urandom(15_000_000))
    until(lambda: ben.status().problem_count, "it says what is wrong")
    (problem,) = ben.status().problems
    assert problem.path == "large"
    assert "full" in problem.why
    ada.write("small", b"s")
    until(lambda: ben.at("small").exists(), "everything else goes on")
    assert not ben.at("large").exists()
    said = ben.refuses("wait", NAME, "--timeout", "2")
    assert "large" in said.err
    (small_disk / "ballast").unlink()
    until(lambda: ben.at("large").exists(), "it completes once there is space")
    office.agreed(ada, ben)
    assert ben.read("large") == content
    assert ben.status().problem_count == 0


@pytest.mark.root
def test_a_home_on_a_full_disk_still_answers_and_loses_nothing(office: Office, small_disk: Path) -> None:
    ada, ben = office.founder(), office.desk("ben")
    ben.home = small_disk / "home"
    ben.client = Client(ben.home)
    ben.start()
    ben.join(ada.invites())
    office.agreed(ada, ben)
    with (small_disk / "ballast").open("wb") as ballast, contextlib.suppress(OSError):
        while True:
            ballast.write(bytes(65536))
            ballast.flush()
    for number in range(1000):
        ada.write(f"d{number % 20}/{number}", b"of ada %d" % number)
    ben.write("of ben", os.urandom(9_000_000))
    until(lambda: "no room left" in ben.log.read_text(), "the ledger is full")
    for _ in range(5):
        said = ben.run("status", timeout_s=5)
        assert "no room left" in said.out
    (small_disk / "ballast").unlink()
    until(lambda: ada.at("of ben").exists() and ben.at("d19/999").exists(), "all goes on once there is space")
    assert len(office.agreed(ada, ben)) == 1021
    ben.verified()


@pytest.mark.root
def test_a_disk_that_became_read_only_waits(office: Office, small_disk: Path) -> None:
    ada = office.founder()
    ben = office.desk("ben")
    ben.folder = small_disk / NAME
    ben.start()
    ben.join(ada.invites())
    ada.write("first", b"1")
    before = office.agreed(ada, ben)
    ben.stop()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    ben.start()
    ada.write("second", b"2")
    until(lambda: ben.status().problem_count or ben.status().error, "it says what is wrong")
    assert ada.status().state is not model.FolderState.STOPPED
    assert ben.tree() == before
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    until(lambda: ben.at("second").exists(), "it goes on by itself")
    office.agreed(ada, ben)
