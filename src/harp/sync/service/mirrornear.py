# SPDX-License-Identifier: AGPL-3.0-or-later
"""The server's own disk, where the daemon runs on Nextcloud's host: large files are read there, and not through PHP.

Nextcloud's locks are in its database, and some who write there do it in place. So a content counts only where the file
is as the server says (size and second) and does not change while it is read, and where the server says the same
afterwards. Whatever is otherwise, also what is encrypted or lies on another storage, goes the usual way.
"""

import asyncio
import hashlib
import os
import stat
from pathlib import Path as OsPath
from typing import BinaryIO

from harp.base.errors import HarpError, StaleError
from harp.sync.cloud.dav import Dav
from harp.sync.cloud.nodes import MOUNT, CloudPath, Remote
from harp.sync.folder.fs import Root, sentence
from harp.sync.model import Path
from harp.sync.service.mirrorhere import emptied

NEAR_FROM = 1024 * 1024
"""A smaller file is not worth the question afterwards: the usual way costs one request as well."""
_ENCRYPTED = b"HBEGIN:"
"""What Nextcloud's server-side encryption puts in front."""
_ELSEWHERE = frozenset(("S", "M", MOUNT))
"""Letters of what lies in somebody else's files or on another storage."""
_BLOCK = 1 << 20


class Near:
    """``files`` is the account's folder on the server's disk: ``<data folder>/<account's id>/files[/<folder>]``."""

    def __init__(self, dav: Dav, files: OsPath) -> None:
        self._dav = dav
        self._files = files
        self._root: Root | None = None
        self.trouble = ""
        """Why nothing can be read there; empty where all is well."""

    async def read(self, path: CloudPath, expected: Remote, target: BinaryIO) -> str:
        """Writes the version ``expected`` into ``target``; its SHA-256 in hexadecimal, or empty: go the usual way.

        Raises :class:`CloudError` where the server does not answer.
        """
        if expected.size < NEAR_FROM or any(expected.may(letter) for letter in _ELSEWHERE):
            return ""
        sha256 = await asyncio.to_thread(self._copied, Path(path.encode()), expected, target)
        if sha256 and await self._is_still(path, expected):
            return sha256
        await asyncio.to_thread(emptied, target)
        return ""

    async def _is_still(self, path: CloudPath, expected: Remote) -> bool:
        try:
            found = (await self._dav.listing(path, 0))[0].remote
        except StaleError:
            return False
        return (found.etag, found.fileid, found.size) == (expected.etag, expected.fileid, expected.size)

    def _copied(self, path: Path, expected: Remote, target: BinaryIO) -> str:
        try:
            if self._root is None:
                self._root = Root.open(str(self._files))
            self._root.forget()
            fd = self._root.open_regular(path)
            self.trouble = ""
            if fd is None:
                return ""
            with os.fdopen(fd, "rb") as source:
                return self._copied_from(source, path, expected, target)
        except FileNotFoundError:
            return ""
        except (OSError, HarpError) as error:
            why = error.message if isinstance(error, HarpError) else sentence(error)
            self.trouble = f"{self._files}: {why}"
            return ""

    def _copied_from(self, source: BinaryIO, path: Path, expected: Remote, target: BinaryIO) -> str:
        before = os.fstat(source.fileno())
        is_expected = before.st_size == expected.size and int(before.st_mtime) == expected.mtime_s
        if not is_expected or not stat.S_ISREG(before.st_mode):
            return ""
        digest = hashlib.sha256()
        while block := source.read(_BLOCK):
            if not target.tell() and block.startswith(_ENCRYPTED):
                return ""
            digest.update(block)
            target.write(block)
        assert self._root is not None
        is_same = _state(before) == _state(os.fstat(source.fileno()))
        there = self._root.lstat(path)
        return digest.hexdigest() if is_same and there is not None and _state(there) == _state(before) else ""


def _state(found: os.stat_result) -> tuple[int, ...]:
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
