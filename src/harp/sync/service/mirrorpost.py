# SPDX-License-Identifier: AGPL-3.0-or-later
"""What goes from the disk into the account: one by one, or many in a request where nothing can be overwritten."""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from harp.base.errors import CloudError, StaleError
from harp.sync.cloud.dav import BulkFile, Dav, Written, is_fit_for_bulk
from harp.sync.cloud.nodes import ALL_LETTERS, Agreed, CloudPath, Local, Remote, parent
from harp.sync.cloud.refusals import BusyError, LoginError
from harp.sync.cloud.steps import Action, Upload
from harp.sync.service.mirrorchunks import CHUNKED_FROM, Chunked
from harp.sync.service.mirrordisk import MirrorDisk
from harp.sync.service.mirrornotes import Notes
from harp.sync.store.agreements import Agreements

BULK_FILES = 200
"""A request costs as much as some five files; one that is cut off is to be sent again."""
FEWEST_IN_BULK = 4
SHARED_FROM = 20
"""A request of fewer files is not worth a second writer."""
BULK_BYTES = 8 * 1024 * 1024
SMALL_BYTES = 256 * 1024
BULK_WRITERS = 2
"""Bulk requests at once; more of them only wait for one another in the server's database."""


class Post:
    """Belongs to one event loop. Its methods raise as :class:`Dav` and :class:`MirrorDisk` do."""

    def __init__(self, dav: Dav, disk: MirrorDisk, notes: Notes, store: Agreements) -> None:
        self._dav = dav
        self._disk = disk
        self._notes = notes
        self._takes_bulk = True
        self.chunked = Chunked(dav, store)

    async def upload(self, path: CloudPath, local: Local, over: Remote | None) -> bool:
        """Whether the disk still has what went up; else the next turn sees the difference."""
        known = self._notes.agreed.get(path)
        is_same_size = over is not None and known is not None and known.sha256 and local.size == known.local.size
        # A touched or rewritten file with the same bytes would be a version for nothing.
        if is_same_size and known is not None and await self._sha256(path, local) == known.sha256:
            self._notes.note(path, replace(known, local=local))
            return True
        source = await asyncio.to_thread(self._disk.open, path, local)
        with source:
            if local.size < CHUNKED_FROM:
                written = await self._dav.put(path, source, local.size, local.mtime_s, over)
            else:
                written = await self.chunked.upload(path, local, source, over)
        is_still = await asyncio.to_thread(self._disk.look, path) == local
        letters = over.permissions if over is not None else ALL_LETTERS
        self._notes.note(path, _agreed(local, written, written.sha256 if is_still else "", letters))
        return is_still

    async def _sha256(self, path: CloudPath, local: Local) -> str:
        return await asyncio.to_thread(self._disk.sha256, path, local)

    def parted(self, steps: Iterable[Action], made: Collection[CloudPath]) -> tuple[list[list[Upload]], list[Action]]:
        """What may go in bulk, request by request, and the rest; ``made`` are the folders that this turn has made."""
        small: list[Upload] = []
        rest: list[Action] = []
        for one in steps:
            is_new_there = isinstance(one, Upload) and one.over is None and parent(one.path) in made
            if isinstance(one, Upload) and is_new_there and self._is_fit(one):
                small.append(one)
            else:
                rest.append(one)
        if len(small) < FEWEST_IN_BULK:
            return [], [*small, *rest]
        return grouped(small), rest

    def _is_fit(self, one: Upload) -> bool:
        return self._takes_bulk and one.local.size <= SMALL_BYTES and is_fit_for_bulk(one.path)

    async def bulk(self, group: Sequence[Upload]) -> list[Upload]:
        """Sends them in one request; answers those that are to go one by one, as the server has not taken them."""
        read = await asyncio.to_thread(self._contents, group)
        try:
            taken = await self._dav.bulk(list(read.values())) if read else {}
        except LoginError:
            raise
        except BusyError as error:
            if not error.is_one_file:
                raise
            taken = {}
        except CloudError:
            # One file that is not to the server's liking spoils the whole request: what it took is found there.
            self._takes_bulk, taken = False, {}
        for one in group:
            if one.path in taken:
                self._notes.note(one.path, _agreed(one.local, taken[one.path], read[one].sha256))
        await self._notes.keep()
        return [one for one in group if one.path not in taken]

    def _contents(self, group: Iterable[Upload]) -> dict[Upload, BulkFile]:
        """What is as expected on the disk."""
        found: dict[Upload, BulkFile] = {}
        for one in group:
            try:
                content, sha256 = self._disk.read(one.path, one.local)
            except StaleError:
                continue
            found[one] = BulkFile(one.path, content, sha256, one.local.mtime_s)
        return found


def grouped(small: Sequence[Upload]) -> list[list[Upload]]:
    """One list a request: no longer than the server likes, and as many for each writer."""
    rounds = max(2, -(-len(small) // (BULK_WRITERS * BULK_FILES)))
    most = max(SHARED_FROM, -(-len(small) // (BULK_WRITERS * rounds)))
    groups: list[list[Upload]] = [[]]
    size = 0
    for one in small:
        if len(groups[-1]) >= most or size + one.local.size > BULK_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(one)
        size += one.local.size
    return groups


def _agreed(local: Local, written: Written, sha256: str, letters: str = ALL_LETTERS) -> Agreed:
    return Agreed(local, written.fileid, written.etag, sha256, letters)
