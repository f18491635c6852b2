# SPDX-License-Identifier: AGPL-3.0-or-later
"""Moves and attributes on a real disk: of the very file that is meant, and never over another one."""

from pathlib import Path as OsPath

import pytest

from harp.sync.folder import rename
from harp.sync.folder.apply import Ready, Refused
from harp.sync.model import (
    Applied,
    Kind,
    Path,
    SetAttributes,
    Stat,
)
from tests.fakes.folder import MTIME_NS, Folder, entry, folder_at
from tests.fakes.meddling import LESSER_DISKS, Between, changed_by_write, user_has, weaken


@pytest.fixture
def folder(tmp_path: OsPath) -> Folder:
    return folder_at(tmp_path)


@pytest.fixture(params=LESSER_DISKS)
def weak_folder(request: pytest.FixtureRequest, tmp_path: OsPath, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """The same folder on disks that can do less and less."""
    weaken(monkeypatch, request.param)
    return folder_at(tmp_path)


def test_attributes_are_set_on_the_very_file(folder: Folder) -> None:
    before = folder.put("file", b"x")
    wanted = entry(b"file", b"x", executable=True)
    (outcome,) = folder.commit(Ready(SetAttributes(Path(b"file"), wanted, before)))
    assert isinstance(outcome, Applied)
    assert outcome.stat == folder.root.stat(Path(b"file"))
    assert outcome.stat is not None
    assert (outcome.stat.mtime_ns, outcome.stat.executable) == (MTIME_NS, True)
    assert folder.read("file") == b"x"


def test_attributes_of_symlinks_and_directories_are_taken_as_they_are(folder: Folder) -> None:
    (folder.at / "link").symlink_to("file")
    folder.put("file", b"x")
    (folder.at / "d").mkdir()
    known = {name: folder.known(name) for name in ("link", "d")}
    folder.put("d/inside")
    link, directory = folder.commit(
        Ready(SetAttributes(Path(b"link"), entry(b"link", b"file", kind=Kind.SYMLINK), known["link"])),
        Ready(SetAttributes(Path(b"d"), entry(b"d", kind=Kind.DIRECTORY), known["d"])),
    )
    assert isinstance(link, Applied)
    assert link.stat is not None
    assert link.stat.mtime_ns == MTIME_NS
    assert (folder.at / "file").stat().st_mtime_ns != MTIME_NS
    assert isinstance(directory, Applied)


def test_a_file_moves_to_a_free_name_with_its_new_attributes(weak_folder: Folder) -> None:
    folder = weak_folder
    before = folder.put("a/file", b"x")
    moved = folder.disk.move(Path(b"a/file"), Path(b"b/c/new"), before.stat, mtime_ns=MTIME_NS, executable=True)
    assert isinstance(moved, Stat)
    assert moved == folder.root.stat(Path(b"b/c/new"))
    assert (moved.mtime_ns, moved.executable, moved.inode) == (MTIME_NS, True, before.stat.inode)
    assert not (folder.at / "a/file").exists()


def test_a_move_never_replaces_and_never_takes_another_file(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    before = folder.put("file", b"x")
    folder.put("taken", b"the user's")
    taken = folder.disk.move(Path(b"file"), Path(b"taken"), before.stat)
    assert taken == Refused("something else lies there", changed=True)
    assert folder.read("taken") == b"the user's"
    wrong = folder.disk.move(Path(b"taken"), Path(b"new"), before.stat)
    assert isinstance(wrong, Refused)
    assert wrong.changed
    assert isinstance(folder.disk.move(Path(b"missing"), Path(b"new"), before.stat), Refused)
    assert isinstance(folder.disk.move(Path(b"file"), Path(b".harp/x"), before.stat), Refused)
    monkeypatch.setattr(rename, "to_free_name", Between(rename.to_free_name, lambda: changed_by_write(folder)))
    late = folder.disk.move(Path(b"file"), Path(b"new"), before.stat)
    assert isinstance(late, Refused)
    assert late.changed
    assert user_has(folder)
