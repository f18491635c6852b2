# SPDX-License-Identifier: AGPL-3.0-or-later
"""What was asked of whom: windows, answers on their way to the folder's thread, refusals, and whom not to ask."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from harp.identity.device import DeviceId, short
from harp.sync.engine.claims import STALL_S
from harp.sync.engine.fetcher import Ask, Asked, Reach, Source
from harp.sync.engine.neighbours import FORGIVEN
from harp.sync.model import ChunkId, FolderId
from harp.sync.protocol.asks import Asked as SessionAsked
from harp.sync.protocol.foldermessages import What
from harp.sync.protocol.frames import Status
from harp.sync.service.correspondent import Correspondent

_log = logging.getLogger(__name__)

WINDOW_BYTES = {Reach.LAN: 16 * 1024 * 1024, Reach.WAN: 4 * 1024 * 1024}
ANSWER_TIMEOUT_S = 60.0
WAKE_BYTES = WINDOW_BYTES[Reach.LAN] // 2
WAKE_ANSWERS = 256
"""The folder's thread is told of answers when so much has come, or all that was asked for."""
REFUSED_AGAIN_S = 5.0
"""What a peer had not is asked for again after this: it may have been between two versions of a file."""
BENCH_S = 60.0
STALLS = 2
"""A neighbour that sends nothing for STALL_S so often is benched, if there are others to ask."""
BAD_ANSWERS = 2


@dataclass(frozen=True, slots=True)
class Arrival:
    """An ask was answered. ``is_good``: the content was right and is where it has to be; ``data`` if it was small."""

    device: DeviceId
    asked: SessionAsked
    status: Status
    is_good: bool
    data: bytes = field(default=b"", repr=False)


@dataclass(slots=True)
class _Question:
    device: DeviceId | None = None
    size: int = 0
    asked_s: float = 0.0
    is_near: bool = False
    refused: set[DeviceId] = field(default_factory=set)


class Questions:
    """For the folder's thread, but for :meth:`answered`, which links' threads call."""

    def __init__(self, folder: FolderId) -> None:
        self._folder = folder
        self._open: dict[bytes, _Question] = {}
        self._in_flight: dict[DeviceId, int] = {}
        self._bad: dict[DeviceId, int] = {}
        self._benched: dict[DeviceId, float] = {}
        self._answered_s: dict[DeviceId, float] = {}
        self._stalls: dict[DeviceId, int] = {}
        self._stalled: set[DeviceId] = set()
        """Those that are benched for having sent nothing."""
        self._lock = threading.Lock()
        self._arrivals: list[Arrival] = []
        self._arrived_bytes = 0
        self._awaited = 0

    @property
    def asked(self) -> Mapping[ChunkId, Asked]:
        """The questions as the fetcher reads them, made on demand: most of what is wanted was never asked for."""
        return _AsAsked(self._open)

    def sources(
        self, correspondents: Iterable[Correspondent], has: Callable[[Correspondent, ChunkId], bool], *, now: float
    ) -> dict[DeviceId, Source]:
        """Whom to ask; empty while no window has much room, since asking for little at a time costs links time."""
        correspondents = tuple(correspondents)
        self._reclaim(now, has_others=len(correspondents) > 1)
        sources = self.windows(correspondents, has)
        is_open = any(source.free >= WINDOW_BYTES[source.reach] // 4 for source in sources.values())
        return sources if is_open else {}

    def windows(
        self, correspondents: Iterable[Correspondent], has: Callable[[Correspondent, ChunkId], bool]
    ) -> dict[DeviceId, Source]:
        """All peers as the fetcher reads them."""
        return {one.device: self._source(one, has) for one in correspondents}

    def _source(self, one: Correspondent, has: Callable[[Correspondent, ChunkId], bool]) -> Source:
        free = WINDOW_BYTES[one.reach] - self._in_flight.get(one.device, 0)
        benched_until = self._benched.get(one.device, 0.0)
        return Source(one.device, one.reach, max(0, free), lambda id_: has(one, id_), benched_until=benched_until)

    def put(self, one: Correspondent, asks: list[Ask], whats: Mapping[bytes, What], *, now: float) -> int:
        """Asks a peer, as far as its session has room; how many of the asks were made."""
        made = one.peer.ask(self._folder, [(whats[ask.id], ask.id) for ask in asks])
        for _, ask in zip(made, asks, strict=False):
            question = self._open.setdefault(ask.id, _Question())
            question.device, question.size, question.asked_s = one.device, ask.size, now
            question.is_near = one.reach is Reach.LAN
            self._in_flight[one.device] = self._in_flight.get(one.device, 0) + ask.size
        with self._lock:
            self._awaited += len(made)
        return len(made)

    def answered(self, arrival: Arrival, size: int) -> bool:
        """Keeps an answer of ``size`` bytes for the folder's thread; whether that is to be woken now."""
        self._answered_s[arrival.device] = time.monotonic()
        with self._lock:
            self._arrivals.append(arrival)
            self._arrived_bytes += size
            self._awaited -= 1
            is_time = self._arrived_bytes >= WAKE_BYTES or len(self._arrivals) >= WAKE_ANSWERS or self._awaited <= 0
            if is_time:
                self._arrived_bytes = 0
        return is_time

    def taken(self) -> list[Arrival]:
        """The answers that came since the last time."""
        with self._lock:
            arrivals, self._arrivals, self._arrived_bytes = self._arrivals, [], 0
        return arrivals

    def close(self, id_: bytes) -> None:
        """It is here, or not wanted any more."""
        question = self._open.pop(id_, None)
        if question is not None:
            self._release(question)

    def released(self, id_: bytes, device: DeviceId) -> bool:
        """The peer will not send it, for no fault of its own; whether it was the one that was asked."""
        question = self._open.get(id_)
        if question is None or question.device != device:
            return False
        self._release(question)
        return True

    def refused(self, arrival: Arrival, *, now: float) -> None:
        """The peer had it not, or sent something else: that is asked for once more, then the peer is benched."""
        question = self._open.get(arrival.asked.id)
        if question is None or question.device != arrival.device:
            return
        self._release(question)
        question.refused.add(arrival.device)
        if arrival.status is Status.OK:
            self._bad[arrival.device] = self._bad.get(arrival.device, 0) + 1
            _log.warning("%s sent something else than was asked for", short(arrival.device))
            if self._bad[arrival.device] >= BAD_ANSWERS:
                self._benched[arrival.device] = now + BENCH_S
            else:
                question.refused.discard(arrival.device)

    def is_benched(self, device: DeviceId, *, now: float) -> bool:
        return now < self._benched.get(device, 0.0)

    def lost(self, device: DeviceId) -> None:
        """The peer is gone: what it was asked for is open again."""
        for question in self._open.values():
            if question.device == device:
                self._release(question)
                with self._lock:
                    self._awaited -= 1
            question.refused.discard(device)
        self._in_flight.pop(device, None)

    def heard_again(self, device: DeviceId) -> None:
        """A neighbour says something: it is not out of reach any more, if that was all; a few times."""
        if device in self._stalled and self._stalls[device] <= STALLS + FORGIVEN:
            self._stalled.discard(device)
            self._benched.pop(device, None)

    def hopeful(self, device: DeviceId, ids: Iterable[bytes] | None = None) -> None:
        """The peer's state changed: what it could not serve before (all, or these) it may have now."""
        some = self._open.values() if ids is None else [self._open[id_] for id_ in ids if id_ in self._open]
        for question in some:
            question.refused.discard(device)

    def _release(self, question: _Question) -> None:
        if question.device is not None:
            left = self._in_flight.get(question.device, 0) - question.size
            self._in_flight[question.device] = max(0, left)
            question.device = None

    def _reclaim(self, now: float, *, has_others: bool) -> None:
        """An ask that was not answered for long is asked of somebody else, what nobody had of all again."""
        stalled = set[DeviceId]()
        for question in self._open.values():
            if question.device is None and question.refused and now - question.asked_s > REFUSED_AGAIN_S:
                question.refused.clear()
            if question.device is None:
                continue
            silent_s = now - max(question.asked_s, self._answered_s.get(question.device, 0.0))
            if silent_s > ANSWER_TIMEOUT_S:
                self._benched[question.device] = now + BENCH_S
                question.refused.add(question.device)
                self._release(question)
            elif question.is_near and has_others and silent_s > STALL_S:
                stalled.add(question.device)
                question.refused.add(question.device)
                self._release(question)
        for device in stalled:
            self._stalls[device] = self._stalls.get(device, 0) + 1
            if self._stalls[device] >= STALLS:
                self._benched[device] = now + BENCH_S
                self._stalled.add(device)


class _AsAsked(dict[ChunkId, Asked]):
    def __init__(self, questions: Mapping[bytes, _Question]) -> None:
        super().__init__()
        self._questions = questions

    def get(self, key: ChunkId, default: Asked | None = None) -> Asked | None:  # type: ignore[override]
        question = self._questions.get(key)
        return default if question is None else Asked(question.device, frozenset(question.refused))
