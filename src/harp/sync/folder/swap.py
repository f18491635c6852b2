# SPDX-License-Identifier: AGPL-3.0-or-later
"""Puts a finished temp at a path, in place of exactly what was expected there, and that into the trash.

A new file takes a free name only. A replacement is an exchange: the new file goes into the trash, under the name that
the old one shall have there; then the two swap places in one atomic call, and what came out is looked at. If it is not
what was expected, they swap back. So at each moment the path holds a whole file, and what another program wrote a
moment ago is never lost. All raise OSError, or :class:`Changed`.
"""

import errno
import os
from contextlib import suppress

from harp.base.errors import FolderError
from harp.sync.folder import rename
from harp.sync.folder.fs import Directory, stat_of
from harp.sync.folder.staging import Staging
from harp.sync.folder.trash import Place, Trash
from harp.sync.model import FileKind, OnDisk, Path, Stat

_PERMISSIONS = 0o777


class Changed(Exception):
    """What lies at the path is not what the action was planned upon."""


class Swap:
    """For one thread at a time."""

    def __init__(self, staging: Staging, trash: Trash) -> None:
        self._staging = staging
        self._trash = trash
        self._has_exchange = True

    def put_new(self, temp: bytes, holder: Directory, name: bytes) -> Stat:
        """The temp takes a name where nothing lies. Raises FileExistsError where something does."""
        ours = self._stat_of(temp)
        rename.to_free_name(self._staging.directory, temp, holder, name)
        return _read_back(holder, name, ours)

    def replace(
        self, temp: bytes, holder: Directory, name: bytes, path: Path, expected: OnDisk, *, now: float
    ) -> tuple[Stat, Place]:
        """The temp takes the place of ``expected``, which goes to the trash, dated ``now``."""
        found = lstat(holder, name)
        if stat_of(found) != expected.stat or expected.stat.kind == FileKind.DIRECTORY:
            raise Changed
        if expected.stat.kind == FileKind.FILE:
            self._keep_mode(temp, found.st_mode)
        ours = self._stat_of(temp)
        place = self._exchanged(temp, holder, name, path, expected, ours, now) if self._has_exchange else None
        if place is None:
            self._has_exchange = False
            place = self._replaced_in_two_steps(temp, holder, name, path, expected, now)
        return _read_back(holder, name, ours), place

    def take(self, holder: Directory, name: bytes, path: Path, expected: OnDisk, *, now: float) -> Place:
        """What lies there goes to the trash if it is ``expected``, also when looked at after the rename."""
        found = stat(holder, name)
        if found != expected.stat or found.kind == FileKind.DIRECTORY:
            raise Changed
        place = self._trash.take(holder, name, path, expected.applied, now=now)
        if not is_same_file(stat(place.holder, place.name), expected.stat):
            # Where something lies there again, what was taken stays in the trash.
            with suppress(FileExistsError):
                self._trash.give_back(place, holder, name)
            raise Changed
        return place

    def _exchanged(
        self, temp: bytes, holder: Directory, name: bytes, path: Path, expected: OnDisk, ours: Stat, now: float
    ) -> Place | None:
        """Where the old file is in the trash now; None on a disk without exchange."""
        tmp = self._staging.directory
        place = self._trash.take(tmp, temp, path, expected.applied, now=now)
        try:
            rename.exchange(place.holder, place.name, holder, name)
        except OSError as error:
            self._trash.give_back(place, tmp, temp)
            if error.errno == errno.ENOENT:
                raise Changed from error
            if rename.lacks(error):
                return None
            raise
        if not is_same_file(stat(place.holder, place.name), expected.stat):
            self._undo_exchange(place, temp, holder, name, ours)
            raise Changed
        return place

    def _undo_exchange(self, place: Place, temp: bytes, holder: Directory, name: bytes, ours: Stat) -> None:
        """What came out was not expected: put it back where it was."""
        try:
            rename.exchange(place.holder, place.name, holder, name)
            if stat(place.holder, place.name).inode == ours.inode:
                self._trash.give_back(place, self._staging.directory, temp)
            else:
                # A third file came in between: it is the newest, so it has the path; the other stays in the trash.
                rename.exchange(place.holder, place.name, holder, name)
        except FileNotFoundError:
            with suppress(FileExistsError):
                self._trash.give_back(place, holder, name)

    def _replaced_in_two_steps(
        self, temp: bytes, holder: Directory, name: bytes, path: Path, expected: OnDisk, now: float
    ) -> Place:
        """For a disk without exchange: for a moment nothing lies at the path, which the caller's journal covers."""
        place = self.take(holder, name, path, expected, now=now)
        try:
            rename.to_free_name(self._staging.directory, temp, holder, name)
        except FileExistsError:
            raise
        except OSError:
            self._trash.give_back(place, holder, name)
            raise
        return place

    def _keep_mode(self, temp: bytes, old: int) -> None:
        """A file that its user closed to others stays closed when a peer's version replaces it."""
        tmp = self._staging.directory
        found = os.stat(temp, dir_fd=tmp.fd, follow_symlinks=False)
        made = stat_of(found)
        mode = with_executable(old & _PERMISSIONS, made.executable)
        if made.kind == FileKind.FILE and mode != found.st_mode & _PERMISSIONS:
            os.chmod(temp, mode, dir_fd=tmp.fd)

    def _stat_of(self, temp: bytes) -> Stat:
        try:
            return stat_of(os.stat(temp, dir_fd=self._staging.directory.fd, follow_symlinks=False))
        except FileNotFoundError as error:
            raise FolderError("its content is not here yet") from error


def with_executable(mode: int, executable: bool) -> int:
    """The mode with the executable bits set for whoever may read, or with none."""
    without = mode & ~0o111
    return without | (without & 0o444) >> 2 | 0o100 if executable else without


def lstat(holder: Directory, name: bytes) -> os.stat_result:
    """What lies there; nothing is a change."""
    try:
        return os.stat(name, dir_fd=holder.fd, follow_symlinks=False)
    except FileNotFoundError as error:
        raise Changed from error


def stat(holder: Directory, name: bytes) -> Stat:
    """As :func:`lstat`, as the noun."""
    return stat_of(lstat(holder, name))


def is_same_file(found: Stat, expected: Stat) -> bool:
    """Equal but for the ctime, which a rename sets."""
    return found._replace(ctime_ns=expected.ctime_ns) == expected


def _read_back(holder: Directory, name: bytes, ours: Stat) -> Stat:
    """The state after the rename; if a program has changed it since, that must not pass for what was written."""
    found = stat(holder, name)
    if not is_same_file(found, ours):
        raise Changed
    return found
