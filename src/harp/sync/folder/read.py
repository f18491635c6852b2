# SPDX-License-Identifier: AGPL-3.0-or-later
"""Reading files whose state is looked at before and after, so that a file that changes meanwhile is never believed."""

import errno
import fcntl
import os
import signal
import stat as mode_bits
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from harp.base.errors import FolderError
from harp.sync.engine import manifest
from harp.sync.engine.chunker import Chunker, consumed, whole_zero_chunks
from harp.sync.engine.manifest import Builder, Keys, Segment
from harp.sync.folder.fs import READ_FLAGS, Root, refused, shown, stat_of
from harp.sync.model import MAX_CHUNK, MIN_CHUNK, ChunkId, ChunkRef, Path, RootId, Stat

BUFFER_BYTES = 4 * 1024 * 1024
_NOT_THERE = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.EXDEV))
_BLOCK_BYTES = 512
"""The unit of ``st_blocks``, whatever the disk's own block size (stat(2))."""
_ZERO_CHUNK = memoryview(bytes(MAX_CHUNK))


@dataclass(frozen=True, slots=True)
class Gone:
    """The file is not, or is no longer, what it was: look at the path again.

    ``is_open``: nothing is wrong but that a program has it open for writing.
    """

    why: str
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class Hashed:
    """A file's state and content. ``root_node`` is None where the root is the one chunk's id, or empty."""

    stat: Stat
    root: RootId
    root_node: bytes | None


class OpenFile:
    """A regular file that is open for reading, with its state at opening; a context manager."""

    __slots__ = ("before", "fd", "path", "sparse")

    def __init__(self, path: Path, fd: int, found: os.stat_result) -> None:
        self.path = path
        self.fd = fd
        self.before = stat_of(found)
        self.sparse = found.st_blocks * _BLOCK_BYTES < found.st_size

    def has_changed(self) -> bool:
        """Whether the state is another than at opening. Raises OSError."""
        return stat_of(os.fstat(self.fd)) != self.before

    def __enter__(self) -> "OpenFile":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)


def opened(root: Root, path: Path) -> OpenFile | Gone:
    """The regular file at ``path``, never waiting for a FIFO.

    Raises :class:`FolderError` where it is there and may not be read.
    """
    try:
        above, _, last = path.rpartition(b"/")
        holder = root.directory(Path(above))
        fd = os.open(last, READ_FLAGS, dir_fd=holder.fd)
    except OSError as error:
        if error.errno in _NOT_THERE:
            return Gone("it is gone")
        raise refused(path, error) from error
    found = os.fstat(fd)
    if not mode_bits.S_ISREG(found.st_mode):
        os.close(fd)
        return Gone("it is no regular file any more")
    return OpenFile(path, fd, found)


def is_open_for_writing(fd: int) -> bool | None:
    """Whether any program has this file open for writing; None where the disk cannot say, or it is another user's.

    A read lease is refused while there is a writer (fcntl(2), F_SETLEASE); it is given back at once. Should a writer
    come in that moment, the kernel announces it by the chosen signal, which is ignored unless asked for.
    """
    try:
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return True if error.errno == errno.EAGAIN else None
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def read_whole(root: Root, path: Path, limit: int, *, unless_open: bool = False) -> tuple[Stat, bytes] | Gone:
    """The whole of a file of at most ``limit`` bytes, and the one state it had before and after the read.

    ``unless_open``: a file that a program has open for writing is answered with ``Gone(is_open=True)``.
    Raises :class:`FolderError` where the file is larger than ``limit`` or may not be read.
    """
    file = opened(root, path)
    if isinstance(file, Gone):
        return file
    with file:
        if file.before.size > limit:
            raise FolderError(f"{shown(path)} is larger than {limit} bytes")
        if unless_open and is_open_for_writing(file.fd):
            return _is_open()
        data = _content(file)
        return data if isinstance(data, Gone) else (file.before, data)


def read_at(root: Root, path: Path, offset: int, buffer: memoryview, expected: Stat) -> int | Gone:
    """Fill ``buffer`` from ``offset`` of the file that is exactly ``expected``, before and after the read.

    The answer is the number of bytes read, fewer than asked only at the end of the file. Raises :class:`FolderError`.
    """
    file = opened(root, path)
    if isinstance(file, Gone):
        return file
    with file:
        if file.before != expected:
            return Gone("it is another file, or has changed")
        try:
            read = _fill(file.fd, buffer, offset)
            has_changed = file.has_changed()
        except OSError as error:
            raise refused(path, error) from error
    return Gone("it changed while it was read") if has_changed else read


def hash_file(
    root: Root,
    path: Path,
    keys: Keys,
    on_refs: Callable[[Sequence[ChunkRef]], None] | None = None,
    on_segment: Callable[[Segment], None] | None = None,
    *,
    unless_open: bool = False,
) -> Hashed | Gone:
    """The manifest root of the file at ``path`` and the one state it had throughout.

    For more than MIN_CHUNK bytes ``on_refs`` is called with the chunks as they are found, in order, and ``on_segment``
    with each finished segment; nothing they were told counts if the answer is :class:`Gone`. Memory does not grow with
    the file. ``unless_open`` as for :func:`read_whole`. Raises :class:`FolderError` where it may not be read.
    """
    file = opened(root, path)
    if isinstance(file, Gone):
        return file
    with file:
        if unless_open and is_open_for_writing(file.fd):
            return _is_open()
        if file.before.size <= MIN_CHUNK:
            data = _content(file)
            if isinstance(data, Gone):
                return data
            return Hashed(file.before, manifest.root_of_small(data, keys), None)
        return _hashed_large(file, keys, on_refs, on_segment)


class Reading:
    """Cuts an open file into chunks through one buffer; what :attr:`gone` says counts for all that was given out.

    Holes are neither read nor copied: where they hold whole chunks, one buffer of zeros is given out instead.
    """

    def __init__(self, file: OpenFile, buffer_bytes: int = BUFFER_BYTES) -> None:
        self._file = file
        self._size = file.before.size
        self._buffer = memoryview(bytearray(min(max(buffer_bytes, 2 * MAX_CHUNK), self._size)))
        self.gone: Gone | None = None

    def bunches(self) -> Iterator[list[memoryview]]:
        """Successive chunks, some at a time; each view is valid until the next bunch is asked for.

        Ends early, with :attr:`gone` set, where the file ends too soon; at the end the file's state is compared.
        Raises :class:`FolderError`.
        """
        chunker = Chunker()
        try:
            position = filled = 0
            while position < self._size:
                zeros = self._zero_chunks_at(position)
                if zeros:
                    # What is left in the buffer lies in the hole as well: a hole begins at ``position``.
                    filled = 0
                    position += zeros * MAX_CHUNK
                    yield from _zero_bunches(zeros)
                    continue
                filled += self._read_on(position + filled, filled)
                is_final = position + filled == self._size
                if self.gone:
                    return
                cuts = chunker.cut(self._buffer[:filled], final=is_final)
                yield [self._buffer[offset : offset + length] for offset, length in cuts]
                taken = consumed(cuts)
                self._buffer[: filled - taken] = self._buffer[taken:filled]
                position += taken
                filled -= taken
            if self._file.has_changed():
                self.gone = Gone("it changed while it was read")
        except OSError as error:
            raise refused(self._file.path, error) from error

    def _read_on(self, offset: int, filled: int) -> int:
        wanted = min(len(self._buffer) - filled, self._size - offset)
        read = _fill(self._file.fd, self._buffer[filled : filled + wanted], offset)
        if read < wanted:
            self.gone = Gone("it became shorter while it was read")
        return read

    def _zero_chunks_at(self, position: int) -> int:
        if not self._file.sparse:
            return 0
        return whole_zero_chunks(hole_at(self._file.fd, position, self._size))


def hole_at(fd: int, position: int, size: int) -> int:
    """How many bytes from ``position`` are a hole, as far as the disk says."""
    try:
        return min(os.lseek(fd, position, os.SEEK_DATA), size) - position
    except OSError as error:
        # ENXIO: no data up to the end (lseek(2)); a disk without holes says EINVAL.
        return size - position if error.errno == errno.ENXIO and position < size else 0


def _hashed_large(
    file: OpenFile,
    keys: Keys,
    on_refs: Callable[[Sequence[ChunkRef]], None] | None,
    on_segment: Callable[[Segment], None] | None,
) -> Hashed | Gone:
    reading = Reading(file)
    builder = Builder(keys)
    zero_id: ChunkId | None = None
    for bunch in reading.bunches():
        refs = []
        for chunk in bunch:
            if chunk is _ZERO_CHUNK:
                zero_id = zero_id or manifest.chunk_id(chunk, keys)
                ref = ChunkRef(zero_id, MAX_CHUNK)
            else:
                ref = ChunkRef(manifest.chunk_id(chunk, keys), len(chunk))
            refs.append(ref)
            segment = builder.add(ref)
            if segment is not None and on_segment is not None:
                on_segment(segment)
        if on_refs is not None and refs:
            on_refs(refs)
    if reading.gone is not None:
        return reading.gone
    finished = builder.finish()
    if finished.last is not None and on_segment is not None:
        on_segment(finished.last)
    return Hashed(file.before, finished.root, finished.root_node)


def _zero_bunches(count: int) -> Iterator[list[memoryview]]:
    while count > 0:
        bunch = min(count, 256)
        yield [_ZERO_CHUNK] * bunch
        count -= bunch


def _content(file: OpenFile) -> bytes | Gone:
    """All of a file that fits into memory, if its state is the same before and after."""
    size = file.before.size
    try:
        data = os.read(file.fd, size + 1) if size else b""
        while 0 < len(data) < size:
            more = os.read(file.fd, size + 1 - len(data))
            if not more:
                break
            data += more
        has_changed = file.has_changed()
    except OSError as error:
        raise refused(file.path, error) from error
    if has_changed or len(data) != size:
        return Gone("it changed while it was read")
    return data


def _fill(fd: int, buffer: memoryview, offset: int) -> int:
    """Read until the buffer is full or the file ends. Raises OSError."""
    filled = 0
    while filled < len(buffer):
        read = os.preadv(fd, [buffer[filled:] if filled else buffer], offset + filled)
        if read == 0:
            break
        filled += read
    return filled


def _is_open() -> Gone:
    return Gone("a program has it open for writing", is_open=True)
