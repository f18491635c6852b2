# SPDX-License-Identifier: AGPL-3.0-or-later
"""Watches the folder by inotify and says which paths to look at, a file only once nobody writes to it any more.

A file that was created or written to is *held* until its CLOSE_WRITE, or until it was quiet for a while, or until the
disk says that nobody has it open (a file linked into place, or cut by truncate(2), gets no CLOSE_WRITE). All other
events are reported at once. Each event of a directory sets watches on all below it, first, and then reports the subtree
to be walked, so nothing that came to be in between is missed. Nothing is dropped: what inotify could not keep is an
``overflow``, after which everything has to be walked.
"""

import errno
import os
import select
import stat as mode_bits
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from harp.base.errors import FolderError
from harp.sync.folder import inotify, names, read, walk
from harp.sync.folder.fs import LOCAL_IGNORE, MARKER, Root, sentence
from harp.sync.folder.inotify import Inotify
from harp.sync.folder.names import PRIVATE, SYNCED_IGNORE
from harp.sync.folder.walk import Ignores
from harp.sync.model import Path

QUIET_S = 10.0
"""A file held open for writing is reported after this long without an event."""
PROBE_S = 0.2
"""How soon a held file is asked whether anybody has it open at all."""
_DRAIN_S = 0.05
"""Under a lasting burst, what was gathered is delivered after this long."""
_PATIENCE = 4
"""Reads that may bring nothing but writes to held files before the next one waits."""
_PAUSE_S = 0.002
"""The wait in such a row of writes, which the kernel then merges, and in a burst of reports, which then gather."""
_AGAIN_S = 1.0
"""When a report that was not taken in is made again."""
_KEPT_COOKIES = 64

_APPEARED = inotify.CREATE | inotify.MOVED_TO
_LEFT = inotify.DELETE | inotify.MOVED_FROM
_SELF_GONE = inotify.DELETE_SELF | inotify.MOVE_SELF | inotify.UNMOUNT


@dataclass(frozen=True, slots=True)
class Changes:
    """``paths`` to look at, ``subtrees`` to walk; ``overflow``: walk everything, and see that the marker is there.

    ``rules``: ``.harpignore`` or ``.harp/ignore`` has changed.
    """

    paths: frozenset[Path] = frozenset()
    subtrees: frozenset[Path] = frozenset()
    overflow: bool = False
    rules: bool = False


@dataclass(slots=True)
class _Held:
    quiet_at: float
    probe_at: float


class Watcher:
    """Calls ``on_changes`` on its own thread, never twice at once; the call must be short and must not raise.

    ``on_problem`` is given a sentence for people where parts of the folder cannot be watched: those are left to scans.
    An empty one takes it back.
    """

    def __init__(
        self,
        root: Root,
        on_changes: Callable[[Changes], None],
        ignores: Ignores | None = None,
        *,
        on_problem: Callable[[str], None] = lambda _: None,
        quiet_s: float = QUIET_S,
        probe_s: float = PROBE_S,
    ) -> None:
        self._root = root
        self._on_changes = on_changes
        self._on_problem = on_problem
        self._ignores = ignores
        self._quiet_s = quiet_s
        self._probe_s = probe_s
        self._inotify: Inotify | None = None
        self._wake = -1
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._renewing = False
        self._is_short = False
        self._has_given_up = False
        self._paths: set[Path] = set()
        self._subtrees: set[Path] = set()
        self._created: set[Path] = set()
        self._overflow = False
        self._rules = False
        self._held: dict[Path, _Held] = {}
        self._held_cookies: OrderedDict[int, None] = OrderedDict()
        self._next_check = float("inf")

    @property
    def is_complete(self) -> bool:
        """Whether every directory is watched; if not, only scans find changes in some."""
        return self._inotify is not None and not self._is_short

    @property
    def directories(self) -> int:
        """How many directories are watched."""
        return 0 if self._inotify is None else len(self._inotify)

    def start(self) -> None:
        """Set all watches, then begin: what changes after the return is reported."""
        try:
            self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            self._inotify = Inotify()
        except OSError as error:
            self._give_up(error)
            return
        if self._has_given_up:
            self._has_given_up = False
            self._on_problem("")
        self._watch_everything()
        self._thread = threading.Thread(target=self._run, name="harp-watch", daemon=True)
        self._thread.start()

    def _give_up(self, error: OSError) -> None:
        """EMFILE is said of the user's instances as well as of the process's descriptors, which dup needs too."""
        self._has_given_up = True
        why = sentence(error)
        with suppress(OSError):
            os.close(os.dup(self._wake))
            why = "sysctl fs.inotify.max_user_instances=1024" if error.errno == errno.EMFILE else why
        if self._wake >= 0:
            os.close(self._wake)
            self._wake = -1
        self._on_problem(f"the folder cannot be watched, changes are found by scans only: {why}")

    def stop(self) -> None:
        """End the thread and the watches; stopping twice is harmless."""
        self._stopping = True
        if self._thread is not None:
            os.eventfd_write(self._wake, 1)
            self._thread.join()
            self._thread = None
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None
            os.close(self._wake)

    def renew(self, ignores: Ignores | None) -> None:
        """Set all watches anew by these rules; may be called from any thread. An ``overflow`` is reported after it.

        Where :meth:`start` could not begin, it is tried again.
        """
        self._ignores = ignores
        self._renewing = True
        if self._thread is not None:
            os.eventfd_write(self._wake, 1)
        elif self._has_given_up and not self._stopping:
            self.start()

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        assert self._inotify is not None
        poll = select.poll()
        poll.register(self._inotify.fd, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        fruitless, delivered_at = 0, 0.0
        while not self._stopping:
            ready = poll.poll(self._timeout_ms())
            if any(fd == self._wake for fd, _ in ready):
                os.eventfd_read(self._wake)
            elif ready and (fruitless > _PATIENCE or time.monotonic() - delivered_at < _PAUSE_S):
                time.sleep(_PAUSE_S)
            if self._renewing:
                self._renewing = False
                self._overflow = True
            self._drain(self._inotify)
            if self._deliver():
                fruitless, delivered_at = 0, time.monotonic()
            else:
                fruitless += 1

    def _timeout_ms(self) -> int | None:
        if self._next_check == float("inf"):
            return None
        return max(0, int((self._next_check - time.monotonic()) * 1000) + 1)

    def _drain(self, source: Inotify) -> None:
        """Take in all events that wait, and what is due among the held files."""
        until = time.monotonic() + _DRAIN_S
        while True:
            is_empty = True
            now = time.monotonic()
            for event in source.events():
                is_empty = False
                self._take(source, *event, now)
            if is_empty or now > until:
                break
        if self._overflow:
            self._watch_everything()
        self._settle_created()
        self._release_due()

    def _deliver(self) -> bool:
        """Report what was gathered; whether there was anything."""
        if not (self._paths or self._subtrees or self._overflow or self._rules):
            return False
        ignores = self._ignores
        paths, subtrees = self._paths, self._subtrees
        if ignores is not None:
            paths = {path for path in paths if not ignores.ignores(path, False)}
            subtrees = {path for path in subtrees if not ignores.ignores(path, True)}
        subtrees = {path for path in subtrees if subtrees.isdisjoint(names.ancestors(path))}
        changes = Changes(frozenset(paths), frozenset(subtrees), self._overflow, self._rules)
        self._paths, self._subtrees, self._overflow, self._rules = set(), set(), False, False
        if changes != Changes():
            try:
                self._on_changes(changes)
            except Exception as error:  # noqa: BLE001 - the thread goes on, and nothing is dropped
                self._overflow = True
                self._next_check = min(self._next_check, time.monotonic() + _AGAIN_S)
                self._on_problem(f"changes were not taken in, the folder is scanned again: {type(error).__name__}")
                return False
        return True

    # --- one event ----------------------------------------------------------------------------------------------------

    def _take(self, source: Inotify, directory: Path | None, mask: int, cookie: int, name: bytes, now: float) -> None:
        if directory is None or mask & inotify.OVERFLOW:
            self._overflow = True
        elif not name:
            # The root's own: any other directory's going is an event of its parent as well.
            self._overflow = self._overflow or (not directory and bool(mask & _SELF_GONE))
        elif directory == PRIVATE or (not directory and name[:1] == b"." and names.is_reserved(Path(name))):
            self._take_private(names.join(directory, name), mask)
        elif mask & inotify.IS_DIRECTORY:
            self._take_directory(source, names.join(directory, name), mask)
        else:
            self._take_file(names.join(directory, name), mask, cookie, now)

    def _take_private(self, path: Path, mask: int) -> None:
        """Of ``.harp`` only the rules matter, and that the marker is still there."""
        if path == LOCAL_IGNORE and mask & (inotify.CLOSE_WRITE | inotify.MOVED_TO | _LEFT):
            self._rules = True
        elif path in (MARKER, PRIVATE) and mask & (_LEFT | _APPEARED):
            self._overflow = True

    def _take_directory(self, source: Inotify, path: Path, mask: int) -> None:
        if mask & _LEFT:
            # Whoever still holds the directory by a descriptor keeps it alive, and its watch.
            self._root.forget()
            source.remove_tree(path)
            self._subtrees.add(path)
        if mask & _APPEARED or (mask & inotify.ATTRIB and path not in source):
            if self._ignores is None or not self._ignores.ignores(path, True):
                self._watch(path)
            self._subtrees.add(path)

    def _take_file(self, path: Path, mask: int, cookie: int, now: float) -> None:
        if mask & inotify.MODIFY:
            self._hold(path, now)
            return
        if mask & inotify.CREATE:
            self._created.add(path)
            return
        if mask & inotify.ATTRIB:
            if path not in self._held and path not in self._created:
                self._paths.add(path)
            return
        if mask & inotify.MOVED_TO and cookie in self._held_cookies:
            del self._held_cookies[cookie]
            self._hold(path, now)
            return
        if mask & _LEFT and self._root.folds:
            # Only its case may have changed: what was listed a moment ago must not stand for it.
            self._root.forget()
        was_held = self._held.pop(path, None) is not None or path in self._created
        if mask & inotify.MOVED_FROM and was_held:
            self._held_cookies[cookie] = None
            if len(self._held_cookies) > _KEPT_COOKIES:
                self._held_cookies.popitem(last=False)
        self._created.discard(path)
        self._paths.add(path)
        if path == SYNCED_IGNORE:
            self._rules = True

    # --- held files ---------------------------------------------------------------------------------------------------

    def _hold(self, path: Path, now: float) -> None:
        held = self._held.get(path)
        self._paths.discard(path)
        if held is None:
            self._held[path] = _Held(now + self._quiet_s, now + self._probe_s)
            self._next_check = min(self._next_check, now + self._quiet_s, now + self._probe_s)
        else:
            held.quiet_at = now + self._quiet_s

    def _settle_created(self) -> None:
        """A new file has its writer, unless it is a link, which nobody will close."""
        now = time.monotonic()
        created, self._created = self._created, set()
        for path in created:
            try:
                found = self._root.lstat(path)
            except FolderError:
                found = None
            if found is None or not mode_bits.S_ISREG(found.st_mode) or found.st_nlink > 1:
                self._paths.add(path)
            elif path not in self._held:
                self._hold(path, now)

    def _release_due(self) -> None:
        now = time.monotonic()
        if now < self._next_check:
            return
        for path, held in list(self._held.items()):
            if held.quiet_at <= now:
                self._release(path)
            elif held.probe_at <= now:
                # Once: if somebody has it open now, its close will be an event.
                held.probe_at = float("inf")
                if self._is_closed(path):
                    self._release(path)
        self._next_check = min(
            (min(held.quiet_at, held.probe_at) for held in self._held.values()), default=float("inf")
        )

    def _release(self, path: Path) -> None:
        del self._held[path]
        self._paths.add(path)
        if path == SYNCED_IGNORE:
            self._rules = True

    def _is_closed(self, path: Path) -> bool:
        try:
            file = read.opened(self._root, path)
        except FolderError:
            return False
        if isinstance(file, read.Gone):
            return True
        with file:
            return read.is_open_for_writing(file.fd) is False

    # --- watches ------------------------------------------------------------------------------------------------------

    def _watch_everything(self) -> None:
        """Set every watch anew (after a start, an overflow or other rules) and drop those without a directory."""
        self._is_short = False
        kept = self._watch(names.TOP)
        try:
            private = self._root.readable_directory(Path(PRIVATE))
            if self._inotify is not None:
                self._inotify.add(Path(PRIVATE), private)
                kept.add(Path(PRIVATE))
        except OSError:
            # Then the marker is missing, which every scan looks for.
            pass
        if self._inotify is not None and not self._is_short:
            self._inotify.keep_only(kept)

    def _watch(self, path: Path) -> set[Path]:
        """Watch a directory and all below it; answers those that are watched."""
        watched: set[Path] = set()
        if self._inotify is None or self._is_short:
            return watched
        for below, directory in walk.directories(self._root, path, self._ignores):
            try:
                self._inotify.add(below, directory)
                watched.add(below)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.ENOMEM):
                    self._run_short(error)
                    break
        return watched

    def _run_short(self, error: OSError) -> None:
        self._is_short = True
        wanted = max(524_288, 2 * self.directories)
        remedy = f"sysctl fs.inotify.max_user_watches={wanted}" if error.errno == errno.ENOSPC else sentence(error)
        self._on_problem(f"not all directories can be watched, the others are found by scans only: {remedy}")
