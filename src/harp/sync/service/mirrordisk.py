# SPDX-License-Identifier: AGPL-3.0-or-later
"""The folder's disk as its mirror sees it: what lies there, and changes that are made only to what was seen.

Nothing is overwritten that was not looked at: a replacement is an exchange after which the old file is compared, and
undone where somebody else wrote in between. What is removed goes to the folder's own trash, with what the folder's
history calls it, so that it can be restored from there.
"""

import errno
import hashlib
import os
import secrets
import stat
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path as OsPath
from typing import BinaryIO, Protocol

from harp.base.errors import FolderError, StaleError
from harp.sync.cloud.nodes import CloudPath, Local
from harp.sync.folder import names, rename
from harp.sync.folder.fs import Directory, Root, refused, sentence, stat_of
from harp.sync.folder.trash import Place, Trash
from harp.sync.model import EntryId, FileKind, Path

_TEMPORARY = Path(b".harp/cloud")
_BLOCK = 1 << 20
_CHANGED = frozenset((errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ELOOP))
_OF_ONE_FILE = frozenset((errno.EACCES, errno.EPERM, errno.EIO))


class Rules(Protocol):
    """What the folder leaves out: :class:`harp.sync.service.rules.LiveRules`."""

    @property
    def digest(self) -> bytes:
        """Tells one state of the rules from another; never empty."""

    def ignores(self, path: Path, is_directory: bool) -> bool: ...


class History(Protocol):
    """What the folder's history knows of its disk: :class:`harp.sync.service.mirrorhistory.FolderHistory`."""

    def entries(self, path: Path, found: Local) -> Sequence[EntryId]:
        """Those whose content is what was found at ``path``; none where the folder has not seen that yet."""

    def trashed(self, places: Sequence[Path]) -> None:
        """What came into the trash, by where it lies there; some of it may be gone again."""


class MirrorDisk:
    """One folder. Methods block; they raise :class:`StaleError` where the disk is not as expected, or FolderError."""

    def __init__(self, path: OsPath, rules: Rules, history: History | None = None) -> None:
        """``history`` is that of the folder's loop; None where nothing but the mirror looks after the folder."""
        self._root = Root.open(str(path))
        self._trash = Trash(self._root)
        self._rules = rules
        self._history = history
        self._trashed: list[Path] = []
        """Where that lies of which the history was not told yet."""
        self.refused: dict[CloudPath, str] = {}
        """What a scan left out, and why."""
        self._is_swept = False
        """Whether what a killed process left half fetched is gone; what lies there since then is in use."""
        self.left_out: set[int] = set()
        """The inodes of that."""

    def is_there(self) -> bool:
        """Whether the folder is the one that is shared, and not an empty mount point. Raises :class:`FolderError`."""
        return self._root.marker_is_there()

    @property
    def rules_digest(self) -> bytes:
        """Tells one state of the folder's own rules from another."""
        return self._rules.digest

    def ignores(self, path: CloudPath, is_directory: bool) -> bool:
        """Whether the folder's own rules leave it out, on both sides."""
        return self._rules.ignores(_raw(path), is_directory)

    def scan(self) -> dict[CloudPath, Local]:
        """Every file and directory that an account can hold."""
        self._root.forget()
        if not self._is_swept:
            self._sweep()
        found: dict[CloudPath, Local] = {}
        self.refused, self.left_out = {}, set()
        self._scan(Path(b""), found)
        return found

    def _sweep(self) -> None:
        with _as_expected(CloudPath(_TEMPORARY.decode())):
            holder = self._root.make_private(_TEMPORARY)
            for left in self._root.names(_TEMPORARY) or ():
                os.unlink(left, dir_fd=holder.fd)
        self._is_swept = True

    def _scan(self, directory: Path, found: dict[CloudPath, Local]) -> None:
        for name in sorted(self._root.names(directory) or ()):
            path = Path(directory + b"/" + name) if directory else Path(name)
            if names.refusal(path):
                continue
            state = self._root.lstat(path)
            if state is None or self._rules.ignores(path, stat.S_ISDIR(state.st_mode)):
                continue
            why = _refusal(name, state)
            if why:
                self.refused[CloudPath(path.decode("utf-8", "replace"))] = why
                self.left_out.add(stat_of(state).inode)
                continue
            found[CloudPath(path.decode())] = local_of(state)
            if stat.S_ISDIR(state.st_mode):
                self._scan(path, found)

    def look(self, path: CloudPath) -> Local | None:
        state = self._root.lstat(_raw(path))
        return None if state is None else local_of(state)

    def open(self, path: CloudPath, expected: Local) -> BinaryIO:
        """The file, if it still is as expected."""
        with _as_expected(path):
            fd = self._root.open_regular(_raw(path))
        if fd is None:
            raise StaleError(f"{path} is gone from the disk")
        source = os.fdopen(fd, "rb")
        if local_of(os.fstat(fd)) != expected:
            source.close()
            raise StaleError(f"{path} changed on the disk")
        return source

    def sha256(self, path: CloudPath, expected: Local) -> str:
        return self.read_through(path, expected, len)

    def read_through(self, path: CloudPath, expected: Local, note: Callable[[bytes], object]) -> str:
        """Hands all of it to ``note``, block by block; its SHA-256 in hexadecimal."""
        digest = hashlib.sha256()
        with self.open(path, expected) as source, _as_expected(path):
            while block := source.read(_BLOCK):
                digest.update(block)
                note(block)
            if local_of(os.fstat(source.fileno())) != expected:
                raise StaleError(f"{path} changed while it was read")
        return digest.hexdigest()

    def read(self, path: CloudPath, expected: Local) -> tuple[bytes, str]:
        """The whole of a small file, and its SHA-256 in hexadecimal."""
        with self.open(path, expected) as source, _as_expected(path):
            content = source.read(expected.size + 1)
            if len(content) != expected.size or local_of(os.fstat(source.fileno())) != expected:
                raise StaleError(f"{path} changed while it was read")
        return content, hashlib.sha256(content).hexdigest()

    def temporary(self) -> tuple[bytes, BinaryIO]:
        """A new file on the same disk, and its name."""
        with _as_expected(CloudPath(_TEMPORARY.decode())):
            holder = self._root.make_private(_TEMPORARY)
            name = secrets.token_hex(12).encode()
            fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=holder.fd)
            return name, os.fdopen(fd, "wb")

    def drop(self, name: bytes) -> None:
        with _as_expected(CloudPath(_TEMPORARY.decode())), suppress(FileNotFoundError):
            holder = self._root.make_private(_TEMPORARY)
            os.unlink(name, dir_fd=holder.fd)

    def place(self, temporary: bytes, path: CloudPath, mtime_s: int, over: Local | None) -> Local:
        """Puts a finished temporary file at ``path``, over exactly ``over``; what it is there.

        What lies there a moment later may be somebody's next version already: that is seen by the next scan.
        """
        with _as_expected(path):
            holder = self._root.make_private(_TEMPORARY)
            if mtime_s > 0:
                os.utime(temporary, (mtime_s, mtime_s), dir_fd=holder.fd, follow_symlinks=False)
            ours = _local_at(holder, temporary)
            target, name = self._holder(path)
            if over is None:
                rename.to_free_name(holder, temporary, target, name)
            else:
                self._replace(holder, temporary, target, name, path, over)
            return ours

    def _replace(
        self, holder: Directory, temporary: bytes, target: Directory, name: bytes, path: CloudPath, over: Local
    ) -> None:
        before = os.stat(name, dir_fd=target.fd, follow_symlinks=False)
        if local_of(before) != over:
            raise StaleError(f"{path} changed on the disk")
        os.chmod(temporary, stat.S_IMODE(before.st_mode), dir_fd=holder.fd)
        ours = _local_at(holder, temporary)
        # Before the folder can see the new version there.
        entries = self._entries(path, over)
        rename.exchange(holder, temporary, target, name)
        if _local_at(holder, temporary) != over:
            rename.exchange(holder, temporary, target, name)
            if _local_at(holder, temporary) != ours:
                # Somebody wrote twice: the first of it lies there again, the second must not be dropped.
                self._take(holder, temporary, path, ())
            raise StaleError(f"{path} changed on the disk")
        self._take(holder, temporary, path, entries)

    def _entries(self, path: CloudPath, found: Local) -> Sequence[EntryId]:
        return () if self._history is None else self._history.entries(_raw(path), found)

    def _take(self, holder: Directory, name: bytes, path: CloudPath, entries: Sequence[EntryId]) -> Place:
        taken = self._trash.take(holder, name, _raw(path), entries, now=time.time())
        self._trashed.append(taken.path)
        return taken

    def settle(self) -> None:
        """What was put into the trash since the last time can be restored from there now."""
        trashed, self._trashed = self._trashed, []
        if trashed and self._history is not None:
            self._history.trashed(trashed)

    def make_directory(self, path: CloudPath) -> Local:
        with _as_expected(path):
            target, name = self._holder(path)
            with suppress(FileExistsError):
                os.mkdir(name, 0o777, dir_fd=target.fd)
        found = self.look(path)
        if found is None or not found.is_directory:
            raise StaleError(f"{path} is no directory on the disk")
        return found

    def move(self, source: CloudPath, target: CloudPath, expected: Local) -> None:
        """Renames exactly what was expected, to where nothing lies."""
        if self.look(source) != expected:
            raise StaleError(f"{source} changed on the disk")
        with _as_expected(source):
            rename.to_free_name(*self._holder(source), *self._holder(target))
        self._root.forget()

    def remove(self, path: CloudPath, expected: Local) -> None:
        """To the trash; a directory only where nothing lies in it."""
        with _as_expected(path):
            holder, name = self._holder(path)
            found = self.look(path)
            if found is None:
                return
            if expected.is_directory and found.is_directory:
                os.rmdir(name, dir_fd=holder.fd)
                self._root.forget()
                return
            if found != expected:
                raise StaleError(f"{path} changed on the disk")
            taken = self._take(holder, name, path, self._entries(path, expected))
            if _local_at(taken.holder, taken.name) != expected:
                self._trash.give_back(taken, holder, name)
                raise StaleError(f"{path} changed on the disk")

    def _holder(self, path: CloudPath) -> tuple[Directory, bytes]:
        above, _, name = _raw(path).rpartition(b"/")
        return self._root.directory(Path(above)), name


class DeniedError(FolderError):
    """The disk lets Harp not at this one file: the others go on."""


@contextmanager
def _as_expected(path: CloudPath) -> Iterator[None]:
    """The disk's refusals in Harp's words: what is not as it was seen is stale, and planned anew."""
    try:
        yield
    except OSError as error:
        if error.errno in _OF_ONE_FILE:
            raise DeniedError(f"{path}: {sentence(error)}") from error
        if error.errno in _CHANGED:
            raise StaleError(f"{path} is not on the disk as it was") from error
        raise refused(_raw(path), error) from error


def _local_at(holder: Directory, name: bytes) -> Local:
    return local_of(os.stat(name, dir_fd=holder.fd, follow_symlinks=False))


def local_of(state: os.stat_result) -> Local:
    """Of a directory only which one it is: its time changes with what is in it."""
    found = stat_of(state)
    if found.kind is FileKind.DIRECTORY:
        return Local(True, found.inode)
    return Local(False, found.inode, found.size, found.mtime_ns)


def _raw(path: CloudPath) -> Path:
    return Path(path.encode())


def _refusal(name: bytes, state: os.stat_result) -> str:
    if not (stat.S_ISDIR(state.st_mode) or stat.S_ISREG(state.st_mode)):
        return "neither file nor directory: Nextcloud has no such things"
    try:
        text = name.decode()
    except UnicodeDecodeError:
        return "its name is not UTF-8, which Nextcloud needs"
    if unicodedata.normalize("NFC", text) != text:
        return "its name is not in Unicode's normal form C: Nextcloud would rename it"
    return ""
