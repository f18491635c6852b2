# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which directory an event is of, when directories move under watches that stay with them."""

import os
import select
from collections.abc import Iterator
from pathlib import Path as OsPath

import pytest

from harp.sync.folder import inotify
from harp.sync.folder.inotify import Event, Inotify
from harp.sync.model import Path
from tests.fakes.folder import Folder, folder_at


@pytest.fixture
def folder(tmp_path: OsPath) -> Folder:
    return folder_at(tmp_path)


@pytest.fixture
def source() -> Iterator[Inotify]:
    opened = Inotify()
    yield opened
    opened.close()


def add(source: Inotify, folder: Folder, *names: str) -> None:
    for name in names:
        path = Path(name.encode())
        source.add(path, folder.root.readable_directory(path))


def events(source: Inotify) -> list[Event]:
    """All that waits; at least one."""
    assert select.select([source.fd], [], [], 10)[0]
    return list(source.events())


def test_events_come_with_the_path_of_their_directory(folder: Folder, source: Inotify) -> None:
    (folder.at / "d").mkdir()
    add(source, folder, "", "d")
    (folder.at / "d" / "new\nline").touch()
    found = {(path, mask, name) for path, mask, _, name in events(source)}
    assert (b"d", inotify.CREATE, b"new\nline") in found
    assert (b"d", inotify.CLOSE_WRITE, b"new\nline") in found
    assert list(source.events()) == []


def test_a_rename_has_one_cookie_at_both_ends(folder: Folder, source: Inotify) -> None:
    (folder.at / "d").mkdir()
    folder.put("x")
    add(source, folder, "", "d")
    (folder.at / "x").rename(folder.at / "d" / "y")
    (left, from_, one, _), (came, to, other, _) = (e for e in events(source) if e[1] & 0xC0)
    assert (left, from_, came, to) == (b"", inotify.MOVED_FROM, b"d", inotify.MOVED_TO)
    assert one == other != 0


def test_a_directory_found_at_its_new_place_is_known_by_it_alone(folder: Folder, source: Inotify) -> None:
    """It is met by a walk before the event of its leaving the old place is read."""
    (folder.at / "old").mkdir()
    (folder.at / "outer").mkdir()
    add(source, folder, "", "old")
    (folder.at / "old").rename(folder.at / "outer" / "inner")
    add(source, folder, "outer", "outer/inner")
    source.remove_tree(Path(b"old"))
    assert Path(b"old") not in source
    assert Path(b"outer/inner") in source
    assert len(source) == 3
    folder.put("outer/inner/x")
    assert b"outer/inner" in {path for path, _, _, _ in events(source)}


def test_another_directory_at_a_watched_path_takes_its_place(folder: Folder, source: Inotify) -> None:
    (folder.at / "d").mkdir()
    add(source, folder, "d")
    (folder.at / "d").rename(folder.at / "e")
    (folder.at / "d").mkdir()
    add(source, folder, "d")
    assert len(source) == 1
    list(source.events())
    folder.put("e/unseen")
    folder.put("d/seen")
    assert {name for _, _, _, name in events(source)} == {b"seen"}


def test_a_removed_tree_is_watched_no_more_and_its_neighbours_are(folder: Folder, source: Inotify) -> None:
    names = ["", "a", "a/b", "a/b/c", "ab"]
    (folder.at / "a/b/c").mkdir(parents=True)
    (folder.at / "ab").mkdir()
    add(source, folder, *names)
    source.remove_tree(Path(b"a"))
    assert [name for name in names if Path(name.encode()) in source] == ["", "ab"]
    source.remove_tree(Path(b"never known"))
    source.keep_only({Path(b"ab")})
    assert len(source) == 1


def test_a_deleted_directory_takes_its_watch_with_it(folder: Folder, source: Inotify) -> None:
    (folder.at / "d").mkdir()
    add(source, folder, "", "d")
    (folder.at / "d").rmdir()
    events(source)
    assert len(source) == 1
    source.remove_tree(Path(b"d"))
    (folder.at / "again").mkdir()
    add(source, folder, "again")
    os.rmdir(folder.at / "again")
    source.remove_tree(Path(b"again"))
    assert len(source) == 1
