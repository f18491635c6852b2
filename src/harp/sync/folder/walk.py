# SPDX-License-Identifier: AGPL-3.0-or-later
"""Everything that lies in the folder or below one path, parents before children, with what could not be looked at."""

import errno
import os
import stat as mode_bits
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from harp.sync.folder import names
from harp.sync.folder.fs import Directory, Root, sentence, stat_of
from harp.sync.folder.names import PRIVATE
from harp.sync.model import MAX_DEPTH, MAX_NAME_BYTES, MAX_PATH_BYTES, FileKind, Path, Stat

_VANISHED = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP))
_ENCODING = sys.getfilesystemencoding()
_STRAY = sys.getfilesystemencodeerrors()
_NEAR_PATH_LIMIT = MAX_PATH_BYTES - MAX_NAME_BYTES - 1
_NEAR_DEPTH_LIMIT = MAX_DEPTH - 2


class Ignores(Protocol):
    """What :class:`harp.sync.folder.ignore.IgnoreRules` answers."""

    def ignores(self, path: Path, is_directory: bool) -> bool: ...


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Nothing is known of ``path`` and what lies below it: its absence from the walk is no deletion."""

    path: Path
    why: str


@dataclass(frozen=True, slots=True)
class Noted:
    """Something lies at ``path`` that cannot be synced, and neither can what lies below it."""

    path: Path
    why: str


Found = tuple[Path, Stat] | Unreadable | Noted


def walk(root: Root, under: Path = names.TOP, ignores: Ignores | None = None) -> Iterator[Found]:
    """Look at all that lies at and below ``under``; the folder itself is not part of the answer.

    ``(path, stat)`` for files, directories and symlinks, :class:`Noted` for special files and impossible names,
    :class:`Unreadable` for directories that cannot be listed or are another disk's. Ignored paths and ``.harp`` are
    left out with all below them. What vanishes meanwhile is left out; nothing is raised. Symlinks are not followed.
    """
    pending: list[Path] = []
    if under:
        first = _look(root, under, ignores)
        if first is None:
            return
        yield first
        if isinstance(first, tuple) and first[1].kind == FileKind.DIRECTORY:
            pending.append(under)
    else:
        pending.append(under)
    while pending:
        yield from _listed(root, pending.pop(), ignores, pending)


def directories(root: Root, under: Path, ignores: Ignores | None = None) -> Iterator[tuple[Path, Directory]]:
    """``under`` and each directory below it that can be opened, each open for listing while it is the current one.

    A directory is given out before it is listed, so that a watch set on it misses nothing of what is listed.
    """
    pending = [under]
    while pending:
        path = pending.pop()
        try:
            directory = _opened(root, path)
            yield path, directory
            pending.extend(_subdirectories(directory, path, ignores))
        except OSError:
            # The walk that follows every change of a directory reports it.
            continue


def _look(root: Root, path: Path, ignores: Ignores | None) -> Found | None:
    """The walk's answer for a path that was named, not listed."""
    try:
        above, _, last = path.rpartition(b"/")
        holder = root.directory(Path(above))
        found = os.stat(last, dir_fd=holder.fd, follow_symlinks=False)
    except OSError as error:
        return None if error.errno in _VANISHED else Unreadable(path, sentence(error))
    is_directory = mode_bits.S_ISDIR(found.st_mode)
    if ignores is not None and ignores.ignores(path, is_directory):
        return None
    if path == PRIVATE or path.startswith(PRIVATE + b"/"):
        return None
    return _judged(path, found)


def _judged(path: Path, found: os.stat_result) -> tuple[Path, Stat] | Noted:
    stat = stat_of(found)
    if stat.kind == FileKind.OTHER:
        return Noted(path, "is a FIFO, a socket or a device")
    why = names.refusal(path)
    return Noted(path, why) if why else (path, stat)


def _listed(root: Root, path: Path, ignores: Ignores | None, pending: list[Path]) -> Iterator[Found]:
    """What lies in one directory; the directories among it go to ``pending``."""
    # Only at the top and near a limit can a listed name be one that no peer may say.
    is_plain = bool(path) and len(path) < _NEAR_PATH_LIMIT and path.count(b"/") < _NEAR_DEPTH_LIMIT
    try:
        for below, found in _entries(root, path):
            stat = stat_of(found)
            is_directory = stat.kind == FileKind.DIRECTORY
            if ignores is not None and ignores.ignores(below, is_directory):
                continue
            if is_plain and stat.kind != FileKind.OTHER:
                yield below, stat
            elif below == PRIVATE:
                continue
            else:
                judged = _judged(below, found)
                yield judged
                if isinstance(judged, Noted):
                    continue
            if is_directory:
                pending.append(below)
    except OSError as error:
        # Which names are missing is not known any more, so nothing in this directory may count as gone.
        if error.errno not in _VANISHED or not path:
            yield Unreadable(path, sentence(error))


def _entries(root: Root, path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Each entry of a directory with its ``lstat``; what vanishes meanwhile is left out. Raises OSError."""
    directory = _opened(root, path)
    prefix = path + b"/" if path else b""
    with os.scandir(directory.fd) as entries:
        for entry in entries:
            try:
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            yield Path(prefix + entry.name.encode(_ENCODING, _STRAY)), found


def _subdirectories(directory: Directory, path: Path, ignores: Ignores | None) -> list[Path]:
    prefix = path + b"/" if path else b""
    below = []
    with os.scandir(directory.fd) as entries:
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                continue
            child = Path(prefix + entry.name.encode(_ENCODING, _STRAY))
            if (ignores is not None and ignores.ignores(child, True)) or names.refusal(child):
                continue
            below.append(child)
    return below


def _opened(root: Root, path: Path) -> Directory:
    """The directory for listing. Raises OSError(EXDEV) where another disk is mounted: it may vanish, files and all."""
    directory = root.readable_directory(path)
    if os.fstat(directory.fd).st_dev != root.device:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
    return directory
