# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is removed from a real disk: it lies in the trash, and only if it is what was to be removed."""

from collections.abc import Callable
from pathlib import Path as OsPath

import pytest

from harp.sync.folder import rename
from harp.sync.folder.apply import Ready
from harp.sync.model import (
    Applied,
    FileKind,
    Path,
    RemoveDirectory,
    RemoveFile,
    Skipped,
)
from tests.fakes.folder import Folder, folder_at
from tests.fakes.meddling import CHANGES, LESSER_DISKS, Between, user_has, weaken


@pytest.fixture
def folder(tmp_path: OsPath) -> Folder:
    return folder_at(tmp_path)


@pytest.fixture(params=LESSER_DISKS)
def weak_folder(request: pytest.FixtureRequest, tmp_path: OsPath, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """The same folder on disks that can do less and less."""
    weaken(monkeypatch, request.param)
    return folder_at(tmp_path)


@pytest.mark.parametrize("change", CHANGES[:2])
def test_what_changes_between_the_look_and_the_removal_is_put_back(
    weak_folder: Folder, monkeypatch: pytest.MonkeyPatch, change: Callable[[Folder], None]
) -> None:
    folder = weak_folder
    before = folder.put("file", b"old")
    monkeypatch.setattr(rename, "to_free_name", Between(rename.to_free_name, lambda: change(folder)))
    (outcome,) = folder.commit(Ready(RemoveFile(Path(b"file"), before)))
    assert isinstance(outcome, Skipped)
    assert outcome.changed
    assert user_has(folder)
    assert folder.trash.list() == []


def test_removed_files_and_symlinks_lie_in_the_trash(weak_folder: Folder) -> None:
    folder = weak_folder
    file = folder.put("a/file", b"content")
    (folder.at / "link").symlink_to("target")
    link = folder.known("link")
    outcomes = folder.commit(Ready(RemoveFile(Path(b"a/file"), file)), Ready(RemoveFile(Path(b"link"), link)))
    assert all(isinstance(outcome, Applied) and outcome.stat is None for outcome in outcomes)
    assert not (folder.at / "a/file").exists()
    kinds = {item.path: item.stat.kind for item in folder.trash.list()}
    assert kinds == {b"a/file": FileKind.FILE, b"link": FileKind.SYMLINK}


def test_what_is_gone_already_needs_no_removal(folder: Folder) -> None:
    before = folder.put("a/file", b"x")
    (folder.at / "a/file").unlink()
    gone = [Ready(RemoveFile(Path(b"a/file"), before)), Ready(RemoveDirectory(Path(b"b"), folder.known("a")))]
    (folder.at / "a").rmdir()
    outcomes = folder.commit(*gone, gone[0])
    assert [isinstance(outcome, Applied) for outcome in outcomes] == [True, True, True]


def test_a_directory_goes_only_when_it_is_empty(folder: Folder) -> None:
    folder.put("d/ignored", b"the user's")
    known = folder.known("d")
    (outcome,) = folder.commit(Ready(RemoveDirectory(Path(b"d"), known)))
    assert outcome == Skipped(RemoveDirectory(Path(b"d"), known), "the directory still holds something")
    (folder.at / "d/ignored").unlink()
    (outcome,) = folder.commit(Ready(RemoveDirectory(Path(b"d"), known)))
    assert isinstance(outcome, Applied)
    assert not (folder.at / "d").exists()
