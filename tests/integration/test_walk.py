# SPDX-License-Identifier: AGPL-3.0-or-later
"""Walking a real folder: all that is there, once, and a word on all that cannot be looked at."""

import os
import subprocess
from pathlib import Path as OsPath

import pytest

from harp.sync.folder import walk as walking
from harp.sync.folder.ignore import IgnoreRules
from harp.sync.folder.walk import Noted, Unreadable, directories, walk
from harp.sync.model import FileKind, Path
from tests.fakes.folder import Folder, folder_at, ordinary_users_folder


@pytest.fixture
def folder(tmp_path: OsPath) -> Folder:
    return folder_at(tmp_path)


def paths(folder: Folder, under: bytes = b"", rules: bytes = b"") -> list[bytes]:
    found = list(walk(folder.root, Path(under), IgnoreRules.parse(rules, b"")))
    assert all(isinstance(one, tuple) for one in found), found
    return [one[0] for one in found if isinstance(one, tuple)]


def test_everything_but_harps_own_is_found_once_with_its_state(folder: Folder) -> None:
    for name in ("a/b/c", "a/d", "e", "a/.harp/x", ".harpignore"):
        folder.put(name, b"content")
    (folder.at / "link").symlink_to("a")
    (folder.at / "empty").mkdir()
    expected = {b"a", b"a/b", b"a/b/c", b"a/d", b"e", b"a/.harp", b"a/.harp/x", b".harpignore", b"link", b"empty"}
    found = paths(folder)
    assert len(found) == len(expected)
    assert set(found) == expected
    for one in walk(folder.root):
        assert isinstance(one, tuple)
        assert one[1] == folder.root.stat(one[0])


def test_parents_come_before_children(folder: Folder) -> None:
    folder.put("a/b/c/d", b"")
    folder.put("a/x", b"")
    found = paths(folder)
    for path in found:
        if b"/" in path:
            assert found.index(path.rpartition(b"/")[0]) < found.index(path)


def test_a_subtree_begins_with_itself(folder: Folder) -> None:
    folder.put("a/b/c")
    folder.put("x")
    assert paths(folder, b"a") == [b"a", b"a/b", b"a/b/c"]
    assert paths(folder, b"a/b/c") == [b"a/b/c"]
    assert paths(folder, b"missing/too") == []
    assert paths(folder, b".harp") == []


def test_ignored_paths_and_all_below_them_are_left_out(folder: Folder) -> None:
    for name in ("keep", "a.o", "build/x/y", "a/build"):
        folder.put(name)
    assert sorted(paths(folder, rules=b"*.o\nbuild/\n")) == [b"a", b"a/build", b"keep"]
    assert paths(folder, b"build/x", rules=b"build/\n") == []


def test_special_files_and_reserved_names_are_noted_and_not_entered(folder: Folder) -> None:
    os.mkfifo(folder.at / "fifo")
    folder.put(".HARP/x")
    found = {one.path: one.why for one in walk(folder.root) if isinstance(one, Noted)}
    assert found == {Path(b"fifo"): "is a FIFO, a socket or a device", Path(b".HARP"): "is reserved"}
    assert len(list(walk(folder.root))) == 2


def test_what_is_too_deep_or_too_long_is_noted(folder: Folder) -> None:
    deep = os.open(folder.at, os.O_RDONLY)
    for _ in range(130):
        os.mkdir("d", dir_fd=deep)
        deep, before = os.open("d", os.O_RDONLY, dir_fd=deep), deep
        os.close(before)
    os.close(deep)
    found = list(walk(folder.root))
    assert len(found) == 129
    assert isinstance(found[-1], Noted)
    assert "deeper" in found[-1].why
    long = os.open(folder.at, os.O_RDONLY)
    for _ in range(17):
        os.mkdir("y" * 250, dir_fd=long)
        long, before = os.open("y" * 250, os.O_RDONLY, dir_fd=long), long
        os.close(before)
    os.close(long)
    notes = [one for one in walk(folder.root, Path(b"y" * 250)) if not isinstance(one, tuple)]
    assert len(notes) == 1
    assert "longer" in notes[0].why


def test_an_unreadable_directory_is_said_and_nothing_below_it_counts_as_gone() -> None:
    with ordinary_users_folder() as folder:
        folder.put("closed/x")
        folder.put("unsearchable/y")
        (folder.at / "closed").chmod(0)
        (folder.at / "unsearchable").chmod(0o400)
        try:
            found = list(walk(folder.root))
        finally:
            (folder.at / "closed").chmod(0o755)
            (folder.at / "unsearchable").chmod(0o755)
    unreadable = {one.path: one.why for one in found if isinstance(one, Unreadable)}
    assert unreadable == {Path(b"closed"): "permission denied", Path(b"unsearchable"): "permission denied"}


@pytest.mark.parametrize("error", [PermissionError(13, "no"), OSError(5, "io"), OSError(24, "many")])
def test_a_directory_that_fails_to_open_is_unreadable(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    folder.put("closed/x")
    folder.put("open/y")
    opened = walking._opened

    def fails(root: object, path: Path) -> object:
        if path == b"closed":
            raise error
        return opened(root, path)  # type: ignore[arg-type]

    monkeypatch.setattr(walking, "_opened", fails)
    found = list(walk(folder.root))
    assert [one.path for one in found if isinstance(one, Unreadable)] == [b"closed"]
    assert [one[0] for one in found if isinstance(one, tuple) and one[1].kind == FileKind.FILE] == [b"open/y"]


def test_a_directory_that_fails_half_way_is_unreadable_as_a_whole(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.put("a/x")

    def entries(root: object, path: Path) -> object:
        if path:
            return
        yield Path(b"a"), os.lstat(folder.at / "a")
        raise OSError(5, "io")

    monkeypatch.setattr(walking, "_entries", entries)
    found = list(walk(folder.root))
    assert Unreadable(Path(b""), "the disk reports a read or write error") in found


def test_what_vanishes_meanwhile_is_left_out(folder: Folder) -> None:
    for name in ("a/x", "b/y", "c/z"):
        folder.put(name)
    seen = []
    for one in walk(folder.root):
        assert isinstance(one, tuple)
        seen.append(one[0])
        if len(seen) == 3:
            for name in ("a", "b", "c"):
                (folder.at / name).rename(folder.at.parent / f"{folder.at.name}-{name}")
    assert sorted(seen) == [b"a", b"b", b"c"]


def test_a_root_that_is_removed_is_unreadable_not_empty(tmp_path: OsPath, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_at(tmp_path)

    def gone(root: object, path: Path) -> object:
        raise FileNotFoundError(2, "gone")

    monkeypatch.setattr(walking, "_opened", gone)
    assert list(walk(folder.root)) == [Unreadable(Path(b""), "it is gone")]


def test_symlinks_are_not_followed_even_when_swapped_in(
    folder: Folder, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret").touch()
    folder.put("d/x")
    found = walk(folder.root)
    first = next(found)
    assert isinstance(first, tuple)
    assert first[0] == b"d"
    (folder.at / "d").rename(folder.at.parent / "was-d")
    (folder.at / "d").symlink_to(outside)
    assert list(found) == []


def test_directories_are_given_out_before_they_are_listed(folder: Folder) -> None:
    (folder.at / "a").mkdir()
    seen = []
    for path, _ in directories(folder.root, Path(b""), IgnoreRules.parse(b"skip/\n", b"")):
        seen.append(path)
        if path == b"a":
            (folder.at / "a/late").mkdir()
            (folder.at / "a/skip").mkdir()
    assert seen == [b"", b"a", b"a/late"]


@pytest.mark.root
def test_another_disk_inside_the_folder_is_unreadable(folder: Folder) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to mount")
    (folder.at / "mounted").mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "none", folder.at / "mounted"], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this machine does not let root mount a tmpfs")
    try:
        (folder.at / "mounted/x").touch()
        found = list(walk(folder.root))
        assert Unreadable(Path(b"mounted"), "another disk is mounted there") in found
        assert len(found) == 2
    finally:
        subprocess.run(["umount", folder.at / "mounted"], check=True)
