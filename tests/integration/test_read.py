# SPDX-License-Identifier: AGPL-3.0-or-later
"""Reading on a real disk: what changes meanwhile is never believed, and holes cost nothing."""

import os
import random
import socket
import threading
from pathlib import Path as OsPath

import pytest

from harp.base.errors import FolderError
from harp.sync.engine import manifest
from harp.sync.engine.chunker import Chunker
from harp.sync.engine.manifest import Builder, Segment
from harp.sync.folder import read
from harp.sync.folder.read import Gone, Hashed, hash_file, read_at, read_whole
from harp.sync.model import MAX_CHUNK, MIN_CHUNK, ChunkRef, Path
from tests.fakes.folder import Folder, folder_at, open_below

KEYS = manifest.keys(b"s" * 32)
MIB = 1024 * 1024


@pytest.fixture
def folder(tmp_path: OsPath) -> Folder:
    return folder_at(tmp_path)


def bytes_of(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def root_of(content: bytes) -> bytes:
    """The root as the engine computes it from the whole content in memory."""
    if len(content) <= MIN_CHUNK:
        return manifest.root_of_small(content, KEYS)
    builder = Builder(KEYS)
    view = memoryview(content)
    for offset, length in Chunker().cut(view, final=True):
        builder.add(ChunkRef(manifest.chunk_id(view[offset : offset + length], KEYS), length))
    return builder.finish().root


class Meddler:
    """Does something to the disk at the n-th read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, call: str, meddle: object, at: int = 1) -> None:
        self._real, self._meddle, self._left = getattr(os, call), meddle, at
        monkeypatch.setattr(os, call, self)

    def __call__(self, *arguments: object) -> object:
        self._left -= 1
        if self._left == 0:
            self._meddle()  # type: ignore[operator]
        return self._real(*arguments)


def test_a_small_file_comes_whole_with_its_state(folder: Folder) -> None:
    known = folder.put("a/file", b"content")
    assert read_whole(folder.root, Path(b"a/file"), 100) == (known.stat, b"content")
    known = folder.put("empty", b"")
    assert read_whole(folder.root, Path(b"empty"), 100) == (known.stat, b"")


def test_what_is_absent_or_no_file_is_gone(folder: Folder) -> None:
    (folder.at / "d").mkdir()
    (folder.at / "link").symlink_to("d")
    os.mkfifo(folder.at / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder.at / "socket"))
    for name in (b"missing", b"missing/x", b"d", b"link", b"link/x", b"fifo", b"socket"):
        assert isinstance(read_whole(folder.root, Path(name), 100), Gone), name
        assert isinstance(hash_file(folder.root, Path(name), KEYS), Gone), name


def test_a_file_over_the_limit_is_refused(folder: Folder) -> None:
    folder.put("file", b"12345")
    with pytest.raises(FolderError, match="larger than 4"):
        read_whole(folder.root, Path(b"file"), 4)


@pytest.mark.parametrize("meddling", ["append", "truncate", "overwrite", "touch"])
def test_a_small_file_that_changes_meanwhile_is_gone(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, meddling: str
) -> None:
    folder.put("file", b"x" * 100)
    file = folder.at / "file"
    meddle = {
        "append": lambda: file.write_bytes(b"x" * 101),
        "truncate": lambda: os.truncate(file, 50),
        "overwrite": lambda: file.write_bytes(b"y" * 100),
        "touch": lambda: os.utime(file, ns=(1, 1)),
    }[meddling]
    Meddler(monkeypatch, "read", meddle)
    assert read_whole(folder.root, Path(b"file"), 200) == Gone("it changed while it was read")


def test_a_file_open_for_writing_is_put_off_only_where_asked(folder: Folder) -> None:
    known = folder.put("file", b"content")
    with (folder.at / "file").open("r+b"):
        assert read_whole(folder.root, Path(b"file"), 100, unless_open=True) == Gone(
            "a program has it open for writing", is_open=True
        )
        answer = hash_file(folder.root, Path(b"file"), KEYS, unless_open=True)
        assert isinstance(answer, Gone)
        assert answer.is_open
        assert read_whole(folder.root, Path(b"file"), 100) == (known.stat, b"content")
    with (folder.at / "file").open("rb"):
        assert read_whole(folder.root, Path(b"file"), 100, unless_open=True) == (known.stat, b"content")


def test_asking_whether_a_file_is_open_never_blocks_its_writers(folder: Folder) -> None:
    folder.put("file", b"")
    stop = threading.Event()
    refused: list[OSError] = []

    def write() -> None:
        while not stop.is_set():
            try:
                os.close(os.open(folder.at / "file", os.O_WRONLY))
            except OSError as error:
                refused.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    answers = set()
    with (folder.at / "file").open("rb") as file:
        for _ in range(2000):
            answers.add(read.is_open_for_writing(file.fileno()))
    stop.set()
    thread.join(timeout=10)
    assert not thread.is_alive()
    assert refused == []
    assert False in answers


@pytest.mark.parametrize(
    "size",
    [0, 1, MIN_CHUNK - 1, MIN_CHUNK, MIN_CHUNK + 1, MAX_CHUNK, 2 * MAX_CHUNK + 1, 4 * MIB, 4 * MIB + 1, 11 * MIB + 7],
)
def test_a_file_hashes_to_the_root_of_its_content(folder: Folder, size: int) -> None:
    content = bytes_of(size)
    known = folder.put("file", content)
    refs: list[ChunkRef] = []
    segments: list[Segment] = []
    hashed = hash_file(folder.root, Path(b"file"), KEYS, refs.extend, segments.append)
    assert isinstance(hashed, Hashed)
    assert (hashed.stat, hashed.root) == (known.stat, root_of(content))
    if size <= MIN_CHUNK:
        assert (refs, segments, hashed.root_node) == ([], [], None)
        return
    assert sum(ref.size for ref in refs) == size
    assert [ref for segment in segments for ref in segment.refs] == refs
    assert hashed.root_node is not None
    assert bytes(manifest.node_id(hashed.root_node, KEYS)) == bytes(hashed.root)
    offset = 0
    for ref in refs:
        assert manifest.chunk_id(content[offset : offset + ref.size], KEYS) == ref.id
        offset += ref.size


@pytest.mark.parametrize("tail", [b"", b"tail", b"x" * MIB])
@pytest.mark.parametrize("hole", [MIB // 2, MIB, 3 * MIB + 4096, 40 * MIB])
def test_a_hole_hashes_as_the_zeros_it_reads_as(folder: Folder, hole: int, tail: bytes) -> None:
    head = bytes_of(300_000)
    with (folder.at / "sparse").open("wb") as file:
        file.write(head)
        file.seek(hole, os.SEEK_CUR)
        file.write(tail)
        file.truncate()
        file.truncate(len(head) + hole + len(tail))
    hashed = hash_file(folder.root, Path(b"sparse"), KEYS)
    assert isinstance(hashed, Hashed)
    assert hashed.root == root_of(head + bytes(hole) + tail)


def test_a_huge_hole_is_neither_read_nor_kept_in_memory(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    with (folder.at / "huge").open("wb") as file:
        file.truncate(64 * 1024 * MIB)
    reads = 0
    real = os.preadv

    def counted(*arguments: object) -> int:
        nonlocal reads
        reads += 1
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "preadv", counted)
    chunks = 0

    def count(refs: object) -> None:
        nonlocal chunks
        chunks += len(refs)  # type: ignore[arg-type]

    hashed = hash_file(folder.root, Path(b"huge"), KEYS, count)
    assert isinstance(hashed, Hashed)
    assert chunks == 64 * 1024
    assert reads <= 1


@pytest.mark.parametrize("meddling", ["append", "truncate", "overwrite"])
def test_a_large_file_that_changes_meanwhile_is_gone(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, meddling: str
) -> None:
    folder.put("file", bytes_of(9 * MIB))
    file = folder.at / "file"

    def overwrite() -> None:
        with file.open("r+b") as opened:
            opened.write(b"other")

    def append() -> None:
        with file.open("ab") as opened:
            opened.write(b"more")

    meddle = {"append": append, "truncate": lambda: os.truncate(file, MIB), "overwrite": overwrite}[meddling]
    Meddler(monkeypatch, "preadv", meddle, at=2)
    assert isinstance(hash_file(folder.root, Path(b"file"), KEYS), Gone)


def test_a_range_is_read_only_from_the_very_file_that_is_expected(folder: Folder) -> None:
    content = bytes_of(300_000)
    known = folder.put("file", content)
    buffer = memoryview(bytearray(1000))
    assert read_at(folder.root, Path(b"file"), 500, buffer, known.stat) == 1000
    assert buffer == content[500:1500]
    assert read_at(folder.root, Path(b"file"), 299_500, buffer, known.stat) == 500
    folder.put("other", content)
    (folder.at / "other").rename(folder.at / "file")
    assert isinstance(read_at(folder.root, Path(b"file"), 500, buffer, known.stat), Gone)
    assert isinstance(read_at(folder.root, Path(b"missing"), 0, buffer, known.stat), Gone)


def test_a_range_of_a_file_that_changes_during_the_read_is_gone(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = folder.put("file", bytes_of(300_000))
    Meddler(monkeypatch, "preadv", lambda: (folder.at / "file").write_bytes(b"y" * 300_000))
    answer = read_at(folder.root, Path(b"file"), 0, memoryview(bytearray(1000)), known.stat)
    assert answer == Gone("it changed while it was read")


def test_a_read_error_is_said_not_taken_for_absence(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.put("file", b"content")

    def fails(*_: object) -> bytes:
        raise OSError(5, "io")

    monkeypatch.setattr(os, "read", fails)
    with pytest.raises(FolderError, match="read or write error"):
        read_whole(folder.root, Path(b"file"), 100)


def test_no_descriptor_is_left_open(folder: Folder) -> None:
    known = folder.put("file", bytes_of(200_000))
    os.mkfifo(folder.at / "fifo")
    folder.root.forget()
    before = open_below(folder.at)
    hash_file(folder.root, Path(b"file"), KEYS)
    read_at(folder.root, Path(b"file"), 0, memoryview(bytearray(10)), known.stat)
    read_whole(folder.root, Path(b"fifo"), 10)
    with pytest.raises(FolderError):
        read_whole(folder.root, Path(b"file"), 10)
    folder.root.forget()
    assert open_below(folder.at) == before
