# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may knock here, and what we knock with elsewhere: folders' epochs, pairwise keys, tickets."""

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from harp.base.errors import TrustError
from harp.identity.device import DeviceId, DeviceKey
from harp.sync.model import FolderId
from harp.sync.service.folderloop import FolderLoop
from harp.sync.store.registry import OpenTicket, Registry
from harp.sync.transport import knock
from harp.sync.transport.freshness import NONCE_BYTES, ReplayMemory, slot_of

MAX_KEYS = 8


@dataclass(frozen=True, slots=True)
class ByFolder:
    """The knock was under a folder's newest epoch: a member, maybe one that is not known here yet."""

    folder: FolderId
    refused: frozenset[DeviceId]

    @property
    def tag(self) -> object:
        return self

    def accepts(self, device: DeviceId) -> bool:
        return device not in self.refused


@dataclass(frozen=True, slots=True)
class ByDevice:
    """The knock was under the key that only that member and this device can make."""

    device: DeviceId

    @property
    def tag(self) -> object:
        return self

    def accepts(self, device: DeviceId) -> bool:
        return device == self.device


@dataclass(frozen=True, slots=True)
class ByTicket:
    """The knock was under a ticket's key: anybody may be behind it, and may only redeem it."""

    ticket: OpenTicket

    @property
    def tag(self) -> object:
        return self

    def accepts(self, _device: DeviceId) -> bool:
        return True


Admission = ByFolder | ByDevice | ByTicket


class Doors:
    """Implements :class:`harp.sync.transport.listener.Doorman`; for every thread."""

    def __init__(self, key: DeviceKey, registry: Registry, loops: Callable[[], Sequence[FolderLoop]]) -> None:
        self._key = key
        self._registry = registry
        self._loops = loops
        self._lock = threading.Lock()
        self._seen = ReplayMemory()
        self._pairwise = lru_cache(maxsize=4096)(self._pairwise_key)

    def admit(self, knocked: bytes, local: tuple[str, int]) -> Admission | None:
        """Who knocks, as far as the knock tells."""
        listeners = [bytes(self._key.device_id), knock.place(*local)]
        now = time.time()
        with self._lock:
            return knock.matching(knocked, self._candidates(now), listeners=listeners, now=now, seen=self._seen)

    def knock_for(self, device: DeviceId) -> bytes | None:
        """What opens a known member's door: the pairwise key, and the epochs of what both are in."""
        keys = [key] if (key := self._pairwise(device)) is not None else []
        for loop in self._loops():
            if loop.replica.membership.role(device) is not None:
                keys += reversed(loop.replica.secrets.epochs)
        return self._knock(keys[:MAX_KEYS], bytes(device)) if keys else None

    def knock_at(self, folder: FolderId, host: str, port: int) -> bytes | None:
        """What opens the door of a member of whom only the address is known."""
        for loop in self._loops():
            if loop.replica.folder == folder:
                return self._knock(list(reversed(loop.replica.secrets.epochs))[:MAX_KEYS], knock.place(host, port))
        return None

    def knock_with(self, key: bytes, device: DeviceId) -> bytes:
        """What opens an inviter's door for its ticket."""
        return self._knock([key], bytes(device))

    def epochs(self) -> list[tuple[bytes, FolderId]]:
        """Each folder's newest epoch, for the beacon."""
        return [(loop.replica.secrets.epochs[-1], loop.replica.folder) for loop in self._loops()]

    def _candidates(self, now: float) -> Iterator[tuple[bytes, Admission]]:
        forgotten = frozenset(self._registry.forgotten())
        own = self._key.device_id
        members = {device for loop in self._loops() for device in loop.replica.membership.members}
        for device in members - forgotten - {own}:
            key = self._pairwise(device)
            if key is not None:
                yield key, ByDevice(device)
        for epoch, folder in self.epochs():
            yield epoch, ByFolder(folder, forgotten | {own})
        for ticket in self._registry.open_tickets(now=now):
            yield ticket.knock_key, ByTicket(ticket)

    def _pairwise_key(self, device: DeviceId) -> bytes | None:
        try:
            return knock.pairwise_key(self._key, device)
        except TrustError:
            return None

    def _knock(self, keys: Sequence[bytes], listener: bytes) -> bytes:
        return knock.make_knock(
            keys,
            listener=listener,
            nonce=secrets.token_bytes(NONCE_BYTES),
            slot=slot_of(time.time()),
            padding=secrets.token_bytes(knock.KNOCK_PADDING_BYTES),
        )
