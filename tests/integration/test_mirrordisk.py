# SPDX-License-Identifier: AGPL-3.0-or-later
"""Somebody writes in the very moment in which the mirror changes the folder: nothing of it is lost.

Holds harp.sync.service.mirrordisk.
"""

import errno
import io
import os
from pathlib import Path
from typing import Any

import pytest

from harp.base.errors import FolderError, StaleError
from harp.sync.cloud.nodes import CloudPath
from harp.sync.folder import rename
from harp.sync.service.mirrordisk import DeniedError, MirrorDisk
from tests.fakes.desk import FixedRules
from tests.fakes.folder import no_more_files

NOTE = CloudPath("note")


@pytest.fixture
def disk(tmp_path: Path) -> MirrorDisk:
    (tmp_path / ".harp").mkdir()
    return MirrorDisk(tmp_path, FixedRules())


def fetched(disk: MirrorDisk, content: bytes) -> bytes:
    name, target = disk.temporary()
    with target:
        target.write(content)
    return name


def saved(folder: Path, content: bytes) -> None:
    """As editors save."""
    (folder / "new").write_bytes(content)
    os.rename(folder / "new", folder / "note")


def in_trash(folder: Path) -> list[bytes]:
    return sorted(path.read_bytes() for path in (folder / ".harp").rglob("*") if path.is_file())


def test_what_is_placed_is_known_as_what_it_was_then(
    disk: MirrorDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = rename.to_free_name

    def then_saved(*ends: Any) -> None:
        free(*ends)
        saved(tmp_path, b"a moment later")

    name = fetched(disk, b"from the account")
    monkeypatch.setattr(rename, "to_free_name", then_saved)
    placed = disk.place(name, NOTE, 1_700_000_000, None)
    assert placed.size == len(b"from the account")
    assert placed != disk.look(NOTE)


def test_a_disk_that_cannot_be_looked_at_is_not_gone(disk: MirrorDisk, tmp_path: Path) -> None:
    (tmp_path / "note").write_bytes(b"here")
    name, found = fetched(disk, b"x"), disk.look(NOTE)
    assert found is not None
    with no_more_files():
        for attempt in (disk.is_there, disk.scan, lambda: disk.drop(name), lambda: disk.read(NOTE, found)):
            with pytest.raises(FolderError, match="Harp may open no more files"):
                attempt()
    assert disk.scan()[NOTE] == found
    disk.drop(name)
    assert not disk.is_there(), "it has no marker"


def test_a_file_that_the_disk_does_not_read_is_a_trouble_of_its_own(
    disk: MirrorDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "note").write_bytes(b"here")
    found = disk.look(NOTE)
    assert found is not None

    class Broken(io.BytesIO):
        def read(self, *_: Any) -> bytes:
            raise OSError(errno.EIO, "no")

        def fileno(self) -> int:
            return 0

    monkeypatch.setattr(disk, "open", lambda path, expected: Broken())
    for attempt in (disk.read, disk.sha256):
        with pytest.raises(DeniedError, match="note: the disk reports a read or write error"):
            attempt(NOTE, found)


def test_a_version_saved_while_another_takes_its_place_lies_there_again(
    disk: MirrorDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path, b"base")
    before = disk.look(NOTE)
    exchange = rename.exchange
    saves = iter((b"first save", b"second save"))

    def saved_before(*ends: Any) -> None:
        saved(tmp_path, next(saves))
        exchange(*ends)

    name = fetched(disk, b"from the account")
    monkeypatch.setattr(rename, "exchange", saved_before)
    with pytest.raises(StaleError):
        disk.place(name, NOTE, 0, before)
    assert (tmp_path / "note").read_bytes() == b"first save"
    assert in_trash(tmp_path) == [b"second save"]


def test_a_version_saved_while_the_old_one_is_removed_lies_there_again(
    disk: MirrorDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path, b"base")
    before = disk.look(NOTE)
    assert before is not None
    look = disk.look

    def then_saved(path: CloudPath) -> object:
        found = look(path)
        saved(tmp_path, b"a moment later")
        return found

    monkeypatch.setattr(disk, "look", then_saved)
    with pytest.raises(StaleError):
        disk.remove(NOTE, before)
    assert (tmp_path / "note").read_bytes() == b"a moment later"


def test_what_a_killed_process_left_half_fetched_is_gone_after_the_first_scan(disk: MirrorDisk, tmp_path: Path) -> None:
    fetched(disk, b"half")
    again = MirrorDisk(tmp_path, FixedRules())
    again.scan()
    assert in_trash(tmp_path) == []
    fetched(again, b"in use")
    again.scan()
    assert in_trash(tmp_path) == [b"in use"]
