# SPDX-License-Identifier: AGPL-3.0-or-later
"""Keeps one folder's history the same as its linked members': who is how far, what is pushed, asked and passed on."""

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from harp.base.errors import RemoteProtocolError
from harp.identity.device import DeviceId, short
from harp.sync.engine import dag
from harp.sync.engine.fetcher import Reach
from harp.sync.model import MIN_CHUNK, Batch, ChainId, ChunkId, FolderId, RootId, Vector
from harp.sync.protocol import batchform
from harp.sync.protocol.foldermessages import (
    MAX_CONTENT_BYTES,
    TIP_BYTES,
    Batches,
    Content,
    Forked,
    Get,
    Offer,
    OfferEnd,
    State,
)
from harp.sync.protocol.wire import MAX_CHAINS
from harp.sync.service.author import Written
from harp.sync.service.correspondent import Correspondent
from harp.sync.service.peer import Peer
from harp.sync.store.ledger import Ledger

_log = logging.getLogger(__name__)

BACKLOG_BYTES = 8 * 1024 * 1024
"""With more than this waiting on its link a peer is not pushed to: it asks when it is ready."""
BATCHES_BYTES = 512 * 1024
"""About how much of one message batches fill."""
STATE_EVERY_S = 0.02
"""States are gathered for this long while there is work; the last one is sent at once."""


class Exchange:
    """For the folder's thread, but for :meth:`broadcast`."""

    def __init__(self, folder: FolderId, ledger: Ledger, is_unwanted: Callable[[ChainId], bool]) -> None:
        """``is_unwanted``: whether more of a chain is not to be asked for, whoever has it."""
        self._is_unwanted = is_unwanted
        self._folder = folder
        self._ledger = ledger
        self._peers: dict[DeviceId, Correspondent] = {}
        self.suspects: set[ChainId] = set()
        """Chains of which a peer seems to have another branch: they are asked for from their beginning, as a proof."""
        self._stated: tuple[object, ...] | None = None
        self._stated_s = 0.0
        self.last_state: State | None = None

    def correspondents(self) -> Sequence[Correspondent]:
        return tuple(self._peers.values())

    def get(self, device: DeviceId) -> Correspondent | None:
        return self._peers.get(device)

    # --- who is there -------------------------------------------------------------------------------------------------

    def came(self, peer: Peer) -> bool:
        """A member is linked, and is told how far we are; whether this link takes the place of another."""
        is_instead = peer.device in self._peers
        self._peers[peer.device] = Correspondent(peer, self._folder)
        if self.last_state is not None:
            peer.send(self.last_state)
        return is_instead

    def greet_again(self, peer: Peer) -> None:
        """A linked member begins to speak of the folder: what was said before has not reached it."""
        known = self._by_link(peer)
        if known is None or self.last_state is None:
            return
        known.is_getting, known.outgoing = False, None
        peer.send(self.last_state)

    def went(self, peer: Peer) -> bool:
        """Whether the peer was here by that very link."""
        if self._by_link(peer) is None:
            return False
        del self._peers[peer.device]
        return True

    def _by_link(self, peer: Peer) -> Correspondent | None:
        """None also for a link that another one to the same device replaced: what it still says is out of date."""
        known = self._peers.get(peer.device)
        return known if known is not None and known.peer is peer else None

    # --- what they say ------------------------------------------------------------------------------------------------

    def heard(self, peer: Peer, state: State) -> Correspondent | None:
        """Notes how far a peer is, and asks it for what we lack."""
        known = self._by_link(peer)
        if known is None:
            return None
        if not known.has_spoken:
            known.has_spoken = True
            self._tell_forks(peer)
        known.said = state.vector
        known.vector = _joined(known.vector, state.vector)
        known.is_settled, known.waiting, known.held = state.settled, state.waiting, state.held
        self._compare_tips(known, state)
        self.ask(known)
        return known

    def _compare_tips(self, known: Correspondent, state: State) -> None:
        """A chain that ends elsewhere at the same sequence has forked: its other branch is asked for, as the proof."""
        for chain in self._ledger.chains():
            tip = state.tip_of(chain.id)
            is_equal_long = tip is not None and state.vector.get(chain.id) == chain.merged
            is_other = is_equal_long and tip != chain.merged_id[:TIP_BYTES] and chain.stopped_at is None
            if is_other and chain.id not in known.doubted:
                known.doubted.add(chain.id)
                self.suspects.add(chain.id)
                known.asked = None

    def _tell_forks(self, peer: Peer) -> None:
        for one, other in self._ledger.forks():
            peer.send(Forked(self._folder, batchform.encode_batch(one), batchform.encode_batch(other)))

    def ask(self, known: Correspondent) -> None:
        """Asks a peer for its batches if it has some that we lack, one question at a time."""
        merged = {id_: sequence for id_, sequence in self._ledger.vector().items() if id_ not in self.suspects}
        unwanted = ((id_, sequence) for id_, sequence in known.said.items() if self._is_unwanted(id_))
        # As far as a question holds them: whoever is held may have claimed chains without end.
        ours = dag.joined(merged, dict(itertools.islice(unwanted, max(0, MAX_CHAINS - len(merged)))))
        question = (ours, known.said)
        if not known.is_getting and known.asked != question and not dag.covers(ours, known.said):
            known.asked = question
            known.is_getting = known.peer.send(Get(self._folder, ours))

    def ask_all(self) -> None:
        for known in self._peers.values():
            if known.has_spoken:
                self.ask(known)

    def ask_anew(self) -> None:
        """What was sent could not be kept: the same is asked for again."""
        for known in self._peers.values():
            known.asked = None
            known.is_getting = False
        self.ask_all()

    def got(self, peer: Peer, batches: Batches) -> None:
        """An empty Batches ends the answer to a Get."""
        known = self._by_link(peer)
        if known is not None and not batches.batches:
            known.is_getting = False

    def wanted(self, peer: Peer, get: Get) -> None:
        """A peer asks for what lies beyond its vector; it is sent as its link takes it."""
        known = self._by_link(peer)
        if known is not None:
            known.said = _joined(known.said, get.vector)
            known.outgoing = self._ledger.batches_beyond(get.vector)
            known.vector = dag.joined(known.vector, self._ledger.vector())

    # --- what we say --------------------------------------------------------------------------------------------------

    def publish(self, written: Sequence[Written], contents: Mapping[RootId, bytes]) -> None:
        """What this device has just said goes to all members at once, on the LAN with its small contents."""
        for known in self._peers.values():
            if not known.has_spoken or known.peer.link.backlog_bytes > BACKLOG_BYTES:
                continue
            if known.lacks(written[0].batch.vector) or known.outgoing is not None:
                continue
            if known.reach is Reach.LAN:
                for content in self._contents(written, contents):
                    known.peer.send(content)
            for message in _messages(self._folder, (item.data for item in written)):
                known.peer.send(message)
            for item in written:
                known.vector = dag.joined(known.vector, {item.batch.chain: item.batch.last_sequence})

    def _contents(self, written: Sequence[Written], contents: Mapping[RootId, bytes]) -> Iterator[Content]:
        items: dict[ChunkId, bytes] = {}
        size = 0
        roots = (entry.meta.root for item in written for entry in item.batch.entries if entry.meta.size <= MIN_CHUNK)
        for root in roots:
            data = contents.get(root)
            if data is None or ChunkId(root) in items:
                continue
            if size + len(data) > MAX_CONTENT_BYTES or len(items) >= 1000:
                yield Content(self._folder, tuple(items.items()))
                items, size = {}, 0
            items[ChunkId(root)] = data
            size += len(data)
        if items:
            yield Content(self._folder, tuple(items.items()))

    def pass_on(self, forked: Iterable[tuple[Batch, Batch]]) -> None:
        """Everyone learns of a fork from whoever sees it first."""
        for one, other in forked:
            # What we have said of ourselves since the last state may be less now.
            self._stated = None
            message = Forked(self._folder, batchform.encode_batch(one), batchform.encode_batch(other))
            for known in self._peers.values():
                known.peer.send(message)

    def broadcast(self, message: Offer | OfferEnd) -> None:
        """To every member on the LAN, from any thread; a peer whose link is full is not bothered with offers."""
        for known in tuple(self._peers.values()):
            if known.can_serve and known.reach is Reach.LAN:
                known.peer.send(message)

    def state(self, *, is_settled: bool, waiting: int, held: int, now: float) -> float | None:
        """Tells all peers how far we are, if that changed; while there is work, not more often than needed.

        Returns when (monotonic) it should be called again, None for not before something changes.
        """
        vector = self._ledger.vector()
        tips = [self._ledger.chain(chain).merged_id[:TIP_BYTES] for chain in sorted(vector)]
        fingerprint = (tuple(sorted(vector.items())), is_settled, waiting > 0, held)
        if fingerprint == self._stated:
            return None
        if not is_settled and now - self._stated_s < STATE_EVERY_S:
            return self._stated_s + STATE_EVERY_S
        self._stated, self._stated_s = fingerprint, now
        self.last_state = State(self._folder, vector, is_settled, waiting, held, tuple(tips))
        for known in self._peers.values():
            known.peer.send(self.last_state)
        return None

    def pump(self) -> bool:
        """Goes on sending what peers asked for; whether more is to come."""
        for known in self._peers.values():
            if known.outgoing is None:
                continue
            if known.peer.link.backlog_bytes > BACKLOG_BYTES:
                continue
            message = next(_messages(self._folder, known.outgoing), None)
            if message is not None:
                known.peer.send(message)
            else:
                known.outgoing = None
                known.peer.send(Batches(self._folder, ()))
        return any(known.outgoing is not None for known in self._peers.values())

    def is_agreed(self, vector: Vector) -> bool:
        """Whether every linked member durably has exactly what we have."""
        return all(self._is_agreed(known, vector) for known in self._peers.values())

    def _is_agreed(self, known: Correspondent, vector: Vector) -> bool:
        """Forked chains aside: of those each has the branch it saw first, and neither counts."""
        stopped = {chain.id for chain in self._ledger.chains() if chain.stopped_at is not None}
        theirs = {chain: sequence for chain, sequence in known.said.items() if chain not in stopped}
        ours = {chain: sequence for chain, sequence in vector.items() if chain not in stopped}
        return known.has_spoken and known.is_settled and theirs == ours

    def describe_disagreement(self, vector: Vector) -> str:
        """For people: which peer is not there yet, and why."""
        for known in self._peers.values():
            who = f"{known.peer.name} ({short(known.device)})"
            if not known.has_spoken:
                return f"{who} has not spoken of this folder yet"
            if known.held:
                return f"{who} holds changes until a person decides there"
            if not known.is_settled:
                return f"{who} is still working, or paused: {known.waiting} to go"
            if not self._is_agreed(known, vector):
                return f"{who} has another history than this device"
        return ""


def _joined(before: Vector, now: Vector) -> Vector:
    """What a peer has, by all it said: nobody has more chains than a vector may name, whatever it says over time."""
    joined = dag.joined(before, now)
    if len(joined) > MAX_CHAINS:
        raise RemoteProtocolError("a peer names ever other chains")
    return joined


def _messages(folder: FolderId, batches: Iterable[bytes]) -> Iterator[Batches]:
    """As many batches a message as make a frame of moderate size."""
    some: list[bytes] = []
    size = 0
    for data in batches:
        some.append(data)
        size += len(data)
        if size >= BATCHES_BYTES:
            yield Batches(folder, tuple(some))
            some, size = [], 0
    if some:
        yield Batches(folder, tuple(some))
