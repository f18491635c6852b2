# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a disk can do, tried out in ``.harp/tmp`` when a folder is shared, and cleaned up again."""

import os
import stat as mode_bits
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from harp.sync.folder import read, rename, syscalls
from harp.sync.folder.fs import TMP, Directory, Root, refused
from harp.sync.folder.staging import HOLE_BYTES
from harp.sync.model import Path

_PREFIX = b"probe-"
_MTIME_NS = 1_700_000_001_123_456_789
"""An odd second and no round fraction, so that what a disk rounds away shows."""
_GRANULARITIES_NS = (1, 100, 1_000, 1_000_000, 10_000_000, 1_000_000_000, 2_000_000_000)
_COMPOSED = "é".encode()
_DECOMPOSED = "e\u0301".encode()


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What was found. A disk that folds or normalises takes different names for one (``names.folded``)."""

    folds_case: bool
    normalises: bool
    holds_any_bytes: bool
    """Whether names that are not UTF-8 are held."""
    symlinks: bool
    hard_links: bool
    executable_bit: bool
    mtime_granularity_ns: int
    exchange: bool
    """renameat2 with RENAME_EXCHANGE: a replacement without a moment in which nothing lies there."""
    noreplace: bool
    syncfs: bool
    holes: bool
    free_bytes: int
    total_bytes: int
    max_name_bytes: int

    @property
    def folds(self) -> bool:
        return self.folds_case or self.normalises


def probe(root: Root) -> Capabilities:
    """Try the disk out. Raises :class:`FolderError` where not even a file can be written."""
    try:
        holder = root.make_private(TMP)
        _clean(holder)
        try:
            return _probed(root, holder)
        finally:
            _clean(holder)
    except OSError as error:
        raise refused(Path(b""), error) from error


def _probed(root: Root, holder: Directory) -> Capabilities:
    _make(holder, b"file")
    return Capabilities(
        folds_case=_is_one(holder, b"case", b"CASE"),
        normalises=_is_one(holder, _COMPOSED, _DECOMPOSED),
        holds_any_bytes=_works(lambda: _make(holder, b"\xff\xfe")),
        symlinks=_works(lambda: os.symlink(b"nowhere", _PREFIX + b"symlink", dir_fd=holder.fd)),
        hard_links=_works(
            lambda: os.link(_PREFIX + b"file", _PREFIX + b"link", src_dir_fd=holder.fd, dst_dir_fd=holder.fd)
        ),
        executable_bit=_holds_executable(holder),
        mtime_granularity_ns=_granularity(holder),
        exchange=_exchanges(holder),
        noreplace=_keeps_targets(holder),
        syncfs=_works(lambda: syscalls.syncfs(root.fd)),
        holes=_makes_holes(holder),
        free_bytes=root.free_bytes(),
        total_bytes=root.total_bytes(),
        max_name_bytes=os.fstatvfs(root.fd).f_namemax,
    )


def _is_one(holder: Directory, name: bytes, other: bytes) -> bool:
    """Whether the disk takes the two names for one, or gives one back as the other."""
    _make(holder, name)
    with suppress(FileNotFoundError):
        os.stat(_PREFIX + other, dir_fd=holder.fd, follow_symlinks=False)
        return True
    return os.fsdecode(_PREFIX + name) not in os.listdir(holder.fd)


def _holds_executable(holder: Directory) -> bool:
    fd = _make_open(holder, b"executable")
    try:
        with suppress(OSError):
            os.fchmod(fd, 0o600)
            plain = os.fstat(fd).st_mode
            os.fchmod(fd, 0o700)
            return not plain & mode_bits.S_IXUSR and bool(os.fstat(fd).st_mode & mode_bits.S_IXUSR)
        return False
    finally:
        os.close(fd)


def _granularity(holder: Directory) -> int:
    fd = _make_open(holder, b"mtime")
    try:
        os.utime(fd, ns=(_MTIME_NS, _MTIME_NS))
        lost = abs(os.fstat(fd).st_mtime_ns - _MTIME_NS)
    finally:
        os.close(fd)
    return next((step for step in _GRANULARITIES_NS if lost < step), _GRANULARITIES_NS[-1])


def _exchanges(holder: Directory) -> bool:
    one, other = _make(holder, b"one"), _make(holder, b"other")
    if not _works(lambda: rename.exchange(holder, _PREFIX + b"one", holder, _PREFIX + b"other")):
        return False
    return (_inode(holder, b"one"), _inode(holder, b"other")) == (other, one)


def _keeps_targets(holder: Directory) -> bool:
    """Whether RENAME_NOREPLACE refuses a name that is taken, and takes one that is free."""
    _make(holder, b"here")
    taken = _make(holder, b"taken")
    flags = syscalls.RENAME_NOREPLACE
    try:
        syscalls.rename(holder.fd, _PREFIX + b"here", holder.fd, _PREFIX + b"taken", flags)
    except FileExistsError:
        moves = _works(lambda: syscalls.rename(holder.fd, _PREFIX + b"here", holder.fd, _PREFIX + b"free", flags))
        return moves and _inode(holder, b"taken") == taken
    except OSError:
        return False
    return False


def _makes_holes(holder: Directory) -> bool:
    fd = _make_open(holder, b"holes")
    try:
        with suppress(OSError):
            os.ftruncate(fd, 4 * HOLE_BYTES)
            os.pwrite(fd, b"x", 4 * HOLE_BYTES - 1)
            return read.hole_at(fd, 0, 4 * HOLE_BYTES) >= HOLE_BYTES
        return False
    finally:
        os.close(fd)


def _works(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except OSError:
        return False
    return True


def _make(holder: Directory, name: bytes) -> int:
    """A new empty file; its inode."""
    fd = _make_open(holder, name)
    try:
        return os.fstat(fd).st_ino
    finally:
        os.close(fd)


def _make_open(holder: Directory, name: bytes) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(_PREFIX + name, flags, 0o600, dir_fd=holder.fd)


def _inode(holder: Directory, name: bytes) -> int:
    return os.stat(_PREFIX + name, dir_fd=holder.fd, follow_symlinks=False).st_ino


def _clean(holder: Directory) -> None:
    for name in os.listdir(holder.fd):
        if name.startswith(_PREFIX.decode()):
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=holder.fd)
