# SPDX-License-Identifier: AGPL-3.0-or-later
"""The opened folder: every path is walked from its root without following a symlink, so nothing leads outside."""

import errno
import os
import stat as mode_bits
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from harp.base.errors import FolderError, UsageError
from harp.sync.folder import names, syscalls
from harp.sync.folder.names import PRIVATE
from harp.sync.model import ID_BYTES, FileKind, FolderId, Path, Stat

MARKER = Path(PRIVATE + b"/folder")
TMP = Path(PRIVATE + b"/tmp")
TRASH = Path(PRIVATE + b"/trash")
LOCAL_IGNORE = Path(PRIVATE + b"/ignore")
MARKER_ID_BYTES = 16
GONE = "its marker is gone: the disk is not mounted, or the folder was moved"

READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""O_NONBLOCK, so that opening a FIFO that was swapped in never waits for its writer."""
_DIRECTORY_FLAGS = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_KEPT_DIRECTORIES = 16
_KEPT_FOR_S = 0.05
"""How long a directory's descriptor stands for its path: a rename of that directory in between then reads as one that
came just after, which any program that had it open could bring about as well."""

_KINDS = {
    mode_bits.S_IFREG: FileKind.FILE,
    mode_bits.S_IFDIR: FileKind.DIRECTORY,
    mode_bits.S_IFLNK: FileKind.SYMLINK,
}
_LEAST, _MOST = -(2**63), 2**63 - 1
_CLIMBING = frozenset((b"", b".", b".."))
_ABSENT = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EXDEV))
"""EXDEV: openat2 says so of a walk that would leave the folder."""

_SENTENCES = {
    errno.EACCES: "permission denied",
    errno.EPERM: "the disk does not permit it",
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the disk is read-only",
    errno.ENAMETOOLONG: "the name is too long for this disk",
    errno.EILSEQ: "this disk cannot hold the name",
    errno.EINVAL: "this disk cannot hold the name",
    errno.EXDEV: "another disk is mounted there",
    errno.ELOOP: "a symlink lies where a directory should be",
    errno.ENOTDIR: "a file lies where a directory should be",
    errno.EISDIR: "a directory lies there",
    errno.EEXIST: "something else lies there",
    errno.ENOENT: "it is gone",
    errno.ENOTEMPTY: "the directory still holds something",
    errno.EIO: "the disk reports a read or write error",
    errno.EFBIG: "the file is too large for this disk",
    errno.EMFILE: "Harp may open no more files (LimitNOFILE=, or ulimit -n)",
    errno.ENFILE: "this computer may open no more files (sysctl fs.file-max)",
    errno.ENOMEM: "no memory is left",
    errno.ETXTBSY: "the program is running",
    errno.EBUSY: "it is in use",
    errno.ESTALE: "the network disk lost it",
    errno.EMLINK: "the disk holds no more entries there",
    errno.EOPNOTSUPP: "this disk cannot do it",
    errno.ENOSYS: "this disk cannot do it",
}


def sentence(error: OSError) -> str:
    """What went wrong, in words for a person, without a path."""
    if error.errno in _SENTENCES:
        return _SENTENCES[error.errno]
    return os.strerror(error.errno).lower() if error.errno else "the disk failed"


def stat_of(found: os.stat_result) -> Stat:
    """The noun of what ``lstat`` or ``fstat`` said. A directory's size is given as 0.

    All its numbers are of 63 bits and a sign, as the ledger and the protocol hold them. A time beyond the years 1677 to
    2262 is the nearest of these; an inode from 2^63 up, which network disks have, is the negative number of its bits.
    """
    mode = found.st_mode
    kind = _KINDS.get(mode & 0o170000, FileKind.OTHER)
    size = 0 if kind == FileKind.DIRECTORY else found.st_size
    executable = kind == FileKind.FILE and bool(mode & 0o100)
    mtime_ns, ctime_ns, inode = found.st_mtime_ns, found.st_ctime_ns, found.st_ino
    if inode > _MOST or not (_LEAST <= mtime_ns <= _MOST and _LEAST <= ctime_ns <= _MOST):
        mtime_ns, ctime_ns = (min(max(time_ns, _LEAST), _MOST) for time_ns in (mtime_ns, ctime_ns))
        inode = inode - 2**64 if inode > _MOST else inode
    return Stat(kind, size, mtime_ns, ctime_ns, inode, executable)


class Directory:
    """An open directory; its descriptor is closed when the last one who holds this object lets go of it.

    Bind it to a name while ``fd`` is used: ``root.directory(path).fd`` alone may be closed before the call it is for.
    """

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        try:
            os.close(self.fd)
        except OSError:
            # Nothing was written through it, so nothing can be lost by a failing close.
            return


@dataclass(frozen=True, slots=True)
class Marker:
    """What tells this folder on this disk from an empty mount point or a copy: folder id and 16 random bytes."""

    folder: FolderId
    id: bytes


class Root:
    """An opened folder. Safe to use from several threads; paths are relative and must have passed ``names.check``.

    Methods raise :class:`FolderError` where the disk refuses; absence is a value (None).
    """

    def __init__(self, path: bytes, directory: Directory, *, uses_openat2: bool = True) -> None:
        self.path = path
        self._directory = directory
        found = os.fstat(directory.fd)
        self.device = found.st_dev
        self.inode = found.st_ino
        self._uses_openat2 = uses_openat2
        self.folds = False
        """Set for a disk that takes some names for others (``probe.Capabilities``): what is listed under another name
        than a path's does not lie at that path."""
        self._kept: OrderedDict[bytes, tuple[Directory, float]] = OrderedDict()
        self._listed: dict[bytes, tuple[frozenset[bytes], float]] = {}
        self._lock = threading.Lock()

    @classmethod
    def open(cls, path: str) -> Self:
        """Open the folder at ``path`` (a symlink to it is followed, once, now).

        Raises :class:`UsageError` where there is no directory, :class:`FolderError` where it cannot be read.
        """
        real = os.path.realpath(os.fsencode(path))
        shown = os.fsdecode(real)
        try:
            fd = os.open(real, os.O_RDONLY | _DIRECTORY_FLAGS)
        except FileNotFoundError as error:
            raise UsageError(f"there is no folder at {shown}", hint="make it, or mount the disk it is on") from error
        except NotADirectoryError as error:
            raise UsageError(f"{shown} is not a folder", hint="name a directory") from error
        except OSError as error:
            hint = "see who owns it and who may read it" if isinstance(error, PermissionError) else ""
            raise FolderError(f"{shown}: {sentence(error)}", hint=hint) from error
        return cls(real, Directory(fd), uses_openat2=_has_openat2(fd))

    @property
    def fd(self) -> int:
        """The root's own descriptor, valid while this object lives."""
        return self._directory.fd

    # --- walking ------------------------------------------------------------------------------------------------------

    def directory(self, path: Path) -> Directory:
        """The directory at ``path``, for use as ``dir_fd`` only; kept for a moment, so many files in one are cheap.

        Raises OSError: for the modules of this folder, which map it.
        """
        if not path:
            return self._directory
        now = time.monotonic()
        kept = self._kept.get(path)
        if kept is not None and kept[1] > now:
            return kept[0]
        found = Directory(self.open_raw(path, os.O_PATH | _DIRECTORY_FLAGS))
        with self._lock:
            self._kept[path] = (found, now + _KEPT_FOR_S)
            self._kept.move_to_end(path)
            if len(self._kept) > _KEPT_DIRECTORIES:
                self._kept.popitem(last=False)
        return found

    def forget(self) -> None:
        """Drop every kept directory: one was moved or removed."""
        with self._lock:
            self._kept.clear()
            self._listed.clear()

    def readable_directory(self, path: Path) -> Directory:
        """The directory at ``path``, opened for listing or fsync. Raises OSError."""
        return Directory(self.open_raw(path or Path(b"."), os.O_RDONLY | _DIRECTORY_FLAGS))

    def open_raw(self, path: Path, flags: int) -> int:
        """A descriptor of what lies at ``path``, reached without any symlink. Raises OSError."""
        if self._uses_openat2:
            return syscalls.open_inside(self.fd, path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)
        if path == b".":
            return os.open(path, flags | os.O_CLOEXEC, dir_fd=self.fd)
        *above, last = path.split(b"/")
        if not _CLIMBING.isdisjoint((*above, last)):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
        here = self._walked(above)
        return os.open(last, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here.fd)

    def _walked(self, components: list[bytes]) -> Directory:
        """As openat2 would, component by component."""
        here = self._directory
        for component in components:
            here = Directory(os.open(component, os.O_PATH | _DIRECTORY_FLAGS, dir_fd=here.fd))
        return here

    def make_parents(self, path: Path) -> Directory:
        """The directory that is to hold ``path``; it and those above it are made if need be. Raises OSError.

        A file or a symlink on the way raises OSError(ENOTDIR or ELOOP) and stays.
        """
        above = Path(path.rpartition(b"/")[0])
        try:
            return self.directory(above)
        except FileNotFoundError:
            holder = self.make_parents(above)
            with suppress(FileExistsError):
                os.mkdir(above.rpartition(b"/")[2], 0o777, dir_fd=holder.fd)
            return self.directory(above)

    # --- looking ------------------------------------------------------------------------------------------------------

    def lstat(self, path: Path) -> os.stat_result | None:
        """What lies at ``path`` itself, as the system says it; None where nothing does."""
        try:
            if not path:
                return os.fstat(self.fd)
            above, _, last = path.rpartition(b"/")
            directory = self.directory(Path(above))
            found = os.stat(last, dir_fd=directory.fd, follow_symlinks=False)
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise refused(path, error) from error
        return None if self.is_misspelled(path) else found

    def is_misspelled(self, path: Path) -> bool:
        """Whether something answers to ``path``, or to a directory above it, that this disk lists by another name."""
        return self.folds and not all(map(self._is_listed, (*names.ancestors(path), path)))

    def _is_listed(self, path: Path) -> bool:
        """Whether a path is listed as it is spelled, or nothing answers to it."""
        above, last = names.parent(path), names.name(path)
        listed, until = self._listed.get(above, (frozenset(), 0.0))
        if until > time.monotonic() and last in listed:
            return True
        # Only what is there may be believed for a moment: what is not may have come since.
        found = self.names(above)
        if found is None:
            return True
        listed = frozenset(found)
        if len(self._listed) >= _KEPT_DIRECTORIES:
            self._listed.clear()
        self._listed[above] = (listed, time.monotonic() + _KEPT_FOR_S)
        return last in listed or not self._answers(above, last)

    def _answers(self, above: Path, name: bytes) -> bool:
        try:
            directory = self.directory(above)
            os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
        except OSError as error:
            if error.errno in _ABSENT:
                return False
            raise refused(above, error) from error
        return True

    def stat(self, path: Path) -> Stat | None:
        """What lies at ``path`` itself; None where nothing does, or where a symlink stands in for a parent."""
        found = self.lstat(path)
        return None if found is None else stat_of(found)

    def readlink(self, path: Path) -> bytes | None:
        """The target of the symlink at ``path``; None where there is none."""
        try:
            above, _, last = path.rpartition(b"/")
            directory = self.directory(Path(above))
            return os.readlink(last, dir_fd=directory.fd)
        except OSError as error:
            if error.errno in _ABSENT or error.errno == errno.EINVAL:
                return None
            raise refused(path, error) from error

    def names(self, path: Path) -> list[bytes] | None:
        """The names in the directory at ``path``; None where there is none."""
        try:
            directory = self.readable_directory(path)
            return [os.fsencode(name) for name in os.listdir(directory.fd)]
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise refused(path, error) from error

    def open_file(self, path: Path) -> int:
        """A descriptor for reading the regular file at ``path``; the caller closes it.

        Raises :class:`FolderError` for anything else; never blocks on a FIFO.
        """
        try:
            fd = self.open_regular(path)
        except OSError as error:
            raise refused(path, error) from error
        if fd is None:
            raise FolderError(f"{shown(path)} is not a regular file")
        return fd

    def open_regular(self, path: Path) -> int | None:
        """As :meth:`open_file`, but None for what is no regular file, and the raw OSError."""
        above, _, last = path.rpartition(b"/")
        directory = self.directory(Path(above))
        try:
            fd = os.open(last, READ_FLAGS, dir_fd=directory.fd)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO, errno.ENODEV):
                return None
            raise
        if mode_bits.S_ISREG(os.fstat(fd).st_mode):
            return fd
        os.close(fd)
        return None

    def free_bytes(self) -> int:
        """What an ordinary user may still write to this disk."""
        room = os.fstatvfs(self.fd)
        return room.f_bavail * room.f_frsize

    def total_bytes(self) -> int:
        """The size of this disk."""
        room = os.fstatvfs(self.fd)
        return room.f_blocks * room.f_frsize

    # --- the marker ---------------------------------------------------------------------------------------------------

    def read_marker(self) -> Marker | None:
        """The marker, or None where there is none that reads well. Raises :class:`FolderError`."""
        try:
            return _marker_in(self.fd)
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise refused(MARKER, error) from error

    def write_marker(self, marker: Marker) -> None:
        """Make ``.harp`` with its places, and the marker in it, durably. Raises :class:`FolderError`."""
        try:
            for place in (Path(PRIVATE), TMP, TRASH):
                self.make_private(place)
            private = self.directory(Path(PRIVATE))
            text = b"folder %s\nmarker %s\n" % (marker.folder.hex().encode(), marker.id.hex().encode())
            new = b"folder.new"
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(new, flags, 0o600, dir_fd=private.fd)
            try:
                os.write(fd, text)
                os.fsync(fd)
            finally:
                os.close(fd)
            os.rename(new, b"folder", src_dir_fd=private.fd, dst_dir_fd=private.fd)
            holder = self.readable_directory(Path(PRIVATE))
            os.fsync(holder.fd)
            os.fsync(self.fd)
        except OSError as error:
            raise refused(MARKER, error) from error

    def remove_marker(self) -> None:
        """The folder is shared no more; what else lies in ``.harp`` stays. Raises :class:`FolderError`."""
        try:
            private = self.directory(Path(PRIVATE))
            os.unlink(b"folder", dir_fd=private.fd)
        except FileNotFoundError:
            return
        except OSError as error:
            raise refused(MARKER, error) from error

    def make_private(self, path: Path) -> Directory:
        """One of the folder's own directories (0700), made if need be. Raises OSError, also for a symlink there."""
        above, _, last = path.rpartition(b"/")
        holder = self.directory(Path(above))
        with suppress(FileExistsError):
            os.mkdir(last, 0o700, dir_fd=holder.fd)
        return Directory(self.open_raw(path, os.O_RDONLY | _DIRECTORY_FLAGS))

    def marker_is_there(self, marker: Marker | None = None) -> bool:
        """Whether the path still leads to this very directory and its marker (``marker``, if given) is in it.

        False after an unmount, a mount over it, a move, a removal. Raises :class:`FolderError` where that cannot be
        told just now: the disk does not answer, or nothing can be opened.
        """
        try:
            found = os.stat(self.path)
        except OSError as error:
            if error.errno in _ABSENT:
                return False
            raise refused(Path(b""), error) from error
        if (found.st_dev, found.st_ino) != (self.device, self.inode):
            return False
        present = self.read_marker()
        return present is not None and (marker is None or present == marker)

    def trouble(self, marker: Marker) -> str:
        """Why nothing in the folder can be trusted just now, in a sentence; empty where its marker is in its place."""
        try:
            return "" if self.marker_is_there(marker) else GONE
        except FolderError as error:
            return error.message


def shown(path: Path) -> str:
    """A path for a person's eyes: control characters and stray bytes are escaped."""
    text = path.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def refused(path: Path, error: OSError) -> FolderError:
    """The disk's refusal as Harp says it."""
    return FolderError(f"{shown(path) or 'the folder'}: {sentence(error)}")


def _marker_in(fd: int) -> Marker | None:
    private = Directory(os.open(PRIVATE, os.O_PATH | _DIRECTORY_FLAGS, dir_fd=fd))
    file = os.open(b"folder", READ_FLAGS, dir_fd=private.fd)
    try:
        text = os.read(file, 4096)
    finally:
        os.close(file)
    fields = dict(line.split(b" ", 1) for line in text.splitlines() if b" " in line)
    try:
        folder, marker = (bytes.fromhex(fields[key].decode("ascii")) for key in (b"folder", b"marker"))
    except (KeyError, ValueError):
        return None
    if len(folder) != ID_BYTES or len(marker) != MARKER_ID_BYTES:
        return None
    return Marker(FolderId(folder), marker)


def _has_openat2(fd: int) -> bool:
    try:
        os.close(syscalls.open_inside(fd, b".", os.O_PATH | os.O_CLOEXEC))
    except OSError:
        return False
    return True
