# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is replaced on a real disk: the old lies in the trash, and what a user saves meanwhile stays the user's."""

import os
import stat as mode_bits
from collections.abc import Callable
from pathlib import Path as OsPath

import pytest

from harp.sync.folder import rename
from harp.sync.folder.apply import Ready
from harp.sync.folder.swap import with_executable
from harp.sync.model import (
    Applied,
    Path,
    RemoveFile,
    SetAttributes,
    Skipped,
)
from tests.fakes.folder import MTIME_NS, NOW, Folder, entry, folder_at, put_new, write
from tests.fakes.meddling import CHANGES, LESSER_DISKS, Between, changed_by_rename, user_has, weaken


@pytest.fixture
def folder(tmp_path: OsPath) -> Folder:
    return folder_at(tmp_path)


@pytest.fixture(params=LESSER_DISKS)
def weak_folder(request: pytest.FixtureRequest, tmp_path: OsPath, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """The same folder on disks that can do less and less."""
    weaken(monkeypatch, request.param)
    return folder_at(tmp_path)


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
