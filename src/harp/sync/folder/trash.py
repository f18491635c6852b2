# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where replaced and removed files go: ``.harp/trash``, on the same disk, never synced, kept for a while.

Each item is the file itself, moved, under a name that says all about it, so that one rename both takes a file away and
records it, and no crash can part the two::

    .harp/trash/<day>/<when>-<stamp>.<number>.<entries>.<path>

``day`` is the UTC date, ``when`` milliseconds since 1970, for people; ``stamp`` is what its age is counted from
(:mod:`harp.sync.folder.age`), both in hexadecimal. ``number`` makes the name unique, ``entries`` are the applied entry
ids in URL-safe base64 one after the other, ``path`` is escaped (``%2F`` for ``/``). Where that is too long for a name,
``@`` stands for the last two, and they stand in a file ``about.<name>``, durable before the rename. How much time was
counted is in ``.harp/trash/age``; without that file, the latest stamp tells.
"""

import base64
import binascii
import errno
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from harp.base.errors import FolderError
from harp.sync.folder import age, rename
from harp.sync.folder.age import Awake, Counted
from harp.sync.folder.fs import READ_FLAGS, TRASH, Directory, Root, refused, sentence, shown, stat_of
from harp.sync.model import ID_BYTES, MAX_NAME_BYTES, EntryId, FileKind, Path, Stat

_DAY_S = 24 * 3600
_AGE = b"age"
_MAX_AGE_BYTES = 256
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_ABOUT = b"about."
_ELSEWHERE = b"@.@"
_UNKNOWN = Path(b"unknown")
"""What an item is called whose ``about`` file is lost: its content is still there to be restored."""
_MAX_ABOUT_BYTES = 64 * 1024
_BLOCK_BYTES = 512


@dataclass(frozen=True, slots=True)
class TrashItem:
    """A file that was replaced or removed: what it was, since when it is here, where it lies."""

    path: Path
    entries: tuple[EntryId, ...]
    stat: Stat
    when_ms: int
    stamp: int
    disk_bytes: int
    place: Path
    """Relative to the folder, below ``.harp/trash``."""


class Place(NamedTuple):
    """Where :meth:`Trash.take` put a file."""

    holder: Directory
    name: bytes
    path: Path
    """Relative to the folder."""


def awake_now() -> Awake:
    """How long this computer has been awake."""
    return Awake(_boot(), time.monotonic())


@cache
def _boot() -> str:
    with suppress(OSError), open(_BOOT_ID, encoding="ascii") as told:
        return told.read().strip()
    # Where the system does not tell one start from another, each process is one.
    return secrets.token_hex(16)


class Trash:
    """One folder's trash. Methods raise :class:`FolderError` where the disk refuses."""

    def __init__(self, root: Root, awake: Callable[[], Awake] = awake_now) -> None:
        self._root = root
        self._awake = awake
        self._counted: Counted | None = None
        self._lock = threading.Lock()
        self._number = 0
        self._day: tuple[bytes, Directory] | None = None

    def take(self, source: Directory, name: bytes, path: Path, entries: Sequence[EntryId], *, now: float) -> Place:
        """Move ``name`` out of ``source`` into the trash, as what lay at ``path``. Raises OSError."""
        when_ms, stamp = int(now * 1000), self._count().stamp
        about = b"%s.%s" % (base64.urlsafe_b64encode(b"".join(entries)).rstrip(b"="), _escaped(path))
        fits = True
        while True:
            day, holder = self._day_of(when_ms)
            head = b"%011x-%x.%x" % (when_ms, stamp, self._next_number())
            item = b"%s.%s" % (head, about)
            if not fits or len(item) > MAX_NAME_BYTES:
                item = b"%s.%s" % (head, _ELSEWHERE)
                _write_about(holder, item, about)
            try:
                rename.to_free_name(source, name, holder, item)
                return Place(holder, item, Path(b"%s/%s/%s" % (TRASH, day, item)))
            except FileExistsError:
                continue
            except FileNotFoundError:
                if not self._day_is_lost(day):
                    raise
            except OSError as error:
                if error.errno != errno.ENAMETOOLONG or not fits:
                    raise
                fits = False

    def give_back(self, place: Place, target: Directory, name: bytes) -> None:
        """Undo :meth:`take`. Raises FileExistsError where something lies there again; the item then stays."""
        rename.to_free_name(place.holder, place.name, target, name)
        _drop_about(place.holder, place.name)

    def list(self) -> Sequence[TrashItem]:
        """All that is in the trash, the oldest first."""
        return sorted(self._items(), key=lambda item: (item.stamp, item.when_ms, item.place))

    def item(self, place: Path) -> TrashItem | None:
        """What lies at one place of the trash, without a look at the rest; None where nothing does."""
        day, _, name = place.rpartition(b"/")
        try:
            return _parsed(self._root.readable_directory(Path(day)), Path(day), name)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise refused(place, error) from error

    def restore(self, item: TrashItem, to: Path) -> Stat:
        """Move an item back into the folder, to a path where nothing lies; its parents are made if need be.

        Raises :class:`FolderError` where something lies there, or the item is gone.
        """
        try:
            target = self._root.make_parents(to)
            above, _, name = item.place.rpartition(b"/")
            self.give_back(Place(self._root.directory(Path(above)), name, item.place), target, to.rpartition(b"/")[2])
        except OSError as error:
            raise refused(to, error) from error
        found = self._root.stat(to)
        if found is None:
            raise FolderError(f"{shown(to)} vanished just after it was restored")
        return found

    def open_item(self, item: TrashItem) -> int:
        """A descriptor for reading the item; the caller closes it. Raises :class:`FolderError`."""
        above, _, name = item.place.rpartition(b"/")
        try:
            holder = self._root.directory(Path(above))
            fd = os.open(name, READ_FLAGS, dir_fd=holder.fd)
        except OSError as error:
            raise refused(item.path, error) from error
        if stat_of(os.fstat(fd)).kind != FileKind.FILE:
            os.close(fd)
            raise FolderError(f"{shown(item.path)} in the trash is not a regular file")
        return fd

    def expire(
        self, *, now: float, max_age_days: float = 30, max_share: float = 0.10, disk_bytes: int | None = None
    ) -> Sequence[TrashItem]:
        """Remove for good what is older than ``max_age_days``, then the oldest until the rest fits ``max_share``.

        A day is one for which the computer ran, whatever ``now`` says. ``max_share`` is of ``disk_bytes``, by default
        the size of the disk. Answers what was removed.
        """
        counted = self._count()
        self._keep(counted)
        items = self.list()
        allowed = (self._root.total_bytes() if disk_bytes is None else disk_bytes) * max_share
        total = sum(item.disk_bytes for item in items)
        removed = []
        for item in items:
            if not counted.is_over(item.stamp, max_age_days * _DAY_S) and total <= allowed:
                break
            self._remove(item)
            total -= item.disk_bytes
            removed.append(item)
        self._remove_empty_days(int(now * 1000))
        return removed

    def make_room(self, wanted_bytes: int, *, needed_bytes: int = 0) -> int:
        """Remove the oldest items until ``wanted_bytes`` were freed or nothing is left; answers the bytes freed.

        Nothing is removed where all of it would not make the disk hold ``needed_bytes`` more: that would be in vain.
        """
        freed, items = 0, self.list()
        if sum(item.disk_bytes for item in items) + self._root.free_bytes() < needed_bytes:
            return 0
        for item in items:
            if freed >= wanted_bytes:
                break
            self._remove(item)
            freed += item.disk_bytes
        return freed

    def _items(self) -> Iterator[TrashItem]:
        for day in self._root.names(TRASH) or ():
            place = Path(TRASH + b"/" + day)
            try:
                directory = self._root.readable_directory(place)
                with os.scandir(directory.fd) as found:
                    listed = [os.fsencode(entry.name) for entry in found]
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise refused(place, error) from error
            for name in listed:
                item = None if name.startswith(_ABOUT) else _parsed(directory, place, name)
                if item is not None:
                    yield item

    # --- age ----------------------------------------------------------------------------------------------------------

    def keep_age(self) -> None:
        """Notes what was counted since the last time, before the computer or the daemon is stopped."""
        if self._counted is not None:
            self._keep(self._count())

    def _count(self) -> Counted:
        now = self._awake()
        if self._counted is None:
            self._counted = self._kept() or Counted(max((item.stamp for item in self._items()), default=0), now)
        self._counted = self._counted.at(now)
        return self._counted

    def _kept(self) -> Counted | None:
        try:
            holder = self._root.directory(TRASH)
            return age.read(_read(holder, _AGE, _MAX_AGE_BYTES))
        except OSError:
            return None

    def _keep(self, counted: Counted) -> None:
        # A disk that takes no write keeps its trash longer. After a power cut this says nothing, or the hour before.
        with suppress(OSError):
            holder = self._root.make_private(TRASH)
            _write(holder, _AGE + b".new", counted.written())
            os.rename(_AGE + b".new", _AGE, src_dir_fd=holder.fd, dst_dir_fd=holder.fd)

    # --- days ---------------------------------------------------------------------------------------------------------

    def _day_of(self, when_ms: int) -> tuple[bytes, Directory]:
        day = time.strftime("%Y-%m-%d", time.gmtime(when_ms / 1000)).encode()
        kept = self._day
        if kept is None or kept[0] != day:
            self._root.make_private(TRASH)
            kept = self._day = (day, self._root.make_private(Path(TRASH + b"/" + day)))
        return kept

    def _day_is_lost(self, day: bytes) -> bool:
        """Whether the day's directory was removed under us, so that trying again makes it anew."""
        self._root.forget()
        self._day = None
        return self._root.stat(Path(TRASH + b"/" + day)) is None

    def _next_number(self) -> int:
        with self._lock:
            self._number += 1
            return self._number

    def _remove(self, item: TrashItem) -> None:
        above, _, name = item.place.rpartition(b"/")
        try:
            holder = self._root.directory(Path(above))
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=holder.fd)
            _drop_about(holder, name)
        except OSError as error:
            raise FolderError(f"the trash cannot be emptied: {sentence(error)}") from error

    def _remove_empty_days(self, now_ms: int) -> None:
        today = time.strftime("%Y-%m-%d", time.gmtime(now_ms / 1000)).encode()
        for day in self._root.names(TRASH) or ():
            place = Path(TRASH + b"/" + day)
            left = self._root.names(place)
            if day >= today or left is None or not all(name.startswith(_ABOUT) for name in left):
                continue
            with suppress(OSError):
                holder = self._root.directory(place)
                for name in left:
                    os.unlink(name, dir_fd=holder.fd)
                above = self._root.directory(TRASH)
                os.rmdir(day, dir_fd=above.fd)
        self._root.forget()
        self._day = None


def _parsed(directory: Directory, day: Path, name: bytes) -> TrashItem | None:
    """The item of that name; None for what is no item. Raises OSError only through the disk."""
    head, _, rest = name.partition(b".")
    about = rest.partition(b".")[2]
    when, _, stamp_text = head.partition(b"-")
    try:
        when_ms, stamp = int(when, 16), int(stamp_text or b"0", 16)
        found = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
    except (ValueError, FileNotFoundError):
        return None
    if about == _ELSEWHERE:
        about = _read_about(directory, name)
    ids, _, path = about.partition(b".")
    stat = stat_of(found)
    size = found.st_blocks * _BLOCK_BYTES
    return TrashItem(_unescaped(path) or _UNKNOWN, _entries(ids), stat, when_ms, stamp, size, Path(day + b"/" + name))


def _entries(ids: bytes) -> tuple[EntryId, ...]:
    try:
        raw = base64.urlsafe_b64decode(ids + b"=" * (-len(ids) % 4))
    except binascii.Error:
        return ()
    return tuple(EntryId(raw[i : i + ID_BYTES]) for i in range(0, len(raw) - ID_BYTES + 1, ID_BYTES))


def _escaped(path: Path) -> bytes:
    return path.replace(b"%", b"%25").replace(b"/", b"%2F")


def _unescaped(written: bytes) -> Path:
    return Path(written.replace(b"%2F", b"/").replace(b"%25", b"%"))


def _write_about(holder: Directory, item: bytes, about: bytes) -> None:
    _write(holder, _ABOUT + item, about, durably=True)


def _read_about(holder: Directory, item: bytes) -> bytes:
    try:
        return _read(holder, _ABOUT + item, _MAX_ABOUT_BYTES)
    except OSError:
        return b""


def _write(holder: Directory, name: bytes, text: bytes, *, durably: bool = False) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, 0o600, dir_fd=holder.fd)
    try:
        os.write(fd, text)
        if durably:
            os.fsync(fd)
    finally:
        os.close(fd)


def _read(holder: Directory, name: bytes, most: int) -> bytes:
    fd = os.open(name, READ_FLAGS, dir_fd=holder.fd)
    try:
        return os.read(fd, most)
    finally:
        os.close(fd)


def _drop_about(holder: Directory, item: bytes) -> None:
    if item.split(b".", 2)[2:] == [_ELSEWHERE]:
        with suppress(FileNotFoundError):
            os.unlink(_ABOUT + item, dir_fd=holder.fd)
