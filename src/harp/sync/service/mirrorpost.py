# SPDX-License-Identifier: AGPL-3.0-or-later
"""What goes from the disk into the account: one by one, or many in a request where nothing can be overwritten."""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from harp.base.errors import CloudError, StaleError
from harp.base.runtime import Backoff
from harp.sync.cloud.capabilities import Capabilities
from harp.sync.cloud.dav import Dav, Written
from harp.sync.cloud.nodes import ALL_LETTERS, Agreed, CloudPath, Local, Remote, parent
from harp.sync.cloud.parcels import SmallFile, is_fit
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
BULK_BYTES = 7 * 1024 * 1024
"""PHP by itself takes 8 MiB, with what stands around them."""
SMALL_BYTES = 256 * 1024
BULK_WRITERS = 2
"""Bulk requests at once; more of them only wait for one another in the server's database."""
AGAIN = Backoff(first_s=60.0, most_s=3600.0)
"""Between requests for many that went wrong; meanwhile all go one by one."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What goes in one request; ``by_bridge``: through Harp Bridge, which overwrites nothing, else by ``/dav/bulk``."""

    uploads: Sequence[Upload]
    by_bridge: bool


class Way:
    """How many files go in one request, and whether that is tried: not for a while after it went wrong.

    Why it did, no answer says for sure: the connection broke, a proxy takes no such bodies, a file spoils each request.
    """

    def __init__(self) -> None:
        self._failures = 0
        self._again_s = float("-inf")

    def is_open(self, *, now: float) -> bool:
        return now >= self._again_s

    def went_wrong(self, *, now: float) -> None:
        """Several that were under way together count as one."""
        if self.is_open(now=now):
            self._failures += 1
            self._again_s = now + AGAIN.delay_s(self._failures, jitter=1.0)

    def went_well(self) -> None:
        self._failures = 0


class Post:
    """Belongs to one event loop. Its methods raise as :class:`Dav` and :class:`MirrorDisk` do."""

    def __init__(self, dav: Dav, disk: MirrorDisk, notes: Notes, store: Agreements) -> None:
        self._dav = dav
        self._disk = disk
        self._notes = notes
        self._rules = Capabilities()
        self._ways = {False: Way(), True: Way()}
        """By whose the request is (:attr:`Batch.by_bridge`), as long as the server says :attr:`_rules`."""
        self.chunked = Chunked(dav, store)

    async def upload(self, path: CloudPath, local: Local, over: Remote | None, *, seen_s: float) -> bool:
        """Whether the disk still has what went up; else the next turn sees the difference.

        ``seen_s``: since when ``over`` may have been there no more (s, by the server's clock).
        """
        known = self._notes.agreed.get(path)
        is_same_size = over is not None and known is not None and known.sha256 and local.size == known.local.size
        # A touched or rewritten file with the same bytes would be a version for nothing.
        if is_same_size and known is not None and await self._sha256(path, local) == known.sha256:
            self._notes.note(path, replace(known, local=local))
            return True
        if over is not None:
            await self._dav.outlast(path, over, seen_s)
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

    def parted(
        self, steps: Iterable[Action], made: Collection[CloudPath], rules: Capabilities, *, now: float
    ) -> tuple[list[Batch], list[Action]]:
        """What may share requests, and the rest; ``made`` are folders that this turn has made. ``now`` is monotonic."""
        if rules != self._rules:
            self._rules, self._ways = rules, {False: Way(), True: Way()}
        by_bridge = rules.has_new_files and self._ways[True].is_open(now=now)
        by_bulk = rules.has_bulk and self._ways[False].is_open(now=now)
        small: list[Upload] = []
        rest: list[Action] = []
        for one in steps:
            if (
                isinstance(one, Upload)
                and _is_small_and_new(one)
                and (by_bridge or (by_bulk and parent(one.path) in made))
            ):
                small.append(one)
            else:
                rest.append(one)
        if len(small) < FEWEST_IN_BULK:
            return [], [*small, *rest]
        return [Batch(group, by_bridge) for group in grouped(small)], rest

    async def bulk(self, batch: Batch, *, now: float) -> list[Upload]:
        """Sends them in one request; answers those that are to go one by one, as the server has not taken them."""
        send = self._dav.make_files if batch.by_bridge else self._dav.bulk
        read = await asyncio.to_thread(self._contents, batch.uploads)
        try:
            taken = await send(list(read.values())) if read else {}
        except LoginError:
            raise
        except BusyError as error:
            if not error.is_one_file:
                raise
            taken = {}
        except CloudError:
            # One file that is not to the server's liking spoils the whole request: what it took is found there.
            self._ways[batch.by_bridge].went_wrong(now=now)
            taken = {}
            if batch.by_bridge:
                self._dav.missed_bridge()
        else:
            self._ways[batch.by_bridge].went_well()
        for one in batch.uploads:
            if one.path in taken:
                self._notes.note(one.path, _agreed(one.local, taken[one.path], read[one].sha256))
        await self._notes.keep()
        return [one for one in batch.uploads if one.path not in taken]

    def _contents(self, group: Iterable[Upload]) -> dict[Upload, SmallFile]:
        """What is as expected on the disk."""
        found: dict[Upload, SmallFile] = {}
        for one in group:
            try:
                content, sha256 = self._disk.read(one.path, one.local)
            except StaleError:
                continue
            found[one] = SmallFile(one.path, content, sha256, one.local.mtime_s)
        return found


def _is_small_and_new(one: Upload) -> bool:
    return one.over is None and one.local.size <= SMALL_BYTES and is_fit(one.path)


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
