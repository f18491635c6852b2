# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a watcher of a real folder said, gathered, and how long a test waits for it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from harp.sync.folder.ignore import IgnoreRules
from harp.sync.folder.watch import Changes, Watcher
from tests.fakes.folder import Folder

DEADLINE_S = 20.0
NEVER_S = 1000.0
Start = Callable[..., Watcher]


class Heard:
    """What a watcher said, gathered; :meth:`until` waits for it to say enough."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self.all: list[Changes] = []
        self.problems: list[str] = []

    def __call__(self, changes: Changes) -> None:
        with self._condition:
            self.all.append(changes)
            self._condition.notify_all()

    @property
    def paths(self) -> set[bytes]:
        return {path for changes in self.all for path in changes.paths}

    @property
    def subtrees(self) -> set[bytes]:
        return {path for changes in self.all for path in changes.subtrees}

    def until(self, enough: Callable[["Heard"], bool]) -> None:
        with self._condition:
            assert self._condition.wait_for(lambda: enough(self), DEADLINE_S), self.all[-20:]

    def forget(self) -> None:
        with self._condition:
            self.all.clear()

    def covers(self, *paths: str) -> bool:
        """Whether each path was reported, or a directory above it is to be walked."""
        wanted = [path.encode() for path in paths]
        return all(
            path in self.paths or any(path == tree or path.startswith(tree + b"/") for tree in self.subtrees)
            for path in wanted
        )


@contextmanager
def starting(folder: Folder, heard: Heard) -> Iterator[Start]:
    """Starts watchers that hold open files for ever, unless told otherwise; they end with the test."""
    watchers: list[Watcher] = []

    def started(rules: bytes = b"", *, quiet_s: float = NEVER_S, probe_s: float = NEVER_S) -> Watcher:
        watcher = Watcher(
            folder.root,
            heard,
            IgnoreRules.parse(rules, b""),
            on_problem=heard.problems.append,
            quiet_s=quiet_s,
            probe_s=probe_s,
        )
        watcher.start()
        watchers.append(watcher)
        return watcher

    try:
        yield started
    finally:
        for watcher in watchers:
            watcher.stop()


def marks(folder: Folder, heard: Heard, name: str = "the-mark") -> None:
    """Makes a file and waits for it: all that happened before it has been taken in by then."""
    folder.put(name, b"mark")
    heard.until(lambda heard: name.encode() in heard.paths)
