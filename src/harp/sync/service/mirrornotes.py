# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a mirror knows to be agreed, in memory and soon on the disk: nothing is noted before it is done."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from harp.sync.cloud.nodes import Agreed, CloudPath, Etag, FileId, Local, Remote, is_below, moved
from harp.sync.store.agreements import Agreements, Row

KEPT_AFTER = 64
"""So many changes are kept at once. What was done and is not kept is found to be the same again, by reading it."""


class Notes:
    """Belongs to one event loop."""

    def __init__(self, store: Agreements) -> None:
        self._store = store
        self.agreed = {CloudPath(path): _agreed(row) for path, row in store.rows().items()}
        self._changed: dict[CloudPath, Agreed | None] = {}

    def note(self, path: CloudPath, one: Agreed | None) -> None:
        """None forgets a path."""
        if one is None:
            self.agreed.pop(path, None)
        else:
            self.agreed[path] = one
        self._changed[path] = one

    def learn(self, remote: Mapping[CloudPath, Remote]) -> None:
        """What may be done with each, which changes without a change of its etag."""
        for path, found in remote.items():
            one = self.agreed.get(path)
            if one is not None and one.permissions != found.permissions and one.fileid == found.fileid:
                self.note(path, replace(one, permissions=found.permissions))

    def rename(self, source: CloudPath, target: CloudPath) -> None:
        """A path and all below it."""
        for path in [one for one in self.agreed if one == source or is_below(one, source)]:
            one = self.agreed[path]
            self.note(path, None)
            self.note(moved(path, source, target), one)

    async def keep_some(self) -> None:
        """Keeps what has come together, where it is much."""
        if len(self._changed) >= KEPT_AFTER:
            await self.keep()

    async def keep(self) -> None:
        """Raises :class:`StoreError`."""
        changed, self._changed = self._changed, {}
        if changed:
            rows = {str(path): None if one is None else _row(one) for path, one in changed.items()}
            await asyncio.to_thread(self._store.note, rows)

    async def clear(self) -> None:
        """Forgets all: what comes next is put together by content, and nothing is removed."""
        self.agreed, self._changed = {}, {}
        await asyncio.to_thread(self._store.clear)


def _agreed(row: Row) -> Agreed:
    local = Local(row.is_directory, row.inode, row.size, row.mtime_ns)
    return Agreed(local, FileId(row.fileid), Etag(row.etag), row.sha256, row.permissions)


def _row(one: Agreed) -> Row:
    local = one.local
    there = (one.fileid, one.etag, one.sha256, one.permissions)
    return Row(local.is_directory, local.inode, local.size, local.mtime_ns, *there)
