# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is sent over the WAN: each site has one queue and one limit, and tells which site it is."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from harp.identity.device import DeviceId
from harp.sync.engine.fetcher import Reach
from harp.sync.engine.sitequeue import CHUNK_BYTES, Line, Request, SiteQueue
from harp.sync.protocol.frames import Status
from harp.sync.protocol.officemessages import SITE_TOKEN_BYTES, Site
from harp.sync.service.peer import Peer
from harp.sync.transport.outflow import ReadInto
from harp.sync.transport.pacer import Limit, Pacer

_log = logging.getLogger(__name__)

LOOK_S: Final = 0.01
"""How often the lines are looked at while something waits for them."""
SENDING_S: Final = 2.0
"""Who has sent an answer over the WAN within this time is sending."""


class Limits(NamedTuple):
    """Bytes a second of the site's line, 0 for no limit."""

    receive: float = 0.0
    send: float = 0.0


class _Ask(NamedTuple):
    peer: Peer
    read_into: ReadInto


@dataclass(slots=True)
class _Line:
    """The line to one site."""

    queue: SiteQueue[int] = field(default_factory=SiteQueue)
    limit: Limit = field(default_factory=Limit)
    peers: dict[DeviceId, Peer] = field(default_factory=dict)
    asks: dict[tuple[DeviceId, int], _Ask] = field(default_factory=dict)


class Sites:
    """For every thread. ``limits`` are those of the line that this device is at, just now."""

    def __init__(self, limits: Callable[[], Limits] = Limits) -> None:
        self._limits = limits
        self._lock = threading.RLock()
        self._ready = threading.Condition(self._lock)
        self._own = os.urandom(SITE_TOKEN_BYTES)
        self._linked: dict[Peer, Site | None] = {}
        """Open links, with what was heard on them."""
        self._told: dict[Peer, Site] = {}
        self._lines: dict[bytes, _Line] = {}
        self._of_peer: dict[Peer, _Line] = {}
        self._send = Limit()
        self._sent_s = float("-inf")
        self._received_s: dict[Peer, tuple[int, float]] = {}
        self._thread: threading.Thread | None = None

    # --- which site ---------------------------------------------------------------------------------------------------

    @property
    def token(self) -> bytes:
        """The smallest of our own and of those that are near."""
        with self._lock:
            near = [site.token for peer, site in self._linked.items() if site is not None and peer.reach is Reach.LAN]
            return min([self._own, *near])

    def linked(self, peer: Peer) -> None:
        """A link is open: it is told which site this is."""
        with self._lock:
            self._linked.setdefault(peer, None)
            if peer.reach is Reach.WAN:
                self._attach(peer)
        self.tell()

    def ended(self, peer: Peer) -> None:
        with self._lock:
            was_near = peer in self._linked and peer.reach is Reach.LAN
            self._linked.pop(peer, None)
            self._told.pop(peer, None)
            self._received_s.pop(peer, None)
            self._detach(peer)
            if was_near and not any(other.reach is Reach.LAN for other in self._linked):
                # Whoever goes elsewhere does not take the office's token along.
                self._own = os.urandom(SITE_TOKEN_BYTES)
        self.tell()

    def heard(self, peer: Peer, site: Site) -> None:
        """A peer says at which site it is, and what that can take in."""
        with self._lock:
            if peer not in self._linked:
                return
            self._linked[peer] = site
            if peer.reach is Reach.WAN:
                self._attach(peer)
            self._share()
        self.tell()

    def tell(self) -> None:
        """Tells all peers what they do not know yet."""
        with self._lock:
            limits = self._limits()
            is_sending = bool(limits.send) and time.monotonic() - self._sent_s < SENDING_S
            sources = max(1, self._count_sources()) if limits.receive else 1
            site = Site(self.token, int(limits.receive / sources), is_sending)
            news = [peer for peer in self._linked if self._told.get(peer) != site]
            self._told.update(dict.fromkeys(news, site))
        for peer in news:
            peer.send(site)

    def tick(self) -> None:
        """The time of day may have changed limits, and who sends may have stopped."""
        with self._lock:
            self._share()
        self.tell()

    def _share(self) -> None:
        """Each device of the site that sends has an equal part of what the line may send."""
        near = [site for peer, site in self._linked.items() if site is not None and peer.reach is Reach.LAN]
        self._send.change(self._limits().send / (1 + sum(site.sending for site in near)))
        for line in self._lines.values():
            said = [site.limit for peer in line.peers.values() if (site := self._linked.get(peer)) is not None]
            line.limit.change(float(min((limit for limit in said if limit), default=0)))

    def _count_sources(self) -> int:
        """How many peers beyond the WAN send to us just now: the line is one for all of them."""
        now, count = time.monotonic(), 0
        for peer in self._linked:
            if peer.reach is Reach.WAN:
                before, at = self._received_s.get(peer, (0, float("-inf")))
                if peer.link.bytes_in - before > CHUNK_BYTES:
                    at = now
                self._received_s[peer] = (peer.link.bytes_in, at)
                count += now - at < SENDING_S
        return count

    # --- the queues ---------------------------------------------------------------------------------------------------

    def ask(self, peer: Peer, request: int, id_: bytes, read_into: ReadInto) -> None:
        """A peer beyond the WAN asks for content: it gets it in its site's turn, or hears who of its site does."""
        with self._lock:
            line = self._of_peer.get(peer)
            if line is None:
                peer.serve(request, read_into)
                return
            elsewhere = self._queued(line, peer, request, id_, read_into)
            if elsewhere is None:
                self._wake()
            displaced, line.queue.displaced = line.queue.displaced, []
            asks = [(one.number, line.asks.pop((one.device, one.number), None)) for one in displaced]
        for number, ask in asks:
            if ask is not None:
                ask.peer.answer(number, Status.ELSEWHERE, peer.device)
        if elsewhere is not None:
            peer.answer(request, Status.ELSEWHERE, elsewhere)

    def cancel(self, peer: Peer, requests: Iterable[int]) -> None:
        with self._lock:
            line = self._of_peer.get(peer)
            for request in requests if line is not None else ():
                assert line is not None
                line.queue.cancel(peer.device, request)
                line.asks.pop((peer.device, request), None)

    def _queued(self, line: _Line, peer: Peer, request: int, id_: bytes, read_into: ReadInto) -> DeviceId | None:
        now = time.monotonic()
        # Nobody looks while nothing waits; whoever is named must not have fallen silent meanwhile.
        line.queue.look(_shown_of(line), now=now)
        elsewhere = line.queue.ask(Request(peer.device, request, id_), now=now)
        if elsewhere is None:
            line.asks[peer.device, request] = _Ask(peer, read_into)
        return elsewhere

    def _attach(self, peer: Peer) -> None:
        """Puts a peer, and what it waits for, to the line of its site; what it did not name is one of its own."""
        site = self._linked[peer]
        token = peer.device if site is None else site.token
        line = self._lines.setdefault(token, _Line())
        before = self._of_peer.get(peer)
        if before is line:
            return
        waiting = [] if before is None else before.queue.waiting(peer.device)
        asks = {} if before is None else dict(before.asks)
        self._detach(peer)
        self._lines[token] = line
        line.peers[peer.device] = peer
        self._of_peer[peer] = line
        peer.link.pacer = Pacer((line.limit, self._send))
        self._share()
        for request in waiting:
            ask = asks[request.device, request.number]
            if self._queued(line, peer, request.number, request.id, ask.read_into) is not None:
                # It was queued first: whoever else has it gets it once more.
                self._queued(line, peer, request.number, request.id, ask.read_into)

    def _detach(self, peer: Peer) -> None:
        line = self._of_peer.pop(peer, None)
        if line is None or line.peers.get(peer.device) is not peer:
            return
        del line.peers[peer.device]
        line.queue.left(peer.device)
        line.asks = {key: ask for key, ask in line.asks.items() if key[0] != peer.device}
        self._lines = {token: other for token, other in self._lines.items() if other.peers}

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="harp sites", daemon=True)
            self._thread.start()
        self._ready.notify()

    def _run(self) -> None:
        while True:
            with self._lock:
                while not any(len(line.queue) for line in self._lines.values()):
                    self._ready.wait()
                taken = [one for line in self._lines.values() for one in self._taken(line)]
            for line, request, ask in taken:
                ask.peer.serve(request.number, self._answering(line, request, ask))
            with self._lock:
                if any(len(line.queue) for line in self._lines.values()):
                    self._ready.wait(LOOK_S)

    def _taken(self, line: _Line) -> list[tuple[_Line, Request[int], _Ask]]:
        if not len(line.queue):
            return []
        found = line.queue.take(_shown_of(line), now=time.monotonic())
        asks = ((request, line.asks.pop((request.device, request.number), None)) for request in found)
        return [(line, request, ask) for request, ask in asks if ask is not None]

    def _answering(self, line: _Line, request: Request[int], ask: _Ask) -> ReadInto:
        def read_into(buffer: memoryview) -> tuple[int, int]:
            status, length = ask.read_into(buffer)
            with self._lock:
                begins = time.monotonic() - self._sent_s >= SENDING_S
                if status == Status.OK:
                    shown = _shown(ask.peer)
                    line.queue.sent(request.device, request.id, Line(shown.unacked + length, shown.acked, 0.0))
                    self._sent_s = time.monotonic()
                else:
                    line.queue.failed(request)
            if begins and self._limits().send:
                self.tell()
            return status, length

        return read_into


def _shown_of(line: _Line) -> dict[DeviceId, Line]:
    return {device: _shown(peer) for device, peer in line.peers.items()}


def _shown(peer: Peer) -> Line:
    """What is known of the way to a peer, with what waits at its link."""
    flow = peer.link.flow()
    unacked = flow.unacked + CHUNK_BYTES * peer.link.waiting_answers
    return Line(unacked, flow.acked, flow.round_trip_s, is_lost=flow.is_lost)
