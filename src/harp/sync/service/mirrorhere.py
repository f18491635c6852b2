# SPDX-License-Identifier: AGPL-3.0-or-later
"""Content of the account that lies on this disk already, under another name: it is copied here and not fetched.

A copy that somebody makes in Nextcloud is a new file to its clients. What makes it likely to be one proves nothing: an
etag of the server's disk may come again, a checksum is what a client said, a time is what anybody sets. So where it is
likely, the server is asked to hash what it has. A file here counts if its bytes have that hash when they are copied.
"""

import asyncio
import hmac
from collections import defaultdict
from collections.abc import Mapping
from functools import cached_property
from typing import BinaryIO

from harp.base.errors import StaleError
from harp.sync.cloud.dav import Dav
from harp.sync.cloud.nodes import Agreed, CloudPath, Local, Remote
from harp.sync.service.mirrordisk import MirrorDisk

HERE_FROM = 64 * 1024
"""A smaller file is fetched: that is one request, and so is the question."""


class Here:
    """One turn's; belongs to one event loop. ``agreed`` is what both sides have, which grows while the turn goes on."""

    def __init__(self, dav: Dav, disk: MirrorDisk, agreed: Mapping[CloudPath, Agreed]) -> None:
        self._dav = dav
        self._disk = disk
        self._agreed = agreed

    async def read(self, path: CloudPath, expected: Remote, target: BinaryIO) -> str:
        """Writes the version ``expected`` into ``target``; its SHA-256 in hexadecimal, or empty: it is not here.

        Raises :class:`CloudError` where the server does not answer.
        """
        alike = self._alike(expected) if expected.size >= HERE_FROM else {}
        if not alike:
            return ""
        sha256 = await self._dav.hashed(path, expected)
        for source in alike.get(sha256, ()):
            try:
                copied = await asyncio.to_thread(
                    self._disk.read_through, source, self._agreed[source].local, target.write
                )
            except (StaleError, KeyError):
                copied = ""
            if hmac.compare_digest(copied, sha256):
                return sha256
            await asyncio.to_thread(emptied, target)
        return ""

    async def has(self, path: CloudPath, local: Local, remote: Remote) -> str:
        """The SHA-256 that both have, where what lies here is what the account has; empty where that is not proved."""
        if local.size != remote.size or remote.size < HERE_FROM:
            return ""
        sha256 = await self._dav.hashed(path, remote)
        return sha256 if sha256 and await asyncio.to_thread(self._disk.sha256, path, local) == sha256 else ""

    def _alike(self, there: Remote) -> dict[str, list[CloudPath]]:
        """What may have the same content, by its SHA-256."""
        found: dict[str, list[CloudPath]] = {}
        for path in self._by_size.get(there.size, ()):
            one = self._agreed.get(path)
            if one is not None and _is_likely(one, there):
                found.setdefault(one.sha256, []).append(path)
        return found

    @cached_property
    def _by_size(self) -> Mapping[int, list[CloudPath]]:
        found: defaultdict[int, list[CloudPath]] = defaultdict(list)
        for path, one in self._agreed.items():
            if one.sha256 and one.local.size >= HERE_FROM:
                found[one.local.size].append(path)
        return found


def _is_likely(known: Agreed, there: Remote) -> bool:
    same = there.etag == known.etag or there.mtime_s == known.local.mtime_s
    return same or there.checksum.lower() == f"sha256:{known.sha256}"


def emptied(target: BinaryIO) -> None:
    """What was written did not come to anything."""
    target.seek(0)
    target.truncate()
