# SPDX-License-Identifier: AGPL-3.0-or-later
"""Watching directories by real inotify: made, moved, removed, opened, ignored, and nothing below them is lost."""

import errno
from collections.abc import Iterator
from pathlib import Path as OsPath

import pytest

from harp.sync.folder import walk as walking
from harp.sync.folder.fs import Root
from harp.sync.folder.ignore import IgnoreRules
from harp.sync.folder.walk import walk
from harp.sync.model import Path
from tests.fakes.folder import Folder, folder_at
from tests.fakes.watching import Heard, Start, marks, starting


@pytest.fixture
def folder(tmp_path: OsPath) -> Folder:
    (tmp_path / "folder").mkdir()
    return folder_at(tmp_path / "folder")


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def start(folder: Folder, heard: Heard) -> Iterator[Start]:
    with starting(folder, heard) as started:
        yield started


def test_nested_directories_made_at_once_lose_nothing(folder: Folder, heard: Heard, start: Start) -> None:
    watcher = start()
    names = [f"n{number}/a/b/file" for number in range(200)]
    for name in names:
        folder.put(name, b"x")
    heard.until(lambda heard: heard.covers(*names))
    heard.until(lambda _: watcher.directories >= 602)
    heard.forget()
    for name in names:
        folder.put(name, b"y")
    heard.until(lambda heard: heard.paths == {name.encode() for name in names})


def test_a_walk_after_a_subtree_finds_what_came_before_its_watch(folder: Folder, heard: Heard, start: Start) -> None:
    """The reports and the walks that they ask for, together, give the tree."""
    start()
    for number in range(100):
        folder.put(f"d{number % 7}/e{number % 5}/f{number}", b"x")
    marks(folder, heard)
    found = set(heard.paths)
    for tree in heard.subtrees:
        found |= {one[0] for one in walk(folder.root, Path(tree)) if isinstance(one, tuple)}
    assert found >= {one[0] for one in walk(folder.root) if isinstance(one, tuple)}


def test_a_directory_that_moves_is_reported_at_both_ends_and_watched_under_its_new_name(
    folder: Folder, heard: Heard, start: Start, tmp_path: OsPath
) -> None:
    folder.put("old/deep/file", b"x")
    folder.put("leaving/deep/file", b"x")
    (tmp_path / "coming" / "deep").mkdir(parents=True)
    watcher = start()
    (folder.at / "old").rename(folder.at / "new")
    heard.until(lambda heard: heard.subtrees >= {b"old", b"new"})
    folder.put("new/deep/other", b"x")
    heard.until(lambda heard: b"new/deep/other" in heard.paths)
    (folder.at / "leaving").rename(tmp_path / "left")
    (tmp_path / "coming").rename(folder.at / "coming")
    heard.until(lambda heard: heard.subtrees >= {b"leaving", b"coming"})
    count = watcher.directories
    heard.forget()
    (tmp_path / "left" / "deep" / "file").write_bytes(b"y")
    folder.put("coming/deep/file", b"x")
    heard.until(lambda heard: b"coming/deep/file" in heard.paths)
    assert heard.paths == {b"coming/deep/file"}
    assert watcher.directories == count == 6


def test_a_directory_that_moves_into_a_new_one_keeps_its_watch(folder: Folder, heard: Heard, start: Start) -> None:
    folder.put("inner/file", b"x")
    start()
    for round_ in range(20):
        (folder.at / f"outer{round_}").mkdir()
        source = folder.at / "inner" if round_ == 0 else folder.at / f"outer{round_ - 1}/inner"
        source.rename(folder.at / f"outer{round_}/inner")
    marks(folder, heard)
    heard.forget()
    folder.put("outer19/inner/file", b"y")
    heard.until(lambda heard: b"outer19/inner/file" in heard.paths)
    assert heard.paths == {b"outer19/inner/file"}


def test_removed_directories_are_reported_and_their_watches_end(folder: Folder, heard: Heard, start: Start) -> None:
    for number in range(50):
        folder.put(f"d/{number}/x", b"")
    watcher = start()
    assert watcher.directories == 53
    for number in range(50):
        (folder.at / f"d/{number}/x").unlink()
        (folder.at / f"d/{number}").rmdir()
    (folder.at / "d").rmdir()
    heard.until(lambda heard: b"d" in heard.subtrees)
    marks(folder, heard)
    assert watcher.directories == 2
    heard.forget()
    folder.put("d/again", b"")
    heard.until(lambda heard: heard.covers("d/again"))
    heard.forget()
    folder.put("d/more", b"")
    heard.until(lambda heard: b"d/more" in heard.paths)


def test_ignored_paths_are_not_reported_and_not_watched(folder: Folder, heard: Heard, start: Start) -> None:
    folder.put("build/old/x", b"")
    watcher = start(b"*.o\nbuild/\n")
    assert watcher.directories == 2
    for name in ("a.o", "build/new", "d/b.o"):
        folder.put(name, b"")
    (folder.at / "d/build").mkdir()
    marks(folder, heard)
    assert heard.paths == {b"the-mark"}
    assert heard.subtrees == {b"d"}
    watcher.renew(IgnoreRules.parse(b"", b""))
    heard.until(lambda heard: any(changes.overflow for changes in heard.all))
    heard.forget()
    folder.put("build/old/y", b"")
    heard.until(lambda heard: b"build/old/y" in heard.paths)


def test_of_harps_own_directory_only_rules_and_marker_are_noticed(folder: Folder, heard: Heard, start: Start) -> None:
    start()
    folder.stage(b"a temp")
    (folder.at / ".HARP").mkdir()
    (folder.at / ".harpoon").touch()
    marks(folder, heard)
    assert heard.paths == {b"the-mark"}
    assert heard.subtrees == set()
    assert not any(changes.rules or changes.overflow for changes in heard.all)
    (folder.at / ".harp/ignore").write_bytes(b"x")
    heard.until(lambda heard: any(changes.rules for changes in heard.all))
    heard.forget()
    folder.put(".harpignore", b"x")
    heard.until(lambda heard: any(changes.rules for changes in heard.all))
    assert heard.paths == {b".harpignore"}
    (folder.at / ".harp/folder").unlink()
    heard.until(lambda heard: any(changes.overflow for changes in heard.all))


def test_a_folder_that_is_moved_away_is_an_overflow(folder: Folder, heard: Heard, start: Start) -> None:
    start()
    folder.at.rename(folder.at.with_name("moved"))
    heard.until(lambda heard: any(changes.overflow for changes in heard.all))
    assert not folder.root.marker_is_there()


def test_a_directory_that_becomes_readable_is_walked_and_watched(
    folder: Folder, heard: Heard, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.put("closed/x", b"")
    opened = walking._opened
    closed = [True]

    def permitted(root: Root, path: Path) -> object:
        if path == b"closed" and closed[0]:
            raise PermissionError(errno.EACCES, "no")
        return opened(root, path)

    monkeypatch.setattr(walking, "_opened", permitted)
    watcher = start()
    assert watcher.directories == 2
    closed[0] = False
    (folder.at / "closed").chmod(0o750)
    heard.until(lambda heard: b"closed" in heard.subtrees)
    heard.forget()
    (folder.at / "closed").chmod(0o755)
    folder.put("closed/y", b"")
    heard.until(lambda heard: b"closed/y" in heard.paths)
    assert heard.subtrees == set()
