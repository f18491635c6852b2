# SPDX-License-Identifier: AGPL-3.0-or-later
"""One conversation with one peer, after TLS: bytes go in and come out by its caller, time is an argument.

The caller feeds frames to :meth:`Session.receive`, sends what :meth:`Session.data_to_send` gives after *each* call, and
calls :meth:`Session.tick` at :meth:`Session.next_deadline`. ``now`` is a monotonic clock in seconds. All of it belongs
to one thread, but :meth:`Session.answered` and :meth:`Session.settle`, which the threads that move bulk may call.

States: :mod:`harp.sync.protocol.transitions`. Beyond them a session keeps three promises:

- **Gate.** A message about a folder is heard only if :class:`AdmitFolder` was performed for it; State and Proof come
  up as :class:`Claimed`, everything else is dropped without a word, so that no one learns whether a folder exists.
- **Books.** Each ask is answered at most once; an answer that nobody awaits is counted and dropped.
- **Bounds.** Whatever a peer sends, the session keeps at most MAX_ASKS numbers, MAX_OPEN_OFFERS offers,
  MAX_CLAIMED folder ids and MAX_PONGS pongs for it.
"""

from collections.abc import Iterable, Mapping

from harp.base.errors import LocalProtocolError, RemoteProtocolError
from harp.sync.model import FolderId
from harp.sync.protocol import messages
from harp.sync.protocol.asks import Asked, Asks, Offers, Owed
from harp.sync.protocol.events import (
    AdmitFolder,
    Answered,
    Claimed,
    Closed,
    CloseLink,
    Command,
    Event,
    FolderWithdrawn,
    Greeted,
    Received,
    ReportLoss,
    WithdrawFolder,
)
from harp.sync.protocol.frames import ANSWER_TYPE, Status, answer_frame, decode_answer
from harp.sync.protocol.gate import Gate
from harp.sync.protocol.messages import CloseCode, FolderMessage, Message, Wanted, What
from harp.sync.protocol.pulse import Pulse
from harp.sync.protocol.transitions import Mode, State, Stimulus, successor

MAX_PONGS = 16
"""Owed at any moment; pings above are not answered."""

_HEARD: Mapping[type[Message], Stimulus] = {
    messages.Hello: Stimulus.HEARD_HELLO,
    messages.Join: Stimulus.HEARD_JOIN,
    messages.Welcome: Stimulus.HEARD_WELCOME,
    messages.Close: Stimulus.HEARD_CLOSE,
}
_SAID: Mapping[type[Message], Stimulus] = {
    messages.Join: Stimulus.SAID_JOIN,
    messages.Welcome: Stimulus.SAID_WELCOME,
}
_NOT_SENT_BY_HAND = (messages.Hello, messages.Close, messages.Ping, messages.Pong, messages.Ask, messages.Cancel)


class Session:
    """The state of one link. ``repr`` says whose and where."""

    def __init__(self, ours: messages.Hello, *, is_dialler: bool, mode: Mode, now: float) -> None:
        if (mode is Mode.JOINER and not is_dialler) or (mode is Mode.INVITER and is_dialler):
            raise LocalProtocolError("a joiner dials, an inviter is dialled")
        self.is_dialler = is_dialler
        self.mode = mode
        self.state = State.GREETING
        self.peer: messages.Hello | None = None
        self.version = 0
        """What both speak; 0 before the peer's Hello."""
        self.unawaited_answers = 0
        self.dropped_messages = 0
        """About folders that are not admitted, or of types that are not known."""
        self._ours = ours
        self._out: list[bytes] = [messages.encode(ours)]
        self._gate = Gate(now=now)
        self._pulse = Pulse(now=now)
        self._asks = Asks()
        self._owed = Owed()
        self._offered, self._offers = Offers(), Offers()
        self._pongs = 0

    def __repr__(self) -> str:
        name = "?" if self.peer is None else self.peer.device_name
        return f"Session({name!r}, {self.mode.value}, {self.state.value}, {len(self._gate)} folders)"

    # --- what comes in ------------------------------------------------------------------------------------------------

    def receive(self, type: int, body: bytes, *, now: float) -> list[Event]:
        """What a frame means. A peer that breaks the protocol ends the session: no error is raised for it."""
        if self.state is State.CLOSED:
            return []
        if self._is_too_late(now):
            return self.tick(now=now)
        self._pulse.heard(now=now)
        try:
            if type == ANSWER_TYPE:
                return self._receive_answer(body, now=now)
            message = messages.decode(type, body)
            if message is None:
                self._hear(Stimulus.HEARD_TRAFFIC)
                return self._drop()
            return self._receive_message(message, now=now)
        except RemoteProtocolError as error:
            return self._end(Stimulus.FAULT, CloseCode.PROTOCOL, error.message)

    def answered(self, request: int, *, now: float) -> Asked | None:
        """The ask that an answer belongs to, closed by that; None (counted) where nobody awaits it.

        For a caller that reads answers itself instead of passing them to :meth:`receive`; from any one thread.
        """
        self._pulse.heard(now=now)
        asked = self._asks.answered(request)
        if asked is None:
            self.unawaited_answers += 1
        return asked

    def _receive_answer(self, body: bytes, *, now: float) -> list[Event]:
        self._hear(Stimulus.HEARD_TRAFFIC)
        answer = decode_answer(body)
        asked = self.answered(answer.request, now=now)
        return [] if asked is None else [Answered(asked, answer.status, answer.payload)]

    def _receive_message(self, message: Message, *, now: float) -> list[Event]:
        if isinstance(message, messages.Hello):
            return self._receive_hello(message)
        if isinstance(message, messages.Close):
            return self._end(Stimulus.HEARD_CLOSE, message.code, message.text)
        self._hear(_HEARD.get(type(message), Stimulus.HEARD_TRAFFIC))
        if isinstance(message, FolderMessage):
            return self._receive_about_folder(message, now=now)
        match message:
            case messages.Ping():
                self._answer_ping(message)
                return []
            case messages.Pong():
                self._pulse.pong(message.nonce, now=now)
                return []
            case messages.Cancel():
                self._owed.forget(message.requests)
            case _:
                pass
        return [Received(message)]

    def _receive_hello(self, hello: messages.Hello) -> list[Event]:
        version = min(self._ours.max_version, hello.max_version)
        if self.state is State.GREETING and version < max(self._ours.min_version, hello.min_version):
            return self._end(Stimulus.SAID_CLOSE, CloseCode.VERSION, "no version of the protocol is common to us")
        self._hear(Stimulus.HEARD_HELLO)
        self.peer, self.version = hello, version
        return [Greeted(hello, version)]

    def _receive_about_folder(self, message: FolderMessage, *, now: float) -> list[Event]:
        if isinstance(message, messages.State | messages.Proof):
            if not self._gate.claim(message.folder, now=now):
                return self._drop()
            return [Received(message) if self._gate.is_admitted(message.folder) else Claimed(message)]
        if not self._gate.is_admitted(message.folder) or not self._is_booked(message):
            return self._drop()
        return [Received(message)]

    def _is_booked(self, message: FolderMessage) -> bool:
        """Enter what the peer asks or offers in the books; False for the end of an offer that is not open."""
        match message:
            case messages.Ask():
                self._owed.owe(message.folder, message.wanted)
            case messages.Offer():
                if not self._offers.is_sound(message.folder, message.offer):
                    raise RemoteProtocolError("an offer has another folder's number, or there are too many")
                self._offers.begin(message.folder, message.offer)
            case messages.OfferEnd():
                return self._offers.end(message.folder, message.offer)
            case _:
                pass
        return True

    def _drop(self) -> list[Event]:
        self.dropped_messages += 1
        return []

    def _hear(self, stimulus: Stimulus) -> None:
        state = successor(self.mode, self.state, stimulus)
        if state is None:
            raise RemoteProtocolError(f"{stimulus.value} while {self.state.value}")
        self.state = state

    # --- what goes out ------------------------------------------------------------------------------------------------

    def perform(self, command: Command, *, now: float) -> list[Event]:
        """Do it. In a closed session nothing happens."""
        if self.state is State.CLOSED:
            return []
        if self._is_too_late(now):
            return self.tick(now=now)
        match command:
            case AdmitFolder():
                self._gate.admit(command.folder)
                return []
            case WithdrawFolder():
                return self._withdraw(command.folder)
            case CloseLink():
                return self._end(Stimulus.SAID_CLOSE, command.code, command.text)
            case ReportLoss():
                return self._end(Stimulus.LOSS, None, command.why)

    def send(self, message: Message) -> None:
        """Say ``message``; in a closed session it is dropped, since a peer may leave at any moment.

        Raises :class:`LocalProtocolError` for what may not be said now: the wrong state, a folder that is not admitted
        or (but for State and Proof) not shared, and what :meth:`ask`, :meth:`cancel` and :meth:`perform` are for.
        """
        if self.state is State.CLOSED:
            return
        if isinstance(message, _NOT_SENT_BY_HAND):
            raise LocalProtocolError(f"{type(message).__name__} is not sent by hand")
        self._say(message)

    def ask(self, folder: FolderId, wanted: Iterable[tuple[What, bytes]], *, now: float) -> tuple[Asked, ...]:
        """Ask for content: at most :attr:`ask_room` items. Raises as :meth:`send` does; () in a closed session."""
        if self.state is State.CLOSED:
            return ()
        self._check_may_say(folder)
        asked = self._asks.made(folder, wanted, now=now)
        if asked:
            self._say(messages.Ask(folder, tuple(Wanted(ask.request, ask.what, ask.id) for ask in asked)))
        return asked

    def cancel(self, requests: Iterable[int]) -> tuple[Asked, ...]:
        """Those of ``requests`` that were unanswered: they are void, and the peer is told."""
        cancelled = self._asks.cancelled(requests)
        if cancelled and self.state is State.OPEN:
            self._say(messages.Cancel(tuple(ask.request for ask in cancelled)))
        return cancelled

    def settle(self, request: int) -> bool:
        """Whether the peer still awaits an answer to ``request``; from now on it does not.

        For a caller that writes answers itself: to be called before the answer's first byte leaves; from any thread.
        """
        return self._owed.settle(request)

    def answer(self, request: int, status: Status, payload: bytes = b"") -> None:
        """Answer an ask of the peer's; nothing if it is not owed (any more)."""
        if self.state is State.OPEN and self.settle(request):
            self._out.append(answer_frame(request, status, payload))

    def data_to_send(self) -> bytes:
        """The bytes to be sent now; each is given once. After the end there may be a last message."""
        data = b"".join(self._out)
        self._out.clear()
        self._pongs = 0
        return data

    @property
    def round_trip_s(self) -> float | None:
        """As the last answered ping showed it."""
        return self._pulse.round_trip_s

    @property
    def ask_room(self) -> int:
        """How many asks can be made before the peer has to answer some."""
        return self._asks.room

    def is_admitted(self, folder: FolderId) -> bool:
        return self._gate.is_admitted(folder)

    def is_shared(self, folder: FolderId) -> bool:
        """Whether it is admitted here and the peer spoke of it on this link, which it does only if it admits us."""
        return self._gate.is_shared(folder)

    def _say(self, message: Message) -> None:
        state = successor(self.mode, self.state, _SAID.get(type(message), Stimulus.SAID_TRAFFIC))
        if state is None:
            raise LocalProtocolError(f"{type(message).__name__} cannot be said while {self.state.value}")
        if isinstance(message, FolderMessage):
            self._check_may_say(message.folder, is_claim=isinstance(message, messages.State | messages.Proof))
            self._note_offer(message)
        self._out.append(messages.encode(message))
        self.state = state

    def _check_may_say(self, folder: FolderId, *, is_claim: bool = False) -> None:
        if not self._gate.is_admitted(folder):
            raise LocalProtocolError("the peer is not admitted to this folder")
        if not is_claim and not self._gate.is_shared(folder):
            raise LocalProtocolError("the peer has not said yet that it shares this folder")

    def _note_offer(self, message: FolderMessage) -> None:
        match message:
            case messages.Offer():
                if not self._offered.is_sound(message.folder, message.offer):
                    raise LocalProtocolError("an offer has another folder's number, or there are too many")
                self._offered.begin(message.folder, message.offer)
            case messages.OfferEnd():
                self._offered.end(message.folder, message.offer)
            case _:
                pass

    def _withdraw(self, folder: FolderId) -> list[Event]:
        if not self._gate.withdraw(folder):
            return []
        self._offers.forget(folder)
        self._offered.forget(folder)
        owed = self._owed.forget(self._owed.of_folder(folder))
        return [FolderWithdrawn(folder, owed, self.cancel(self._asks.of_folder(folder)))]

    def _answer_ping(self, ping: messages.Ping) -> None:
        if self._pongs < MAX_PONGS:
            self._pongs += 1
            self._say(messages.Pong(ping.nonce))

    def _end(self, stimulus: Stimulus, code: int | None, text: str) -> list[Event]:
        state = successor(self.mode, self.state, stimulus)
        assert state is State.CLOSED
        is_ours = stimulus in (Stimulus.SAID_CLOSE, Stimulus.FAULT, Stimulus.EXPIRY)
        if is_ours and code is not None:
            self._out.append(messages.encode(messages.Close(code, text)))
        self.state = state
        asked = self._asks.cancelled(self._asks.all())
        return [Closed(_named(code), text, by_peer=stimulus is Stimulus.HEARD_CLOSE, asked=asked)]

    # --- time ---------------------------------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When :meth:`tick` has something to do; None once closed. After a tick it lies in the future."""
        if self.state is State.CLOSED:
            return None
        return min(self._dead_at(), self._pulse.ping_at()) if self.state is State.OPEN else self._dead_at()

    def tick(self, *, now: float) -> list[Event]:
        """Do what is due: ping a silent peer, give up a dead one."""
        if self.state is State.CLOSED:
            return []
        if now >= self._dead_at():
            return self._end(Stimulus.EXPIRY, CloseCode.TIMEOUT, "nothing was heard for too long")
        if self.state is State.OPEN and now >= self._pulse.ping_at():
            self._say(messages.Ping(self._pulse.ping(now=now)))
        return []

    def _is_too_late(self, now: float) -> bool:
        """Whether the time to get acquainted is over. An open link is only given up by a tick: bytes may lie unread."""
        return self.state is not State.OPEN and now >= self._dead_at()

    def _dead_at(self) -> float:
        return self._pulse.dead_at(is_open=self.state is State.OPEN)


def _named(code: int | None) -> CloseCode | int | None:
    return CloseCode(code) if code in tuple(CloseCode) else code
