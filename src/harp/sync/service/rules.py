# SPDX-License-Identifier: AGPL-3.0-or-later
"""The ignore rules of one folder as they are just now: the watcher, the walk and the loop ask the same object.

What the rules hide is shared with everybody a moment after they are gone, and cannot be taken back. So they are gone
only where that is beyond doubt: not while a program writes them, nor between an editor's two steps, nor where the disk
does not let them be read.
"""

import hashlib
import time

from harp.base.errors import FolderError
from harp.sync.folder import read
from harp.sync.folder.fs import LOCAL_IGNORE, Root
from harp.sync.folder.ignore import MAX_BYTES, IgnoreRules
from harp.sync.folder.names import SYNCED_IGNORE
from harp.sync.model import FileKind, Path

FILES = (SYNCED_IGNORE, LOCAL_IGNORE)
GONE_AFTER_S = 2.0
"""How long a file of rules has to be missing until it is taken for deleted."""
_EVERYTHING = b"*\n"
"""What is followed in place of rules that nobody could read yet."""


class LiveRules:
    """Rules that are read anew when their files change. Safe to ask from several threads."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._rules = IgnoreRules.parse(b"", b"")
        self._contents: dict[Path, bytes] = {}
        self._missing_s: dict[Path, float] = {}
        self.trouble = ""
        """Why rules cannot be read; those before are followed, or, where there were none, nothing is shared."""
        self.digest = b""
        """Tells one state of both files from another."""
        self.learn()

    @property
    def problems(self) -> tuple[str, ...]:
        """Lines that are not followed, and why."""
        return self._rules.problems

    @property
    def is_changing(self) -> bool:
        """Whether a file has just gone, and its rules with it, unless it is back in a moment."""
        return bool(self._missing_s)

    @property
    def is_doubtful(self) -> bool:
        """Whether a file was not what is followed when it was last looked at, so that it is to be looked at again."""
        return self.is_changing or bool(self.trouble)

    def learn(self) -> None:
        """Reads both files; one that is missing has no rules."""
        self.trouble = ""
        for path in FILES:
            self._contents[path] = self._content(path)
        contents = [self._contents[path] for path in FILES]
        self._rules = IgnoreRules.parse(*contents)
        self.digest = hashlib.sha256(b"\0".join(contents)).digest()

    def ignores(self, path: Path, is_directory: bool) -> bool:
        return self._rules.ignores(path, is_directory)

    def _content(self, path: Path) -> bytes:
        before = self._contents.get(path)
        try:
            found = read.read_whole(self._root, path, MAX_BYTES, unless_open=before is not None)
            if not isinstance(found, read.Gone):
                self._missing_s.pop(path, None)
                return found[1]
            stat = self._root.stat(path)
            if stat is None:
                return self._missing(path, before or b"")
            why = found.why if stat.kind is FileKind.FILE else f"{path.decode()} is no file"
        except FolderError as error:
            why = error.message
        self.trouble = f"the rules of what is left out cannot be read: {why}"
        return _EVERYTHING if before is None else before

    def _missing(self, path: Path, before: bytes) -> bytes:
        since_s = self._missing_s.setdefault(path, time.monotonic())
        if before and time.monotonic() - since_s < GONE_AFTER_S:
            return before
        del self._missing_s[path]
        return b""
