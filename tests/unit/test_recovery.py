# SPDX-License-Identifier: AGPL-3.0-or-later
"""After a crash: the journal replayed from each point of a cut write, with nothing lost and nothing said."""

import os
from pathlib import Path as FilePath

import pytest

from harp.sync.model import Role
from harp.sync.service import observer
from harp.sync.store.places import JOURNALLED
from tests.fakes.content import counted
from tests.fakes.replicas import Device, connect, deliver, disconnect, office, settle

LARGE = counted(100_000)


@pytest.fixture
def two(tmp_path: FilePath) -> tuple[Device, Device]:
    anna, ben = office(tmp_path, Role.READ_WRITE)
    return anna, ben


def all_settled(device: Device) -> bool:
    return not device.replica.places.pending() and device.loop.is_settled


class Cut(Exception):
    """The power goes."""


def cut(*_: object, **__: object) -> None:
    raise Cut


CUTS = {
    "after the journal": "_sync_temps",
    "after the temps": "_moved",
    "after the renames": "_sync_places",
    "before the ledger": "_note",
}


@pytest.mark.parametrize("point", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("what", ["new", "large", "replaced", "deleted", "renamed", "conflict", "directory"])
def test_a_write_that_is_cut_is_done_again_and_says_nothing(
    two: tuple[Device, Device], monkeypatch: pytest.MonkeyPatch, point: str, what: str
) -> None:
    anna, ben = two
    anna.put("a.txt", b"the version before")
    anna.looks()
    settle(anna, ben)
    match what:
        case "new":
            anna.put("b.txt", b"new")
        case "large":
            anna.put("large.bin", LARGE)
        case "directory":
            anna.remove("a.txt")
            anna.put("a.txt/inside", b"now a directory")
        case "conflict":
            disconnect(anna, ben)
            ben.put("a.txt", b"ben's version")
            ben.looks()
            anna.put("a.txt", b"anna's version")
            connect(anna, ben)
        case "replaced":
            anna.put("a.txt", b"the version after it")
        case "deleted":
            anna.remove("a.txt")
        case _:
            (anna.files / "a.txt").rename(anna.files / "c.txt")
    anna.looks()

    with monkeypatch.context() as patch:
        patch.setattr(ben.loop.applier, point, cut)
        with pytest.raises(Cut):
            for _ in range(100):
                deliver(anna, ben)
                ben.turn()
                deliver(ben, anna)
                anna.rests()
    assert any(place.pending == JOURNALLED for place in ben.replica.places.pending())
    disconnect(anna, ben)
    before = ben.replica.ledger.vector()
    ben.reopen(cleanly=False).rests()
    assert ben.replica.ledger.vector() == before, "a cut write is no edit"
    connect(anna, ben)
    settle(anna, ben)
    assert ben.tree() == anna.tree()
    assert ben.replica.ledger.vector() == before
    assert all_settled(ben)


def journalled(anna: Device, ben: Device, *names: str) -> None:
    """Ben's writes of these files may have been cut, by all that Ben knows."""
    for name in names:
        anna.put(name, b"the version before")
    anna.looks()
    settle(anna, ben)
    disconnect(anna, ben)
    with ben.replica.ledger.db.transaction():
        ben.replica.places.journal(ben.place(name).number for name in names)


def put_cut(device: Device, name: str, content: bytes) -> None:
    """What a disk that keeps no order makes of a write of ours: it has its time already, and not its content."""
    (head,) = device.replica.heads(device.place(name))
    device.put(name, content)
    os.utime(device.files / name, ns=(head.meta.mtime_ns, head.meta.mtime_ns))


@pytest.mark.parametrize("left", [b"", b"the vers"])
def test_what_lies_half_written_at_a_journalled_path_is_put_aside_and_not_said(
    two: tuple[Device, Device], left: bytes
) -> None:
    anna, ben = two
    journalled(anna, ben, "a.txt")
    put_cut(ben, "a.txt", left)
    before = ben.replica.ledger.vector()
    ben.reopen(cleanly=False).rests()
    assert ben.replica.ledger.vector() == before
    connect(anna, ben)
    settle(anna, ben)
    assert ben.tree() == anna.tree() == {"a.txt": b"the version before"}
    assert ben.trashed() == [left]


def test_an_empty_file_at_a_journalled_path_is_put_aside_whatever_its_time(two: tuple[Device, Device]) -> None:
    anna, ben = two
    journalled(anna, ben, "a.txt")
    ben.put("a.txt", b"")
    ben.reopen(cleanly=False).rests()
    connect(anna, ben)
    settle(anna, ben)
    assert ben.tree() == anna.tree() == {"a.txt": b"the version before"}


def test_what_a_person_wrote_at_a_journalled_path_after_the_crash_is_an_edit(two: tuple[Device, Device]) -> None:
    anna, ben = two
    journalled(anna, ben, "a.txt", "b.txt")
    ben.put("a.txt", b"written while the daemon was down")
    (ben.files / "b.txt").unlink()
    ben.put("b.txt", b"written anew")
    ben.reopen(cleanly=False).rests()
    connect(anna, ben)
    settle(anna, ben)
    assert anna.tree() == {"a.txt": b"written while the daemon was down", "b.txt": b"written anew"}
    assert ben.tree() == anna.tree()
    assert all_settled(ben)
    assert ben.trashed() == []


def test_many_journalled_paths_are_all_looked_at_before_anything_is_written_there(
    two: tuple[Device, Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, ben = two
    names = [f"{number}.txt" for number in range(8)]
    journalled(anna, ben, *names)
    for name in names:
        put_cut(ben, name, b"x")
    before = ben.replica.ledger.vector()
    # As large files are: hashed elsewhere, while the folder's thread goes on.
    monkeypatch.setattr(observer, "INLINE_HASH_BYTES", 0)
    ben.reopen(cleanly=False).rests()
    assert ben.replica.ledger.vector() == before, "an empty file left by a power cut was published"
    connect(anna, ben)
    settle(anna, ben)
    assert ben.tree() == anna.tree()


def test_temporary_files_of_the_run_before_are_gone_but_those_of_large_files(two: tuple[Device, Device]) -> None:
    _, ben = two
    for name in ("new-1", "own-1-1", "offer-ABC-1"):
        ben.replica.staging.write_small(name, b"x", 0, False)
    ben.replica.staging.write_small("file-" + "ab" * 32, b"x", 0, False)
    ben.reopen(cleanly=False)
    assert list(ben.replica.staging.names()) == ["file-" + "ab" * 32]
