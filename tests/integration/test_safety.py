# SPDX-License-Identifier: AGPL-3.0-or-later
"""Nothing is lost: conflicts keep both sides, mass losses and missing disks wait for a person, backups go on."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from harp.bridge import model
from tests.integration.office import NAME, Desk, Item, Office, until

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]


def _apart(*desks: Desk) -> None:
    for desk in desks:
        desk.stop()


def _together(*desks: Desk) -> None:
    for desk in desks:
        desk.start()
    Office.linked(*desks)


def _copies(tree: Mapping[bytes, Item], stem: bytes) -> list[bytes]:
    return [path for path in tree if path.startswith(stem + b" (conflict ")]


# --- conflicts --------------------------------------------------------------------------------------------------------


def test_edits_on_both_sides_both_survive_under_the_same_names(office: Office) -> None:
    ada, ben = office.pair()
    cyd = office.newcomer(ada, "cyd")
    ada.write("plan.txt", b"before")
    office.agreed(ada, ben, cyd)
    _apart(ada, ben)
    ada.write("plan.txt", b"ada's")
    ben.write("plan.txt", b"ben's, later")
    _together(ada, ben)
    office.linked(ada, ben, cyd)
    shared = office.agreed(ada, ben, cyd)
    (copy,) = _copies(shared, b"plan")
    assert copy.endswith(b").txt")
    assert cyd.read("plan.txt") == b"ben's, later"
    assert cyd.read(copy) == b"ada's"
    (conflict,) = cyd.ask("conflicts", NAME)["conflicts"]
    assert conflict["path"] == "plan.txt"
    assert [version["author_name"] for version in conflict["versions"]] == ["ben", "ada"]
    assert [desk.status().conflicts for desk in (ada, ben, cyd)] == [1, 1, 1]

    losing = conflict["versions"][1]["entry"]
    ada.do("resolve", NAME, "plan.txt", "--keep", losing[:12])
    assert office.agreed(ada, ben, cyd).keys() == {b"plan.txt"}
    assert ben.read("plan.txt") == b"ada's"
    assert ada.status().conflicts == 0


def test_both_sides_of_a_conflict_can_be_kept(office: Office) -> None:
    ada, ben = office.pair()
    ada.write("plan", b"before")
    office.agreed(ada, ben)
    _apart(ada, ben)
    ada.write("plan", b"ada's")
    ben.write("plan", b"ben's")
    _together(ada, ben)
    names = office.agreed(ada, ben).keys()
    assert len(names) == 2
    ben.do("resolve", NAME, "plan", "--keep", "both")
    assert office.agreed(ada, ben).keys() == names
    assert ada.status().conflicts == ben.status().conflicts == 0
    assert sorted(ada.read(name) for name in names) == [b"ada's", b"ben's"]


def test_a_conflict_is_settled_by_deleting_or_editing_a_copy(office: Office) -> None:
    ada, ben = office.pair()
    for name in ("one", "two"):
        ada.write(name, b"before")
    office.agreed(ada, ben)
    _apart(ada, ben)
    for name in ("one", "two"):
        ada.write(name, b"ada's")
        ben.write(name, b"ben's")
    _together(ada, ben)
    shared = office.agreed(ada, ben)
    (first,), (second,) = _copies(shared, b"one"), _copies(shared, b"two")
    ada.at(first).unlink()
    ben.write(second, b"edited copy")
    shared = office.agreed(ada, ben)
    assert shared.keys() == {b"one", b"two", second}
    assert ada.read(second) == b"edited copy"
    assert ada.status().conflicts == 0


def test_an_edit_beats_a_delete_and_a_directory_a_file(office: Office) -> None:
    ada, ben = office.pair()
    ada.write("edited", b"before")
    ada.write("renamed", b"before")
    office.agreed(ada, ben)
    _apart(ada, ben)
    ada.at("edited").unlink()
    ben.write("edited", b"after")
    ada.at("renamed").rename(ada.at("new name"))
    ben.write("renamed", b"after")
    ada.write("thing", b"a file")
    ben.write("thing/inside", b"i")
    _together(ada, ben)
    shared = office.agreed(ada, ben)
    assert ada.read("edited") == b"after"
    assert ada.read("renamed") == b"after"
    assert ben.read("new name") == b"before"
    (copy,) = _copies(shared, b"thing")
    assert ben.read(copy) == b"a file"
    assert ada.read("thing/inside") == b"i"


def test_older_and_deleted_versions_come_back_from_the_trash(office: Office) -> None:
    ada, ben = office.pair()
    ada.write("text", b"first")
    ada.write("large", content := os.urandom(2_000_000))
    office.agreed(ada, ben)
    ada.write("text", b"second")
    ada.at("large").unlink()
    office.agreed(ada, ben)
    versions = ben.ask("history", NAME, "text")["versions"]
    assert [version["is_current"] for version in versions] == [True, False]
    ben.do("restore", NAME, "text@" + versions[1]["entry"][:10])
    deleted = ben.ask("history", NAME, "large")["versions"]
    assert [version["kind"] for version in deleted] == ["tombstone", "file"]
    ben.do("restore", NAME, "large@" + deleted[1]["entry"][:10])
    office.agreed(ada, ben)
    assert ada.read("text") == b"first"
    assert ada.read("large") == content


# --- the guard --------------------------------------------------------------------------------------------------------


def _filled(desk: Desk, files: int = 40) -> None:
    for number in range(files):
        desk.write(f"files/{number}", b"content %d" % number)


def _emptied(desk: Desk) -> None:
    """All files go at once, so that none slips through while there are still few."""
    desk.at("files").rename(desk.folder.parent / f"gone {time.monotonic_ns()}")


def test_a_mass_deletion_here_waits_for_a_person(office: Office) -> None:
    ada, ben = office.pair(guard_files="20")
    _filled(ada)
    ada.write("kept", b"k")
    before = office.agreed(ada, ben)
    _emptied(ada)
    said = ada.refuses("wait", NAME, "--timeout", "60")
    assert said.code == 1
    assert "held" in said.err
    assert ben.tree() == before
    (held,) = ada.ask("held", NAME)["held"]
    assert held["files"] >= 40
    # Everything else goes on.
    ada.write("other", b"o")
    until(lambda: ben.at("other").exists(), "other files still travel")

    ada.do("reject", NAME, held["id"])
    assert office.agreed(ada, ben).keys() == before.keys() | {b"other"}
    assert ada.read("files/7") == b"content 7"

    _emptied(ada)
    assert "held" in ada.refuses("wait", NAME, "--timeout", "60").err
    (held,) = ada.ask("held", NAME)["held"]
    assert "held" in ada.refuses("approve", NAME, "nonsense").err
    ada.do("approve", NAME, held["id"])
    # The author's approval is signed: nobody asks the receiver again.
    assert office.agreed(ada, ben).keys() == {b"kept", b"other"}
    assert ben.ask("held", NAME)["held"] == []


def test_a_mass_deletion_of_a_peer_waits_here_too(office: Office) -> None:
    ada = office.founder(guard_files="1000000")
    ben = office.newcomer(ada, "ben", guard_files="20")
    _filled(ada)
    ada.write("kept", b"k")
    before = office.agreed(ada, ben)
    _emptied(ada)
    until(ben.held, "it is held at the receiver")
    assert "peer holds" in ada.refuses("wait", NAME, "--timeout", "60").err
    assert "held" in ben.refuses("wait", NAME, "--timeout", "60").err
    assert ben.tree() == before
    (held,) = ben.ask("held", NAME)["held"]
    assert held["files"] >= 40
    ben.do("reject", NAME, held["id"])
    until(lambda: ada.at("files/39").exists(), "the author has them back")
    until(lambda: ada.wait().phase is model.Phase.DONE, "the author hears that nothing waits there")
    assert office.agreed(ada, ben) == before

    _emptied(ada)
    (again,) = until(ben.held, "it is held again")
    ben.do("approve", NAME, again.id)
    until(lambda: ada.wait().phase is model.Phase.DONE, "the author hears that nothing waits there")
    assert office.agreed(ada, ben).keys() == {b"kept"}


def test_a_mass_deletion_is_held_whole_before_any_of_it_is_said(office: Office) -> None:
    ada, ben = office.pair()
    _filled(ada, 600)
    before = office.agreed(ada, ben)
    subprocess.run(["rm", "-rf", str(ada.at("files"))], check=True)
    said = ada.refuses("wait", NAME, "--timeout", "60")
    assert "held" in said.err
    assert ben.tree() == before, "not one of them has gone"
    (held,) = ada.ask("held", NAME)["held"]
    assert held["files"] >= 600
    ada.do("reject", NAME, held["id"])
    assert office.agreed(ada, ben) == before


def test_moving_many_files_is_no_mass_deletion(office: Office) -> None:
    ada, ben = office.pair()
    _filled(ada)
    office.agreed(ada, ben)
    ada.at("files").rename(ada.at("moved"))
    shared = office.agreed(ada, ben)
    assert len(shared) == 41
    assert b"moved/5" in shared


def test_a_few_deletions_need_nobody(office: Office) -> None:
    ada, ben = office.pair()
    _filled(ada, 9)
    office.agreed(ada, ben)
    shutil.rmtree(ada.at("files"))
    assert office.agreed(ada, ben) == {}


def test_a_folder_put_back_from_a_backup_is_held(office: Office, tmp_path: Path) -> None:
    ada, ben = office.pair()
    _filled(ada)
    office.agreed(ada, ben)
    shutil.copytree(ada.at("files"), tmp_path / "backup")
    for number in range(40):
        ada.write(f"files/{number}", b"newer %d" % number)
    before = office.agreed(ada, ben)
    ada.stop()
    shutil.copytree(tmp_path / "backup", ada.at("files"), dirs_exist_ok=True)
    ada.start()
    until(lambda: ada.status().held, "it is held")
    assert ben.tree() == before
    (held,) = ada.ask("held", NAME)["held"]
    ada.do("reject", NAME, held["id"])
    assert office.agreed(ada, ben) == before


def test_without_its_marker_a_folder_is_left_alone(office: Office) -> None:
    ada, ben = office.pair()
    _filled(ada, 5)
    before = office.agreed(ada, ben)
    aside = ada.folder.parent / "aside"
    ada.folder.rename(aside)
    ada.folder.mkdir()
    until(lambda: ada.status().state is model.FolderState.STOPPED, "it says so")
    said = ada.refuses("wait", NAME, "--timeout", "60")
    assert "marker" in said.err
    (held,) = ada.ask("held", NAME)["held"]
    assert not held["can_be_approved"]
    assert held["remedy"]
    for verb in ("approve", "reject"):
        assert "cannot be decided on" in ada.refuses(verb, NAME, held["id"]).err
    ben.write("new", b"n")
    ben.write("files/0", b"edited")
    assert not any(ada.folder.iterdir())
    assert ben.tree().keys() == before.keys() | {b"new"}

    ada.folder.rmdir()
    aside.rename(ada.folder)
    until(lambda: ada.status().state is not model.FolderState.STOPPED, "it goes on by itself")
    assert office.agreed(ada, ben).keys() == before.keys() | {b"new"}


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
def test_an_unmounted_disk_is_no_deletion(office: Office) -> None:
    ada = office.desk("ada")
    ada.folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", ada.folder], check=True)
    try:
        ada.start(ada.folder)
        ben = office.newcomer(ada, "ben")
        _filled(ada)
        before = office.agreed(ada, ben)
        subprocess.run(["umount", "-l", ada.folder], check=True)
        until(lambda: ada.status().state is model.FolderState.STOPPED, "it says so")
        ada.stop()
        ada.start()
        assert ada.status().state is model.FolderState.STOPPED
        assert ada.status().error
        assert ben.tree() == before
    finally:
        ada.kill()
        subprocess.run(["umount", "-l", ada.folder], check=False, capture_output=True)


def test_what_nobody_is_there_to_give_back_is_not_waited_for(office: Office) -> None:
    ada = office.founder(guard_files="20")
    _filled(ada)
    ada.write("kept", b"k")
    until(lambda: ada.status().files == 41, "all are seen")
    _emptied(ada)
    (held,) = until(ada.held, "it is held")
    assert "being put back" in ada.do("reject", NAME, held.id)
    assert "no peer is connected" in ada.refuses("wait", NAME).err
    assert ada.status().needed_files == 40


def test_waiting_without_a_peer_says_so(office: Office) -> None:
    ada, ben = office.pair()
    office.agreed(ada, ben)
    ben.stop()
    said = ada.refuses("wait", NAME, "--timeout", "60")
    assert said.code == 1
    assert "no peer" in said.err


# --- restarts, backups, copies ----------------------------------------------------------------------------------------


def _read_bytes(desk: Desk) -> int:
    assert desk.process is not None
    counters = Path(f"/proc/{desk.process.pid}/io").read_text().split()
    return int(counters[counters.index("rchar:") + 1])


def test_a_restart_hashes_nothing_again(office: Office) -> None:
    ada, ben = office.pair()
    for number in range(30):
        ada.write(f"large {number}", os.urandom(1_000_000))
    office.agreed(ada, ben)
    # What was written within two seconds of being hashed is hashed once more.
    until(lambda: time.time() - max(file.stat().st_ctime for file in ada.folder.iterdir()) > 6, "the clock goes on")
    _apart(ada, ben)
    ada.start()
    ben.start()
    office.linked(ada, ben)
    office.agreed(ada, ben)
    assert _read_bytes(ada) < 25_000_000
    assert _read_bytes(ben) < 25_000_000


def test_a_backup_goes_on_in_another_home(office: Office, tmp_path: Path) -> None:
    ada, ben = office.pair()
    ada.write("one", b"1")
    office.agreed(ada, ben)
    ada.do("backup", tmp_path / "backup")
    assert (tmp_path / "backup").stat().st_mode & 0o777 == 0o600
    ada.refuses("backup", tmp_path / "backup")
    ada.write("two", b"after the backup")
    office.agreed(ada, ben)
    ada.stop()
    ada.home.rename(tmp_path / "lost")
    ada.do("restore-backup", tmp_path / "backup")
    ada.refuses("restore-backup", tmp_path / "backup")
    ada.write("three", b"while it was away")
    _together_again(office, ada, ben)
    assert office.agreed(ada, ben).keys() == {b"one", b"two", b"three"}
    ben.write("four", b"4")
    ada.write("one", b"edited")
    assert len(office.agreed(ada, ben)) == 4
    assert not _copies(ben.tree(), b"two")
    ada.verified()
    ben.verified()


def _together_again(office: Office, *desks: Desk) -> None:
    for desk in desks:
        if not desk.is_running:
            desk.start()
    office.linked(*desks)


def test_an_older_copy_of_the_home_heals_by_itself(office: Office, tmp_path: Path) -> None:
    ada, ben = office.pair()
    ada.write("one", b"1")
    office.agreed(ada, ben)
    ada.stop()
    shutil.copytree(ada.home, tmp_path / "older", symlinks=True)
    _together_again(office, ada)
    ada.write("one", b"second")
    ada.write("two", b"2")
    office.agreed(ada, ben)
    ada.stop()
    shutil.rmtree(ada.home)
    shutil.copytree(tmp_path / "older", ada.home, symlinks=True)
    ada.write("three", b"3")
    _together_again(office, ada, ben)
    shared = office.agreed(ada, ben)
    assert shared.keys() == {b"one", b"two", b"three"}
    assert ben.read("one") == b"second"
    ada.write("four", b"4")
    assert len(office.agreed(ada, ben)) == 4
    ada.verified()
    ben.verified()
    assert ben.ask("held", NAME)["held"] == []


def test_a_copied_identity_is_stopped_with_proof(office: Office, tmp_path: Path) -> None:
    ada, ben = office.pair()
    cyd = office.newcomer(ada, "cyd")
    ada.write("one", b"1")
    office.agreed(ada, ben, cyd)
    ben.stop()
    twin = office.desk("twin", device_name="ben")
    shutil.copytree(ben.home, twin.home, symlinks=True)
    shutil.copytree(ben.folder, twin.folder, symlinks=True)
    with contextlib.closing(sqlite3.connect(twin.home / "registry.db")) as registry, registry:
        registry.execute("UPDATE folder SET path = ?", (str(twin.folder),))
    # Each says something of its own, as the same device, while the other is away.
    ben.start()
    office.linked(ada, ben)
    ben.write("from ben", b"b")
    office.agreed(ada, ben, cyd)
    for desk in (ben, ada, cyd):
        desk.stop()
    twin.start()
    twin.write("from the twin", b"t")
    until(lambda: twin.versions("from the twin"), "it said so, unheard")
    cyd.start()
    (seen,) = until(cyd.held, "the copy is noticed")
    assert seen.kind == "fork"
    twin.stop()
    ada.start()
    (told,) = until(ada.held, "everyone is told")
    assert told.kind == "fork"
    assert "exists twice" in told.what
    assert ada.refuses("wait", NAME, "--timeout", "60").code == 1
    # An owner lets both go on anew, each with what it has: nothing of either is lost.
    ada.do("approve", NAME, told.id)
    for one in (ben, twin):
        one.start()
        for desk in (ada, cyd, one):
            until(lambda: not desk.held(), f"{desk.name} knows of the decision")  # noqa: B023
        one.write(f"{one.name} goes on", b"o")
        until(lambda: cyd.at(f"{one.name} goes on").exists(), "it is heard again")  # noqa: B023
        office.agreed(ada, cyd, one)
        one.stop()
    assert {b"one", b"from ben", b"from the twin", b"ben goes on", b"twin goes on"} <= ada.tree().keys()
