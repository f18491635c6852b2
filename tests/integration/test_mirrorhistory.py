# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a mirror takes away is restored on that very device, by its folder's history.

Holds harp.sync.service.mirrorhistory.
"""

import time
from concurrent.futures import Future
from pathlib import Path as FilePath
from typing import Any

import pytest

from harp.sync.cloud.nodes import CloudPath
from harp.sync.folder.trash import Trash, TrashItem
from harp.sync.model import MIN_CHUNK, Path
from harp.sync.service.inquiry import Inquiry
from harp.sync.service.mirrordisk import MirrorDisk
from harp.sync.service.mirrorhistory import FolderHistory
from harp.sync.service.rounds import Rounds
from harp.sync.service.settings import FolderSettings
from tests.fakes.content import counted
from tests.fakes.desk import FixedRules
from tests.fakes.replicas import AtOnce, Device

LARGE = counted(MIN_CHUNK)
"""More than one chunk."""
NOTE = CloudPath("d/note")


@pytest.fixture
def device(tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch) -> Device:
    device = Device(tmp_path, 1).found()
    monkeypatch.setattr(device.loop, "call", AtOnce().submit)
    return device


@pytest.fixture
def disk(device: Device) -> MirrorDisk:
    return MirrorDisk(device.files, FixedRules(), FolderHistory(device.loop))


def restorable(device: Device, path: str) -> list[bool]:
    """Whether each of its versions is that has content, the newest first."""
    return [one.is_restorable for one in Inquiry(device.replica).history(Path(path.encode())) if one.entry.meta.size]


@pytest.mark.parametrize("content", [b"a few words", LARGE])
def test_what_is_gone_from_the_account_is_brought_back_here(device: Device, disk: MirrorDisk, content: bytes) -> None:
    device.put(NOTE, content)
    device.looks()
    found = disk.look(NOTE)
    assert found is not None
    disk.remove(NOTE, found)
    disk.settle()
    device.looks()
    assert restorable(device, NOTE) == [True]
    entry = next(one.entry for one in Inquiry(device.replica).history(Path(NOTE.encode())) if one.entry.meta.size)
    device.decisions.restore(Path(NOTE.encode()), entry.id.hex())
    device.rests()
    assert (device.files / NOTE).read_bytes() == content


@pytest.mark.parametrize("content", [b"a few words", LARGE])
def test_what_the_account_has_replaced_is_brought_back_here(device: Device, disk: MirrorDisk, content: bytes) -> None:
    device.put(NOTE, content)
    device.looks()
    name, target = disk.temporary()
    with target:
        target.write(b"from the account")
    disk.place(name, NOTE, 0, disk.look(NOTE))
    disk.settle()
    device.looks()
    assert restorable(device, NOTE) == [True, True]
    older = Inquiry(device.replica).history(Path(NOTE.encode()))[-1].entry
    device.decisions.restore(Path(NOTE.encode()), older.id.hex())
    device.rests()
    assert (device.files / NOTE).read_bytes() == content


def test_what_the_folder_has_not_seen_yet_goes_to_the_trash_as_what_nothing_is_known_of(
    device: Device, disk: MirrorDisk
) -> None:
    device.put(NOTE, b"seen")
    device.looks()
    device.put(NOTE, b"written a moment ago")
    found = disk.look(NOTE)
    assert found is not None
    disk.remove(NOTE, found)
    disk.settle()
    (item,) = device.replica.trash.list()
    assert item.entries == ()
    assert (device.files / item.place.decode()).read_bytes() == b"written a moment ago"
    device.looks()
    assert restorable(device, NOTE) == [False]


def test_a_trash_of_many_files_is_not_looked_through_for_one_more(
    device: Device, disk: MirrorDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [CloudPath(f"d/{number}") for number in range(20)]
    for name in names:
        device.put(name, name.encode())
    device.looks()
    asked: list[Path] = []
    item = device.replica.trash.item

    def ask(_: Trash, place: Path) -> TrashItem | None:
        asked.append(place)
        return item(place)

    monkeypatch.setattr(Trash, "item", ask)
    monkeypatch.setattr(Trash, "list", lambda _: pytest.fail("the whole trash is listed"))
    for name in names:
        found = disk.look(name)
        assert found is not None
        disk.remove(name, found)
        disk.settle()
    disk.settle()
    assert len(asked) == len(set(asked)) == len(names)
    device.looks()
    assert all(restorable(device, name) == [True] for name in names)


def test_what_a_daemon_that_was_killed_had_trashed_is_brought_back_after_the_next_round(
    device: Device, disk: MirrorDisk
) -> None:
    device.put(NOTE, b"a few words")
    device.looks()
    found = disk.look(NOTE)
    assert found is not None
    disk.remove(NOTE, found)
    device.looks()
    assert restorable(device, NOTE) == [False]
    Rounds(device.replica, FolderSettings(), device.loop.observer, lambda: None).go(time.monotonic())
    assert restorable(device, NOTE) == [True]


def test_a_folder_that_stands_still_keeps_no_file_from_going(
    device: Device, disk: MirrorDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.put(NOTE, b"words")
    device.looks()
    found = disk.look(NOTE)
    assert found is not None
    cancelled: Future[Any] = Future()
    cancelled.cancel()
    monkeypatch.setattr(device.loop, "call", lambda what: cancelled)
    disk.remove(NOTE, found)
    assert [item.path for item in device.replica.trash.list()] == [NOTE.encode()]
