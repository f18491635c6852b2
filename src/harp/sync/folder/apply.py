# SPDX-License-Identifier: AGPL-3.0-or-later
"""Carries out actions on the disk: each is done exactly as planned or not at all, and nothing of a user's is deleted.

A new file takes a free name only. A replacement is an exchange: the new file goes into the trash, under the name that
the old one shall have there; then the two swap places in one atomic call, and what came out is looked at. If it is not
what was expected, they swap back. So at each moment the path holds a whole file, and what another program wrote a
moment ago is never lost.

The caller keeps the order that makes it durable: journal, temps, sync, commit, sync, ledger.
"""

import errno
import os
import stat as mode_bits
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from harp.base.errors import FolderError
from harp.sync.folder import names, read, rename, syscalls
from harp.sync.folder.fs import READ_FLAGS, Directory, Root, refused, sentence, stat_of
from harp.sync.folder.staging import Staging, set_mtime
from harp.sync.folder.staging import Temp as Temp
from harp.sync.folder.trash import Place, Trash
from harp.sync.model import (
    Action,
    Applied,
    FileKind,
    MakeDirectory,
    OnDisk,
    Outcome,
    Path,
    RemoveDirectory,
    RemoveFile,
    SetAttributes,
    Skipped,
    Stat,
    WriteFile,
    WriteSymlink,
)

_CHANGED = "something else lies there now"
_NOT_THERE = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP))
_OCCUPIED = frozenset((errno.EEXIST, errno.ENOTDIR, errno.ELOOP))
_PERMISSIONS = 0o777


class Ready(NamedTuple):
    """An action, and for a WriteFile with content the name of its finished temp."""

    action: Action
    temp: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """A move that was not done; ``changed`` as in :class:`harp.sync.model.Skipped`."""

    why: str
    changed: bool = False


class _Changed(Exception):
    """What lies at the path is not what the action was planned upon."""


class Disk:
    """One folder's disk, for writing. One thread at a time; only :meth:`sync_all` and its kin raise."""

    def __init__(self, root: Root, staging: Staging, trash: Trash, *, folds: bool = False) -> None:
        """``folds``: this disk takes some names for one another (``probe.Capabilities``)."""
        self._root = root
        self.staging = staging
        self._trash = trash
        self._folds = folds
        self._has_exchange = True
        self._links = 0

    def temp(self, name: str, *, resume: bool = False) -> Temp:
        """As :meth:`Staging.temp`."""
        return self.staging.temp(name, resume=resume)

    def commit(self, items: Sequence[Ready], *, now: float) -> list[Outcome]:
        """Do all actions in their order and answer one outcome each; a failing one keeps no other from being done.

        Missing parents are made. What is replaced or removed goes to the trash, dated ``now`` (seconds since 1970).
        """
        return [self._outcome(item, now) for item in items]

    def move(
        self, source: Path, target: Path, expected: Stat, *, mtime_ns: int | None = None, executable: bool | None = None
    ) -> Stat | Refused:
        """Rename a file or symlink that is exactly ``expected`` to a path where nothing lies; answers its new state.

        A given ``mtime_ns`` or ``executable`` is set as well, as far as the disk can hold it.
        """
        try:
            if names.refusal(target):
                return Refused(f"the name {names.refusal(target)}")
            holder, name = self._place(source)
            if _stat(holder, name) != expected:
                return Refused(_CHANGED, changed=True)
            above = self._root.make_parents(target)
            new = names.name(target)
            rename.to_free_name(holder, name, above, new)
            moved = _stat(above, new)
            if not _is_same_file(moved, expected):
                rename.to_free_name(above, new, holder, name)
                return Refused(_CHANGED, changed=True)
            if expected.kind == FileKind.FILE and (mtime_ns is not None or executable is not None):
                return _attributed(above, new, moved, mtime_ns, executable)
            return moved
        except OSError as error:
            return Refused(sentence(error), changed=error.errno in _OCCUPIED or error.errno == errno.ENOENT)
        except _Changed:
            return Refused(_CHANGED, changed=True)

    def sync_all(self) -> None:
        """Make all that was written on this disk durable. Raises :class:`FolderError`."""
        try:
            syscalls.syncfs(self._root.fd)
        except OSError as error:
            if not rename.lacks(error):
                raise refused(Path(b""), error) from error
            os.sync()

    def sync_directories(self, paths: Iterable[Path]) -> None:
        """Make it durable that these few paths are there, or gone: the directories above each are synced.

        Raises :class:`FolderError`.
        """
        above: set[Path] = {names.TOP}
        for path in paths:
            above.update(names.ancestors(path))
        for directory in sorted(above, key=len, reverse=True):
            try:
                opened = self._root.readable_directory(directory)
                os.fsync(opened.fd)
            except OSError as error:
                if error.errno not in _NOT_THERE:
                    raise refused(directory, error) from error

    def sync_files(self, paths: Iterable[Path]) -> None:
        """Make a few files' content and names durable, whether they are there or gone. Raises :class:`FolderError`."""
        paths = list(paths)
        for path in paths:
            file = read.opened(self._root, path)
            if isinstance(file, read.Gone):
                continue
            with file:
                try:
                    os.fsync(file.fd)
                except OSError as error:
                    raise refused(path, error) from error
        self.sync_directories(paths)

    # --- one action ---------------------------------------------------------------------------------------------------

    def _outcome(self, item: Ready, now: float) -> Outcome:
        action = item.action
        why = names.refusal(action.path)
        if why:
            return Skipped(action, f"the name {why}")
        try:
            stat, place = self._done(action, item.temp, now)
            return Applied(action, stat, None if place is None else place.path)
        except _Changed:
            return Skipped(action, _CHANGED, changed=True)
        except OSError as error:
            return Skipped(action, sentence(error), changed=error.errno in _OCCUPIED)
        except (FolderError, ValueError) as error:
            return Skipped(action, error.message if isinstance(error, FolderError) else "this disk cannot hold it")

    def _done(self, action: Action, temp: str | None, now: float) -> tuple[Stat | None, Place | None]:
        match action:
            case WriteFile():
                return self._write(action, self._written(action, temp), now)
            case WriteSymlink():
                return self._write_symlink(action, now)
            case RemoveFile():
                return None, self._remove_file(action, now)
            case SetAttributes():
                return self._set_attributes(action), None
            case MakeDirectory():
                return self._make_directory(action.path), None
            case RemoveDirectory():
                self._remove_directory(action.path)
                return None, None

    def _written(self, action: WriteFile, temp: str | None) -> bytes:
        if temp is not None:
            return temp.encode()
        if action.entry.meta.size:
            raise FolderError("its content is not here yet")
        name = self._own_name()
        self.staging.write_small(name, b"", action.entry.meta.mtime_ns, action.entry.meta.executable)
        return name.encode()

    def _write_symlink(self, action: WriteSymlink, now: float) -> tuple[Stat, Place | None]:
        name = self._own_name()
        self.staging.write_symlink(name, action.entry.meta.target, action.entry.meta.mtime_ns)
        try:
            return self._write(action, name.encode(), now)
        finally:
            self.staging.discard(name)

    def _write(self, action: WriteFile | WriteSymlink, temp: bytes, now: float) -> tuple[Stat, Place | None]:
        holder = self._root.make_parents(action.path)
        name = names.name(action.path)
        place = None
        if action.expected is None:
            rename.to_free_name(self.staging.directory, temp, holder, name)
        else:
            place = self._replace(action, action.expected, temp, holder, name, now)
        return _stat(holder, name), place

    def _replace(
        self,
        action: WriteFile | WriteSymlink,
        expected: OnDisk,
        temp: bytes,
        holder: Directory,
        name: bytes,
        now: float,
    ) -> Place:
        """Put the temp where ``expected`` lies, and that into the trash."""
        found = _lstat(holder, name)
        if stat_of(found) != expected.stat or expected.stat.kind == FileKind.DIRECTORY:
            raise _Changed
        if isinstance(action, WriteFile) and expected.stat.kind == FileKind.FILE:
            self._keep_mode(temp, found.st_mode, action.entry.meta.executable)
        if self._has_exchange:
            place = self._exchanged(action.path, expected, temp, holder, name, now)
            if place is not None:
                return place
            self._has_exchange = False
        return self._replaced_in_two_steps(action.path, expected, temp, holder, name, now)

    def _exchanged(
        self, path: Path, expected: OnDisk, temp: bytes, holder: Directory, name: bytes, now: float
    ) -> Place | None:
        """Where the old file is in the trash now; None on a disk without exchange."""
        tmp = self.staging.directory
        ours = self._inode_of(temp)
        place = self._trash.take(tmp, temp, path, expected.applied, now=now)
        try:
            rename.exchange(place.holder, place.name, holder, name)
        except OSError as error:
            self._trash.give_back(place, tmp, temp)
            if error.errno == errno.ENOENT:
                raise _Changed from error
            if rename.lacks(error):
                return None
            raise
        if not _is_same_file(_stat(place.holder, place.name), expected.stat):
            self._undo_exchange(place, temp, holder, name, ours)
            raise _Changed
        return place

    def _undo_exchange(self, place: Place, temp: bytes, holder: Directory, name: bytes, ours: int) -> None:
        """What came out was not expected: put it back where it was.

        ``ours`` is the temp's inode: what comes out at the second exchange may be a third file.
        """
        try:
            rename.exchange(place.holder, place.name, holder, name)
            if _stat(place.holder, place.name).inode == ours:
                self._trash.give_back(place, self.staging.directory, temp)
            else:
                # A third file came in between: it is the newest, so it has the path; the other stays in the trash.
                rename.exchange(place.holder, place.name, holder, name)
        except FileNotFoundError:
            with suppress(FileExistsError):
                self._trash.give_back(place, holder, name)

    def _replaced_in_two_steps(
        self, path: Path, expected: OnDisk, temp: bytes, holder: Directory, name: bytes, now: float
    ) -> Place:
        """For a disk without exchange: for a moment nothing lies at the path, which the caller's journal covers."""
        place = self._take(holder, name, path, expected, now)
        try:
            rename.to_free_name(self.staging.directory, temp, holder, name)
        except FileExistsError:
            raise
        except OSError:
            self._trash.give_back(place, holder, name)
            raise
        return place

    def _remove_file(self, action: RemoveFile, now: float) -> Place | None:
        """Nothing there is what was wanted; something else there is a change."""
        if self._root.stat(action.path) is None:
            return None
        holder, name = self._place(action.path)
        return self._take(holder, name, action.path, action.expected, now)

    def _take(self, holder: Directory, name: bytes, path: Path, expected: OnDisk, now: float) -> Place:
        """What lies there goes to the trash if it is ``expected``, also when looked at after the rename."""
        found = stat_of(_lstat(holder, name))
        if found != expected.stat or found.kind == FileKind.DIRECTORY:
            raise _Changed
        place = self._trash.take(holder, name, path, expected.applied, now=now)
        if not _is_same_file(_stat(place.holder, place.name), expected.stat):
            try:
                self._trash.give_back(place, holder, name)
            except FileExistsError as error:
                raise _Changed from error
            raise _Changed
        return place

    def _set_attributes(self, action: SetAttributes) -> Stat:
        holder, name = self._place(action.path)
        found = _stat(holder, name)
        if found.kind == FileKind.DIRECTORY == action.expected.stat.kind:
            return found
        if found != action.expected.stat:
            raise _Changed
        meta = action.entry.meta
        if found.kind == FileKind.SYMLINK:
            os.utime(name, ns=(meta.mtime_ns, meta.mtime_ns), dir_fd=holder.fd, follow_symlinks=False)
            return _stat(holder, name)
        return _attributed(holder, name, found, meta.mtime_ns, meta.executable)

    def _make_directory(self, path: Path) -> Stat:
        holder = self._root.make_parents(path)
        name = names.name(path)
        try:
            os.mkdir(name, 0o777, dir_fd=holder.fd)
        except FileExistsError:
            if self._folds and name not in (self._root.names(names.parent(path)) or ()):
                raise
        found = _stat(holder, name)
        if found.kind != FileKind.DIRECTORY:
            raise _Changed
        return found

    def _remove_directory(self, path: Path) -> None:
        try:
            holder, name = self._place(path)
            os.rmdir(name, dir_fd=holder.fd)
        except (FileNotFoundError, _Changed):
            return
        finally:
            self._root.forget()

    # --- places -------------------------------------------------------------------------------------------------------

    def _place(self, path: Path) -> tuple[Directory, bytes]:
        """Parent and name; a parent that is no directory any more is a change."""
        try:
            return self._root.directory(names.parent(path)), names.name(path)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise _Changed from error
            raise

    def _keep_mode(self, temp: bytes, old: int, executable: bool) -> None:
        """A file that its user closed to others stays closed when a peer's version replaces it."""
        mode = with_executable(old & _PERMISSIONS, executable)
        if mode != self.staging.modes[executable]:
            os.chmod(temp, mode, dir_fd=self.staging.directory.fd)

    def _inode_of(self, temp: bytes) -> int:
        try:
            return os.stat(temp, dir_fd=self.staging.directory.fd, follow_symlinks=False).st_ino
        except FileNotFoundError as error:
            raise FolderError("its content is not here yet") from error

    def _own_name(self) -> str:
        self._links += 1
        return f"own-{os.getpid()}-{self._links}"


def with_executable(mode: int, executable: bool) -> int:
    """The mode with the executable bits set for whoever may read, or with none."""
    without = mode & ~0o111
    return without | (without & 0o444) >> 2 | 0o100 if executable else without


def _attributed(holder: Directory, name: bytes, expected: Stat, mtime_ns: int | None, executable: bool | None) -> Stat:
    """Set what is given on the very file that is ``expected``; a disk that holds less shows it in the answer."""
    fd = os.open(name, READ_FLAGS, dir_fd=holder.fd)
    try:
        found = os.fstat(fd)
        if stat_of(found) != expected:
            raise _Changed
        if executable is not None and executable != expected.executable:
            # Not its owner, or a disk without the bit: the ledger keeps what was wanted beside what is there.
            with suppress(PermissionError):
                os.fchmod(fd, with_executable(mode_bits.S_IMODE(found.st_mode), executable))
        if mtime_ns is not None and mtime_ns != expected.mtime_ns:
            set_mtime(fd, mtime_ns)
        return stat_of(os.fstat(fd))
    finally:
        os.close(fd)


def _lstat(holder: Directory, name: bytes) -> os.stat_result:
    try:
        return os.stat(name, dir_fd=holder.fd, follow_symlinks=False)
    except FileNotFoundError as error:
        raise _Changed from error


def _stat(holder: Directory, name: bytes) -> Stat:
    return stat_of(_lstat(holder, name))


def _is_same_file(found: Stat, expected: Stat) -> bool:
    """Equal but for the ctime, which a rename sets."""
    return found._replace(ctime_ns=expected.ctime_ns) == expected
