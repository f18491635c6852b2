# SPDX-License-Identifier: AGPL-3.0-or-later
"""One inotify descriptor and the directories it watches, by path (inotify(7))."""

import errno
import os
import struct
from collections.abc import Iterator

from harp.sync.folder import syscalls
from harp.sync.folder.fs import Directory
from harp.sync.model import Path

MODIFY = 0x2
ATTRIB = 0x4
CLOSE_WRITE = 0x8
MOVED_FROM = 0x40
MOVED_TO = 0x80
CREATE = 0x100
DELETE = 0x200
DELETE_SELF = 0x400
MOVE_SELF = 0x800
UNMOUNT = 0x2000
OVERFLOW = 0x4000
IGNORED = 0x8000
IS_DIRECTORY = 0x40000000

_ONLY_DIRECTORIES = 0x01000000
_ALL = MODIFY | ATTRIB | CLOSE_WRITE | MOVED_FROM | MOVED_TO | CREATE | DELETE | DELETE_SELF | MOVE_SELF
_HEAD = struct.Struct("iIII")
_READ_BYTES = 64 * 1024

Event = tuple[Path | None, int, int, bytes]
"""Path of the watched directory (None for the queue as a whole), mask, cookie, name in the directory (may be empty)."""


class Inotify:
    """For one thread. Methods raise OSError; ENOSPC from :meth:`add` means ``max_user_watches`` is used up."""

    def __init__(self) -> None:
        self.fd = syscalls.inotify_init(os.O_NONBLOCK | os.O_CLOEXEC)
        self._paths: dict[int, Path] = {}
        self._watches: dict[Path, int] = {}
        self._below: dict[Path, set[Path]] = {}

    def __len__(self) -> int:
        return len(self._paths)

    def __contains__(self, path: Path) -> bool:
        return path in self._watches

    def close(self) -> None:
        os.close(self.fd)

    def add(self, path: Path, directory: Directory) -> None:
        """Watch the open directory as the one at ``path``; one that is watched already is known by the new path."""
        # By descriptor: a path could lead elsewhere by now.
        watch = syscalls.inotify_add_watch(self.fd, b"/proc/self/fd/%d" % directory.fd, _ALL | _ONLY_DIRECTORIES)
        before = self._paths.get(watch)
        if before == path:
            return
        if before is not None:
            self._forget(before)
        replaced = self._watches.get(path)
        if replaced is not None:
            self._remove(replaced)
        self._paths[watch] = path
        self._watches[path] = watch
        if path:
            self._below.setdefault(Path(path.rpartition(b"/")[0]), set()).add(path)

    def remove_tree(self, path: Path) -> None:
        """Stop watching a directory and all known below it: they have moved away."""
        pending = [path]
        while pending:
            gone = pending.pop()
            pending.extend(self._below.get(gone, ()))
            watch = self._watches.get(gone)
            if watch is not None:
                self._remove(watch)

    def keep_only(self, paths: set[Path]) -> None:
        """Stop watching every directory that is not among ``paths``."""
        for path in [path for path in self._watches if path not in paths]:
            self._remove(self._watches[path])

    def events(self) -> Iterator[Event]:
        """What one read gives; ends at once when nothing waits."""
        try:
            data = os.read(self.fd, _READ_BYTES)
        except BlockingIOError:
            return
        offset, unpack, size = 0, _HEAD.unpack_from, _HEAD.size
        while offset < len(data):
            watch, mask, cookie, length = unpack(data, offset)
            offset += size
            name = data[offset : offset + length].rstrip(b"\0")
            offset += length
            path = self._paths.get(watch)
            if mask & IGNORED:
                if path is not None:
                    self._forget(path)
            elif path is not None or mask & OVERFLOW:
                yield path, mask, cookie, name

    def _remove(self, watch: int) -> None:
        self._forget(self._paths[watch])
        try:
            syscalls.inotify_rm_watch(self.fd, watch)
        except OSError as error:
            # EINVAL: the directory is gone, and its watch went with it.
            if error.errno != errno.EINVAL:
                raise

    def _forget(self, path: Path) -> None:
        watch = self._watches.pop(path)
        del self._paths[watch]
        above = Path(path.rpartition(b"/")[0])
        siblings = self._below.get(above)
        if siblings is not None:
            siblings.discard(path)
            if not siblings:
                del self._below[above]
