# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an action leaves in the ledger, and what is looked after from time to time."""

from dataclasses import replace
from pathlib import Path as FilePath

import pytest

from harp.sync.model import (
    FileKind,
    MakeDirectory,
    OnDisk,
    Path,
    RemoveDirectory,
    SetAttributes,
    Skipped,
    Stat,
    WriteFile,
)
from harp.sync.service import traces
from harp.sync.service.courier import Courier
from harp.sync.service.rounds import MARKER_EVERY_S, TRASH_EVERY_S, Rounds
from harp.sync.service.traces import Traces
from harp.sync.store.places import JOURNALLED, PENDING
from tests.fakes.replicas import Device
from tests.fakes.tree import directory, head, lying

STAT = Stat(FileKind.FILE, 3, 1000, 0, 1, False)


@pytest.fixture
def anna(tmp_path: FilePath) -> Device:
    return Device(tmp_path / "anna", 1).found().rests()


def test_what_the_disk_could_not_hold_is_kept_beside_what_it_holds() -> None:
    entry = head(b"a", bytes_=b"abc", mtime_ns=1001, executable=True)
    found = traces.lying(WriteFile(Path(b"a"), entry, None), STAT, [entry])
    assert found == OnDisk(STAT, (entry.id,), entry.meta.root, wanted_mtime_ns=1001, wanted_executable=True)
    exact = traces.lying(
        SetAttributes(Path(b"a"), entry, found), STAT._replace(mtime_ns=1001, executable=True), [entry]
    )
    assert (exact.wanted_mtime_ns, exact.wanted_executable) == (None, None)


def test_a_directory_is_its_entries_or_nobodys() -> None:
    stat, entry = STAT._replace(kind=FileKind.DIRECTORY, size=0), directory(b"d")
    assert traces.lying(MakeDirectory(Path(b"d"), entry), stat, [entry]).applied == (entry.id,)
    assert traces.lying(MakeDirectory(Path(b"d"), None), stat, []).applied == ()


def test_heads_that_say_the_same_bytes_are_all_applied_but_never_to_a_copy() -> None:
    one, same, other = (
        head(b"a", bytes_=b"x"),
        head(b"a", bytes_=b"x", author=2, hlc=2),
        head(b"a", bytes_=b"y", author=3),
    )
    assert set(traces.with_applied(lying(one), [one, same, other]).applied) == {one.id, same.id}
    copy = lying(one, copy_of=Path(b"b"))
    assert traces.with_applied(copy, [one, same]) is copy
    assert traces.with_applied(lying(other), [one, same]).applied == (other.id,)


def test_a_directory_that_holds_what_is_ignored_stays_and_one_that_is_not_empty_yet_is_tried_again(
    anna: Device,
) -> None:
    anna.put(".harpignore", b"*.tmp\n")
    anna.loop.observer.scan()
    anna.put("d/a.tmp", b"ignored")
    anna.put("d/b.txt", b"x")
    anna.looks()
    on_disk = anna.place("d").on_disk
    assert on_disk is not None
    skipped = Skipped(RemoveDirectory(Path(b"d"), on_disk), "the directory still holds something")
    assert Traces(anna.replica).stays(skipped)
    with anna.replica.ledger.db.transaction():
        anna.replica.places.put([replace(anna.place("d/b.txt"), pending=PENDING)])
    assert not Traces(anna.replica).stays(skipped)


def test_a_copys_row_is_journalled_no_more_once_its_action_is_noted(anna: Device) -> None:
    place = replace(anna.replica.places.get_or_new(Path(b"copy")), pending=JOURNALLED)
    with anna.replica.ledger.db.transaction():
        anna.replica.places.put([place])
    assert Traces(anna.replica).of_copy(Path(b"copy")).pending == 0


def test_the_rounds_look_for_the_marker_scan_and_empty_the_trash_each_in_its_time(anna: Device) -> None:
    looked: list[float] = []
    rounds = Rounds(anna.replica, anna.settings, anna.loop.observer, lambda: looked.append(1.0))
    begin = rounds.next_deadline()
    rounds.go(begin)
    rounds.go(begin + MARKER_EVERY_S / 2)
    assert len(looked) == 1
    rounds.go(begin + MARKER_EVERY_S)
    assert len(looked) == 2
    assert not anna.loop.observer.is_scanning
    rounds.go(begin + anna.settings.scan_interval_s + TRASH_EVERY_S)
    assert anna.loop.observer.is_scanning


def test_a_file_hashed_too_soon_after_its_change_is_looked_at_again(anna: Device) -> None:
    anna.put("a.txt", b"1")
    anna.looks()
    with anna.replica.ledger.db.transaction():
        anna.replica.places.put([replace(anna.place("a.txt"), is_racy=True)])
    rounds = Rounds(anna.replica, anna.settings, anna.loop.observer, lambda: None)
    rounds.go(rounds.next_deadline() + MARKER_EVERY_S)
    assert anna.loop.observer.can_step


def test_a_courier_with_nothing_to_get_is_idle(anna: Device) -> None:
    assert isinstance(anna.loop.courier, Courier)
    assert (anna.loop.courier.is_busy, anna.loop.courier.needed_bytes) == (False, 0)
