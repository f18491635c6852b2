# SPDX-License-Identifier: AGPL-3.0-or-later
"""Two daemons keep a folder the same, both ways, with all kinds of things in it.

Each is the whole of harp.daemon.composition, in a process of its own.
"""

import os
import random
import shutil
from pathlib import Path

import pytest

from tests.integration.office import Office, until

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

MIB = 1024 * 1024


def _random(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def test_what_one_device_does_the_other_shows(office: Office) -> None:
    ada, ben = office.pair()
    ada.write("from ada", b"a")
    ada.write("empty")
    ada.at("hollow/empty").mkdir(parents=True)
    ada.write("deep/" * 30 + "down", b"d")
    ben.write("from ben", b"b", mtime_ns=1_234_567_890_123_456_789)
    ben.write("run.sh", b"#!/bin/sh\n").chmod(0o755)
    shared = office.agreed(ada, ben)
    assert len(shared) == 37
    assert shared[b"from ben"].mtime_ns == 1_234_567_890_123_456_789
    assert shared[b"run.sh"].executable
    assert shared[b"hollow/empty"].kind == "directory"

    ben.write("from ada", b"edited by ben")
    ada.at("run.sh").chmod(0o644)
    ada.at("from ben").rename(ada.at("renamed"))
    ben.at("empty").unlink()
    shutil.rmtree(ben.at("hollow"))
    shared = office.agreed(ada, ben)
    assert ada.read("from ada") == b"edited by ben"
    assert not shared[b"run.sh"].executable
    assert ben.read("renamed") == b"b"
    assert not {b"empty", b"hollow", b"from ben"} & shared.keys()
    ada.verified()
    ben.verified()


def test_what_was_there_before_the_join_comes_too(office: Office) -> None:
    ada = office.desk("ada")
    ada.write("small", b"s")
    ada.write("sub/large", _random(3 * MIB))
    ada.start(ada.folder)
    ben = office.newcomer(ada, "ben")
    assert office.agreed(ada, ben).keys() == {b"small", b"sub", b"sub/large"}


def test_large_files_both_ways(office: Office) -> None:
    ada, ben = office.pair()
    ada.write("three", _random(3 * MIB, 3))
    ben.write("twenty", _random(20 * MIB, 20))
    office.agreed(ada, ben)
    ada.verified()
    ben.verified()


def test_symlinks_stay_symlinks(office: Office, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"not shared")
    ada, ben = office.pair()
    for name, target in {
        "dangling": "nowhere",
        "absolute": "/etc/passwd",
        "outside": str(outside),
        "up": "../../..",
        "odd": "a\nb \udcff",
    }.items():
        ada.at(name).symlink_to(target)
    ben.at("to directory").symlink_to(outside, target_is_directory=True)
    shared = office.agreed(ada, ben)
    assert [item.kind for item in shared.values()] == ["symlink"] * 6
    assert os.readlink(ben.at("odd")) == "a\nb \udcff"

    ada.at("dangling").unlink()
    ada.at("dangling").symlink_to("elsewhere")
    ben.at("up").unlink()
    ben.write("up", b"a file now")
    shared = office.agreed(ada, ben)
    assert os.readlink(ben.at("dangling")) == "elsewhere"
    assert ada.read("up") == b"a file now"
    assert (outside / "secret").read_bytes() == b"not shared"


def test_pipes_are_skipped_with_a_note(office: Office) -> None:
    ada, ben = office.pair()
    os.mkfifo(ada.at("pipe"))
    ada.write("file", b"f")
    ada.settled()
    assert ben.settled().tree().keys() == {b"file"}
    problems = {problem.path: problem.why for problem in ada.status().problems}
    assert "FIFO" in problems["pipe"]


def test_holes_stay_holes(office: Office) -> None:
    ada, ben = office.pair()
    with ada.at("sparse").open("wb") as file:
        file.write(_random(100_000))
        file.seek(64 * MIB)
        file.write(b"end")
    before = ada.traffic()
    office.agreed(ada, ben)
    assert ben.at("sparse").stat().st_blocks * 512 < 4 * MIB
    assert ada.traffic() - before < 4 * MIB


@pytest.mark.parametrize("before", [0, 70_000, 5 * MIB])
def test_a_file_that_ends_in_a_hole_keeps_its_length(office: Office, before: int) -> None:
    ada, ben = office.pair()
    with ada.at("sparse").open("wb") as file:
        file.write(_random(before))
        file.truncate(20 * MIB)
    assert office.agreed(ada, ben)[b"sparse"].content.startswith(str(20 * MIB))
    assert ben.at("sparse").stat().st_blocks * 512 <= before + MIB
    # A hole where there were bytes, and at the end as well.
    with ada.at("sparse").open("r+b") as file:
        file.truncate(before // 2)
        file.truncate(30 * MIB)
    office.agreed(ada, ben)
    ben.verified()


def test_hard_links_are_two_files(office: Office) -> None:
    ada, ben = office.pair()
    one = ada.write("one", b"same")
    os.link(one, ada.at("two"))
    office.agreed(ada, ben)
    assert ben.at("one").stat().st_ino != ben.at("two").stat().st_ino
    # A write through one name changes both; each is a file of its own elsewhere, and both follow.
    with one.open("ab") as file:
        file.write(b" changed")
    office.agreed(ada, ben)
    assert ben.read("two") == b"same changed"


def test_ignored_files_are_neither_sent_nor_deleted(office: Office) -> None:
    ada, ben = office.pair()
    ada.write(".harpignore", b"*.tmp\n/build/\n")
    office.agreed(ada, ben)
    ada.write("a.tmp", b"ada's")
    ada.write("build/out", b"ada's")
    ben.write("b.tmp", b"ben's")
    ada.write("seen", b"s")
    ada.settled()
    ben.settled()
    assert ada.tree().keys() == {b".harpignore", b"a.tmp", b"build", b"build/out", b"seen"}
    assert ben.tree().keys() == {b".harpignore", b"b.tmp", b"seen"}

    ben.write(".harpignore", b"# nothing\n")
    until(lambda: ben.at("a.tmp").exists() and ada.at("b.tmp").exists(), "un-ignored files are found and sent")
    office.agreed(ada, ben)
    assert ben.tree().keys() == {b".harpignore", b"a.tmp", b"b.tmp", b"build", b"build/out", b"seen"}
    assert ben.read("build/out") == b"ada's"


def test_a_file_ignored_here_alone_stays_where_it_is(office: Office) -> None:
    ada, ben = office.pair()
    ada.write("notes", b"one")
    office.agreed(ada, ben)
    (ben.folder / ".harp" / "ignore").write_bytes(b"notes\n")
    ben.settled()
    ben.at("notes").unlink()
    ben.settled()
    ada.settled()
    assert ada.read("notes") == b"one"
    ada.write("notes", b"two")
    ada.write("after", b"")
    ada.settled()
    ben.settled()
    assert ben.tree().keys() == {b"after"}
    (ben.folder / ".harp" / "ignore").unlink()
    office.agreed(ada, ben)
    assert ben.read("notes") == b"two"


def test_a_file_is_not_sent_half_written(office: Office) -> None:
    ada, ben = office.pair()
    with ada.at("growing").open("wb") as file:
        file.write(b"half")
        file.flush()
        ada.write("marker", b"m")
        until(lambda: ben.at("marker").exists(), "the file beside it arrived")
        assert not ben.at("growing").exists()
        file.write(b" and half")
    until(lambda: ben.at("growing").exists(), "the closed file arrived")
    assert ben.read("growing") == b"half and half"
    office.agreed(ada, ben)


def test_renames_and_copies_transfer_no_content(office: Office) -> None:
    ada, ben = office.pair()
    ada.write("folder/large", _random(20 * MIB))
    for i in range(50):
        ada.write(f"folder/small{i}", _random(20_000, i))
    office.agreed(ada, ben)
    before = ada.traffic()
    ada.at("folder").rename(ada.at("moved"))
    office.agreed(ada, ben)
    shutil.copytree(ben.at("moved"), ben.at("copied"))
    office.agreed(ada, ben)
    assert ada.traffic() - before < 200_000
    assert (ben.folder / ".harp").is_dir()
    ben.verified()


def test_an_edit_in_a_large_file_transfers_the_edit(office: Office) -> None:
    ada, ben = office.pair()
    content = _random(20 * MIB)
    ada.write("large", content)
    office.agreed(ada, ben)
    before = ada.traffic()
    ada.write("large", content[: 10 * MIB] + _random(1000, 2) + content[10 * MIB :])
    office.agreed(ada, ben)
    assert ada.traffic() - before < 2 * MIB
    before = ada.traffic()
    with ben.at("large").open("r+b") as file:
        file.seek(5 * MIB)
        file.write(b"overwritten")
    office.agreed(ada, ben)
    assert ada.traffic() - before < 2 * MIB
    ada.verified()


def test_a_burst_of_small_files(office: Office) -> None:
    ada, ben = office.pair()
    for i in range(1000):
        ada.write(f"{i % 10}/{i}", b"%d" % i)
        if i % 2:
            ben.write(f"ben {i % 7}/{i}", b"%d of ben" % i)
    assert len(office.agreed(ada, ben)) == 1000 + 10 + 500 + 7


@pytest.mark.parametrize("kept", ["file", "directory"])
def test_a_file_becomes_a_directory_and_back(office: Office, kept: str) -> None:
    ada, ben = office.pair()
    ada.write("it", b"a file")
    office.agreed(ada, ben)
    ada.at("it").unlink()
    ada.write("it/inside", b"i")
    office.agreed(ada, ben)
    if kept == "file":
        shutil.rmtree(ben.at("it"))
        ben.write("it", b"a file again")
    shared = office.agreed(ada, ben)
    assert shared[b"it"].kind == kept


def test_a_third_device_gets_the_same(office: Office) -> None:
    ada, ben = office.pair()
    ada.write("a", b"a")
    ben.write("b", b"b")
    office.agreed(ada, ben)
    cyd = office.newcomer(ada, "cyd")
    office.linked(ada, ben, cyd)
    cyd.write("c", b"c")
    assert len(office.agreed(ada, ben, cyd)) == 3


def test_a_paused_folder_stands_still(office: Office) -> None:
    ada, ben = office.pair()
    ben.do("pause", "desk")
    ada.write("a", b"a")
    ben.write("b", b"b")
    said = ben.refuses("wait", "desk", "--timeout", "60")
    assert "paused" in said.err
    assert ben.tree().keys() == {b"b"}
    ben.do("resume", "desk")
    assert office.agreed(ada, ben).keys() == {b"a", b"b"}


def test_a_directory_that_holds_ignored_files_stays_where_they_are(office: Office) -> None:
    ada, ben = office.pair()
    ada.write(".harpignore", b"*.tmp\n")
    ada.write("build/out", b"o")
    office.agreed(ada, ben)
    ben.write("build/mine.tmp", b"ben's")
    shutil.rmtree(ada.at("build"))
    ada.settled()
    ben.settled()
    assert ada.tree().keys() == {b".harpignore"}
    assert ben.tree().keys() == {b".harpignore", b"build", b"build/mine.tmp"}
    # It is not said again, nor is it in the way of what comes there later.
    ben.do("wait", "desk")
    assert ada.tree().keys() == {b".harpignore"}
    ada.write("build/new", b"n")
    ada.settled()
    ben.settled()
    assert ben.read("build/new") == b"n"
    assert ben.read("build/mine.tmp") == b"ben's"


def test_a_note_goes_with_its_reason(office: Office) -> None:
    ada, ben = office.pair()
    os.mkfifo(ada.at("pipe"))
    ada.settled()
    assert ada.status().problem_count == 1
    ada.at("pipe").unlink()
    ada.write("pipe", b"a file now")
    office.agreed(ada, ben)
    assert ada.status().problem_count == 0
