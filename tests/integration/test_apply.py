# SPDX-License-Identifier: AGPL-3.0-or-later
"""Actions on a real disk: done exactly as planned or not at all, and whatever happens, no user's byte is lost."""

import errno
import os
import stat as mode_bits
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path as OsPath

import pytest

from harp.base.errors import FolderError, LocalProtocolError
from harp.sync.folder import apply, rename, syscalls
from harp.sync.folder.apply import Ready, Refused
from harp.sync.folder.staging import HOLE_BYTES, Staging, data_ranges, is_full
from harp.sync.folder.swap import with_executable
from harp.sync.folder.trash import Trash
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
    SetAttributes,
    Skipped,
    Stat,
    WriteFile,
    WriteSymlink,
)
from tests.fakes.folder import MTIME_NS, NOW, Folder, entry, folder_at, ordinary_users_folder, swapping

KIB, MIB = 1024, 1024 * 1024


@pytest.fixture
def folder(tmp_path: OsPath) -> Folder:
    return folder_at(tmp_path)


@pytest.fixture(params=["renameat2", "hard links", "neither"])
def weak_folder(request: pytest.FixtureRequest, tmp_path: OsPath, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """The same folder on disks that can do less and less."""

    def cannot(*_: object, **__: object) -> None:
        raise OSError(errno.EINVAL, "invalid")

    if request.param != "renameat2":
        monkeypatch.setattr(syscalls, "rename", cannot)
    if request.param == "neither":
        monkeypatch.setattr(os, "link", cannot)
    return folder_at(tmp_path)


def write(path: str | bytes, content: bytes, temp: str | None, expected: OnDisk | None = None) -> Ready:
    name = path.encode() if isinstance(path, str) else path
    return Ready(WriteFile(Path(name), entry(name, content), expected), temp)


def put_new(folder: Folder, path: str | bytes, content: bytes, expected: OnDisk | None = None) -> Applied | Skipped:
    (outcome,) = folder.commit(write(path, content, folder.stage(content), expected))
    return outcome


# --- creating ---------------------------------------------------------------------------------------------------------


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


# --- replacing --------------------------------------------------------------------------------------------------------


def test_a_replaced_file_lies_in_the_trash(weak_folder: Folder) -> None:
    folder = weak_folder
    before = folder.put("a/file", b"old")
    outcome = put_new(folder, "a/file", b"new", before)
    assert isinstance(outcome, Applied)
    assert folder.read("a/file") == b"new"
    assert folder.trashed() == {b"a/file": b"old"}
    assert outcome.stat == folder.root.stat(Path(b"a/file"))
    assert outcome.trashed is not None
    assert folder.read(outcome.trashed) == b"old"
    (item,) = folder.trash.list()
    assert item.entries == before.applied
    assert item.when_ms == int(NOW * 1000)
    assert folder.staging.names() == []


def test_a_file_that_its_user_closed_to_others_stays_closed(folder: Folder) -> None:
    before = folder.put("private", b"old", mode=0o600)
    assert isinstance(put_new(folder, "private", b"new", before), Applied)
    assert mode_bits.S_IMODE((folder.at / "private").stat().st_mode) == 0o600
    assert with_executable(0o600, True) == 0o700
    assert with_executable(0o644, True) == 0o755
    assert with_executable(0o755, False) == 0o644
    assert with_executable(0o200, True) == 0o300


def changed_by_write(folder: Folder) -> None:
    (folder.at / "file").write_bytes(b"the user's")


def changed_by_rename(folder: Folder) -> None:
    (folder.at / "new").write_bytes(b"the user's")
    os.utime(folder.at / "new", ns=(1, 1))
    (folder.at / "new").rename(folder.at / "file")


def changed_to_a_directory(folder: Folder) -> None:
    (folder.at / "file").unlink()
    (folder.at / "file").mkdir()
    (folder.at / "file" / "x").write_bytes(b"the user's")


CHANGES = [changed_by_write, changed_by_rename, changed_to_a_directory]


def user_has(folder: Folder) -> bool:
    """The user's latest is where the user put it."""
    at = folder.at / "file"
    return (at / "x" if at.is_dir() else at).read_bytes() == b"the user's"


@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_before_the_commit_stays(weak_folder: Folder, change: Callable[[Folder], None]) -> None:
    folder = weak_folder
    before = folder.put("file", b"old")
    change(folder)
    replaced = put_new(folder, "file", b"a peer's", before)
    (removed,) = folder.commit(Ready(RemoveFile(Path(b"file"), before)))
    (touched,) = folder.commit(Ready(SetAttributes(Path(b"file"), entry(b"file", b"old"), before)))
    for outcome in (replaced, removed, touched):
        assert isinstance(outcome, Skipped)
        assert outcome.changed
    assert user_has(folder)
    assert folder.trash.list() == []


def test_a_state_that_only_the_ctime_tells_apart_is_another_one(weak_folder: Folder) -> None:
    """An edit whose mtime was set back shows nowhere else."""
    folder = weak_folder
    before = folder.put("file", b"old")
    (folder.at / "file").write_bytes(b"new")
    os.utime(folder.at / "file", ns=(before.stat.mtime_ns, before.stat.mtime_ns))
    assert folder.known("file").stat.mtime_ns == before.stat.mtime_ns
    (removed,) = folder.commit(Ready(RemoveFile(Path(b"file"), before)))
    for outcome in (removed, put_new(folder, "file", b"a peer's", before)):
        assert isinstance(outcome, Skipped)
        assert outcome.changed
    assert folder.read("file") == b"new"


class Between:
    """Lets something happen just before the n-th call of a function: in the gap between a look and a rename."""

    def __init__(self, real: Callable[..., None], happen: Callable[[], None], call: int = 1) -> None:
        self.real, self.happen, self.left = real, happen, call

    def __call__(self, *arguments: object) -> None:
        self.left -= 1
        if self.left == 0:
            self.happen()
        self.real(*arguments)


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_between_the_look_and_the_exchange_is_put_back(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, change: Callable[[Folder], None]
) -> None:
    before = folder.put("file", b"old")
    monkeypatch.setattr(rename, "exchange", Between(rename.exchange, lambda: change(folder)))
    temp = folder.stage(b"a peer's")
    (outcome,) = folder.commit(write("file", b"a peer's", temp, before))
    assert isinstance(outcome, Skipped)
    assert outcome.changed
    assert user_has(folder)
    assert folder.trash.list() == []
    assert folder.staging.names() == [temp]
    assert (folder.at / ".harp/tmp" / temp).read_bytes() == b"a peer's"


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


def test_a_third_file_during_the_second_exchange_is_the_newest_and_stays(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user saves by rename before the first exchange, and once more before the second."""
    before = folder.put("file", b"old")
    real = rename.exchange
    saved = iter([b"first save", b"the user's"])

    def save() -> None:
        (folder.at / "new").write_bytes(next(saved))
        (folder.at / "new").rename(folder.at / "file")

    def exchange(*arguments: object) -> None:
        if len(list((folder.at / ".harp").iterdir())) and (content := next(saves, None)) is not None:
            content()
        real(*arguments)  # type: ignore[arg-type]

    saves = iter([save, save])
    monkeypatch.setattr(rename, "exchange", exchange)
    outcome = put_new(folder, "file", b"a peer's", before)
    assert isinstance(outcome, Skipped)
    assert outcome.changed
    assert folder.read("file") == b"the user's"
    assert list(folder.trashed().values()) == [b"first save"]


def test_a_file_that_vanishes_before_the_exchange_is_not_brought_back(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = folder.put("file", b"old")
    monkeypatch.setattr(rename, "exchange", Between(rename.exchange, (folder.at / "file").unlink))
    outcome = put_new(folder, "file", b"new", before)
    assert isinstance(outcome, Skipped)
    assert outcome.changed
    assert not (folder.at / "file").exists()
    assert len(folder.staging.names()) == 1


def test_a_path_that_is_emptied_during_the_second_exchange_gets_back_what_came_out(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = folder.put("file", b"old")
    happen = iter([lambda: changed_by_rename(folder), (folder.at / "file").unlink])
    real = rename.exchange

    def exchange(*arguments: object) -> None:
        next(happen)()
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(rename, "exchange", exchange)
    outcome = put_new(folder, "file", b"a peer's", before)
    assert isinstance(outcome, Skipped)
    assert user_has(folder)


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


def test_a_crash_between_any_two_renames_loses_no_byte(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rename in turn is the last thing that happens; the old content is at the path or in the trash."""

    class Crash(BaseException):
        pass

    def crashing(real: Callable[..., None], left: list[int]) -> Callable[..., None]:
        def call(*arguments: object) -> None:
            if left[0] == 0:
                raise Crash
            left[0] -= 1
            real(*arguments)

        return call

    real_new, real_exchange = rename.to_free_name, rename.exchange
    for steps in range(4):
        for item in list(folder.trash.list()):
            (folder.at / os.fsdecode(item.place)).unlink()
        before = folder.put("file", b"old")
        left = [steps]
        monkeypatch.setattr(rename, "to_free_name", crashing(real_new, left))
        monkeypatch.setattr(rename, "exchange", crashing(real_exchange, left))
        temp = f"t{steps}"
        folder.staging.write_small(temp, b"new", MTIME_NS, False)
        try:
            folder.commit(write("file", b"new", temp, before))
        except Crash:
            assert folder.read("file") == b"old"
        assert b"old" in {folder.read("file"), *folder.trashed().values()}
        tmp = [(folder.at / ".harp/tmp" / name).read_bytes() for name in folder.staging.names()]
        assert b"old" not in tmp
    assert folder.read("file") == b"new"


def test_a_file_that_changes_right_after_it_was_put_there_does_not_pass_for_ours(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = folder.put("replaced", b"old")
    real_new, real_exchange = rename.to_free_name, rename.exchange

    def then_changed(real: Callable[..., None], name: str) -> Callable[..., None]:
        def call(source: object, old: bytes, target: object, new: bytes) -> None:
            real(source, old, target, new)
            if new == name.encode():
                (folder.at / name).write_bytes(b"the user's")

        return call

    monkeypatch.setattr(rename, "to_free_name", then_changed(real_new, "new"))
    monkeypatch.setattr(rename, "exchange", then_changed(real_exchange, "replaced"))
    for outcome in (put_new(folder, "new", b"a peer's"), put_new(folder, "replaced", b"a peer's", before)):
        assert isinstance(outcome, Skipped)
        assert outcome.changed
    assert folder.read("new") == folder.read("replaced") == b"the user's"
    assert folder.trashed() == {b"replaced": b"old"}


def test_what_harp_makes_by_itself_leaves_no_temp_when_it_is_refused(folder: Folder) -> None:
    folder.put("taken", b"the user's")
    link = entry(b"taken", b"target", kind=Kind.SYMLINK)
    outcomes = folder.commit(write("taken", b"", None), Ready(WriteSymlink(Path(b"taken"), link, None)))
    assert all(isinstance(outcome, Skipped) and outcome.changed for outcome in outcomes)
    assert folder.staging.names() == []


# --- attributes and moves ---------------------------------------------------------------------------------------------


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


# --- disks that refuse ------------------------------------------------------------------------------------------------


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
    folding = apply.Disk(folder.root, folder.staging, folder.trash, folds=True)
    (folder.at / "name").mkdir()
    (same,) = folding.commit([Ready(MakeDirectory(Path(b"name"), None))], now=NOW)
    assert isinstance(same, Applied)
    mkdir = os.mkdir

    def folded(name: bytes, *arguments: object, **keywords: object) -> None:
        mkdir(name.lower(), *arguments, **keywords)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "mkdir", folded)
        (other,) = folding.commit([Ready(MakeDirectory(Path(b"NAME"), None))], now=NOW)
    assert isinstance(other, Skipped)
    assert other.changed


# --- temps ------------------------------------------------------------------------------------------------------------


def test_a_temp_is_written_in_any_order_and_resumed(folder: Folder) -> None:
    temp = folder.disk.temp("large")
    temp.truncate(300_000)
    temp.write_at(200_000, b"c" * 100_000)
    temp.write_at(0, b"a" * 100_000)
    temp.close()
    with pytest.raises(FolderError):
        folder.staging.temp("large")
    again = folder.disk.temp("large", resume=True)
    buffer = memoryview(bytearray(100_000))
    assert again.read_at(200_000, buffer) == 100_000
    assert buffer == b"c" * 100_000
    again.write_at(100_000, memoryview(b"b" * 100_000))
    again.finish(MTIME_NS, True)
    folder.staging.sync(["large"])
    (outcome,) = folder.commit(write("file", b"x", "large"))
    assert isinstance(outcome, Applied)
    assert outcome.stat is not None
    assert (outcome.stat.mtime_ns, outcome.stat.executable) == (MTIME_NS, True)
    assert folder.read("file") == b"a" * 100_000 + b"b" * 100_000 + b"c" * 100_000


def test_a_temp_in_the_making_is_nobody_elses_to_read(folder: Folder) -> None:
    folder.staging.temp("large").close()
    assert mode_bits.S_IMODE((folder.at / ".harp/tmp/large").stat().st_mode) == 0o600
    assert folder.staging.reopen("missing") is None
    folder.disk.temp("large", resume=True).discard()
    assert folder.staging.names() == []


@pytest.mark.parametrize("name", ["", "..", "a/b", "../x", ".hidden", "a\0", "x" * 300, "é"])
def test_a_temps_name_is_plain(folder: Folder, name: str) -> None:
    with pytest.raises(LocalProtocolError):
        folder.staging.temp(name)
    with pytest.raises(LocalProtocolError):
        folder.staging.discard(name)


def test_long_zero_runs_become_holes(folder: Folder) -> None:
    content = b"x" * 10_000 + bytes(3 * MIB) + b"y" * 5000 + bytes(HOLE_BYTES // 2) + b"z" + bytes(2 * MIB)
    temp = folder.staging.temp("sparse")
    for offset in range(0, len(content), 700_001):
        temp.write_at(offset, content[offset : offset + 700_001])
    temp.finish(MTIME_NS, False)
    found = (folder.at / ".harp/tmp/sparse").stat()
    assert (folder.at / ".harp/tmp/sparse").read_bytes() == content
    assert found.st_blocks * 512 < 800_000


def test_zeros_over_what_a_resumed_temp_holds_are_zeros(folder: Folder) -> None:
    temp = folder.staging.temp("dirty")
    temp.write_at(0, b"x" * MIB)
    temp.write_at(3 * MIB, b"x" * MIB)
    temp.close()
    again = folder.disk.temp("dirty", resume=True)
    again.write_at(0, bytes(4 * MIB))
    again.truncate(4 * MIB)
    again.finish(MTIME_NS, False)
    assert (folder.at / ".harp/tmp/dirty").read_bytes() == bytes(4 * MIB)
    first = folder.staging.temp("twice")
    first.write_at(0, b"x" * MIB)
    first.write_at(0, bytes(MIB))
    first.finish(MTIME_NS, False)
    assert (folder.at / ".harp/tmp/twice").read_bytes() == bytes(MIB)


@pytest.mark.parametrize(
    ("parts", "ranges"),
    [
        ([(b"x", 100)], [(0, 100)]),
        ([(b"\0", 100)], [(0, 100)]),
        ([(b"\0", 2 * HOLE_BYTES)], []),
        (
            [(b"x", 4096), (b"\0", HOLE_BYTES + 4096), (b"x", 4096)],
            [(0, 4096), (HOLE_BYTES + 8192, HOLE_BYTES + 12288)],
        ),
        ([(b"\0", HOLE_BYTES), (b"x", 1)], [(HOLE_BYTES, HOLE_BYTES + 1)]),
        ([(b"x", HOLE_BYTES), (b"\0", HOLE_BYTES // 2), (b"x", 9)], [(0, HOLE_BYTES + HOLE_BYTES // 2 + 9)]),
        ([], []),
    ],
)
def test_data_is_all_but_the_long_zero_runs(parts: list[tuple[bytes, int]], ranges: list[tuple[int, int]]) -> None:
    assert data_ranges(memoryview(b"".join(byte * count for byte, count in parts))) == ranges


@pytest.mark.parametrize("by_kernel", [True, False])
def test_ranges_are_copied_from_the_very_file_that_is_expected(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, by_kernel: bool
) -> None:
    if not by_kernel:

        def cannot(*_: object) -> int:
            raise OSError(errno.EXDEV, "no")

        monkeypatch.setattr(os, "copy_file_range", cannot)
    content = os.urandom(3 * MIB)
    known = folder.put("source", content)
    temp = folder.staging.temp("copy")
    assert temp.copy_from(folder.root, Path(b"source"), 1000, 2 * MIB, 5, known.stat)
    assert not temp.copy_from(folder.root, Path(b"source"), 2 * MIB, 2 * MIB, 0, known.stat)
    assert not temp.copy_from(folder.root, Path(b"missing"), 0, 10, 0, known.stat)
    stale = known.stat._replace(ctime_ns=1)
    assert not temp.copy_from(folder.root, Path(b"source"), 0, 10, 0, stale)
    with (folder.at / "source").open("rb") as source:
        assert temp.copy_from_fd(source.fileno(), 0, 5, 0)
        assert not temp.copy_from_fd(source.fileno(), 3 * MIB, 5, 0)
    temp.finish(MTIME_NS, False)
    assert (folder.at / ".harp/tmp/copy").read_bytes() == content[:5] + content[1000 : 1000 + 2 * MIB]


def test_a_source_that_changes_during_the_copy_is_not_believed(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    known = folder.put("source", b"x" * MIB)
    real = os.copy_file_range

    def meddled(*arguments: int) -> int:
        (folder.at / "source").write_bytes(b"y" * MIB)
        return real(*arguments)

    monkeypatch.setattr(os, "copy_file_range", meddled)
    temp = folder.staging.temp("copy")
    assert not temp.copy_from(folder.root, Path(b"source"), 0, MIB, 0, known.stat)
    temp.discard()


def test_holes_are_copied_as_holes(folder: Folder) -> None:
    with (folder.at / "source").open("wb") as file:
        file.write(b"head")
        file.seek(32 * MIB)
        file.write(b"tail")
    known = folder.known("source")
    temp = folder.staging.temp("copy")
    assert temp.copy_from(folder.root, Path(b"source"), 0, known.stat.size, 0, known.stat)
    temp.finish(MTIME_NS, False)
    made = folder.at / ".harp/tmp/copy"
    assert made.read_bytes() == (folder.at / "source").read_bytes()
    assert made.stat().st_blocks * 512 < MIB


# --- syncing ----------------------------------------------------------------------------------------------------------


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


def test_a_new_staging_finds_what_a_crash_left(folder: Folder) -> None:
    folder.stage(b"left")
    left = Staging(folder.root).names()
    assert len(left) == 1
    Staging(folder.root).discard(left[0])
    Staging(folder.root).discard(left[0])
    assert Staging(folder.root).names() == []
    assert Trash(folder.root).list() == []
    assert replace(folder.put("x"), applied=()).applied == ()
