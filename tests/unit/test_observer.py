# SPDX-License-Identifier: AGPL-3.0-or-later
"""The observer and the author: what is found is said once, in groups, and nothing is said that nobody may hear."""

import errno
import os
from pathlib import Path as FilePath
from typing import Any

import pytest

from harp.base.errors import StoreError
from harp.sync.folder import read as reading
from harp.sync.model import MAX_DEPTH, Kind, Path, Role
from harp.sync.service import author as authors
from harp.sync.service import observer as observers
from harp.sync.service.replica import is_internal
from tests.fakes.replicas import Device, office, settle


@pytest.fixture
def anna(tmp_path: FilePath) -> Device:
    return Device(tmp_path / "anna", 1).found().rests()


def said(device: Device, *, since: int = 1) -> list[tuple[Kind, bytes]]:
    """What the device said after its founding, in order."""
    entries = [entry for batch in device.replica.ledger.merged_batches() for entry in batch.entries]
    return [(entry.meta.kind, entry.meta.path) for entry in entries[since:]]


def test_what_is_found_is_said_once(anna: Device) -> None:
    anna.put("d/a.txt", b"1")
    anna.looks().looks()
    anna.loop.observer.look([Path(b"d/a.txt")])
    anna.rests()
    assert sorted(said(anna)) == [(Kind.FILE, b"d/a.txt"), (Kind.DIRECTORY, b"d")]


def test_a_touched_file_is_said_anew_and_a_touched_directory_is_not(anna: Device) -> None:
    anna.put("d/a.txt", b"1")
    anna.looks()
    before = len(said(anna))
    os.utime(anna.files / "d", ns=(1, 1))
    anna.looks()
    assert len(said(anna)) == before
    os.utime(anna.files / "d/a.txt", ns=(1, 1))
    anna.looks()
    assert said(anna)[before:] == [(Kind.FILE, b"d/a.txt")]


def test_a_change_that_leaves_size_and_mtime_alone_is_seen_by_the_ctime(anna: Device) -> None:
    anna.put("a.txt", b"one")
    os.utime(anna.files / "a.txt", ns=(5, 5))
    anna.looks()
    anna.put("a.txt", b"two")
    os.utime(anna.files / "a.txt", ns=(5, 5))
    anna.looks()
    assert len(said(anna)) == 2


@pytest.mark.parametrize("year", [1500, 2300])
def test_a_file_from_another_century_is_shared(anna: Device, year: int) -> None:
    anna.put("a.txt", b"1")
    then_s = (year - 1970) * 31_556_952
    os.utime(anna.files / "a.txt", (then_s, then_s))
    anna.looks()
    assert said(anna) == [(Kind.FILE, b"a.txt")]
    anna.reopen().rests()
    assert len(said(anna)) == 1


def test_many_changes_are_said_in_groups(anna: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observers, "GROUP_FILES", 10)
    for number in range(35):
        anna.put(f"{number:02}", b"%d" % number)
    anna.looks()
    sizes = [len(batch.entries) for batch in anna.replica.ledger.merged_batches()][1:]
    assert sum(sizes) == 35
    assert max(sizes) <= 10


def test_harps_own_corner_special_files_and_impossible_names_are_not_said(anna: Device) -> None:
    os.mkfifo(anna.files / "pipe")
    anna.put(".harp/inside", b"x")
    anna.put(".harpsichord", b"x")
    anna.put(".HARP-2", b"x")
    anna.looks()
    assert said(anna) == []
    assert anna.loop.observer.notes[Path(b"pipe")]
    assert is_internal(Path(b".harp/inside"))
    assert not is_internal(Path(b".harpsichord"))


def test_a_reserved_name_or_one_that_is_too_deep_is_not_said_when_the_watcher_names_it(anna: Device) -> None:
    deep = "/".join(["d"] * MAX_DEPTH) + "/file"
    for name in (".harpsichord", deep):
        anna.put(name, b"x")
        anna.loop.observer.look([Path(os.fsencode(name))])
        anna.rests()
        assert (Kind.FILE, os.fsencode(name)) not in said(anna), "no peer would take a batch that holds it"
        assert anna.loop.observer.notes[Path(os.fsencode(name))]


def test_what_is_ignored_is_neither_said_nor_missed(anna: Device) -> None:
    anna.put("a.txt", b"1")
    anna.looks()
    anna.put(".harpignore", b"*.txt\n")
    anna.loop.observer.scan()
    anna.rests()
    anna.remove("a.txt")
    anna.put("b.txt", b"2")
    anna.looks()
    assert (Kind.TOMBSTONE, b"a.txt") not in said(anna)
    assert (Kind.FILE, b"b.txt") not in said(anna)
    anna.put(".harpignore", b"")
    anna.loop.observer.scan()
    anna.rests()
    assert (Kind.FILE, b"b.txt") in said(anna)


def test_an_unreadable_directory_is_no_deletion(anna: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    anna.put("d/a.txt", b"1")
    anna.looks()
    before = said(anna)
    real = anna.replica.root.readable_directory

    def refusing(path: Path) -> object:
        if path == b"d":
            raise PermissionError(13, "denied")
        return real(path)

    monkeypatch.setattr(anna.replica.root, "readable_directory", refusing)
    anna.looks()
    assert said(anna) == before
    assert anna.loop.observer.notes[Path(b"d")] == "permission denied"


@pytest.mark.parametrize("size", [100, 100_000, observers.INLINE_HASH_BYTES + 1])
def test_a_file_that_cannot_be_read_is_noted_and_not_read_again_and_again(
    anna: Device, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    anna.put("a.bin", bytes([7]) * size)
    anna.put("b.txt", b"1")
    real, tries = os.open, 0

    def broken(path: Any, flags: int, *arguments: Any, **keywords: Any) -> int:
        nonlocal tries
        if path == b"a.bin":
            tries += 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(path, flags, *arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", broken)
        # Large files are read elsewhere; that they have been is what is heard next.
        anna.looks().rests()
    assert said(anna) == [(Kind.FILE, b"b.txt")]
    assert anna.loop.observer.notes == {b"a.bin": "a.bin: the disk reports a read or write error"}
    assert tries < 3
    anna.looks().rests()
    assert len(said(anna)) == 2


def test_why_a_change_stays_here_is_said_as_it_is(tmp_path: FilePath) -> None:
    anna, ben, cleo = office(tmp_path, Role.READ_WRITE, Role.READ_ONLY)
    for name in ("a", "b"):
        anna.put(name, b"1")
    anna.looks()
    settle(anna, ben, cleo)
    [cut] = anna.loop.governor.cut(ben.key.device_id)
    for device, why in ((ben, "is no member any more"), (cleo, "may read this folder, not write to it")):
        device.loop.take([cut.data])
        device.put("a", b"2")
        device.remove("b")
        device.looks()
        assert device.loop.observer.notes == {
            b"a": f"changed here only: this device {why}",
            b"b": f"deleted here only: this device {why}",
        }


def test_a_directory_that_was_renamed_a_moment_ago_does_not_stand_for_its_old_name(anna: Device) -> None:
    anna.put("old/a.txt", b"1")
    anna.looks()
    assert anna.replica.root.stat(Path(b"old/a.txt")) is not None
    (anna.files / "old").rename(anna.files / "new")
    anna.looks()
    assert anna.tree() == {"new": None, "new/a.txt": b"1"}
    assert not anna.place("old/a.txt").lives


def test_a_file_that_cannot_be_noted_is_said_at_the_next_turn(anna: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    anna.put("a.txt", b"1")
    anna.loop.observer.scan()
    group = anna.loop.observer.step()
    with monkeypatch.context() as patch:

        def full(*_: object) -> None:
            raise StoreError("no room left")

        patch.setattr(type(anna.replica.places), "put", full)
        with pytest.raises(StoreError):
            anna.loop.write(group)
    assert said(anna) == []
    anna.looks()
    assert said(anna) == [(Kind.FILE, b"a.txt")]
    [genesis, batch] = anna.replica.ledger.merged_batches()
    assert batch.entries[0].prev == genesis.entries[0].id


def test_what_the_author_wrote_is_signed_durable_and_settled(anna: Device) -> None:
    assert isinstance(anna.loop.author, authors.Author)
    anna.put("a.txt", b"1")
    anna.looks()
    place = anna.place("a.txt")
    assert place.pending == 0
    assert place.on_disk is not None
    assert place.on_disk.applied == place.heads
    anna.reopen().looks()
    assert len(said(anna)) == 1, "a restart says nothing anew"


def test_what_comes_back_and_goes_while_it_is_looked_at_is_not_said_twice_of_one_state(
    anna: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were it, both entries would replace the same one: two heads, of which one's content lies nowhere."""
    path, observer = Path(b"fleeting"), anna.loop.observer
    anna.put("fleeting", b"one")
    anna.looks()
    anna.put("large", bytes(range(256)) * 20_000)
    anna.remove("fleeting")
    observer.look([Path(b"large"), path])
    # The large file is still being read, so what is gone is not said yet.
    assert observer.step().is_empty
    anna.put("fleeting", b"two")
    read_whole = reading.read_whole

    def read_and_lose(*args: Any, **kwargs: Any) -> Any:
        found = read_whole(*args, **kwargs)
        anna.remove("fleeting")
        return found

    monkeypatch.setattr(reading, "read_whole", read_and_lose)
    observer.look([path])
    anna.turn()
    monkeypatch.undo()
    anna.rests()
    (head,) = anna.replica.heads(anna.place("fleeting"))
    assert head.meta.kind is Kind.TOMBSTONE


def test_what_a_scan_finds_new_is_not_looked_for_again_at_its_end(
    anna: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observers, "GROUP_FILES", 5)
    for number in range(20):
        anna.put(f"{number:02}", b"%d" % number)
    observer = anna.loop.observer
    missed: list[bytes] = []
    monkeypatch.setattr(observer, "_look_at_gone", lambda path, group: missed.append(path))
    anna.looks()
    assert len(said(anna)) == 20
    assert missed == []


def test_a_scan_follows_the_rules_as_they_are_whatever_the_kernel_has_told(anna: Device) -> None:
    anna.put("notes", b"one")
    anna.looks()
    before = len(said(anna))
    anna.put(".harp/ignore", b"notes\n")
    anna.remove("notes")
    anna.looks()
    assert len(said(anna)) == before, "what is ignored by now is no deletion"
