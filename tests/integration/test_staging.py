# SPDX-License-Identifier: AGPL-3.0-or-later
"""Temps on a real disk: written in any order, resumed, sparse, copied from the very file, and nobody else's."""

import errno
import os
import stat as mode_bits
from dataclasses import replace
from pathlib import Path as OsPath

import pytest

from harp.base.errors import FolderError, LocalProtocolError
from harp.sync.folder.staging import HOLE_BYTES, Staging, data_ranges
from harp.sync.folder.trash import Trash
from harp.sync.model import (
    Applied,
    Path,
)
from tests.fakes.folder import MTIME_NS, Folder, folder_at, write

MIB = 1024 * 1024


@pytest.fixture
def folder(tmp_path: OsPath) -> Folder:
    return folder_at(tmp_path)


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


def test_a_new_staging_finds_what_a_crash_left(folder: Folder) -> None:
    folder.stage(b"left")
    left = Staging(folder.root).names()
    assert len(left) == 1
    Staging(folder.root).discard(left[0])
    Staging(folder.root).discard(left[0])
    assert Staging(folder.root).names() == []
    assert Trash(folder.root).list() == []
    assert replace(folder.put("x"), applied=()).applied == ()
