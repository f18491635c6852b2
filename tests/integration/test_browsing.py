# SPDX-License-Identifier: AGPL-3.0-or-later
"""Looking around in a real folder of a real daemon: harp.daemon.looking, harp.sync.service.browse and leaving.

Names harp.sync.service.leaving.
"""

import os
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from harp.bridge import browsing
from harp.cli.client import at
from tests.integration.office import NAME, Desk, Office, until

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]


def listed(desk: Desk, *words: str) -> list[str]:
    return [one["path"] for one in desk.ask("files", NAME, *words)["files"]]


def content(desk: Desk, version: str) -> bytes:
    said = subprocess.run(
        [sys.executable, "-m", "harp.cli", "cat", NAME, version, "--home", str(desk.home)],
        capture_output=True,
        check=True,
    )
    return said.stdout


def test_what_lies_in_a_folder_and_what_happened_to_it(office: Office) -> None:
    ada, ben = office.pair()
    large = os.urandom(3_000_000)
    ada.write("notes/list.txt", b"bread\n")
    ada.write("notes/Straße.txt", b"")
    ada.write("large.bin", large)
    ada.write(b"bad\xff name", b"x")
    office.agreed(ada, ben)

    assert listed(ben) == ["bad\\xff name", "large.bin", "notes"]
    assert listed(ben, "notes") == ["notes/Straße.txt", "notes/list.txt"]
    assert listed(ben, "--find", "LIST") == ["notes/list.txt"]
    assert listed(ben, "--find", "straße") == ["notes/Straße.txt"]
    assert listed(ben, "--limit", "1") == ["bad\\xff name"]
    assert ben.ask("files", NAME, "--limit", "1")["has_more"]
    assert content(ben, "large.bin") == large
    assert content(ben, "notes/Straße.txt") == b""

    ben.write("notes/list.txt", b"bread\nmilk\n")
    office.agreed(ada, ben)
    ben.at("notes/list.txt").unlink()
    until(lambda: ada.versions("notes/list.txt")[0].kind == "tombstone", "ada hears of the deletion")
    office.agreed(ada, ben)
    changes = ada.ask("changes", NAME, "--limit", "2")["changes"]
    assert [(one["kind"], one["author_name"], one["is_current"]) for one in changes] == [
        ("tombstone", "ben", True),
        ("file", "ben", False),
    ]
    assert "notes/list.txt" not in listed(ada, "notes")
    assert "notes/list.txt" in listed(ada, "notes", "--deleted")
    (found,) = ada.ask("files", NAME, "--find", "list")["files"]
    assert (found["kind"], found["is_here"]) == ("tombstone", False)
    # What ben replaced and deleted lies in ada's trash, so its versions can be looked at here.
    assert content(ada, f"notes/list.txt@{changes[1]['entry'][:12]}") == b"bread\nmilk\n"
    assert "is no file" in ada.refuses("cat", NAME, "notes").err
    assert "does not lie on this device" in ben.refuses("cat", NAME, f"notes/list.txt@{changes[1]['entry']}").err


def test_a_listener_is_told_what_has_changed_and_of_nothing_else(office: Office) -> None:
    ada = office.founder()
    folder = ada.ask("folders")["folders"][0]["id"]
    events: list[browsing.Event] = []

    def listen() -> None:
        decoder = msgspec.json.Decoder(browsing.Event)
        with ada.client._answer("GET", at("events"), None, 60) as response:
            while line := response.readline():
                events.append(decoder.decode(line))

    threading.Thread(target=listen, daemon=True).start()
    until(lambda: events, "the first event")
    assert events[0].folders == [folder]
    until(lambda: ada.status().state.value == "idle", "nothing is left to be done")
    before = len(events)
    ada.write("new.txt", b"new")
    until(lambda: any(one.folders == [folder] for one in events[before:]), "the change is told")


def test_a_name_that_is_changed_holds_at_once_and_is_what_others_see(office: Office) -> None:
    ada = office.desk("ada", device_name="")
    del ada._settings["device_name"]
    ada.start()
    ada.do("config", "set", "device_name", "the lap top")
    assert ada.ask("status")["device"]["name"] == "the lap top"
    ada.do("share", ada.folder, "--make", "--name", NAME)
    ben = office.newcomer(ada, "ben")
    until(lambda: [peer.name for peer in ben.peers()] == ["the lap top"], "ben sees the new name")


def test_the_log_is_shown_and_traffic_counted(office: Office) -> None:
    ada, ben = office.pair()
    ada.write("a.bin", os.urandom(200_000))
    office.agreed(ada, ben)
    days = ben.ask("traffic")["days"]
    assert sum(day["lan"] for day in days) >= 200_000
    marker = ben.folder / ".harp" / "folder"
    marker.rename(ben.home / "aside")
    ben.write("b.txt", b"x")
    until(lambda: "marker is gone" in ben.do("log"), "the log says that the marker is gone")
    (ben.home / "aside").rename(marker)


def test_what_is_left_out_is_read_written_and_followed(office: Office, tmp_path: Path) -> None:
    ada, ben = office.pair()
    office.agreed(ada, ben)
    rules = tmp_path / "rules"
    rules.write_text("*.tmp\n[\n")
    said = ada.run("ignore", NAME, "--set", rules)
    assert (said.code, said.out) == (0, "*.tmp\n[\n")
    assert ada.read(".harpignore") == b"*.tmp\n[\n"
    rules.write_text("mine\n")
    ada.do("ignore", NAME, "--set", rules, "--local")
    assert ada.read(".harp/ignore") == b"mine\n"
    for name in ("a.tmp", "mine", "b.txt"):
        ada.write(name, b"x")
    until(lambda: ben.at("b.txt").exists(), "b.txt comes")
    until(lambda: ben.at(".harpignore").exists(), "the rules come too")
    assert not ben.at("a.tmp").exists()
    assert not ben.at("mine").exists()

    outside = tmp_path / "outside"
    outside.write_text("not yours")
    ada.at(".harpignore").unlink()
    ada.at(".harpignore").symlink_to(outside)
    assert "cannot be read" in ada.refuses("ignore", NAME).err
    assert outside.read_text() == "not yours"
