# SPDX-License-Identifier: AGPL-3.0-or-later
"""The beacon: asks each network who shares a folder with us, and answers those who know its secret.

A question is a multicast datagram, an answer goes to the asker alone; both tell the other end where we listen, so one
question is enough for both to find each other. A stranger's question, or one that was heard before, gets no answer.
"""

import asyncio
import secrets as randomness
import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from harp.base.errors import LinkError
from harp.sync.transport.addresses import plain_address
from harp.sync.transport.allowance import Allowance
from harp.sync.transport.beaconform import (
    BEACON_BYTES,
    BEACON_PADDING_BYTES,
    BEACON_TAGS,
    BeaconKind,
    Datagram,
    decode_beacon,
    encode_beacon,
)
from harp.sync.transport.freshness import NONCE_BYTES, ReplayMemory, is_fresh, slot_of
from harp.sync.transport.interfaces import Address, Interface, interfaces
from harp.sync.transport.leg import BEACON_PORT, Leg, opened, places

T = TypeVar("T")

ASK_EVERY_S = 30.0
ASK_AGAIN_S = (1.0, 3.0, 7.0)
"""When a new network is asked again, since multicast loses datagrams and nobody notices (RFC 6762, 5.2: not before a
second has passed, and each pause at least twice the one before)."""
LOOK_EVERY_S = 10.0
"""How often interfaces that came or went are looked for."""

_MAX_LEGS = 64
_MAX_SECRETS = 8 * BEACON_TAGS
_MAX_QUESTIONS = 1024
_MAX_ANSWERERS = 256
_DATAGRAMS_A_TURN = 64
_JITTER = 0.2


class Beacon(Generic[T]):
    """Asks at its start and whenever a network comes, a few times, and every 30 s; to be used on one event loop.

    ``secrets`` gives each folder's newest epoch secret (an older one would tell a member that was cut off that we are
    here) and whose it is; ``on_found`` is told that, and where a device that knows it listens. It may be told the same
    again and again. At most 128 secrets are asked for.
    """

    def __init__(
        self,
        listen_port: int,
        secrets: Callable[[], Sequence[tuple[bytes, T]]],
        on_found: Callable[[T, tuple[str, int]], None],
        *,
        port: int = BEACON_PORT,
        clock: Callable[[], float] = time.time,
        found_interfaces: Callable[[], Sequence[Interface]] = interfaces,
    ) -> None:
        self._listen_port = listen_port
        self._secrets = secrets
        self._on_found = on_found
        self._port = port
        self._clock = clock
        self._found_interfaces = found_interfaces
        self._legs: dict[tuple[int, Address], Leg] = {}
        self._questions: OrderedDict[bytes, set[tuple[str, int]]] = OrderedDict()
        self._seen = ReplayMemory()
        self._allowance = Allowance(rate_per_s=5, burst=50, shared=40)
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._repeats: dict[tuple[int, Address], list[asyncio.TimerHandle]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self.trouble = ""
        """Why the last network that refused a leg did so; empty while all is well."""
        self.answered = 0
        self.ignored = 0
        """Datagrams that were malformed, stale, heard before, too many, or under no secret of ours."""

    @property
    def networks(self) -> int:
        """In how many networks (addresses of interfaces) it asks and hears."""
        return len(self._legs)

    def start(self) -> None:
        """Begin, on the running event loop. Never raises for a network that refuses: ``trouble`` says it."""
        self._loop = asyncio.get_running_loop()
        self._look(self._loop)
        self._later(self._loop, ASK_EVERY_S, self._ask_again)

    def close(self) -> None:
        """Fall silent and deaf."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for place in list(self._legs):
            self._remove(place)
        self._loop = None

    def ask(self) -> None:
        """Ask on all networks now."""
        for leg in list(self._legs.values()):
            self._ask_on(leg)

    def _ask_on(self, leg: Leg) -> None:
        secrets = [secret for secret, _ in self._secrets()[:_MAX_SECRETS]]
        for start in range(0, len(secrets), BEACON_TAGS):
            # A nonce a network: a device that hears us on two of them learns both ways to us.
            nonce = randomness.token_bytes(NONCE_BYTES)
            self._questions[nonce] = set()
            if len(self._questions) > _MAX_QUESTIONS:
                self._questions.popitem(last=False)
            leg.ask(self._encoded(BeaconKind.ASK, secrets[start : start + BEACON_TAGS], nonce))

    def _encoded(self, kind: BeaconKind, secrets: Sequence[bytes], nonce: bytes) -> bytes:
        return encode_beacon(
            kind,
            secrets,
            port=self._listen_port,
            slot=slot_of(self._clock()),
            nonce=nonce,
            padding=randomness.token_bytes(BEACON_PADDING_BYTES),
        )

    # --- hearing ------------------------------------------------------------------------------------------------------

    def _heard(self, leg: Leg, one: socket.socket) -> None:
        for _ in range(_DATAGRAMS_A_TURN):
            try:
                data, source = one.recvfrom(BEACON_BYTES + 1)
            except OSError:  # nothing left, or an earlier answer was refused
                return
            if not self._is_taken(leg, data, source):
                self.ignored += 1

    def _is_taken(self, leg: Leg, data: bytes, source: tuple[str, int]) -> bool:
        datagram = decode_beacon(data)
        now = self._clock()
        if datagram is None or not is_fresh(datagram.slot, now=now):
            return False
        if not self._allowance.has_turn(source[0], now=time.monotonic()):
            return False
        if datagram.kind is BeaconKind.ASK:
            return self._is_question_taken(leg, datagram, source, now)
        return self._is_answer_taken(datagram, source)

    def _is_question_taken(self, leg: Leg, question: Datagram, source: tuple[str, int], now: float) -> bool:
        if question.nonce in self._questions:
            return False
        matched = self._matched(question)
        if not matched or not self._seen.is_first(question.nonce, question.slot, now=now):
            return False
        # The answer has the tags of the question's folders only: an asker learns nothing of our others.
        secrets = [secret for secret, _ in matched[:BEACON_TAGS]]
        try:
            leg.mouth.sendto(self._encoded(BeaconKind.ANSWER, secrets, question.nonce), source)
        except OSError:
            return False
        self.answered += 1
        self._tell(matched, source, question.port)
        return True

    def _is_answer_taken(self, answer: Datagram, source: tuple[str, int]) -> bool:
        answerers = self._questions.get(answer.nonce)
        who = (source[0], answer.port)
        if answerers is None or who in answerers or len(answerers) >= _MAX_ANSWERERS:
            return False
        matched = self._matched(answer)
        if not matched:
            return False
        answerers.add(who)
        self._tell(matched, source, answer.port)
        return True

    def _matched(self, datagram: Datagram) -> list[tuple[bytes, T]]:
        return [(secret, whose) for secret, whose in self._secrets()[:_MAX_SECRETS] if datagram.is_under(secret)]

    def _tell(self, matched: Sequence[tuple[bytes, T]], source: tuple[str, int], port: int) -> None:
        host, _ = plain_address(source)
        for _, whose in matched:
            self._on_found(whose, (host, port))

    # --- networks that come and go ------------------------------------------------------------------------------------

    def _ask_again(self, loop: asyncio.AbstractEventLoop) -> None:
        self.ask()
        self._later(loop, ASK_EVERY_S, self._ask_again)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            wanted = places(self._found_interfaces())
        except LinkError as error:
            self.trouble = error.message
        else:
            for place in self._legs.keys() - wanted.keys():
                self._remove(place)
            self.trouble = ""
            for place, interface in wanted.items():
                if place not in self._legs and len(self._legs) < _MAX_LEGS:
                    self._add(loop, place, interface)
        self._later(loop, LOOK_EVERY_S, self._look)

    def _add(self, loop: asyncio.AbstractEventLoop, place: tuple[int, Address], interface: Interface) -> None:
        try:
            leg = opened(interface, self._port)
        except OSError as error:
            self.trouble = f"{interface.name}: {error.strerror or 'refused'}"
            return
        self._legs[place] = leg
        for one in (leg.ear, leg.mouth):
            loop.add_reader(one, self._heard, leg, one)
        self._ask_on(leg)
        self._repeats[place] = [loop.call_later(_jittered(after_s), self._ask_on, leg) for after_s in ASK_AGAIN_S]

    def _remove(self, place: tuple[int, Address]) -> None:
        leg = self._legs.pop(place)
        for repeat in self._repeats.pop(place, ()):
            repeat.cancel()
        if self._loop is not None:
            for one in (leg.ear, leg.mouth):
                self._loop.remove_reader(one)
        leg.close()

    def _later(
        self, loop: asyncio.AbstractEventLoop, delay_s: float, what: Callable[[asyncio.AbstractEventLoop], None]
    ) -> None:
        self._timers[what.__name__] = loop.call_later(_jittered(delay_s), what, loop)


def _jittered(delay_s: float) -> float:
    """Devices that are turned on together must not go on asking together."""
    return delay_s * randomness.SystemRandom().uniform(1 - _JITTER, 1 + _JITTER)
