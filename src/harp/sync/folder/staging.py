# SPDX-License-Identifier: AGPL-3.0-or-later
"""``.harp/tmp``: where new content is written before it takes its place, on the same disk, out of everyone's sight."""

import errno
import os
import re
from collections.abc import Iterable
from contextlib import suppress

from harp.base.errors import FolderError, LocalProtocolError
from harp.sync.folder import read, syscalls
from harp.sync.folder.fs import TMP, Directory, Root, sentence
from harp.sync.model import Path, Stat

HOLE_BYTES = 64 * 1024
"""Zero runs of at least this many bytes are left as holes."""
_PROBE_BYTES = HOLE_BYTES // 2
"""A run of HOLE_BYTES holds one aligned block of this size whole, so only those are looked at."""
_STEP_BYTES = 4096
_ZEROS = bytes(_PROBE_BYTES)
_WRITE_BACK_BYTES = 16 * 1024 * 1024
_COPY_BYTES = 1024 * 1024
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}")
_NEW = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CANNOT_COPY = frozenset(
    (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.ETXTBSY, errno.EPERM)
)

Buffer = bytes | bytearray | memoryview


def is_full(error: FolderError) -> bool:
    """Whether a refusal means that the disk (or the quota) is full, so that the trash should yield."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)


class Temp:
    """One file in the making. Several threads may write at once; methods raise :class:`FolderError`."""

    def __init__(self, staging: "Staging", name: str, fd: int, *, is_new: bool) -> None:
        self.name = name
        self._staging = staging
        self._fd = fd
        self._end = 0
        self._untouched_from = 0 if is_new else os.fstat(fd).st_size
        self._since_write_back = 0

    def write_at(self, offset: int, buffer: Buffer) -> None:
        """Write all of ``buffer`` at ``offset``; zero runs of at least HOLE_BYTES become holes."""
        view = memoryview(buffer)
        ranges = data_ranges(view)
        try:
            if ranges != [(0, len(view))]:
                for start, end in _between(ranges, len(view)):
                    self._make_zero(offset + start, offset + end)
            self._reach(offset + len(view))
            for start, end in ranges:
                _write_all(self._fd, view[start:end], offset + start)
        except OSError as error:
            raise _failed(error) from error
        self._count(len(view))

    def read_at(self, offset: int, buffer: memoryview) -> int:
        """Fill ``buffer`` from ``offset``, to see what a resumed temp holds; answers the bytes read."""
        try:
            return os.preadv(self._fd, [buffer], offset)
        except OSError as error:
            raise _failed(error) from error

    def reader(self) -> int | None:
        """A descriptor to read the file by, for whoever asks to close; None once it is finished.

        It is not one for writing: a file that somebody may still write to would not be looked at in its place.
        """
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.open(self.name, flags, dir_fd=self._staging.directory.fd) if self._fd >= 0 else None
        except OSError:
            return None

    def truncate(self, size: int) -> None:
        """Set the length; what was not written below it reads as zeros."""
        try:
            os.ftruncate(self._fd, size)
        except OSError as error:
            raise _failed(error) from error
        self._end = min(self._end, size)
        self._untouched_from = min(self._untouched_from, size)

    def copy_from(
        self, root: Root, path: Path, source_offset: int, length: int, target_offset: int, expected: Stat
    ) -> bool:
        """Copy a range of the folder's file that is exactly ``expected``; False if it is not, before or after.

        The kernel copies (copy_file_range(2)), sharing blocks where the disk can, and holes stay holes.
        """
        source = read.opened(root, path)
        if isinstance(source, read.Gone):
            return False
        with source:
            if source.before != expected or source_offset + length > expected.size:
                return False
            return self._copy_range(source, source_offset, length, target_offset) and not source.has_changed()

    def copy_from_fd(self, fd: int, source_offset: int, length: int, target_offset: int) -> bool:
        """Copy a range of an open file, such as a trash item; False if it is shorter than that."""
        found = os.fstat(fd)
        if source_offset + length > found.st_size:
            return False
        source = read.OpenFile(Path(b""), fd, found)
        return self._copy_range(source, source_offset, length, target_offset)

    def start_writing_back(self) -> None:
        """Let the disk begin with what is written so far, so that the sync at the end has less to wait for."""
        with suppress(OSError):
            syscalls.start_writing_back(self._fd, 0, 0)

    def sync(self) -> None:
        """Make the content durable (not its name)."""
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise _failed(error) from error

    def finish(self, mtime_ns: int, executable: bool, *, size: int | None = None) -> None:
        """Set length, mode and mtime, and close. What the disk cannot hold of them shows in the read-back.

        A ``size`` that is known counts: of a file that ends in a hole nothing may have been written there.
        """
        try:
            wanted = max(self._end, os.fstat(self._fd).st_size) if size is None else size
            if os.fstat(self._fd).st_size != wanted:
                os.ftruncate(self._fd, wanted)
            with suppress(PermissionError):
                os.fchmod(self._fd, self._staging.modes[executable])
            set_mtime(self._fd, mtime_ns)
        except OSError as error:
            raise _failed(error) from error
        finally:
            self.close()

    def discard(self) -> None:
        """Close and remove it."""
        self.close()
        self._staging.discard(self.name)

    def close(self) -> None:
        """Leave the temp as it is, to be reopened; closing twice is harmless."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _make_zero(self, start: int, end: int) -> None:
        """A range that shall read as zeros: nothing to do where nothing was written yet."""
        while start < end:
            hole = end - start if start >= self._untouched_from else read.hole_at(self._fd, start, end)
            start += hole
            if start < end:
                step = min(end - start, _STEP_BYTES)
                _write_all(self._fd, memoryview(_ZEROS)[:step], start)
                start += step

    def _copy_range(self, source: read.OpenFile, source_offset: int, length: int, target_offset: int) -> bool:
        shift = target_offset - source_offset
        position, end = source_offset, source_offset + length
        try:
            while position < end:
                hole = (
                    min(read.hole_at(source.fd, position, source.before.size), end - position) if source.sparse else 0
                )
                if hole:
                    self._make_zero(position + shift, position + shift + hole)
                    position += hole
                    continue
                stop = _data_end(source.fd, position, end) if source.sparse else end
                self._reach(stop + shift)
                copied = _copy(source.fd, self._fd, stop - position, position, position + shift)
                if copied == 0:
                    return False
                position += copied
        except OSError as error:
            raise _failed(error) from error
        self._reach(target_offset + length)
        self._count(length)
        return True

    def _reach(self, end: int) -> None:
        """Noted before the bytes are written, so that a write that fails half-way is not taken for a hole."""
        self._end = max(self._end, end)
        self._untouched_from = max(self._untouched_from, end)

    def _count(self, length: int) -> None:
        self._since_write_back += length
        if self._since_write_back >= _WRITE_BACK_BYTES:
            self._since_write_back = 0
            self.start_writing_back()


class Staging:
    """The temps of one folder. A name is letters, digits, ``_``, ``-`` and dots. Methods raise :class:`FolderError`."""

    def __init__(self, root: Root) -> None:
        try:
            self.directory: Directory = root.make_private(TMP)
        except OSError as error:
            raise _failed(error) from error
        mask = _umask()
        self.modes = (0o666 & ~mask, 0o777 & ~mask)
        """The mode of a new file that is not, and that is, executable."""

    def temp(self, name: str, *, resume: bool = False) -> Temp:
        """A new temp, refused if the name is taken; with ``resume`` the one that was left, if there is one."""
        if resume:
            left = self.reopen(name)
            if left is not None:
                return left
        try:
            fd = os.open(_checked(name), os.O_RDWR | _NEW, 0o600, dir_fd=self.directory.fd)
        except OSError as error:
            raise _failed(error) from error
        return Temp(self, name, fd, is_new=True)

    def reopen(self, name: str) -> Temp | None:
        """The temp that an earlier run left, to go on with it; None if there is none."""
        try:
            flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            fd = os.open(_checked(name), flags, dir_fd=self.directory.fd)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _failed(error) from error
        return Temp(self, name, fd, is_new=False)

    def write_small(self, name: str, content: Buffer, mtime_ns: int, executable: bool) -> None:
        """A whole finished temp in as few calls as there can be; refused if the name is taken."""
        try:
            fd = os.open(_checked(name), os.O_WRONLY | _NEW, self.modes[executable], dir_fd=self.directory.fd)
            try:
                written = os.write(fd, content) if content else 0
                if written < len(content):
                    _write_all(fd, memoryview(content)[written:], written)
                set_mtime(fd, mtime_ns)
            except OSError:
                os.unlink(name, dir_fd=self.directory.fd)
                raise
            finally:
                os.close(fd)
        except OSError as error:
            raise _failed(error) from error

    def write_symlink(self, name: str, target: bytes, mtime_ns: int) -> None:
        """A finished symlink as a temp. Raises OSError, for :meth:`harp.sync.folder.apply.Disk.commit`."""
        os.symlink(target, _checked(name).encode(), dir_fd=self.directory.fd)
        with suppress(OSError, OverflowError):
            os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=self.directory.fd, follow_symlinks=False)

    def names(self) -> list[str]:
        """The temps that are there: after a start, those that a crash left."""
        try:
            return [name for name in os.listdir(self.directory.fd) if _NAME.fullmatch(name)]
        except OSError as error:
            raise _failed(error) from error

    def discard(self, name: str) -> None:
        """Remove a temp, if it is there. Only Harp's own writing ever lies here, never the only copy of a user's."""
        try:
            os.unlink(_checked(name), dir_fd=self.directory.fd)
        except FileNotFoundError:
            return
        except OSError as error:
            raise _failed(error) from error

    def sync(self, names: Iterable[str]) -> None:
        """Make a few finished temps durable by fsync; for many, syncfs is cheaper."""
        try:
            for name in names:
                fd = os.open(_checked(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.directory.fd)
                try:
                    os.fsync(fd)
                finally:
                    os.close(fd)
        except OSError as error:
            raise _failed(error) from error


def data_ranges(view: memoryview) -> list[tuple[int, int]]:
    """Start and end of all in ``view`` that is no zero run of at least HOLE_BYTES."""
    size = len(view)
    ranges: list[tuple[int, int]] = []
    start = probe = 0
    while probe + _PROBE_BYTES <= size:
        if view[probe] or view[probe + _PROBE_BYTES - 1] or view[probe : probe + _PROBE_BYTES].tobytes() != _ZEROS:
            probe += _PROBE_BYTES
            continue
        low, high = _zero_run(view, start, probe, probe + _PROBE_BYTES)
        if high - low >= HOLE_BYTES:
            if low > start:
                ranges.append((start, low))
            start = high
        probe = max(probe + _PROBE_BYTES, high // _PROBE_BYTES * _PROBE_BYTES)
    if start < size:
        ranges.append((start, size))
    return ranges


def set_mtime(fd: int, mtime_ns: int) -> None:
    """Set mtime (and atime) as far as the disk can hold it; the read-back tells what became of it."""
    with suppress(OverflowError, PermissionError):
        os.utime(fd, ns=(mtime_ns, mtime_ns))


def _zero_run(view: memoryview, first: int, low: int, high: int) -> tuple[int, int]:
    """The zero block from ``low`` to ``high``, widened in both directions."""
    while low - _STEP_BYTES >= first and _is_zero(view[low - _STEP_BYTES : low]):
        low -= _STEP_BYTES
    while high < len(view) and _is_zero(view[high : high + _STEP_BYTES]):
        high = min(high + _STEP_BYTES, len(view))
    return low, high


def _is_zero(view: memoryview) -> bool:
    return not view[0] and view.tobytes() == _ZEROS[: len(view)]


def _between(ranges: list[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """What the ranges leave out of ``size`` bytes."""
    ends = [0, *(end for _, end in ranges)]
    starts = [*(start for start, _ in ranges), size]
    return [(end, start) for end, start in zip(ends, starts, strict=True) if start > end]


def _write_all(fd: int, view: memoryview, offset: int) -> None:
    while view:
        written = os.pwrite(fd, view, offset)
        offset += written
        view = view[written:]


def _copy(source: int, target: int, length: int, source_offset: int, target_offset: int) -> int:
    """Copy up to ``length`` bytes, by the kernel where it can; 0 at the end of the source."""
    try:
        return os.copy_file_range(source, target, length, source_offset, target_offset)
    except OSError as error:
        if error.errno not in _CANNOT_COPY:
            raise
    data = os.pread(source, min(length, _COPY_BYTES), source_offset)
    _write_all(target, memoryview(data), target_offset)
    return len(data)


def _data_end(fd: int, position: int, end: int) -> int:
    try:
        return min(os.lseek(fd, position, os.SEEK_HOLE), end)
    except OSError:
        return end


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise LocalProtocolError("a temp's name is letters, digits, '_', '-' and dots")
    return name


def _umask() -> int:
    """The process's umask; read without setting it, which would race with other threads."""
    with suppress(OSError, ValueError), open("/proc/self/status", "rb") as status:
        for line in status:
            if line.startswith(b"Umask:"):
                return int(line.split()[1], 8)
    return 0o022


def _failed(error: OSError) -> FolderError:
    return FolderError(sentence(error), hint="make room on it" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "")
