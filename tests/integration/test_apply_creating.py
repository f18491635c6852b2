# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is new on a real disk: there whole or not at all, never over something else, never outside the folder."""

import os
import stat as mode_bits
from pathlib import Path as OsPath

import pytest

from harp.sync.folder.apply import Ready
from harp.sync.model import (
    Action,
    Applied,
    FileKind,
    Kind,
    MakeDirectory,
    OnDisk,
    Path,
    RemoveDirectory,
    RemoveFile,
    Skipped,
    Stat,
    WriteFile,
    WriteSymlink,
)
from tests.fakes.folder import MTIME_NS, Folder, entry, folder_at, put_new, swapping, write
from tests.fakes.meddling import LESSER_DISKS, weaken


@pytest.fixture
def folder(tmp_path: OsPath) -> Folder:
    return folder_at(tmp_path)


@pytest.fixture(params=LESSER_DISKS)
def weak_folder(request: pytest.FixtureRequest, tmp_path: OsPath, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """The same folder on disks that can do less and less."""
    weaken(monkeypatch, request.param)
    return folder_at(tmp_path)


@pytest.mark.parametrize("name", [b"new\nline", "🎶".encode(), b"x" * 255, b"not utf-8 \xff", b"deep/er/and/deeper/x"])
def test_a_new_file_is_there_whole_with_its_mtime(weak_folder: Folder, name: bytes) -> None:
    folder = weak_folder
    outcome = put_new(folder, name, b"content")
    assert isinstance(outcome, Applied)
    assert outcome.stat == folder.root.stat(Path(name))
    assert outcome.stat is not None
    assert outcome.stat.mtime_ns == MTIME_NS
    assert folder.read(name) == b"content"
    assert folder.staging.names() == []
    assert outcome.trashed is None


def test_an_empty_file_needs_no_temp(folder: Folder) -> None:
    (outcome,) = folder.commit(write("empty", b"", None))
    assert isinstance(outcome, Applied)
    assert folder.read("empty") == b""
    assert outcome.stat is not None
    assert outcome.stat.mtime_ns == MTIME_NS


def test_content_that_is_not_here_yet_is_said(folder: Folder) -> None:
    outcomes = folder.commit(write("a", b"x", None), write("b", b"x", "missing"))
    assert all(isinstance(outcome, Skipped) and not outcome.changed for outcome in outcomes)
    assert outcomes[0].why == "its content is not here yet"  # type: ignore[union-attr]


def test_where_something_lies_already_it_stays(weak_folder: Folder) -> None:
    folder = weak_folder
    folder.put("file", b"the user's")
    (folder.at / "dangling").symlink_to("nowhere")
    (folder.at / "directory").mkdir()
    for name in ("file", "dangling", "directory"):
        outcome = put_new(folder, name, b"a peer's")
        assert isinstance(outcome, Skipped)
        assert outcome.changed
    assert folder.read("file") == b"the user's"
    assert os.readlink(folder.at / "dangling") == "nowhere"
    assert len(folder.staging.names()) == 3


def test_the_executable_bit_goes_with_the_umask(folder: Folder) -> None:
    plain, executable = folder.staging.modes
    for name, wanted in (("plain", False), ("executable", True)):
        temp = folder.stage(name.encode(), executable=wanted)
        folder.commit(write(name, name.encode(), temp))
    assert mode_bits.S_IMODE((folder.at / "plain").stat().st_mode) == plain
    assert mode_bits.S_IMODE((folder.at / "executable").stat().st_mode) == executable
    assert not plain & 0o111
    assert executable & 0o100


def test_directories_are_made_with_those_above_them(folder: Folder) -> None:
    (outcome,) = folder.commit(Ready(MakeDirectory(Path(b"a/b/c"), None)))
    assert isinstance(outcome, Applied)
    assert outcome.stat is not None
    assert outcome.stat.kind == FileKind.DIRECTORY
    (again,) = folder.commit(Ready(MakeDirectory(Path(b"a/b/c"), None)))
    assert isinstance(again, Applied)
    folder.put("file")
    (in_the_way,) = folder.commit(Ready(MakeDirectory(Path(b"file"), None)))
    assert isinstance(in_the_way, Skipped)
    assert in_the_way.changed


def test_symlinks_are_made_as_they_are_and_never_followed(
    folder: Folder, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    target = os.fsencode(outside)
    made = entry(b"link", target, kind=Kind.SYMLINK)
    (outcome,) = folder.commit(Ready(WriteSymlink(Path(b"link"), made, None)))
    assert isinstance(outcome, Applied)
    assert folder.root.readlink(Path(b"link")) == target
    below = put_new(folder, "link/file", b"outside")
    assert isinstance(below, Skipped)
    assert below.changed
    (directory,) = folder.commit(Ready(MakeDirectory(Path(b"link/directory"), None)))
    assert isinstance(directory, Skipped)
    assert os.listdir(outside) == []
    other = entry(b"link", b"elsewhere", kind=Kind.SYMLINK)
    (replaced,) = folder.commit(Ready(WriteSymlink(Path(b"link"), other, folder.known("link"))))
    assert isinstance(replaced, Applied)
    assert folder.root.readlink(Path(b"link")) == b"elsewhere"
    assert [name for name in folder.staging.names() if name.startswith("own-")] == []


@pytest.mark.parametrize("path", [b"../x", b"/etc/x", b".harp/folder", b".HARP/x", b"a/../../x", b"a\0b", b"", b".."])
def test_no_path_of_a_peer_leads_out_of_the_folder_or_into_harps_own(folder: Folder, path: bytes) -> None:
    before = sorted(os.listdir(folder.at.parent))
    temp = folder.stage(b"hostile")
    actions: list[Action] = [
        WriteFile(Path(path), entry(path, b"hostile"), None),
        WriteSymlink(Path(path), entry(path, b"/", kind=Kind.SYMLINK), None),
        MakeDirectory(Path(path), None),
        RemoveFile(Path(path), OnDisk(Stat(FileKind.FILE, 0, 0, 0, 0, False), ())),
        RemoveDirectory(Path(path), OnDisk(Stat(FileKind.DIRECTORY, 0, 0, 0, 0, False), ())),
    ]
    outcomes = folder.commit(*[Ready(action, temp) for action in actions])
    assert all(isinstance(outcome, Skipped) for outcome in outcomes)
    assert sorted(os.listdir(folder.at.parent)) == before
    assert folder.root.marker_is_there()


def test_a_parent_swapped_for_a_symlink_while_writing_never_leads_out(
    folder: Folder, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (folder.at / "d").mkdir()
    done = 0
    with swapping(folder.at / "d", outside):
        for number in range(2000):
            folder.root.forget()
            done += isinstance(put_new(folder, f"d/{number}", b"x"), Applied)
    assert os.listdir(outside) == []
    assert len(os.listdir(folder.at / "d")) == done > 0


def test_what_harp_makes_by_itself_leaves_no_temp_when_it_is_refused(folder: Folder) -> None:
    folder.put("taken", b"the user's")
    link = entry(b"taken", b"target", kind=Kind.SYMLINK)
    outcomes = folder.commit(write("taken", b"", None), Ready(WriteSymlink(Path(b"taken"), link, None)))
    assert all(isinstance(outcome, Skipped) and outcome.changed for outcome in outcomes)
    assert folder.staging.names() == []
