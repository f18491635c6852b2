# SPDX-License-Identifier: AGPL-3.0-or-later
"""Large files go up in chunks, and go on where they stopped when Harp or the server was killed in between."""

import asyncio
import hashlib
from collections.abc import Callable, Collection
from typing import BinaryIO

from harp.base.errors import StaleError
from harp.sync.cloud.dav import BLOCK_BYTES, CHUNK_BYTES, Dav, Written
from harp.sync.cloud.nodes import CloudPath, Local, Remote
from harp.sync.cloud.refusals import FullError, RefusedError
from harp.sync.store.agreements import Agreements, Begun

CHUNKED_FROM = 2 * CHUNK_BYTES


class Chunked:
    """Belongs to one event loop. Each chunk is proved by its hash where the server says one, the whole by its size."""

    def __init__(self, dav: Dav, store: Agreements) -> None:
        self._dav = dav
        self._store = store
        self._begun = {CloudPath(path): begun for path, begun in store.uploads().items()}

    async def upload(self, path: CloudPath, local: Local, source: BinaryIO, over: Remote | None) -> Written:
        """Raises as :class:`Dav` does; after a :class:`CloudError` that passes by, the next call goes on from there."""
        begun = await self._found_again(path, local)
        if begun is None:
            place = await self._dav.begin_chunks(path, local.size)
            begun = Begun(local.inode, local.size, local.mtime_ns, place, 0, "")
        try:
            begun = await self._all_sent(path, local, source, begun)
            written = await self._dav.join_chunks(path, begun.place, local.size, begun.sha256, local.mtime_s, over)
        except (StaleError, RefusedError, FullError):
            await self._give_up(path, begun)
            raise
        await self._note(path, None)
        return written

    async def _all_sent(self, path: CloudPath, local: Local, source: BinaryIO, begun: Begun) -> Begun:
        digest = hashlib.sha256()
        await asyncio.to_thread(_hashed, source, begun.sent * CHUNK_BYTES, digest.update)
        for number in range(begun.sent, -(-local.size // CHUNK_BYTES)):
            await self._note(path, begun := begun._replace(sent=number))
            await self._dav.put_chunk(path, begun.place, number, source, local.size, digest.update)
        begun = begun._replace(sent=local.size // CHUNK_BYTES, sha256=digest.hexdigest())
        await self._note(path, begun)
        return begun

    async def _found_again(self, path: CloudPath, local: Local) -> Begun | None:
        begun = self._begun.get(path)
        if begun is None:
            return None
        if _of(begun) != local:
            await self._give_up(path, begun)
            return None
        try:
            there = await self._dav.chunks(begun.place)
        except StaleError:
            return None
        return begun._replace(sent=min(begun.sent, there))

    def has_written(self, path: CloudPath, local: Local, remote: Remote) -> bool:
        """Whether what lies there is what was put together from this very version, though no answer came."""
        begun = self._begun.get(path)
        is_it = begun is not None and begun.sha256 and _of(begun) == local and remote.size == local.size
        return bool(is_it) and begun is not None and remote.checksum == f"SHA256:{begun.sha256}"

    def sha256(self, path: CloudPath) -> str:
        """Of what :meth:`has_written` has found."""
        return self._begun[path].sha256

    async def sweep(self, wanted: Collection[CloudPath]) -> None:
        """Gives up what is not to go up any more."""
        for path in self._begun.keys() - set(wanted):
            await self._give_up(path, self._begun[path])

    async def _give_up(self, path: CloudPath, begun: Begun) -> None:
        await self._dav.drop_chunks(begun.place)
        await self._note(path, None)

    async def _note(self, path: CloudPath, begun: Begun | None) -> None:
        await asyncio.to_thread(self._store.note_upload, path, begun)
        if begun is None:
            self._begun.pop(path, None)
        else:
            self._begun[path] = begun


def _of(begun: Begun) -> Local:
    return Local(False, begun.inode, begun.size, begun.mtime_ns)


def _hashed(source: BinaryIO, size: int, note: Callable[[bytes], None]) -> None:
    """Leaves ``source`` where what was sent ends."""
    while size > 0:
        block = source.read(min(BLOCK_BYTES, size))
        if not block:
            raise StaleError("the file became shorter while it was read")
        note(block)
        size -= len(block)
