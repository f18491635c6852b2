# SPDX-License-Identifier: AGPL-3.0-or-later
"""The applier and the courier on a real disk: what others said is shown, and nothing of a user's is lost on the way."""

import os
from pathlib import Path as FilePath

import pytest

from harp.base.errors import FolderError
from harp.sync.model import ChunkId, Kind, Path, Role
from harp.sync.service import applier
from harp.sync.store.places import PENDING, SETTLED, Place
from tests.fakes.content import counted
from tests.fakes.history import device_key
from tests.fakes.replicas import Device, connect, deliver, disconnect, office, settle

LARGE = counted(100_000)
"""More than one chunk."""


@pytest.fixture
def two(tmp_path: FilePath) -> tuple[Device, Device]:
    anna, ben = office(tmp_path, Role.READ_WRITE)
    return anna, ben


def all_settled(device: Device) -> bool:
    return not device.replica.places.pending() and device.loop.is_settled


# --- what comes, changes and goes -------------------------------------------------------------------------------------


def test_files_directories_symlinks_and_attributes_arrive_as_they_are(two: tuple[Device, Device]) -> None:
    anna, ben = two
    anna.put("deep/er/notes.txt", b"bread")
    anna.put("empty.txt")
    anna.put("large.bin", LARGE)
    (anna.files / "run.sh").write_bytes(b"#!/bin/sh")
    (anna.files / "run.sh").chmod(0o755)
    (anna.files / "hollow").mkdir()
    (anna.files / "link").symlink_to("/nowhere/at/all")
    os.utime(anna.files / "empty.txt", ns=(5, 1_234_567_890_123_456_789))
    anna.looks()
    settle(anna, ben)
    assert ben.tree() == anna.tree()
    assert os.access(ben.files / "run.sh", os.X_OK)
    assert (ben.files / "empty.txt").stat().st_mtime_ns == 1_234_567_890_123_456_789
    assert all_settled(ben)


def test_what_was_applied_is_not_said_again_by_whom_it_reached(two: tuple[Device, Device]) -> None:
    anna, ben = two
    anna.put("d/a", b"1")
    anna.looks()
    settle(anna, ben)
    before = ben.replica.ledger.vector()
    ben.looks()
    assert ben.replica.ledger.vector() == before


def test_a_replaced_version_lies_in_the_trash_and_its_chunks_are_found_there(two: tuple[Device, Device]) -> None:
    anna, ben = two
    anna.put("large.bin", LARGE)
    anna.looks()
    settle(anna, ben)
    anna.put("large.bin", b"short")
    anna.looks()
    settle(anna, ben)
    assert ben.tree()["large.bin"] == b"short"
    assert ben.trashed() == [LARGE]
    asked = len(ben.peers[anna.key.device_id.hex()].asked)
    anna.put("again.bin", LARGE)
    anna.looks()
    settle(anna, ben)
    assert ben.tree()["again.bin"] == LARGE
    assert len(ben.peers[anna.key.device_id.hex()].asked) == asked, "every chunk was found in the trash"


def test_a_deleted_file_goes_to_the_trash_and_a_deleted_directory_goes(two: tuple[Device, Device]) -> None:
    anna, ben = two
    anna.put("d/e/a.txt", b"to be deleted")
    anna.looks()
    settle(anna, ben)
    anna.remove("d/e/a.txt")
    (anna.files / "d/e").rmdir()
    (anna.files / "d").rmdir()
    anna.looks()
    settle(anna, ben)
    assert ben.tree() == {}
    assert ben.trashed() == [b"to be deleted"]
    assert all_settled(ben)


def test_a_rename_moves_the_file_and_transfers_and_trashes_nothing(two: tuple[Device, Device]) -> None:
    anna, ben = two
    anna.put("old/large.bin", LARGE)
    anna.looks()
    settle(anna, ben)
    inode = (ben.files / "old/large.bin").stat().st_ino
    asked = len(ben.peers[anna.key.device_id.hex()].asked)
    (anna.files / "old").rename(anna.files / "new")
    anna.looks()
    settle(anna, ben)
    assert ben.tree() == {"new": None, "new/large.bin": LARGE}
    assert (ben.files / "new/large.bin").stat().st_ino == inode
    assert ben.trashed() == []
    assert len(ben.peers[anna.key.device_id.hex()].asked) == asked


def test_a_copy_of_a_large_file_transfers_nothing(two: tuple[Device, Device]) -> None:
    anna, ben = two
    anna.put("one.bin", LARGE)
    anna.looks()
    settle(anna, ben)
    asked = len(ben.peers[anna.key.device_id.hex()].asked)
    anna.put("two.bin", LARGE)
    anna.looks()
    settle(anna, ben)
    assert ben.tree()["two.bin"] == LARGE
    assert len(ben.peers[anna.key.device_id.hex()].asked) == asked


def test_a_file_becomes_a_directory_and_a_directory_a_file(two: tuple[Device, Device]) -> None:
    anna, ben = two
    anna.put("one", b"a file")
    anna.put("two/inside", b"in a directory")
    anna.looks()
    settle(anna, ben)
    anna.remove("one")
    anna.put("one/inside", b"in a directory now")
    anna.remove("two/inside")
    (anna.files / "two").rmdir()
    anna.put("two", b"a file now")
    anna.looks()
    settle(anna, ben)
    assert ben.tree() == anna.tree()
    assert sorted(ben.trashed()) == [b"a file", b"in a directory"]


def test_a_file_becomes_a_symlink_and_a_file_again(two: tuple[Device, Device]) -> None:
    anna, ben = two
    for turn in range(3):
        (anna.files / "x").unlink(missing_ok=True)
        if turn == 1:
            (anna.files / "x").symlink_to("target")
        else:
            anna.put("x", b"file %d" % turn)
        anna.looks()
        settle(anna, ben)
        assert ben.tree() == anna.tree()


# --- conflict copies --------------------------------------------------------------------------------------------------


def conflicting(anna: Device, ben: Device) -> str:
    """Both edit one file while apart, Ben last; the name of the copy that then holds Anna's."""
    anna.put("list.txt", b"bread")
    anna.looks()
    settle(anna, ben)
    disconnect(anna, ben)
    anna.put("list.txt", b"bread and butter")
    anna.looks()
    ben.put("list.txt", b"bread and jam")
    ben.looks()
    connect(anna, ben)
    settle(anna, ben)
    [copy] = [name for name in anna.tree() if "(conflict " in name]
    assert anna.tree() == ben.tree() == {"list.txt": b"bread and jam", copy: b"bread and butter"}
    return copy


def test_concurrent_edits_both_show_under_the_same_names_and_are_said_by_nobody(two: tuple[Device, Device]) -> None:
    anna, ben = two
    conflicting(anna, ben)
    before = anna.replica.ledger.vector()
    anna.looks()
    ben.looks()
    settle(anna, ben)
    assert anna.replica.ledger.vector() == ben.replica.ledger.vector() == before


def test_a_deleted_copy_is_gone_everywhere_and_the_name_stays(two: tuple[Device, Device]) -> None:
    anna, ben = two
    copy = conflicting(anna, ben)
    ben.remove(copy)
    ben.looks()
    settle(anna, ben)
    assert anna.tree() == ben.tree() == {"list.txt": b"bread and jam"}
    assert b"bread and butter" in anna.trashed()


def test_an_edited_copy_becomes_a_file_of_its_own(two: tuple[Device, Device]) -> None:
    anna, ben = two
    copy = conflicting(anna, ben)
    anna.put(copy, b"bread and butter and more")
    anna.looks()
    settle(anna, ben)
    assert anna.tree() == ben.tree() == {"list.txt": b"bread and jam", copy: b"bread and butter and more"}
    assert not anna.loop.replica.places.copies_of(Path(b"list.txt"))
    ben.put("list.txt", b"only bread")
    ben.looks()
    settle(anna, ben)
    assert anna.tree() == ben.tree() == {"list.txt": b"only bread", copy: b"bread and butter and more"}


def test_an_edit_of_the_name_settles_the_conflict_and_the_copy_gets_a_name_of_its_own(
    two: tuple[Device, Device],
) -> None:
    anna, ben = two
    copy = conflicting(anna, ben)
    anna.put("list.txt", b"bread, jam")
    anna.looks()
    settle(anna, ben)
    assert anna.tree() == ben.tree() == {"list.txt": b"bread, jam", copy: b"bread and butter"}
    assert len(anna.place("list.txt").heads) == 1
    assert anna.place(copy).lives


def test_an_edit_beats_a_concurrent_deletion(two: tuple[Device, Device]) -> None:
    anna, ben = two
    anna.put("list.txt", b"bread")
    anna.looks()
    settle(anna, ben)
    disconnect(anna, ben)
    anna.remove("list.txt")
    anna.looks()
    ben.put("list.txt", b"bread and jam")
    ben.looks()
    connect(anna, ben)
    settle(anna, ben)
    assert anna.tree() == ben.tree() == {"list.txt": b"bread and jam"}


def test_a_directory_keeps_its_name_against_a_file(two: tuple[Device, Device]) -> None:
    anna, ben = two
    disconnect(anna, ben)
    anna.put("x", b"a file")
    anna.looks()
    ben.put("x/y", b"in a directory")
    ben.looks()
    connect(anna, ben)
    settle(anna, ben)
    assert anna.tree() == ben.tree()
    assert anna.tree()["x/y"] == b"in a directory"
    assert b"a file" in anna.tree().values()


# --- what changes here meanwhile --------------------------------------------------------------------------------------


def test_an_edit_between_plan_and_write_is_kept_and_said(two: tuple[Device, Device]) -> None:
    anna, ben = two
    anna.put("list.txt", b"bread")
    anna.looks()
    settle(anna, ben)
    anna.put("list.txt", b"from anna")
    anna.looks()
    deliver(anna, ben)
    ben.put("list.txt", b"from ben, unseen yet")
    settle(anna, ben)
    assert anna.tree() == ben.tree()
    assert sorted(anna.tree().values()) == [b"from anna", b"from ben, unseen yet"]  # type: ignore[type-var]


def test_a_new_file_where_a_peers_is_to_be_put_is_kept_and_said(two: tuple[Device, Device]) -> None:
    anna, ben = two
    anna.put("list.txt", b"from anna")
    anna.looks()
    deliver(anna, ben)
    ben.put("list.txt", b"from ben, unseen yet")
    settle(anna, ben)
    assert anna.tree() == ben.tree()
    assert sorted(anna.tree().values()) == [b"from anna", b"from ben, unseen yet"]  # type: ignore[type-var]


def test_an_edited_file_is_not_removed_by_a_deletion_that_did_not_know_of_it(two: tuple[Device, Device]) -> None:
    anna, ben = two
    anna.put("list.txt", b"bread")
    anna.looks()
    settle(anna, ben)
    anna.remove("list.txt")
    anna.looks()
    deliver(anna, ben)
    ben.put("list.txt", b"bread and jam")
    settle(anna, ben)
    assert anna.tree() == ben.tree() == {"list.txt": b"bread and jam"}


def test_a_queue_that_is_older_than_the_ledger_writes_nothing_old_into_it(two: tuple[Device, Device]) -> None:
    anna, _ = two
    anna.put("list.txt", b"first")
    anna.looks()
    stale = anna.place("list.txt")
    anna.loop.applier.queue([stale])
    anna.put("list.txt", b"second, and longer")
    anna.loop.observer.look([Path(b"list.txt")])
    anna.rests()
    newest = anna.place("list.txt")
    [entry] = anna.replica.heads(newest)
    assert entry.meta.size == len(b"second, and longer")
    assert newest.on_disk is not None
    assert newest.on_disk.applied == newest.heads


# --- a disk that refuses ----------------------------------------------------------------------------------------------


def test_what_the_disk_refuses_waits_with_the_reason_and_the_rest_goes_on(
    two: tuple[Device, Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, ben = two
    real = ben.replica.root.make_parents

    def refusing(path: Path) -> object:
        if path.startswith(b"locked/"):
            raise FolderError("permission denied")
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(ben.replica.root, "make_parents", refusing)
        anna.put("locked/a.txt", b"a")
        anna.put("open/b.txt", b"b")
        anna.looks()
        settle(anna, ben)
        assert ben.tree() == {"locked": None, "open": None, "open/b.txt": b"b"}
        place = ben.place("locked/a.txt")
        assert (place.pending, place.problem) == (PENDING, "permission denied")
        assert not ben.loop.is_settled
        assert ben.loop.applier.next_deadline() is not None
        disconnect(anna, ben)
    deadline = ben.loop.applier.next_deadline()
    assert deadline is not None
    connect(anna, ben)
    settle(anna, ben)
    ben.loop.applier.step(now=deadline)
    settle(anna, ben)
    ben.loop.applier.resume()
    settle(anna, ben)
    assert ben.tree()["locked/a.txt"] == b"a"
    assert ben.place("locked/a.txt").problem is None
    assert all_settled(ben)


def test_tries_become_rarer_and_leave_nothing_lying_about(
    two: tuple[Device, Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, ben = two
    real = ben.replica.root.make_parents

    def refusing(path: Path) -> object:
        if path == b"a.txt":
            raise FolderError("permission denied")
        return real(path)

    monkeypatch.setattr(ben.replica.root, "make_parents", refusing)
    anna.put("a.txt", b"a")
    anna.looks()
    settle(anna, ben)
    pauses = []
    now = ben.loop.applier.next_deadline() or 0.0
    for _ in range(12):
        ben.loop.courier.hold(
            [(ChunkId(ben.replica.heads(ben.place("a.txt"))[0].meta.root), b"a")], device_key(9).device_id, now=0.0
        )
        ben.loop.applier.step(now=now)
        due = ben.loop.applier.next_deadline()
        assert due is not None
        pauses.append(due - now)
        now = due
    assert [round(pause) for pause in pauses] == sorted(round(pause) for pause in pauses)
    assert pauses[-1] == pytest.approx(applier.MAX_RETRY_S)
    assert list(ben.replica.staging.names()) == []


def test_a_name_that_cannot_be_held_here_is_no_deletion(
    two: tuple[Device, Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, ben = two
    real = ben.replica.root.make_parents

    def refusing(path: Path) -> object:
        if path == b"a.txt":
            raise FolderError("this disk cannot hold the name")
        return real(path)

    monkeypatch.setattr(ben.replica.root, "make_parents", refusing)
    anna.put("a.txt", b"a")
    anna.looks()
    settle(anna, ben)
    ben.looks()
    settle(anna, ben)
    assert anna.tree() == {"a.txt": b"a"}


# --- content that is not to be had ------------------------------------------------------------------------------------


def test_a_file_whose_content_nobody_has_waits_and_comes_when_somebody_does(two: tuple[Device, Device]) -> None:
    anna, ben = two
    disconnect(anna, ben)
    anna.put("small.txt", b"small")
    anna.put("large.bin", LARGE)
    anna.looks()
    batches = anna.written()
    ben.loop.take(batches)
    ben.rests()
    assert ben.tree() == {}
    assert ben.loop.applier.waiting == 2
    assert not ben.loop.is_settled
    connect(anna, ben)
    settle(anna, ben)
    assert ben.tree() == anna.tree()
    assert ben.loop.applier.waiting == 0


def test_a_file_that_changes_while_it_is_asked_for_is_dropped_for_its_newer_version(
    two: tuple[Device, Device],
) -> None:
    anna, ben = two
    anna.put("large.bin", LARGE)
    anna.looks()
    deliver(anna, ben)
    ben.rests()
    anna.put("large.bin", LARGE[::-1])
    settle(anna, ben)
    anna.looks()
    settle(anna, ben)
    assert ben.tree() == {"large.bin": LARGE[::-1]}


# --- places -----------------------------------------------------------------------------------------------------------


def test_the_paths_rows_say_what_lies_there(two: tuple[Device, Device]) -> None:
    anna, ben = two
    anna.put("a.txt", b"1")
    anna.looks()
    settle(anna, ben)
    place: Place = ben.place("a.txt")
    [entry] = ben.replica.heads(place)
    assert entry.meta.kind is Kind.FILE
    assert place.on_disk is not None
    assert place.on_disk.applied == (entry.id,)
    assert place.pending == SETTLED
    assert place.on_disk.stat == ben.replica.root.stat(Path(b"a.txt"))


def test_a_device_whose_missing_contents_fill_a_group_rests_until_one_comes(
    two: tuple[Device, Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, ben = two
    monkeypatch.setattr(applier, "GROUP", 2)
    for number in range(7):
        anna.put(f"{number}.bin", bytes([number]) + LARGE[:70_000])
    anna.looks()
    deliver(anna, ben)
    ben.rests()
    disconnect(anna, ben)
    ben.loop.applier.resume()
    ben.rests()
    assert not all_settled(ben)
    connect(anna, ben)
    settle(anna, ben)
    assert ben.tree() == anna.tree()
    assert all_settled(ben)
