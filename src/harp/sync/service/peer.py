# SPDX-License-Identifier: AGPL-3.0-or-later
"""One linked device: its session's state and its link's bytes kept in step, and what it says passed on."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from harp.base.errors import LinkError, LocalProtocolError
from harp.identity.device import DeviceId, short
from harp.sync.engine.fetcher import Reach
from harp.sync.model import FolderId
from harp.sync.protocol import messages
from harp.sync.protocol.asks import Asked
from harp.sync.protocol.events import (
    AdmitFolder,
    Answered,
    Claimed,
    Closed,
    CloseLink,
    Event,
    FolderWithdrawn,
    Greeted,
    Received,
    ReportLoss,
    WithdrawFolder,
)
from harp.sync.protocol.foldermessages import What
from harp.sync.protocol.frames import Status, status_of
from harp.sync.protocol.messages import CloseCode, Message
from harp.sync.protocol.session import Session
from harp.sync.transport.link import Link

_log = logging.getLogger(__name__)


class Switchboard(Protocol):
    """Who is told what a peer says; called on link threads, so it only passes on."""

    def greeted(self, peer: "Peer") -> None:
        """The session is open, or about to be joined."""

    def claimed(self, peer: "Peer", message: messages.State | messages.Proof) -> None:
        """The peer speaks of a folder that is not admitted."""

    def received(self, peer: "Peer", message: Message) -> None:
        """A message that is allowed."""

    def cancelled(self, peer: "Peer", requests: Sequence[int]) -> None:
        """The peer does not want these any more, or may not have them."""

    def answered(self, peer: "Peer", asked: Asked, status: Status, payload: memoryview) -> None:
        """``payload`` is valid during the call only."""

    def ended(self, peer: "Peer", why: str, code: int | None, asked: Sequence[Asked]) -> None:
        """The link is over; exactly once."""


class Peer:
    """Implements :class:`harp.sync.transport.link.Receiver`. Its methods may be called from any thread."""

    def __init__(self, link: Link, session: Session, reach: Reach, switchboard: Switchboard) -> None:
        self.link = link
        self.session = session
        self.reach = reach
        self.device: DeviceId = link.peer
        self.since_s = time.time()
        self.clock_skew_s: float | None = None
        self._switchboard = switchboard
        self._lock = threading.RLock()
        self._has_ended = False
        self._lost: tuple[Asked, ...] = ()
        self._close_code: int | None = None
        self._close_text = ""
        self._measured = (time.monotonic(), 0, 0)
        self._rates = (0.0, 0.0)

    def __repr__(self) -> str:
        return f"Peer({short(self.device)}, {self.reach.value}, {self.session!r})"

    @property
    def name(self) -> str:
        hello = self.session.peer
        return short(self.device) if hello is None else hello.device_name

    @property
    def is_open(self) -> bool:
        return not self._has_ended and self.session.peer is not None

    def rates(self) -> tuple[float, float]:
        """Bytes a second (in, out) since the last time this was asked, at least a second ago."""
        now = time.monotonic()
        at, bytes_in, bytes_out = self._measured
        if now - at >= 1.0:
            self._rates = ((self.link.bytes_in - bytes_in) / (now - at), (self.link.bytes_out - bytes_out) / (now - at))
            self._measured = (now, self.link.bytes_in, self.link.bytes_out)
        return self._rates

    def start(self) -> None:
        """Says Hello and begins to listen."""
        self.link.start(self)
        self._act(list)

    # --- what we say --------------------------------------------------------------------------------------------------

    def send(self, message: Message) -> bool:
        """Whether it could be said; a link that has ended, or a folder the peer does not speak of, makes it False."""

        def say() -> list[Event]:
            self.session.send(message)
            return []

        try:
            self._act(say)
        except LocalProtocolError:
            return False
        return not self._has_ended

    def ask(self, folder: FolderId, wanted: Iterable[tuple[What, bytes]]) -> tuple[Asked, ...]:
        """Asks for as much of ``wanted`` as the session has room for."""
        asked: tuple[Asked, ...] = ()

        def say() -> list[Event]:
            nonlocal asked
            room = self.session.ask_room
            some = [item for _, item in zip(range(room), wanted, strict=False)]
            asked = self.session.ask(folder, some, now=time.monotonic())
            return []

        try:
            self._act(say)
        except LocalProtocolError:
            return ()
        return asked

    def cancel(self, requests: Iterable[int]) -> None:
        def say() -> list[Event]:
            self.session.cancel(requests)
            return []

        self._act(say)

    def admit(self, folder: FolderId) -> None:
        self._act(lambda: self.session.perform(AdmitFolder(folder), now=time.monotonic()))

    def withdraw(self, folder: FolderId) -> None:
        self._act(lambda: self.session.perform(WithdrawFolder(folder), now=time.monotonic()))

    def close(self, code: CloseCode, text: str = "") -> None:
        """Says why and ends the link."""
        self._act(lambda: self.session.perform(CloseLink(code, text), now=time.monotonic()))
        self.link.close(text or code.name.lower())

    def serve(self, request: int, read_into: Callable[[memoryview], tuple[int, int]]) -> None:
        """Queues the answer to an ask; it is settled when its turn comes, before its first byte leaves."""

        def answer(buffer: memoryview) -> tuple[int, int]:
            self.session.settle(request)
            return read_into(buffer)

        self.link.serve(request, answer)

    def answer(self, request: int, status: Status, payload: bytes = b"") -> None:
        """Answers an ask at once, before all bulk."""

        def say() -> list[Event]:
            self.session.answer(request, status, payload)
            return []

        self._act(say)

    def settle(self, request: int) -> bool:
        return self.session.settle(request)

    def tick(self) -> None:
        """Keeps the link alive, or gives it up."""
        self._act(lambda: self.session.tick(now=time.monotonic()))

    # --- what the link brings -----------------------------------------------------------------------------------------

    def on_frame(self, link: Link, type: int, body: bytes) -> None:
        self._act(lambda: self.session.receive(type, body, now=time.monotonic()))

    def on_answer(self, link: Link, request: int, status: int, payload: memoryview) -> None:
        asked = self.session.answered(request, now=time.monotonic())
        if asked is not None:
            self._switchboard.answered(self, asked, status_of(status), payload)

    def on_closed(self, link: Link, why: str) -> None:
        self._act(lambda: self.session.perform(ReportLoss(why), now=time.monotonic()))
        with self._lock:
            self._has_ended = True
        self._switchboard.ended(self, self._close_text or why, self._close_code, self._lost)

    def _act(self, do: Callable[[], list[Event]]) -> None:
        """Lets the session do something, sends what it has to say in that order, then tells what happened."""
        with self._lock:
            events = do()
            data = self.session.data_to_send()
            if data:
                try:
                    self.link.send(data)
                except LinkError as error:
                    _log.debug("%r: %s", self, error)
        for event in events:
            self._tell(event)

    def _tell(self, event: Event) -> None:
        match event:
            case Greeted():
                self.clock_skew_s = event.peer.now_ms / 1000 - time.time()
                self._switchboard.greeted(self)
            case Claimed():
                self._switchboard.claimed(self, event.message)
            case Received(messages.Cancel() as cancelled):
                self.link.cancel(frozenset(cancelled.requests))
                self._switchboard.cancelled(self, cancelled.requests)
            case Received():
                self._switchboard.received(self, event.message)
            case FolderWithdrawn():
                self.link.cancel(frozenset(event.owed))
                self._switchboard.cancelled(self, event.owed)
            case Closed():
                self._lost = event.asked
                self._close_code, self._close_text = event.code, event.text
                self.link.close(event.text)
            case Answered():
                # Answers come by on_answer: the link reads them without a copy.
                raise LocalProtocolError("an answer went through the session")
