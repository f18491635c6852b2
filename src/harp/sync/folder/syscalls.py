# SPDX-License-Identifier: AGPL-3.0-or-later
"""The Linux calls that Python does not wrap, by ctypes; each raises OSError as the ``os`` functions do.

A call that the C library or the kernel lacks raises OSError(ENOSYS), so that a caller has one way to fall back.
"""

import ctypes
import errno
import os
import platform
from collections.abc import Callable

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2

_RESOLVE_INSIDE = 0x08 | 0x04 | 0x02
"""RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS and RESOLVE_NO_MAGICLINKS: openat2(2)."""
_SYS_OPENAT2 = 437
_SYS_RENAMEAT2 = {
    "x86_64": 316,
    "aarch64": 276,
    "riscv64": 276,
    "armv7l": 382,
    "i686": 353,
    "ppc64le": 357,
    "s390x": 347,
}
_SYNC_FILE_RANGE_WRITE = 2

_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def _function(name: str, *arguments: object) -> Callable[..., int] | None:
    """A prototype of its own for each use, since ``syscall`` is used with several."""
    prototype = ctypes.CFUNCTYPE(ctypes.c_long if name == "syscall" else ctypes.c_int, *arguments, use_errno=True)  # type: ignore[arg-type]
    try:
        return prototype((name, _libc))
    except AttributeError:
        return None


_int, _name, _pointer = ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p
_openat2 = _function("syscall", ctypes.c_long, _int, _name, _pointer, ctypes.c_size_t)
_renameat2 = _function("renameat2", _int, _name, _int, _name, ctypes.c_uint)
_raw_renameat2 = _function("syscall", ctypes.c_long, _int, _name, _int, _name, ctypes.c_uint)
_syncfs = _function("syncfs", _int)
_sync_file_range = _function("sync_file_range", _int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
_inotify_init1 = _function("inotify_init1", _int)
_inotify_add_watch = _function("inotify_add_watch", _int, _name, ctypes.c_uint32)
_inotify_rm_watch = _function("inotify_rm_watch", _int, _int)


def open_inside(directory_fd: int, path: bytes, flags: int) -> int:
    """Open ``path`` below ``directory_fd`` without following a symlink anywhere on the way (openat2, Linux 5.6)."""
    how = _how(flags)
    while True:
        fd = _call(_openat2, _SYS_OPENAT2, directory_fd, path, how[1], 24)
        if fd >= 0:
            return fd
        number = ctypes.get_errno()
        # EAGAIN: a rename elsewhere raced with the walk, and the kernel asks to try again (openat2(2)).
        if number not in (errno.EINTR, errno.EAGAIN):
            raise OSError(number, os.strerror(number), path)


def rename(source_fd: int, source: bytes, target_fd: int, target: bytes, flags: int) -> None:
    """renameat2(2): RENAME_NOREPLACE or RENAME_EXCHANGE."""
    if _renameat2 is not None:
        result = _renameat2(source_fd, source, target_fd, target, flags)
    else:
        number = _SYS_RENAMEAT2.get(platform.machine(), -1)
        result = _call(_raw_renameat2, number, source_fd, source, target_fd, target, flags)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def syncfs(fd: int) -> None:
    """Make everything on the file system of ``fd`` durable (syncfs(2))."""
    _checked(_call(_syncfs, fd))


def start_writing_back(fd: int, offset: int, length: int) -> None:
    """Ask the kernel to begin writing a range to the disk, without waiting (sync_file_range(2))."""
    _checked(_call(_sync_file_range, fd, offset, length, _SYNC_FILE_RANGE_WRITE))


def inotify_init(flags: int) -> int:
    return _checked(_call(_inotify_init1, flags))


def inotify_add_watch(fd: int, path: bytes, mask: int) -> int:
    return _checked(_call(_inotify_add_watch, fd, path, mask))


def inotify_rm_watch(fd: int, watch: int) -> None:
    _checked(_call(_inotify_rm_watch, fd, watch))


_hows: dict[int, tuple[_OpenHow, int]] = {}


def _how(flags: int) -> tuple[_OpenHow, int]:
    """The structure for these flags and its address; kept, since building one costs more than the call."""
    known = _hows.get(flags)
    if known is None:
        structure = _OpenHow(flags, 0, _RESOLVE_INSIDE)
        known = _hows[flags] = (structure, ctypes.addressof(structure))
    return known


def _call(function: Callable[..., int] | None, *arguments: object) -> int:
    if function is None:
        ctypes.set_errno(errno.ENOSYS)
        return -1
    return function(*arguments)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
