# SPDX-License-Identifier: AGPL-3.0-or-later
"""Renames in two halves: what is recognised, what waits, and what is none."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from harp.sync.cloud import plan
from harp.sync.cloud.nodes import Agreed, CloudPath, Etag, FileId, Local, Remote
from harp.sync.cloud.steps import MakeRemote, MoveRemote
from harp.sync.service.mirrordisk import MirrorDisk
from harp.sync.service.mirrornotes import Notes
from harp.sync.service.mirrorrenames import HALF_S, Renames
from harp.sync.store.agreements import Agreements

Tree = dict[CloudPath, Local]


class Contents:
    """A disk of which only the contents are asked."""

    def __init__(self) -> None:
        self.of: dict[str, bytes] = {}

    def sha256(self, path: CloudPath, expected: Local) -> str:
        return hashlib.sha256(self.of[path]).hexdigest()


class Folder:
    """``was`` is what both sides agreed on; ``local`` is what lies on the disk by now."""

    def __init__(self, notes: Notes) -> None:
        self.notes = notes
        self.contents = Contents()
        self.renames = Renames(cast(MirrorDisk, self.contents), notes)
        self.local: Tree = {}
        self.remote: dict[CloudPath, Remote] = {}
        self._inode = 100

    def file(self, path: str, content: bytes, mtime_ns: int = 7) -> Local:
        self._inode += 1
        self.contents.of[path] = content
        found = self.local[CloudPath(path)] = Local(False, self._inode, len(content), mtime_ns)
        return found

    def directory(self, path: str) -> None:
        self._inode += 1
        self.local[CloudPath(path)] = Local(True, self._inode)

    def agree(self) -> None:
        for path, one in self.local.items():
            sha256 = "" if one.is_directory else hashlib.sha256(self.contents.of[path]).hexdigest()
            number = FileId(str(one.inode))
            self.notes.note(path, Agreed(one, number, Etag(f"e{number}"), sha256))
            self.remote[path] = Remote(one.is_directory, number, Etag(f"e{number}"), one.size)

    def gone(self, *paths: str) -> None:
        for path in paths:
            del self.local[CloudPath(path)]

    async def moves(self, now: float = 0.0) -> list[tuple[str, str]]:
        """What the plan renames; what has to be made before is not in it."""
        left = await self.renames.recognise(self.local, self.remote, now=now)
        local = {path: one for path, one in self.local.items() if path not in left}
        chosen = plan.plan(self.notes.agreed, local, self.remote)
        self.waiting = left
        self.made = [step.path for step in chosen.moves if isinstance(step, MakeRemote)]
        return [(step.source, step.target) for step in chosen.moves if isinstance(step, MoveRemote)]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    store = Agreements(tmp_path / "mirrors" / "a.db")
    yield Folder(Notes(store))
    store.close()


async def test_a_new_file_that_has_the_content_of_one_that_is_gone_is_that_one_renamed(folder: Folder) -> None:
    folder.file("a.txt", b"the same")
    folder.agree()
    folder.gone("a.txt")
    folder.file("b.txt", b"the same")
    assert await folder.moves() == [("a.txt", "b.txt")]


async def test_the_first_half_waits_for_the_second_and_not_for_ever(folder: Folder) -> None:
    folder.file("a.txt", b"the same")
    folder.agree()
    folder.file("b.txt", b"the same")
    assert await folder.moves(now=10.0) == []
    assert folder.waiting == {"b.txt"}
    folder.gone("a.txt")
    assert await folder.moves(now=10.1) == [("a.txt", "b.txt")]


async def test_a_copy_goes_up_after_a_moment(folder: Folder) -> None:
    folder.file("a.txt", b"the same")
    folder.agree()
    folder.file("b.txt", b"the same")
    await folder.moves(now=10.0)
    assert await folder.moves(now=10.0 + HALF_S) == []
    assert folder.waiting == set()


@pytest.mark.parametrize(
    ("old", "new", "mtime_ns"), [(b"as long", b"another", 7), (b"the same", b"the same", 8), (b"", b"", 7)]
)
async def test_what_only_looks_alike_is_no_rename(folder: Folder, old: bytes, new: bytes, mtime_ns: int) -> None:
    folder.file("a.txt", old)
    folder.agree()
    folder.gone("a.txt")
    folder.file("b.txt", new, mtime_ns)
    assert await folder.moves() == []
    assert folder.waiting == set()


async def test_a_directory_is_renamed_whole_so_that_its_shares_stay(folder: Folder) -> None:
    for path in ("a", "a/deep"):
        folder.directory(path)
    for path in ("a/one", "a/deep/two"):
        folder.file(path, path.encode())
    folder.agree()
    folder.gone("a", "a/deep", "a/one", "a/deep/two")
    for path in ("b", "b/deep"):
        folder.directory(path)
    folder.file("b/one", b"a/one")
    folder.file("b/deep/two", b"a/deep/two")
    assert await folder.moves() == [("a", "b")]


async def test_what_is_scattered_is_moved_file_by_file_into_folders_that_are_made(folder: Folder) -> None:
    folder.directory("a")
    folder.file("a/one", b"1")
    folder.file("a/two", b"2", 8)
    folder.agree()
    folder.gone("a", "a/one", "a/two")
    for path in ("b", "b/deep", "c"):
        folder.directory(path)
    folder.file("b/deep/one", b"1")
    folder.file("c/two", b"2", 8)
    assert await folder.moves() == [("a/one", "b/deep/one"), ("a/two", "c/two")]
    assert folder.made == ["b", "b/deep", "c"]
