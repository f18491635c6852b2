# SPDX-License-Identifier: AGPL-3.0-or-later
"""A linked peer as one folder knows it: how far it is, and what is on its way to it."""

from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field

from harp.identity.device import DeviceId
from harp.sync.engine import dag
from harp.sync.engine.fetcher import Reach
from harp.sync.model import ChainId, Entry, FolderId, Vector
from harp.sync.service.peer import Peer


@dataclass(slots=True)
class Correspondent:
    """For the folder's thread."""

    peer: Peer
    folder: FolderId
    vector: Vector = field(default_factory=dict)
    """What it said it has merged, and what we sent it since."""
    said: Vector = field(default_factory=dict)
    """What it said it has merged."""
    is_settled: bool = False
    waiting: int = 0
    held: int = 0
    has_spoken: bool = False
    is_getting: bool = False
    """It was asked for batches, and has not said that it sent all."""
    asked: tuple[Vector, Vector] | None = None
    """What we had and what it had when it was asked last: an answer that changed neither is not asked for again."""
    doubted: set[ChainId] = field(default_factory=set)
    """Chains of which it said that they end elsewhere: the proof is asked of it once."""
    outgoing: Iterator[bytes] | None = None
    """Batches it asked for, sent as its link takes them."""

    @property
    def device(self) -> DeviceId:
        return self.peer.device

    @property
    def reach(self) -> Reach:
        return self.peer.reach

    @property
    def can_serve(self) -> bool:
        """Whether it said that it shares this folder."""
        return self.has_spoken and self.peer.is_open

    def has(self, entry: Entry) -> bool:
        """Whether it certainly has an entry's content, unless that changed since."""
        meta = entry.meta
        return meta.author == self.device or (self.is_settled and self.said.get(meta.chain, 0) >= meta.sequence)

    def may_have(self, entry: Entry) -> bool:
        """Whether it knows the entry, and so may have some of its content."""
        return self.has(entry) or self.said.get(entry.meta.chain, 0) >= entry.meta.sequence

    def lacks(self, vector: Vector) -> bool:
        """Whether something of ``vector`` neither is there nor on its way to it."""
        return not dag.covers(self.vector, vector)


Holders = Callable[[Correspondent], bool]
"""Who can be expected to have a content."""


def holders_of(
    entry: Entry, correspondents: Callable[[], Iterable[Correspondent]], tells: Container[DeviceId]
) -> Holders:
    """Those that certainly have an entry's content; where none does, those that know the entry.

    Of ``tells`` only the former: they say what of it they have.
    """

    def holds(one: Correspondent) -> bool:
        if one.has(entry):
            return True
        if one.device in tells or not one.may_have(entry):
            return False
        return not any(other.has(entry) for other in correspondents())

    return holds
