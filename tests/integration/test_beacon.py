# SPDX-License-Identifier: AGPL-3.0-or-later
"""Devices find each other by multicast: on one machine, and across two network namespaces on a bridge."""

import asyncio
import json
import os
import select
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.lab.namespace import why_not
from benchmarks.lab.site import Host, built
from harp.base.errors import LinkError
from harp.sync.transport import beacon as beacon_module
from harp.sync.transport.beacon import Beacon
from harp.sync.transport.beaconform import BeaconKind, decode_beacon, encode_beacon
from harp.sync.transport.freshness import slot_of
from harp.sync.transport.interfaces import Interface, interfaces
from harp.sync.transport.leg import BEACON_PORT, IPV4_GROUP

PHOTOS, MUSIC, STRANGE = b"p" * 32, b"m" * 32, b"x" * 32
DEADLINE_S = 20.0
SILENCE_S = 0.3
"""How long a stranger listens for what must not come; a real answer takes well under a millisecond."""

Found = list[tuple[str, str, int]]


def loopback() -> Sequence[Interface]:
    return [item for item in interfaces() if str(item.address) == "127.0.0.1"]


@pytest.fixture
def port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        chosen: int = unused.getsockname()[1]
        return chosen


def beacon(
    listens: int, port: int, *secrets: tuple[bytes, str], found: Found | None = None, **options: object
) -> Beacon[str]:
    heard: Found = [] if found is None else found
    known = {"found_interfaces": loopback} | options
    return Beacon(listens, lambda: secrets, lambda whose, place: heard.append((whose, *place)), port=port, **known)  # type: ignore[arg-type]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 -- what is waited for has no event
            await asyncio.sleep(0.002)


class Stranger:
    """Somebody on the same network with a socket."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        self._socket.setblocking(False)
        self._group = (IPV4_GROUP, port)

    def shout(self, data: bytes) -> None:
        self._socket.sendto(data, self._group)

    async def hears(self, timeout_s: float) -> bytes | None:
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.get_running_loop().sock_recv(self._socket, 1000)
        except TimeoutError:
            return None

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def stranger(port: int) -> Iterator[Stranger]:
    opened = Stranger(port)
    yield opened
    opened.close()


def question(*secrets: bytes, at: float | None = None) -> bytes:
    slot = slot_of(time.time() if at is None else at)
    return encode_beacon(BeaconKind.ASK, secrets, port=1234, slot=slot, nonce=os.urandom(16), padding=os.urandom(256))


def test_a_pause_before_asking_again_is_twice_the_one_before_and_the_first_a_second() -> None:
    pauses = [after - before for before, after in pairwise((0.0, *beacon_module.ASK_AGAIN_S))]
    assert pauses == [1.0, 2.0, 4.0]


async def test_a_first_question_that_is_lost_is_asked_again_soon(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beacon_module, "ASK_AGAIN_S", (0.05, 0.15, 0.35))
    found: Found = []
    late = beacon(1002, port, (PHOTOS, "photos"))
    # It never asks by itself, so that it can only be found by being asked.
    monkeypatch.setattr(late, "_ask_on", lambda leg: None)
    early = beacon(1001, port, (PHOTOS, "photos"), found=found)
    early.start()
    await asyncio.sleep(0)
    late.start()
    await until(lambda: bool(found))
    assert found == [("photos", "127.0.0.1", 1002)]
    await until(lambda: late.answered == 3)
    early.close()
    late.close()


async def test_a_beacon_that_is_closed_asks_no_more(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beacon_module, "ASK_AGAIN_S", (0.02, 0.04))
    asking, listening = beacon(1001, port, (PHOTOS, "photos")), beacon(1002, port, (PHOTOS, "photos"))
    monkeypatch.setattr(listening, "_ask_on", lambda leg: None)
    listening.start()
    asking.start()
    asking.close()
    await asyncio.sleep(0.1)
    assert listening.answered <= 1
    listening.close()


async def test_two_daemons_on_one_machine_find_each_other(port: int) -> None:
    alice_found: Found = []
    bob_found: Found = []
    alice = beacon(1001, port, (PHOTOS, "photos"), (MUSIC, "alice's music"), found=alice_found)
    bob = beacon(1002, port, (STRANGE, "bob's own"), (PHOTOS, "bilder"), found=bob_found)
    alice.start()
    bob.start()
    await until(lambda: bool(alice_found and bob_found))
    assert set(alice_found) == {("photos", "127.0.0.1", 1002)}
    assert set(bob_found) == {("bilder", "127.0.0.1", 1001)}
    assert alice.networks == bob.networks == 1
    assert alice.trouble == bob.trouble == ""
    alice.close()
    bob.close()


async def test_a_folder_shared_later_is_found_when_asked_for(port: int) -> None:
    secrets: list[tuple[bytes, str]] = []
    found: Found = []
    alice = Beacon(
        1001, lambda: secrets, lambda whose, at: found.append((whose, *at)), port=port, found_interfaces=loopback
    )
    bob = beacon(1002, port, (PHOTOS, "photos"))
    alice.start()
    bob.start()
    secrets.append((PHOTOS, "photos"))
    alice.ask()
    await until(lambda: bool(found))
    assert set(found) == {("photos", "127.0.0.1", 1002)}
    alice.close()
    bob.close()


async def test_more_folders_than_fit_one_datagram_are_all_asked_for(port: int) -> None:
    secrets = [(bytes([i]) * 32, f"folder {i}") for i in range(40)]
    found: Found = []
    bob = beacon(1002, port, *secrets[::-1])
    bob.start()
    alice = beacon(1001, port, *secrets, found=found)
    alice.start()
    await until(lambda: len({whose for whose, _, _ in found}) == 40)
    alice.close()
    bob.close()


async def test_a_member_is_answered_at_once_and_told_nothing_else(port: int, stranger: Stranger) -> None:
    bob = beacon(1002, port, (PHOTOS, "photos"), (MUSIC, "music"))
    bob.start()
    asked = question(PHOTOS)
    stranger.shout(asked)
    data = await stranger.hears(DEADLINE_S)
    assert data is not None
    answer = decode_beacon(data)
    assert answer is not None
    assert (answer.kind, answer.port, answer.nonce) == (BeaconKind.ANSWER, 1002, asked[12:28])
    assert answer.is_under(PHOTOS)
    assert not answer.is_under(MUSIC)
    bob.close()


async def test_a_stranger_is_not_answered(port: int, stranger: Stranger) -> None:
    found: Found = []
    bob = beacon(1002, port, (PHOTOS, "photos"), found=found)
    bob.start()
    for data in (question(STRANGE), question(), os.urandom(284), b"", b"\x01" * 284, question(PHOTOS)[:-1]):
        stranger.shout(data)
    assert await stranger.hears(SILENCE_S) is None
    assert found == []
    # Proof that the silence was meant: a member's question, asked the same way, is answered.
    stranger.shout(question(PHOTOS))
    assert await stranger.hears(DEADLINE_S) is not None
    bob.close()


async def test_what_was_overheard_is_worth_nothing(port: int, stranger: Stranger) -> None:
    found: Found = []
    bob = beacon(1002, port, (PHOTOS, "photos"), found=found)
    bob.start()
    asked = question(PHOTOS)
    stranger.shout(asked)
    assert await stranger.hears(DEADLINE_S) is not None
    stranger.shout(asked)
    stranger.shout(question(PHOTOS, at=time.time() - 3600))
    answer = encode_beacon(
        BeaconKind.ANSWER, [PHOTOS], port=6, slot=slot_of(time.time()), nonce=os.urandom(16), padding=os.urandom(256)
    )
    stranger.shout(answer)
    assert await stranger.hears(SILENCE_S) is None
    assert found == [("photos", "127.0.0.1", 1234)]
    assert bob.answered == 1
    bob.close()


async def test_shouting_does_not_make_it_answer_without_end(port: int, stranger: Stranger) -> None:
    bob = beacon(1002, port, (PHOTOS, "photos"))
    bob.start()
    for heard in range(20, 201, 20):
        for _ in range(20):
            stranger.shout(question(PHOTOS))
        await until(lambda heard=heard: bob.answered + bob.ignored >= heard)  # type: ignore[misc]
    assert bob.answered > 0
    assert bob.ignored > 100
    bob.close()


async def test_it_does_not_find_itself(port: int) -> None:
    found: Found = []
    alice = beacon(1001, port, (PHOTOS, "photos"), found=found)
    alice.start()
    alice.ask()
    await until(lambda: alice.ignored >= 2)
    assert found == []
    alice.close()


async def test_networks_may_come_and_go(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harp.sync.transport.beacon.LOOK_EVERY_S", 0.01)
    there: list[Interface] = []
    found: Found = []
    alice = beacon(1001, port, (PHOTOS, "photos"), found=found, found_interfaces=lambda: list(there))
    bob = beacon(1002, port, (PHOTOS, "photos"))
    bob.start()
    alice.start()
    assert alice.networks == 0
    there.extend(loopback())
    await until(lambda: bool(found))
    assert alice.networks == 1
    there.clear()
    await until(lambda: alice.networks == 0)
    alice.close()
    bob.close()


async def test_a_network_that_refuses_is_trouble_and_no_error(port: int) -> None:
    def unknown() -> Sequence[Interface]:
        raise LinkError("the network interfaces of this machine cannot be listed")

    alice = beacon(1001, port, found_interfaces=unknown)
    alice.start()
    assert "cannot be listed" in alice.trouble
    alice.close()
    gone = [Interface("gone0", 99_999, item.address, item.subnet, True, False, False) for item in loopback()]
    alice = beacon(1001, port, found_interfaces=lambda: gone)
    alice.start()
    assert alice.networks == 0
    assert "gone0" in alice.trouble
    alice.close()


async def test_closed_it_is_silent_and_leaves_nothing_open(port: int, stranger: Stranger) -> None:
    before = len(os.listdir("/proc/self/fd"))
    bob = beacon(1002, port, (PHOTOS, "photos"))
    bob.start()
    assert len(os.listdir("/proc/self/fd")) == before + 2
    bob.close()
    bob.ask()
    stranger.shout(question(PHOTOS))
    assert await stranger.hears(SILENCE_S) is None
    assert len(os.listdir("/proc/self/fd")) == before


# --- two machines, as nearly as one machine can ----------------------------------------------------------------------

PROGRAM = textwrap.dedent("""
    import asyncio, json, sys, time
    from harp.sync.transport.beacon import Beacon

    async def main(port, secret):
        found = asyncio.Event()
        def on_found(whose, place):
            print(json.dumps([whose, *place, time.monotonic() - began]), flush=True)
            found.set()
        beacon = Beacon(port, lambda: [(secret.encode().ljust(32), "photos")], on_found)
        began = time.monotonic()
        beacon.start()
        print(json.dumps("started"), flush=True)
        await asyncio.to_thread(sys.stdin.read)
        beacon.close()

    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
""")


@pytest.fixture
def hosts() -> Iterator[list[Host]]:
    """Three machines on a LAN."""
    if reason := why_not():
        pytest.skip(f"discovery across machines was not tried: {reason}")
    with built(3) as lab:
        yield lab.site.hosts


class Machine:
    """A beacon in a namespace of its own, as a process."""

    def __init__(self, host: Host, port: int, secret: str) -> None:
        source = Path(__file__).resolve().parents[2] / "src"
        with host.namespace.entered():
            self._process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(port), secret],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,  # unbuffered, so that select sees each line that was not read yet
                env=os.environ | {"PYTHONPATH": str(source)},
            )
        assert self.line() == "started"

    def line(self) -> object:
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], DEADLINE_S)
        assert readable, f"the beacon said nothing within {DEADLINE_S:.0f} s"
        said = self._process.stdout.readline()
        assert said, "the beacon's process ended"
        return json.loads(said)

    def rest(self) -> list[object]:
        """End it; what it had said beyond what was read."""
        out, _ = self._process.communicate(timeout=DEADLINE_S)
        return [json.loads(line) for line in out.splitlines()]


@pytest.mark.root
async def test_two_machines_on_a_bridge_find_each_other_and_a_third_learns_nothing(hosts: list[Host]) -> None:
    stranger = Machine(hosts[2], 1003, "another folder")
    alice = Machine(hosts[0], 1001, "the folder")
    bob = Machine(hosts[1], 1002, "the folder")
    for finder, expected in ((alice, (hosts[1].address, 1002)), (bob, (hosts[0].address, 1001))):
        while True:
            line = finder.line()
            assert isinstance(line, list)
            whose, host, port, took_s = line
            if "." in host:  # by IPv6 they find each other as well, at an address of the kernel's choice
                break
        assert (whose, (host, port)) == ("photos", expected)
        print(f"found {host} after {took_s * 1000:.1f} ms")
        assert finder is alice or took_s < 10 * 1.0
    assert stranger.rest() == []
    alice.rest()
    bob.rest()


@pytest.mark.root
async def test_a_question_is_answered_from_whatever_port_it_comes(hosts: list[Host]) -> None:
    alice = Machine(hosts[0], 1001, "the folder")
    for port in range(40_000, 40_016):
        with hosts[1].namespace.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            asker.settimeout(DEADLINE_S)
            asker.bind((hosts[1].address, port))
            asker.sendto(question(b"the folder".ljust(32)), (IPV4_GROUP, BEACON_PORT))
            data, source = asker.recvfrom(1000)
        answer = decode_beacon(data)
        assert answer is not None
        assert (answer.kind, answer.port, source[0]) == (BeaconKind.ANSWER, 1001, hosts[0].address)
    alice.rest()
