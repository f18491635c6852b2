# SPDX-License-Identifier: AGPL-3.0-or-later
"""Carries out actions on the disk: each is done exactly as planned or not at all, and nothing of a user's is deleted.

The caller keeps the order that makes it durable: journal, temps, sync, commit, sync, ledger.
"""

import errno
import os
import secrets
import stat as mode_bits
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from harp.base.errors import FolderError
from harp.sync.folder import names, read, rename, swap, syscalls
from harp.sync.folder.fs import READ_FLAGS, Directory, Root, refused, sentence, stat_of
from harp.sync.folder.staging import Staging, set_mtime
from harp.sync.folder.staging import Temp as Temp
from harp.sync.folder.swap import Changed, Swap, with_executable
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
_MISSPELLED = "this disk takes its name for that of something else"


class Ready(NamedTuple):
    """An action, and for a WriteFile with content the name of its finished temp."""

    action: Action
    temp: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """A move that was not done; ``changed`` as in :class:`harp.sync.model.Skipped`.

    ``is_misspelled``: to this disk the target's name is another's, maybe the source's own.
    """

    why: str
    changed: bool = False
    is_misspelled: bool = False


class Disk:
    """One folder's disk, for writing. One thread at a time; only :meth:`sync_all` and its kin raise."""

    def __init__(self, root: Root, staging: Staging, trash: Trash) -> None:
        self._root = root
        self.staging = staging
        self._swap = Swap(staging, trash)
        self._own = f"own-{secrets.token_hex(4)}"
        self._made = 0

    def temp(self, name: str, *, resume: bool = False) -> Temp:
        """As :meth:`Staging.temp`."""
        return self.staging.temp(name, resume=resume)

    def commit(self, items: Sequence[Ready], *, now: float) -> list[Outcome]:
        """Do all actions in their order and answer one outcome each; a failing one keeps no other from being done.

        Missing parents are made. What is replaced or removed goes to the trash, dated ``now`` (seconds since 1970).
        """
        outcomes = [self._outcome(item, now) for item in items]
        if not self._root.folds:
            return outcomes
        self._root.forget()
        return [self._as_named(outcome, now) for outcome in outcomes]

    def move(
        self, source: Path, target: Path, expected: Stat, *, mtime_ns: int | None = None, executable: bool | None = None
    ) -> Stat | Refused:
        """Rename a file or symlink that is exactly ``expected`` to a path where nothing lies; answers its new state.

        A given ``mtime_ns`` or ``executable`` is set as well, as far as the disk can hold it.
        """
        try:
            if names.refusal(target):
                return Refused(f"the name {names.refusal(target)}")
            if self._root.is_misspelled(target):
                return Refused(_MISSPELLED, is_misspelled=True)
            holder, name = self._place(source)
            if swap.stat(holder, name) != expected:
                return Refused(_CHANGED, changed=True)
            above = self._root.make_parents(target)
            new = names.name(target)
            rename.to_free_name(holder, name, above, new)
            moved = swap.stat(above, new)
            self._root.forget()
            if not swap.is_same_file(moved, expected) or self._root.is_misspelled(target):
                rename.to_free_name(above, new, holder, name)
                return Refused(_CHANGED, changed=True)
            if expected.kind == FileKind.FILE and (mtime_ns is not None or executable is not None):
                return _attributed(above, new, moved, mtime_ns, executable)
            return moved
        except OSError as error:
            return Refused(sentence(error), changed=error.errno in _OCCUPIED or error.errno == errno.ENOENT)
        except Changed:
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
            if self._root.is_misspelled(action.path):
                return self._of_another_name(action)
            stat, place = self._done(action, item.temp, now)
            return Applied(action, stat, None if place is None else place.path)
        except Changed:
            return Skipped(action, _CHANGED, changed=True)
        except OSError as error:
            return Skipped(action, sentence(error), changed=error.errno in _OCCUPIED)
        except (FolderError, ValueError) as error:
            return Skipped(action, error.message if isinstance(error, FolderError) else "this disk cannot hold it")

    def _of_another_name(self, action: Action) -> Outcome:
        """Nothing lies at its path, and nothing can: what answers to that name is another path's."""
        is_removal = isinstance(action, RemoveFile | RemoveDirectory)
        return Applied(action, None) if is_removal else Skipped(action, _MISSPELLED)

    def _as_named(self, outcome: Outcome, now: float) -> Outcome:
        """What was made and is listed under another name (without a last dot, in another normal form) is taken back."""
        action = outcome.action
        if isinstance(outcome, Skipped) or outcome.stat is None or not self._root.is_misspelled(action.path):
            return outcome
        with suppress(OSError, Changed):
            holder, name = self._place(action.path)
            if isinstance(action, MakeDirectory):
                os.rmdir(name, dir_fd=holder.fd)
            else:
                self._swap.take(holder, name, action.path, OnDisk(outcome.stat, ()), now=now)
        return Skipped(action, sentence(OSError(errno.EILSEQ, "")))

    def _done(self, action: Action, temp: str | None, now: float) -> tuple[Stat | None, Place | None]:
        match action:
            case WriteFile():
                return self._write_file(action, temp, now)
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

    def _write_file(self, action: WriteFile, temp: str | None, now: float) -> tuple[Stat, Place | None]:
        if temp is not None:
            return self._write(action, temp.encode(), now)
        meta = action.entry.meta
        if meta.size:
            raise FolderError("its content is not here yet")
        name = self._own_name()
        self.staging.write_small(name, b"", meta.mtime_ns, meta.executable)
        return self._write_own(action, name, now)

    def _write_symlink(self, action: WriteSymlink, now: float) -> tuple[Stat, Place | None]:
        name = self._own_name()
        self.staging.write_symlink(name, action.entry.meta.target, action.entry.meta.mtime_ns)
        return self._write_own(action, name, now)

    def _write_own(self, action: WriteFile | WriteSymlink, name: str, now: float) -> tuple[Stat, Place | None]:
        try:
            return self._write(action, name.encode(), now)
        finally:
            self.staging.discard(name)

    def _write(self, action: WriteFile | WriteSymlink, temp: bytes, now: float) -> tuple[Stat, Place | None]:
        holder = self._root.make_parents(action.path)
        name = names.name(action.path)
        if action.expected is None:
            return self._swap.put_new(temp, holder, name), None
        return self._swap.replace(temp, holder, name, action.path, action.expected, now=now)

    def _remove_file(self, action: RemoveFile, now: float) -> Place | None:
        """Nothing there is what was wanted; something else there is a change."""
        if self._root.stat(action.path) is None:
            return None
        holder, name = self._place(action.path)
        return self._swap.take(holder, name, action.path, action.expected, now=now)

    def _set_attributes(self, action: SetAttributes) -> Stat:
        holder, name = self._place(action.path)
        found = swap.stat(holder, name)
        if found.kind == FileKind.DIRECTORY == action.expected.stat.kind:
            return found
        if found != action.expected.stat:
            raise Changed
        meta = action.entry.meta
        if found.kind == FileKind.SYMLINK:
            with suppress(PermissionError, OverflowError):
                os.utime(name, ns=(meta.mtime_ns, meta.mtime_ns), dir_fd=holder.fd, follow_symlinks=False)
            return swap.stat(holder, name)
        return _attributed(holder, name, found, meta.mtime_ns, meta.executable)

    def _make_directory(self, path: Path) -> Stat:
        holder = self._root.make_parents(path)
        name = names.name(path)
        with suppress(FileExistsError):
            os.mkdir(name, 0o777, dir_fd=holder.fd)
        found = swap.stat(holder, name)
        if found.kind != FileKind.DIRECTORY:
            raise Changed
        return found

    def _remove_directory(self, path: Path) -> None:
        try:
            holder, name = self._place(path)
            os.rmdir(name, dir_fd=holder.fd)
        except (FileNotFoundError, Changed):
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
                raise Changed from error
            raise

    def _own_name(self) -> str:
        """No other run's: a temp that a crash left must not be in the way."""
        self._made += 1
        return f"{self._own}-{self._made}"


def _attributed(holder: Directory, name: bytes, expected: Stat, mtime_ns: int | None, executable: bool | None) -> Stat:
    """Set what is given on the very file that is ``expected``; a disk that holds less shows it in the answer."""
    fd = os.open(name, READ_FLAGS, dir_fd=holder.fd)
    try:
        found = os.fstat(fd)
        if stat_of(found) != expected:
            raise Changed
        if executable is not None and executable != expected.executable:
            # Not its owner, or a disk without the bit: the ledger keeps what was wanted beside what is there.
            with suppress(PermissionError):
                os.fchmod(fd, with_executable(mode_bits.S_IMODE(found.st_mode), executable))
        if mtime_ns is not None and mtime_ns != expected.mtime_ns:
            set_mtime(fd, mtime_ns)
        return stat_of(os.fstat(fd))
    finally:
        os.close(fd)
