# SPDX-License-Identifier: AGPL-3.0-or-later
"""The ignore rules of one folder as they are just now: the watcher, the walk and the loop ask the same object."""

import hashlib

from harp.base.errors import FolderError
from harp.sync.folder import read
from harp.sync.folder.fs import LOCAL_IGNORE, Root
from harp.sync.folder.ignore import MAX_BYTES, IgnoreRules
from harp.sync.folder.names import SYNCED_IGNORE
from harp.sync.model import Path

FILES = (SYNCED_IGNORE, LOCAL_IGNORE)


class LiveRules:
    """Rules that are read anew when their files change. Safe to ask from several threads."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._rules = IgnoreRules.parse(b"", b"")
        self.digest = b""
        """Tells one state of both files from another."""
        self.learn()

    @property
    def problems(self) -> tuple[str, ...]:
        """Lines that are not followed, and why."""
        return self._rules.problems

    def learn(self) -> None:
        """Reads both files; one that is missing or unreadable has no rules."""
        contents = [self._content(path) for path in FILES]
        self._rules = IgnoreRules.parse(*contents)
        self.digest = hashlib.sha256(b"\0".join(contents)).digest()

    def ignores(self, path: Path, is_directory: bool) -> bool:
        return self._rules.ignores(path, is_directory)

    def _content(self, path: Path) -> bytes:
        try:
            found = read.read_whole(self._root, path, MAX_BYTES)
        except FolderError:
            return b""
        return b"" if isinstance(found, read.Gone) else found[1]
