# SPDX-License-Identifier: AGPL-3.0-or-later
"""Two neighbours on the loopback interface: Bob's house with its listener, Alice who may come in, Eve who may not."""

import contextlib
import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

from harp.identity.device import DeviceId, DeviceKey
from harp.sync.transport.carrier import shake_hands
from harp.sync.transport.freshness import ReplayMemory, slot_of
from harp.sync.transport.knock import make_knock, matching, place
from harp.sync.transport.link import Link
from harp.sync.transport.listener import BY_TCP, Listener, Manner
from harp.sync.transport.tcp import TcpCarrier, dial
from harp.sync.transport.tls import Identity, TlsMachine

ALICE, BOB, EVE = (DeviceKey.from_seed(letter * 32) for letter in (b"a", b"b", b"e"))
SECRET = b"folder secret".ljust(32)
DEADLINE_S = 30.0


def only(key: DeviceKey) -> Callable[[DeviceId], bool]:
    return lambda device: device == key.device_id


def knock(listener: bytes = BOB.device_id, *, secret: bytes = SECRET, at: float | None = None) -> bytes:
    slot = slot_of(time.time() if at is None else at)
    return make_knock([secret], listener=listener, nonce=os.urandom(16), slot=slot, padding=os.urandom(128))


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.002)


def until_still(count: Callable[[], int]) -> None:
    """Wait until ``count`` has risen and then stays where it is."""

    def is_still() -> bool:
        before = count()
        time.sleep(0.3)
        return 0 < before == count()

    until(is_still)


class Admitted:
    tag = "photos"

    def accepts(self, device: DeviceId) -> bool:
        return device == ALICE.device_id


class Door:
    """A doorman with one secret, at Bob's."""

    def __init__(self) -> None:
        self.seen = ReplayMemory()

    def admit(self, knock: bytes, local: tuple[str, int]) -> Admitted | None:
        names = [BOB.device_id, place(*local)]
        return matching(knock, [(SECRET, Admitted())], listeners=names, now=time.time(), seen=self.seen)


class Ear:
    """Remembers what a link brought; ``block`` makes it a slow reader."""

    def __init__(self) -> None:
        self.frames: list[tuple[int, bytes]] = []
        self.answers: list[tuple[int, int, int]] = []
        self.digest = hashlib.sha256()
        self.closed: list[str] = []
        self.go_on = threading.Event()
        self.go_on.set()

    def on_frame(self, link: Link, type: int, body: bytes) -> None:
        self.go_on.wait(DEADLINE_S)
        self.frames.append((type, body))

    def on_answer(self, link: Link, request: int, status: int, payload: memoryview) -> None:
        self.go_on.wait(DEADLINE_S)
        # Who waits for the last answer then finds all of them in the digest.
        self.digest.update(payload)
        self.answers.append((request, status, len(payload)))

    def on_closed(self, link: Link, why: str) -> None:
        self.closed.append(why)


class House:
    """Bob's listener, with all links that were made to it and not started yet."""

    def __init__(self, host: str = "127.0.0.1", manner: Manner = BY_TCP) -> None:
        self.links: list[Link] = []
        self.listener = Listener(host, 0, Identity.of(BOB), Door(), self.links.append, manner)
        self.host, self.port = self.listener.address

    def dialled(self, by: DeviceKey = ALICE, *, expects: DeviceKey = BOB, said: bytes | None = None) -> Link:
        said = knock() if said is None else said
        return dial(self.host, self.port, Identity.of(by), said, only(expects), DEADLINE_S)

    def linked(self) -> tuple[Link, Link]:
        """A link seen from Alice and from Bob, neither started."""
        before = len(self.links)
        alice = self.dialled()
        until(lambda: len(self.links) > before)
        return alice, self.links[before]


@contextlib.contextmanager
def open_house(manner: Manner = BY_TCP) -> Iterator[House]:
    """A house whose links and listener are closed in the end."""
    opened = House(manner=manner)
    try:
        yield opened
    finally:
        for link in opened.links:
            link.close()
        opened.listener.close()


def raw_session(house: House) -> tuple[TcpCarrier, TlsMachine]:
    """Alice as a hostile program: a made session, and everything after it by hand."""
    carrier = TcpCarrier(socket.create_connection((house.host, house.port)))
    carrier.sendall(knock())
    machine = TlsMachine(Identity.of(ALICE), is_client=True, accepts=only(BOB))
    shake_hands(carrier, machine, timeout_s=DEADLINE_S)
    return carrier, machine


def say(carrier: TcpCarrier, machine: TlsMachine, plaintext: bytes) -> None:
    machine.write(plaintext)
    carrier.sendall(machine.data_to_send())
