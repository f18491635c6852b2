# SPDX-License-Identifier: AGPL-3.0-or-later
"""One folder's part in the office: what its neighbours on the LAN are told and tell, and what is left to them."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from harp.identity.device import DeviceId
from harp.sync.engine import dag
from harp.sync.engine.claims import Tidings
from harp.sync.engine.fetcher import Reach
from harp.sync.engine.neighbours import Neighbourhood, Verdict
from harp.sync.model import ChunkId, FolderId, Vector
from harp.sync.protocol.officemessages import MAX_TIDINGS, Availability, Circle
from harp.sync.service.correspondent import Correspondent
from harp.sync.service.peer import Peer
from harp.sync.service.settings import OfficeSettings

FIND_S: Final = 2.0
"""After its start a device looks for its neighbours before it fetches anything over the WAN."""
_NEVER: Final = float("inf")


class Office:
    """For the folder's thread, but for :attr:`is_waited_for`, which links' threads read."""

    def __init__(self, folder: FolderId, own: DeviceId, settings: OfficeSettings) -> None:
        self._folder = folder
        self._settings = settings
        self.hood = Neighbourhood(own)
        self._started_s = time.monotonic()
        self._peers: dict[DeviceId, Peer] = {}
        self._circle: Circle | None = None
        self._told: set[ChunkId] = set()
        self.is_waited_for = False
        """Neighbours wait for what we fetch: what comes is to be announced at once."""

        self.served_by: tuple[DeviceId, ...] = ()
        """Neighbours that have all that we can want: with one that keeps its word there is nothing to agree on."""

    # --- who is there -------------------------------------------------------------------------------------------------

    def follow(self, correspondents: Iterable[Correspondent], ours: Vector, *, members: int, now: float) -> None:
        """Takes up who is linked now, of a folder that has so many members and of which we know ``ours``."""
        linked = {one.device: one for one in correspondents if one.can_serve}
        near = {device: one.peer for device, one in linked.items() if one.reach is Reach.LAN}
        for device in [device for device, peer in self._peers.items() if near.get(device) is not peer]:
            del self._peers[device]
            self.hood.went(device, now=now)
        for device, peer in near.items():
            if device not in self._peers:
                self._peers[device] = peer
                self.hood.came(device, now=now)
                self._circle = None
        # Settled with less than we know says nothing of what we know: it may just be telling us that it lacks it.
        have_all = [device for device in near if linked[device].is_settled and dag.covers(linked[device].said, ours)]
        for device in have_all:
            self.hood.settled(device)
        sources = frozenset() if self._settings.lan_only else linked.keys() - near.keys()
        self.hood.stand(sources=frozenset(sources), is_cache=self._settings.is_cache)
        is_alone = members <= len(linked) + 1
        self.hood.quiet_until = 0.0 if is_alone else self._started_s + FIND_S
        self.is_waited_for = bool(self._peers)
        self.served_by = tuple(have_all)

    def may_ask(self, one: Correspondent) -> bool:
        """Whether content may come from a peer at all."""
        return one.reach is Reach.LAN or not self._settings.lan_only

    def heard(
        self, peer: Peer, message: Circle | Availability, holds: Callable[[ChunkId], bool], *, now: float
    ) -> list[ChunkId]:
        """Takes in what a neighbour tells, and what of that it lacks we hold; what it holds now, of what we want."""
        if self._peers.get(peer.device) is not peer:
            return []
        if isinstance(message, Circle):
            self.hood.placed(peer.device, reaches=message.reaches, is_cache=message.cache, linked=message.linked)
            return []
        sought, held = self.hood.heard(peer.device, _tidings(message), now=now)
        self.hood.have(peer.device, [id_ for id_ in sought if holds(id_)], now=now)
        return held

    def __contains__(self, device: object) -> bool:
        return device in self.hood

    # --- what is wanted -----------------------------------------------------------------------------------------------

    def want(self, ids: Iterable[ChunkId], certain: Callable[[ChunkId], frozenset[DeviceId]], *, now: float) -> None:
        """All that is wanted now: neighbours are told what is new (but those who hold it), and what is not any more."""
        wanted = set(ids)
        for id_ in self._told - wanted:
            self.hood.drop(id_, now=now)
        for id_ in wanted - self._told:
            self.hood.want(id_, now=now, besides=certain(id_))
        self._told = wanted

    def came_in(self, id_: ChunkId, giver: DeviceId | None, *, now: float) -> None:
        self._told.discard(id_)
        self.hood.came_in(id_, giver, now=now)

    def is_ours(self, now: float) -> Callable[[ChunkId], bool]:
        """Whether we may ask the WAN for a chunk now."""
        self.hood.wake_at = _NEVER
        return lambda id_: self.hood.verdict(id_, now=now).is_ours

    def verdict(self, id_: ChunkId, *, now: float) -> Verdict:
        return self.hood.verdict(id_, now=now)

    # --- telling ------------------------------------------------------------------------------------------------------

    def tell(self, *, now: float) -> None:
        """Sends what is due to neighbours."""
        for device, tidings in self.hood.outgoing(now=now):
            for message in _messages(self._folder, tidings):
                self._peers[device].send(message)
        linked = tuple(sorted(self._peers))
        circle = Circle(self._folder, self.hood.reaches, self.hood.is_cache, linked)
        if circle != self._circle:
            self._circle = circle
            for peer in self._peers.values():
                peer.send(circle)

    def next_deadline(self) -> float:
        """When (monotonic) there is something to tell or to ask."""
        return min(self.hood.next_deadline(), self.hood.wake_at)


def _tidings(message: Availability) -> Tidings:
    return Tidings(
        dict.fromkeys(message.missing),
        dict.fromkeys(message.held),
        {id_: source for source, ids in message.fetching for id_ in ids},
        dict.fromkeys(message.expected),
        dict.fromkeys(message.dropped),
    )


def _messages(folder: FolderId, tidings: Tidings) -> Iterator[Availability]:
    """As many as it takes; nearly always one."""
    of_source: dict[DeviceId, list[ChunkId]] = {}
    for id_, source in tidings.fetching.items():
        of_source.setdefault(source, []).append(id_)
    lists = (tidings.missing, tidings.held, tidings.expected, tidings.dropped)
    if sum(map(len, lists)) + len(tidings.fetching) + len(of_source) <= MAX_TIDINGS:
        fetching = tuple((source, tuple(ids)) for source, ids in of_source.items())
        missing, held, expected, dropped = map(tuple, lists)
        yield Availability(folder, missing, held, fetching, expected, dropped)
        return
    for ids in _parts(tidings.dropped):
        yield Availability(folder, dropped=ids)
    for ids in _parts(tidings.missing):
        yield Availability(folder, missing=ids)
    for source, some in of_source.items():
        for ids in _parts(dict.fromkeys(some)):
            yield Availability(folder, fetching=((source, ids),))
    for ids in _parts(tidings.expected):
        yield Availability(folder, expected=ids)
    for ids in _parts(tidings.held):
        yield Availability(folder, held=ids)


def _parts(ids: Mapping[ChunkId, None]) -> Iterator[tuple[ChunkId, ...]]:
    every = tuple(ids)
    size = MAX_TIDINGS - 1
    return (every[start : start + size] for start in range(0, len(every), size))
