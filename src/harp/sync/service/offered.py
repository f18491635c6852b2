# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files that peers are still reading: their chunks are asked for before anyone knows what file it will be."""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from harp.identity.device import DeviceId, short
from harp.sync.model import MIN_CHUNK, ChunkRef, RootId
from harp.sync.protocol.foldermessages import Offer, OfferEnd
from harp.sync.service.assembly import Assembly
from harp.sync.service.offers import MAX_OFFERED_BYTES
from harp.sync.service.placing import Placing
from harp.sync.service.replica import Replica

MAX_OFFERED = 4
VOID_OFFER_S = 60.0
"""An offered file whose entry has not come by then is dropped."""


@dataclass(slots=True)
class _Offered:
    assembly: Assembly
    chunks: int = 0
    voided_s: float | None = None

    def takes(self, chunks: Sequence[ChunkRef]) -> bool:
        """Whether a file of the stated size can go on so: what is told of it is kept, and asked for."""
        self.chunks += len(chunks)
        is_too_long = self.assembly.placed + sum(chunk.size for chunk in chunks) > self.assembly.size
        return not is_too_long and self.chunks <= self.assembly.size // MIN_CHUNK + 1


class OfferedFiles:
    """For the folder's thread. ``drop`` is told of an assembly that nobody will want."""

    def __init__(self, replica: Replica, placing: Placing, drop: Callable[[Assembly], None]) -> None:
        self._replica = replica
        self._placing = placing
        self._drop = drop
        self._open: dict[tuple[DeviceId, int], _Offered] = {}
        self._names = itertools.count(1)

    def __iter__(self) -> Iterator[tuple[DeviceId, Assembly]]:
        """Who offers what."""
        return ((device, known.assembly) for (device, _), known in self._open.items())

    def heard(self, peer: DeviceId, offer: Offer) -> None:
        """Chunks of a file that a peer is still reading: what of them is missing here is asked for at once."""
        key = (peer, offer.offer)
        known = self._open.get(key)
        if known is None:
            most_bytes = min(MAX_OFFERED_BYTES, self._replica.root.free_bytes() // 2)
            if len(self._open) >= MAX_OFFERED or offer.size_hint > most_bytes:
                return
            temp = self._replica.staging.temp(f"offer-{short(peer)}-{next(self._names)}")
            known = self._open[key] = _Offered(Assembly(temp, offer.size_hint, self._replica.keys, None))
        if not known.takes(offer.chunks):
            self._void(key)
            return
        known.assembly.learn(offer.chunks)
        self._placing.place(known.assembly, offer.chunks)

    def ended(self, peer: DeviceId, end: OfferEnd, *, is_known: bool) -> None:
        """The offered file has this root; its entry follows, or came already and is got otherwise (``is_known``)."""
        known = self._open.get((peer, end.offer))
        if known is None:
            return
        if not end.root or not known.assembly.conclude(end.root) or is_known:
            self._void((peer, end.offer))
        else:
            known.voided_s = time.monotonic() + VOID_OFFER_S

    def adopted(self, root: RootId) -> Assembly | None:
        """What is here of a file that is wanted now; it is the asker's."""
        for key, known in self._open.items():
            if known.assembly.root == root:
                del self._open[key]
                return known.assembly
        return None

    def step(self, *, now: float) -> None:
        """Goes on with copies; drops what was offered in vain."""
        for key in [key for key, known in self._open.items() if known.voided_s is not None and known.voided_s < now]:
            self._void(key)
        for known in self._open.values():
            self._placing.collect(known.assembly)

    def lost(self, device: DeviceId) -> None:
        """The peer is gone, and its offers with it."""
        for key in [key for key in self._open if key[0] == device]:
            self._void(key)

    def unwritten(self, chunk: bytes) -> None:
        """The disk did not take a chunk."""
        for key in [key for key, known in self._open.items() if chunk in known.assembly.missing]:
            self._void(key)

    def _void(self, key: tuple[DeviceId, int]) -> None:
        self._drop(self._open.pop(key).assembly)
