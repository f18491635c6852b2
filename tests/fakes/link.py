# SPDX-License-Identifier: AGPL-3.0-or-later
"""Two sessions with a fake wire between them: it delays, cuts into pieces, drops and breaks, on a clock of its own."""

from collections import deque
from collections.abc import Iterator

from harp.base.errors import RemoteProtocolError
from harp.sync.protocol import messages
from harp.sync.protocol.events import Claimed, Closed, CloseLink, Event, Received, ReportLoss
from harp.sync.protocol.frames import FrameSplitter
from harp.sync.protocol.messages import CloseCode, Message
from harp.sync.protocol.session import Session
from harp.sync.protocol.transitions import Mode, State


def hello(name: str = "laptop", *, oldest: int = 1, newest: int = 1) -> messages.Hello:
    """What a device of this name says first."""
    return messages.Hello(oldest, newest, "harp test", name, 8783, 1_700_000_000_000)


class End:
    """One session, what it was told on the way, and the bytes on their way to it."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.events: list[Event] = []
        self.wire: deque[tuple[float, bytes]] = deque()
        self._splitter = FrameSplitter()

    @property
    def closed(self) -> Closed | None:
        """The last event, if it was the end."""
        last = self.events[-1] if self.events else None
        return last if isinstance(last, Closed) else None

    def messages(self) -> list[Message]:
        """What was received or claimed, in order."""
        return [event.message for event in self.events if isinstance(event, Received | Claimed)]

    def take(self, data: bytes, *, now: float) -> None:
        try:
            for type, body in self._splitter.feed(data):
                self.events += self.session.receive(type, body, now=now)
        except RemoteProtocolError as error:
            self.events += self.session.perform(CloseLink(CloseCode.PROTOCOL, error.message), now=now)


class FakeLink:
    """``dialler`` and ``listener``, and the time in between. Nothing happens but in :meth:`advance`."""

    def __init__(
        self,
        modes: tuple[Mode, Mode] = (Mode.MEMBER, Mode.MEMBER),
        *,
        hellos: tuple[messages.Hello, messages.Hello] | None = None,
        delay_s: float = 0.0,
        pieces: Iterator[int] | None = None,
    ) -> None:
        """``pieces`` are the lengths into which the stream is cut; without it, what is sent arrives whole."""
        self.now = 100.0
        ours, theirs = hellos or (hello("laptop"), hello("desk"))
        self.dialler = End(Session(ours, is_dialler=True, mode=modes[0], now=self.now))
        self.listener = End(Session(theirs, is_dialler=False, mode=modes[1], now=self.now))
        self.delay_s = delay_s
        self.is_silent = False
        """What is sent vanishes, and no one is told."""
        self._pieces = pieces

    @property
    def ends(self) -> tuple[End, End]:
        return self.dialler, self.listener

    @property
    def states(self) -> tuple[State, State]:
        return self.dialler.session.state, self.listener.session.state

    def advance(self, seconds: float) -> None:
        """Let time pass: everything due is delivered and every deadline met, in the order of time."""
        until = self.now + seconds
        self._collect()
        while (next_at := self._next_at()) is not None and next_at <= until:
            self.now = max(self.now, next_at)
            self._deliver()
            for end in self.ends:
                end.events += end.session.tick(now=self.now)
            self._collect()
        self.now = until

    def lose(self) -> None:
        """The carrier breaks: what is on its way is lost, and both are told."""
        for end in self.ends:
            end.wire.clear()
            end.events += end.session.perform(ReportLoss("the connection was reset"), now=self.now)
            end.session.data_to_send()

    def _next_at(self) -> float | None:
        deadlines = (end.session.next_deadline() for end in self.ends)
        arrivals = (end.wire[0][0] for end in self.ends if end.wire)
        return min((at for at in (*deadlines, *arrivals) if at is not None), default=None)

    def _deliver(self) -> None:
        for end in self.ends:
            while end.wire and end.wire[0][0] <= self.now:
                end.take(end.wire.popleft()[1], now=self.now)

    def _collect(self) -> None:
        for sender, receiver in (self.ends, self.ends[::-1]):
            data = sender.session.data_to_send()
            if not self.is_silent:
                receiver.wire.extend((self.now + self.delay_s, piece) for piece in self._cut(data))

    def _cut(self, data: bytes) -> Iterator[bytes]:
        while data:
            length = len(data) if self._pieces is None else next(self._pieces)
            yield data[:length]
            data = data[length:]
