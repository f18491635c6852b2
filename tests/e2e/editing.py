# SPDX-License-Identifier: AGPL-3.0-or-later
"""Somebody who edits a folder at random while it is synced, and knows of each content whether it may be gone by now.

A content may be gone once an edit has taken the place of the very file that held it, or has removed it. What lay there
is looked at after it was taken away, in one step, so that whoever syncs the folder cannot change it in between.
"""

import itertools
import os
import random
import secrets
from pathlib import Path

from harp.sync.folder import rename
from harp.sync.folder.fs import Directory

NAMES = [f"{folder}{name}" for folder in ("", "d/", "e/", "e/f/") for name in ("one.txt", "two.txt", "three.txt")]
_LONGEST = 6400
"""Bytes."""


class Editor:
    """Works on one folder; ``gone`` is shared by all who edit the same account, and their seeds are odd and even.

    No two contents are of one length: by it a request that carries one is known. And Nextcloud keeps the etag of a file
    that is written twice with the same time in seconds; were it as long as before, nobody could see that it
    is another one.
    """

    def __init__(self, folder: Path, seed: int, gone: set[bytes]) -> None:
        self.folder, self.gone = folder, gone
        self.written: dict[bytes, str] = {}
        """Where each content was first."""
        self.random = random.Random(seed)
        self.edits = 0
        lengths = range(16 + seed % 2, _LONGEST, 2)
        self._lengths = itertools.cycle(self.random.sample(lengths, len(lengths)))
        self._aside = folder.with_name(f"{folder.name}.editor")
        self._aside.mkdir(exist_ok=True)

    def edit(self) -> None:
        """One thing that people do. What the folder does not permit just now is left."""
        path = self.folder / self.random.choice(NAMES)
        what = self.random.choices((self._write, self._remove, self._move), (6, 1, 2))[0]
        try:
            what(path)
            self.edits += 1
        except (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError):
            return

    def _write(self, path: Path) -> None:
        """As editors save: another file in the place of the old one."""
        content = (secrets.token_hex(8).encode() * _LONGEST)[: next(self._lengths)]
        path.parent.mkdir(parents=True, exist_ok=True)
        new = self._aside / secrets.token_hex(8)
        new.write_bytes(content)
        self.written[content] = str(path.relative_to(self.folder))
        ends = (_opened(self._aside), new.name.encode(), _opened(path.parent), path.name.encode())
        try:
            try:
                rename.to_free_name(*ends)
            except FileExistsError:
                rename.exchange(*ends)
                self._took(new)
        except OSError:
            del self.written[content]
            raise
        finally:
            new.unlink(missing_ok=True)

    def _remove(self, path: Path) -> None:
        taken = self._aside / secrets.token_hex(8)
        os.rename(path, taken)
        self._took(taken)
        taken.unlink()

    def _move(self, path: Path) -> None:
        target = self.folder / self.random.choice(NAMES)
        if self.random.random() < 0.2:
            path, target = path.parent, path.parent.with_name(self.random.choice(("d", "e", "g")))
            if self.folder in (path, path.parent.parent) or path == target:
                return
        rename.to_free_name(_opened(path.parent), path.name.encode(), _opened(target.parent), target.name.encode())

    def _took(self, taken: Path) -> None:
        self.gone.add(taken.read_bytes())


def _opened(folder: Path) -> Directory:
    return Directory(os.open(folder, os.O_RDONLY | os.O_DIRECTORY))
