# SPDX-License-Identifier: AGPL-3.0-or-later
"""Disks that refuse, fill up, end in a mount or fold case: said in a sentence, and what is synced is durable."""

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path as OsPath

import pytest

from harp.base.errors import FolderError
from harp.sync.folder import rename, syscalls
from harp.sync.folder.apply import Ready
from harp.sync.folder.staging import is_full
from harp.sync.model import (
    Applied,
    MakeDirectory,
    Path,
    RemoveFile,
    Skipped,
)
from tests.fakes.folder import MTIME_NS, NOW, Folder, folder_at, ordinary_users_folder, put_new, write

KIB = 1024


@pytest.fixture
def folder(tmp_path: OsPath) -> Folder:
    return folder_at(tmp_path)


def test_one_refusal_keeps_no_other_action_from_being_done() -> None:
    with ordinary_users_folder() as folder:
        known = folder.put("closed/file", b"old")
        (folder.at / "closed").chmod(0o500)
        new = [write("closed/new", b"1", folder.stage(b"1")), write("open/new", b"2", folder.stage(b"2"))]
        old = [
            write("closed/file", b"3", folder.stage(b"3"), known),
            Ready(RemoveFile(Path(b"closed/file"), known)),
            Ready(MakeDirectory(Path(b"closed/d"), None)),
        ]
        outcomes = folder.commit(*new, *old)
        (folder.at / "closed").chmod(0o755)
        assert [outcome.why for outcome in outcomes if isinstance(outcome, Skipped)] == ["permission denied"] * 4
        assert not any(outcome.changed for outcome in outcomes if isinstance(outcome, Skipped))
        assert isinstance(outcomes[1], Applied)
        assert folder.read("closed/file") == b"old"
        assert folder.trash.list() == []
        assert len(folder.staging.names()) == 2


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EROFS, "the disk is read-only"),
        (errno.ENAMETOOLONG, "the name is too long for this disk"),
        (errno.EXDEV, "another disk is mounted there"),
        (errno.EILSEQ, "this disk cannot hold the name"),
        (errno.EIO, "the disk reports a read or write error"),
        (errno.EDQUOT, "the disk quota is used up"),
    ],
)
def test_each_refusal_has_its_sentence(folder: Folder, monkeypatch: pytest.MonkeyPatch, number: int, why: str) -> None:
    def fails(*_: object) -> None:
        raise OSError(number, "no")

    known = folder.put("file", b"old")
    items = [write("new", b"1", folder.stage(b"1")), write("file", b"2", folder.stage(b"2"), known)]
    monkeypatch.setattr(rename, "to_free_name", fails)
    outcomes = folder.commit(*items)
    assert [(outcome.why, outcome.changed) for outcome in outcomes if isinstance(outcome, Skipped)] == [
        (why, False)
    ] * 2
    assert folder.read("file") == b"old"


@pytest.fixture
def tiny_disk(tmp_path: OsPath) -> Iterator[Folder]:
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a disk that is soon full")
    at = tmp_path / "tiny"
    at.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", at], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this machine does not let root mount a tmpfs")
    try:
        folder = folder_at(at)
        yield folder
        del folder
    finally:
        subprocess.run(["umount", "-l", at], check=True)


@pytest.mark.root
def test_a_full_disk_is_said_loses_nothing_and_the_trash_yields(tiny_disk: Folder) -> None:
    folder = tiny_disk
    known = folder.put("file", b"old" * 100_000)
    assert isinstance(put_new(folder, "file", b"new" * 100_000, known), Applied)
    with pytest.raises(FolderError, match="full") as full:
        folder.staging.write_small("big", bytes(range(1, 256)) * 8000, MTIME_NS, False)
    assert is_full(full.value)
    assert folder.staging.names() == []
    temp = folder.staging.temp("large")
    with pytest.raises(FolderError, match="full"):
        for number in range(8):
            temp.write_at(number * 256 * KIB, b"x" * (256 * KIB))
    temp.discard()
    assert folder.read("file") == b"new" * 100_000
    free = folder.root.free_bytes()
    assert folder.trash.make_room(1) >= 300_000
    assert folder.root.free_bytes() >= free + 299_000
    assert folder.trash.list() == []


@pytest.mark.root
def test_a_disk_mounted_inside_the_folder_is_said(folder: Folder) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to mount")
    (folder.at / "mounted").mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "none", folder.at / "mounted"], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this machine does not let root mount a tmpfs")
    try:
        known = folder.put("mounted/file", b"old")
        outcome = put_new(folder, "mounted/new", b"x")
        (removed,) = folder.commit(Ready(RemoveFile(Path(b"mounted/file"), known)))
        for one in (outcome, removed):
            assert isinstance(one, Skipped)
            assert one.why == "another disk is mounted there"
        assert folder.read("mounted/file") == b"old"
    finally:
        folder.root.forget()
        subprocess.run(["umount", "-l", folder.at / "mounted"], check=True)


def test_a_directory_that_differs_by_case_is_told_apart_on_a_disk_that_folds(folder: Folder) -> None:
    """The disk is an ordinary one; that mkdir meets another spelling is what a folding disk would say."""
    folder.root.folds = True
    (folder.at / "name").mkdir()
    (same,) = folder.disk.commit([Ready(MakeDirectory(Path(b"name"), None))], now=NOW)
    assert isinstance(same, Applied)
    mkdir = os.mkdir

    def folded(name: bytes, *arguments: object, **keywords: object) -> None:
        mkdir(name.lower(), *arguments, **keywords)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "mkdir", folded)
        (other,) = folder.disk.commit([Ready(MakeDirectory(Path(b"NAME"), None))], now=NOW)
    assert isinstance(other, Skipped)
    assert other.changed


def test_what_is_synced_is_the_file_and_all_directories_above_it(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.put("a/b/file", b"x")
    synced = []
    real = os.fsync

    def fsync(fd: int) -> None:
        synced.append(os.path.relpath(os.readlink(f"/proc/self/fd/{fd}"), folder.at))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    folder.disk.sync_files([Path(b"a/b/file"), Path(b"gone/with/parents")])
    assert synced == ["a/b/file", "a/b", "a", "."]


def test_without_syncfs_everything_is_synced_another_way(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.disk.sync_all()

    def lacking(_: int) -> None:
        raise OSError(errno.ENOSYS, "no")

    calls = []
    monkeypatch.setattr(syscalls, "syncfs", lacking)
    monkeypatch.setattr(os, "sync", lambda: calls.append("sync"))
    folder.disk.sync_all()
    assert calls == ["sync"]

    def failing(_: int) -> None:
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(syscalls, "syncfs", failing)
    with pytest.raises(FolderError, match="read or write error"):
        folder.disk.sync_all()


def test_ten_thousand_files_leave_no_descriptor_open(folder: Folder) -> None:
    before = len(os.listdir("/proc/self/fd"))
    items = []
    for number in range(500):
        folder.staging.write_small(f"t{number}", b"x", MTIME_NS, False)
        items.append(write(f"d{number % 50}/f{number}", b"x", f"t{number}"))
    outcomes = folder.commit(*items)
    assert all(isinstance(outcome, Applied) for outcome in outcomes)
    folder.root.forget()
    assert len(os.listdir("/proc/self/fd")) <= before + 1
