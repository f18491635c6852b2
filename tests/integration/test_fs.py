# SPDX-License-Identifier: AGPL-3.0-or-later
"""The opened folder on a real disk: nothing leads outside, and a folder that is not itself any more is noticed."""

import errno
import os
import socket
import subprocess
import time
from pathlib import Path as OsPath

import pytest

from harp.base.errors import FolderError, UsageError
from harp.sync.folder import fs
from harp.sync.folder.fs import Directory, Marker, Root
from harp.sync.model import FileKind, FolderId, Path
from tests.fakes.folder import MARKER, no_more_files, open_below, ordinary_users_folder, swapping


@pytest.fixture(params=["openat2", "component by component"])
def root(request: pytest.FixtureRequest, tmp_path: OsPath) -> Root:
    (tmp_path / "folder").mkdir()
    opened = Root.open(str(tmp_path / "folder"))
    if request.param != "openat2":
        return Root(opened.path, Directory(os.open(opened.path, os.O_RDONLY)), uses_openat2=False)
    return opened


def at(root: Root, name: str = "") -> OsPath:
    return OsPath(os.fsdecode(root.path)) / name


def test_what_is_no_folder_is_refused_with_a_hint(tmp_path: OsPath) -> None:
    (tmp_path / "file").touch()
    for name, why in (("missing", "no folder at"), ("file", "not a folder")):
        with pytest.raises(UsageError, match=why) as refused:
            Root.open(str(tmp_path / name))
        assert refused.value.hint


def test_kinds_and_states_are_what_the_disk_says(root: Root) -> None:
    at(root, "file").write_bytes(b"12345")
    at(root, "file").chmod(0o755)
    at(root, "directory").mkdir()
    at(root, "symlink").symlink_to("nowhere")
    os.mkfifo(at(root, "fifo"))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(at(root, "socket")))
    file = root.stat(Path(b"file"))
    found = at(root, "file").stat()
    assert file == (FileKind.FILE, 5, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, True)
    kinds = {name: root.stat(Path(name)) for name in (b"directory", b"symlink", b"fifo", b"socket")}
    assert [stat.kind for stat in kinds.values() if stat] == [
        FileKind.DIRECTORY,
        FileKind.SYMLINK,
        FileKind.OTHER,
        FileKind.OTHER,
    ]
    assert root.stat(Path(b"missing")) is None
    assert root.stat(Path(b"file/below")) is None
    assert root.readlink(Path(b"symlink")) == b"nowhere"
    assert root.readlink(Path(b"file")) is None
    assert root.readlink(Path(b"missing")) is None
    assert sorted(root.names(Path(b"")) or ()) == [b"directory", b"fifo", b"file", b"socket", b"symlink"]
    assert root.names(Path(b"file")) is None


def test_times_and_inodes_of_any_disk_fit_into_a_ledger() -> None:
    farthest = 2**63 - 1
    # A CIFS share gives inodes of 64 bits, tmpfs and Btrfs hold years that nanoseconds of 63 bits do not reach.
    found = os.stat_result(
        (0o100644, 2**64 - 2, 0, 1, 0, 0, 7, 0, 0, 0), {"st_mtime_ns": 10**19, "st_ctime_ns": -(10**19)}
    )
    assert fs.stat_of(found) == (FileKind.FILE, 7, farthest, -farthest - 1, -2, False)


@pytest.mark.parametrize("name", [b"new\nline", "🎶 naïve".encode(), b"x" * 255, b"not utf-8 \xff\xfe", b"-rf", b" "])
def test_every_name_that_the_disk_holds_is_held(root: Root, name: bytes) -> None:
    (at(root) / os.fsdecode(name)).write_bytes(b"content")
    assert root.names(Path(b"")) == [name]
    fd = root.open_file(Path(name))
    assert os.read(fd, 10) == b"content"
    os.close(fd)


def test_a_symlink_among_the_parents_is_never_followed(root: Root, tmp_path: OsPath) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    at(root, "inside").mkdir()
    at(root, "out").symlink_to(outside)
    at(root, "self").symlink_to("inside")
    for path in (b"out/secret", b"self/x", b"out"):
        with pytest.raises(FolderError):
            root.open_file(Path(path))
    assert root.stat(Path(b"out/secret")) is None
    assert root.names(Path(b"out")) is None
    with pytest.raises(OSError) as refused:
        root.make_parents(Path(b"out/new/file"))
    assert refused.value.errno in (errno.ELOOP, errno.ENOTDIR)
    assert sorted(os.listdir(outside)) == ["secret"]


@pytest.mark.parametrize("path", [b"../outside", b"a/../../outside", b"/etc", b"..", b"a/../..", b"/"])
def test_no_path_climbs_out(root: Root, path: bytes) -> None:
    (at(root).parent / "outside").mkdir()
    at(root, "a").mkdir()
    with pytest.raises(OSError) as refused:
        os.close(root.open_raw(Path(path), os.O_PATH))
    assert refused.value.errno == errno.EXDEV
    assert root.names(Path(path)) is None


def test_a_directory_swapped_for_a_symlink_while_in_use_never_leads_out(root: Root, tmp_path: OsPath) -> None:
    """A thread swaps as fast as it can; whatever is read through the root is the folder's own file."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"outside")
    at(root, "d").mkdir()
    at(root, "d/file").write_bytes(b"inside")
    contents = set()
    with swapping(at(root, "d"), outside):
        for _ in range(5000):
            root.forget()
            try:
                fd = root.open_file(Path(b"d/file"))
            except FolderError:
                contents.add(b"refused")
                continue
            contents.add(os.read(fd, 100))
            os.close(fd)
    assert contents == {b"inside", b"refused"}


def test_fifos_and_sockets_are_refused_without_waiting(root: Root) -> None:
    os.mkfifo(at(root, "fifo"))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(at(root, "socket")))
    for name in (b"fifo", b"socket"):
        with pytest.raises(FolderError):
            root.open_file(Path(name))


def test_a_kept_directory_is_looked_up_anew_after_a_moment(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    at(root, "d").mkdir()
    at(root, "d/old").touch()
    assert root.stat(Path(b"d/old"))
    at(root, "d").rename(at(root, "e"))
    at(root, "d").mkdir()
    now = 1.0
    assert root.stat(Path(b"d/old")) is None
    at(root, "d").rename(at(root, "f"))
    root.forget()
    assert root.stat(Path(b"d/old")) is None


def test_no_descriptor_is_left_open(root: Root) -> None:
    before = open_below(at(root))
    for number in range(100):
        at(root, f"d{number}").mkdir()
        root.stat(Path(b"d%d/x" % number))
        root.names(Path(b"d%d" % number))
    root.forget()
    assert open_below(at(root)) == before


def test_the_marker_comes_back_as_it_was_written(root: Root) -> None:
    assert root.read_marker() is None
    assert not root.marker_is_there()
    root.write_marker(MARKER)
    assert root.read_marker() == MARKER
    assert root.marker_is_there(MARKER)
    assert at(root, ".harp").stat().st_mode & 0o777 == 0o700
    other = Marker(FolderId(b"g" * 32), b"n" * 16)
    assert not root.marker_is_there(other)
    root.write_marker(other)
    assert root.read_marker() == other


@pytest.mark.parametrize(
    "text", [b"", b"folder zz\nmarker zz\n", b"folder 00\nmarker 00\n", b"\xff", b"folder\nmarker\n"]
)
def test_a_marker_that_does_not_read_well_is_none(root: Root, text: bytes) -> None:
    root.write_marker(MARKER)
    at(root, ".harp/folder").write_bytes(text)
    assert root.read_marker() is None
    assert not root.marker_is_there()


def test_a_folder_that_was_moved_removed_or_replaced_is_not_there(root: Root) -> None:
    root.write_marker(MARKER)
    moved = at(root).with_name("moved")
    at(root).rename(moved)
    assert not root.marker_is_there()
    at(root).mkdir()
    assert not root.marker_is_there()
    at(root).rmdir()
    moved.rename(at(root))
    assert root.marker_is_there(MARKER)
    at(root, ".harp/folder").unlink()
    assert not root.marker_is_there()


def test_a_marker_that_nothing_can_be_opened_for_is_not_gone(root: Root) -> None:
    root.write_marker(MARKER)
    with no_more_files():
        with pytest.raises(FolderError, match="Harp may open no more files"):
            root.marker_is_there(MARKER)
        with pytest.raises(FolderError, match="Harp may open no more files"):
            root.read_marker()
        said = root.trouble(MARKER)
    assert said == ".harp/folder: Harp may open no more files (LimitNOFILE=, or ulimit -n)"
    assert root.trouble(MARKER) == ""
    at(root, ".harp/folder").unlink()
    assert root.trouble(MARKER) == fs.GONE


def test_a_folder_that_may_not_be_looked_at_is_not_gone() -> None:
    with ordinary_users_folder() as folder:
        (folder.at / ".harp").chmod(0)
        assert folder.root.trouble(MARKER) == ".harp/folder: permission denied"
        (folder.at / ".harp").chmod(0o700)
        assert folder.root.trouble(MARKER) == ""


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (errno.EIO, "the disk reports a read or write error"),
        (errno.ENFILE, "this computer may open no more files (sysctl fs.file-max)"),
        (errno.ENOMEM, "no memory is left"),
        (errno.ESTALE, "the network disk lost it"),
    ],
)
@pytest.mark.parametrize("call", ["stat", "open", "read"])
def test_what_the_disk_says_of_its_marker_is_said(
    root: Root, monkeypatch: pytest.MonkeyPatch, call: str, number: int, why: str
) -> None:
    root.write_marker(MARKER)

    def fails(*_: object, **__: object) -> None:
        raise OSError(number, "no")

    with monkeypatch.context() as patched:
        patched.setattr(os, call, fails)
        said = root.trouble(MARKER)
    assert said.partition(": ")[2] == why
    assert root.trouble(MARKER) == ""


def test_a_private_directory_that_is_a_symlink_is_refused(root: Root, tmp_path: OsPath) -> None:
    (tmp_path / "elsewhere").mkdir()
    at(root, ".harp").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FolderError):
        root.write_marker(MARKER)
    assert os.listdir(tmp_path / "elsewhere") == []


def test_what_is_shown_of_a_path_holds_no_control_character() -> None:
    assert fs.shown(Path(b"a\x1b[31m\n\xff\xc3\xa9")) == "a\\x1b[31m\\n\\xffé"


@pytest.mark.root
def test_a_disk_mounted_over_the_folder_is_noticed(root: Root) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to mount")
    root.write_marker(MARKER)
    done = subprocess.run(["mount", "-t", "tmpfs", "none", root.path], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this machine does not let root mount a tmpfs")
    try:
        assert not root.marker_is_there()
    finally:
        subprocess.run(["umount", root.path], check=True)
    assert root.marker_is_there(MARKER)
