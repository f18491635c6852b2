# SPDX-License-Identifier: AGPL-3.0-or-later
"""The dialler: whoever is missing is dialled at each known address, again and again, and a join ends in words."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harp.base.errors import LinkError, TrustError
from harp.base.runtime import Backoff, Tasks
from harp.base.webaddress import WebAddress
from harp.identity import pairing
from harp.identity.device import DeviceId
from harp.identity.pairing import Ticket
from harp.sync.model import FolderId, Role
from harp.sync.protocol.messages import Welcome
from harp.sync.service import dialler
from harp.sync.service.dialler import Dialler
from harp.sync.service.doors import Doors
from harp.sync.service.hub import Hub, Joining
from harp.sync.transport import tcp, websocket
from harp.sync.transport.tls import Identity
from tests.fakes.history import device_key
from tests.fakes.peers import FakePeer

FOLDER = FolderId(b"f" * 32)
ME, ANNA, BEN = (device_key(number) for number in (1, 2, 3))
WELCOME = Welcome(FOLDER, "Photos", Role.READ_WRITE, bytes(32), (), ())
SOON_S = 10.0


class Switchboard:
    """A hub and its doors, as the dialler sees them: it has one folder, with Anna as the other member."""

    def __init__(self) -> None:
        self.key = ME
        self.members = {ME.device_id, ANNA.device_id}
        self.known: dict[DeviceId, list[str]] = {}
        self.cut: set[DeviceId] = set()
        self.linked: dict[DeviceId, FakePeer] = {}
        self.welcomes = True
        self.registry = SimpleNamespace(
            addresses=lambda device: self.known.get(device, []), forgotten=lambda: frozenset(self.cut)
        )

    def loops(self) -> list[Any]:
        return [SimpleNamespace(replica=SimpleNamespace(membership=SimpleNamespace(members=self.members)))]

    def loop(self, folder: FolderId) -> Any:
        return self.loops()[0] if folder == FOLDER else None

    def peers(self) -> list[FakePeer]:
        return list(self.linked.values())

    def peer(self, device: DeviceId) -> FakePeer | None:
        return self.linked.get(device)

    def link_made(self, link: DeviceId, joining: Joining | None = None) -> FakePeer:
        self.linked[link] = FakePeer(link)
        if joining is not None and self.welcomes:
            joining.welcome.set_result(WELCOME)
        return self.linked[link]

    def knock_for(self, device: DeviceId) -> bytes:
        return b"knock for " + device

    def knock_at(self, folder: FolderId, host: str, port: int) -> bytes:
        return b"knock at " + folder

    def knock_with(self, key: bytes, device: DeviceId) -> bytes:
        return b"knock with " + key


class World:
    """Who listens where; a link is just its device."""

    def __init__(self) -> None:
        self.listeners: dict[tuple[str, int], DeviceId] = {}
        self.refusals: dict[tuple[str, int], Exception] = {}
        self.dialled: list[tuple[str, int]] = []
        self.knocks: list[bytes] = []

    def dial(
        self, host: str, port: int, _: Identity, knock: bytes, accepts: Callable[[DeviceId], bool], timeout_s: float
    ) -> DeviceId:
        self.dialled.append((host, port))
        self.knocks.append(knock)
        if (host, port) in self.refusals:
            raise self.refusals[host, port]
        if (host, port) not in self.listeners:
            raise LinkError(f"nobody answers at {host}")
        found = self.listeners[host, port]
        if not accepts(found):
            raise TrustError("another key")
        return found

    def dial_web(
        self,
        address: WebAddress,
        identity: Identity,
        knock: bytes,
        accepts: Callable[[DeviceId], bool],
        timeout_s: float,
    ) -> DeviceId:
        return self.dial(str(address), 0, identity, knock, accepts, timeout_s)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(tcp, "dial", world.dial)
    monkeypatch.setattr(websocket, "dial", world.dial_web)
    monkeypatch.setattr(dialler, "BACKOFF", Backoff(first_s=0.001, most_s=0.01))
    return world


@pytest.fixture
def board() -> Switchboard:
    return Switchboard()


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    async with Tasks("test") as tasks:
        yield tasks


@pytest.fixture
async def dials(world: World, board: Switchboard, tasks: Tasks) -> AsyncIterator[Dialler]:
    with ThreadPoolExecutor(1) as executor:
        yield Dialler(cast(Hub, board), cast(Doors, board), cast(Identity, None), tasks, executor)


async def until(what: Callable[[], object]) -> None:
    async with asyncio.timeout(SOON_S):
        while not what():  # noqa: ASYNC110 - the tests only look on, nobody tells them
            await asyncio.sleep(0.001)


# --- whoever is missing -----------------------------------------------------------------------------------------------


async def test_a_missing_member_is_dialled_at_each_address_until_one_is_its(
    dials: Dialler, world: World, board: Switchboard, tasks: Tasks
) -> None:
    board.known[ANNA.device_id] = ["192.0.2.1:1", "192.0.2.2:2", "[2001:db8::3]:3", "192.0.2.4:4"]
    world.listeners = {("192.0.2.2", 2): BEN.device_id, ("2001:db8::3", 3): ANNA.device_id}
    tasks.start("dial", dials.run())
    await until(lambda: board.linked)
    assert list(board.linked) == [ANNA.device_id]
    assert world.dialled == [("192.0.2.1", 1), ("192.0.2.2", 2), ("2001:db8::3", 3)]
    assert set(world.knocks) == {b"knock for " + ANNA.device_id}
    assert dials.error_of(ANNA.device_id) == ""


async def test_who_does_not_answer_is_dialled_again_and_why_is_told(
    dials: Dialler, world: World, board: Switchboard, tasks: Tasks
) -> None:
    assert dials.error_of(ANNA.device_id) == ""
    board.known[ANNA.device_id] = ["192.0.2.1:1"]
    tasks.start("dial", dials.run())
    await until(lambda: len(world.dialled) >= 3)
    assert dials.error_of(ANNA.device_id) == "nobody answers at 192.0.2.1"
    world.listeners["192.0.2.1", 1] = ANNA.device_id
    await until(lambda: board.linked)
    await until(lambda: not dials.error_of(ANNA.device_id))


async def test_what_a_peer_calls_an_address_and_is_none_keeps_no_other_from_being_dialled(
    dials: Dialler, world: World, board: Switchboard, tasks: Tasks
) -> None:
    board.known[ANNA.device_id] = ["nonsense", "host:99999", "a b:1", "192.0.2.1:1"]
    world.listeners["192.0.2.1", 1] = ANNA.device_id
    tasks.start("dial", dials.run())
    await until(lambda: board.linked)
    assert world.dialled == [("192.0.2.1", 1)]


async def test_a_hub_is_dialled_through_its_web_server(
    dials: Dialler, world: World, board: Switchboard, tasks: Tasks
) -> None:
    board.known[ANNA.device_id] = ["ws://192.0.2.1/plain", "wss://no host/", "wss://cloud.example/harp"]
    world.listeners["wss://cloud.example/harp", 0] = ANNA.device_id
    tasks.start("dial", dials.run())
    await until(lambda: board.linked)
    assert world.dialled == [("wss://cloud.example/harp", 0)], "and what is no address keeps no other from it"


async def test_who_is_linked_through_a_web_server_is_dialled_where_the_beacon_found_it(
    dials: Dialler, world: World, board: Switchboard
) -> None:
    board.link_made(ANNA.device_id).link.remote = ("wss://cloud.example/harp", 0)
    before = board.linked[ANNA.device_id]
    world.listeners["192.0.2.7", 7] = ANNA.device_id
    dials.found(FOLDER, ("192.0.2.7", 7))
    await until(lambda: board.linked[ANNA.device_id] is not before)


def test_a_link_that_ends_after_the_event_loop_wakes_nobody(board: Switchboard) -> None:
    async def made(executor: ThreadPoolExecutor) -> Dialler:
        async with Tasks("test") as tasks:
            return Dialler(cast(Hub, board), cast(Doors, board), cast(Identity, None), tasks, executor)

    with ThreadPoolExecutor(1) as executor:
        asyncio.run(made(executor)).wake()


async def test_of_whom_no_address_is_known_that_is_said(
    dials: Dialler, world: World, board: Switchboard, tasks: Tasks
) -> None:
    tasks.start("dial", dials.run())
    await until(lambda: dials.error_of(ANNA.device_id))
    assert dials.error_of(ANNA.device_id) == "no address of it is known"
    assert world.dialled == []


async def test_neither_the_linked_nor_the_forgotten_nor_strangers_are_dialled(
    dials: Dialler, world: World, board: Switchboard, tasks: Tasks
) -> None:
    cyd, dan = device_key(4).device_id, device_key(5).device_id
    board.members |= {BEN.device_id, cyd}
    board.known = {
        device: [f"192.0.2.{number}:1"]
        for number, device in enumerate((ME.device_id, ANNA.device_id, BEN.device_id, cyd, dan))
    }
    board.link_made(ANNA.device_id)
    board.cut.add(BEN.device_id)
    world.listeners["192.0.2.3", 1] = cyd
    tasks.start("dial", dials.run())
    await until(lambda: cyd in board.linked)
    assert world.dialled == [("192.0.2.3", 1)]


async def test_a_new_member_is_dialled_as_soon_as_the_dialler_is_told(
    dials: Dialler, world: World, board: Switchboard, tasks: Tasks
) -> None:
    board.link_made(ANNA.device_id)
    tasks.start("dial", dials.run())
    await asyncio.sleep(0)
    board.members.add(BEN.device_id)
    board.known[BEN.device_id] = ["192.0.2.2:1"]
    world.listeners["192.0.2.2", 1] = BEN.device_id
    dials.wake()
    await until(lambda: BEN.device_id in board.linked)


# --- whoever the beacon found -----------------------------------------------------------------------------------------


async def test_who_answers_the_beacon_again_and_again_is_dialled_once(
    dials: Dialler, world: World, board: Switchboard, tasks: Tasks
) -> None:
    world.listeners["192.0.2.7", 7] = ANNA.device_id
    dials.found(FOLDER, ("192.0.2.7", 7))
    dials.found(FOLDER, ("192.0.2.7", 7))
    assert len(tasks) == 1
    await until(lambda: board.linked)
    assert world.dialled == [("192.0.2.7", 7)]
    assert world.knocks == [b"knock at " + FOLDER]


async def test_of_a_folder_that_is_not_ours_nobody_is_dialled(
    dials: Dialler, world: World, board: Switchboard, tasks: Tasks
) -> None:
    dials.found(FolderId(b"g" * 32), ("192.0.2.7", 7))
    assert len(tasks) == 0


async def test_who_is_linked_from_there_already_is_not_dialled(
    dials: Dialler, world: World, board: Switchboard, tasks: Tasks
) -> None:
    board.link_made(ANNA.device_id).link.remote = ("192.0.2.7", 7)
    dials.found(FOLDER, ("192.0.2.7", 7))
    assert len(tasks) == 0


async def test_ones_own_echo_is_not_taken_for_a_member(
    dials: Dialler, world: World, board: Switchboard, tasks: Tasks
) -> None:
    world.listeners["192.0.2.7", 7] = ME.device_id
    dials.found(FOLDER, ("192.0.2.7", 7))
    await until(lambda: world.dialled and len(tasks) == 0)
    assert board.linked == {}


# --- joining ----------------------------------------------------------------------------------------------------------


def ticket(*addresses: str) -> Ticket:
    return Ticket(
        inviter=ANNA.device_id,
        folder=FOLDER,
        name="Photos",
        addresses=addresses,
        secret=b"s" * pairing.SECRET_BYTES,
        role=int(Role.READ_WRITE),
        expires_at=2_000_000_000,
    )


async def test_a_ticket_is_redeemed_at_the_first_address_where_its_inviter_answers(
    dials: Dialler, world: World, board: Switchboard
) -> None:
    world.listeners = {("192.0.2.2", 2): ANNA.device_id, ("192.0.2.3", 3): ANNA.device_id}
    peer, welcome = await dials.join(ticket("192.0.2.1:1", "192.0.2.2:2", "192.0.2.3:3"), "laptop")
    assert (peer.device, welcome) == (ANNA.device_id, WELCOME)
    assert world.dialled == [("192.0.2.1", 1), ("192.0.2.2", 2)]


async def test_addresses_that_are_known_from_elsewhere_are_tried_after_the_tickets(
    dials: Dialler, world: World, board: Switchboard
) -> None:
    board.known[ANNA.device_id] = ["192.0.2.1:1", "192.0.2.9:9"]
    world.listeners["192.0.2.9", 9] = ANNA.device_id
    await dials.join(ticket("192.0.2.1:1"), "laptop")
    assert world.dialled == [("192.0.2.1", 1), ("192.0.2.9", 9)]


async def test_an_inviter_that_cannot_be_reached_is_said_with_what_to_do(dials: Dialler) -> None:
    with pytest.raises(LinkError, match=r"cannot be reached: nobody answers at 192\.0\.2\.1") as told:
        await dials.join(ticket("192.0.2.1:1"), "laptop")
    assert "harp doctor" in told.value.hint


async def test_an_impostor_at_the_inviters_address_is_refused(dials: Dialler, world: World, board: Switchboard) -> None:
    world.listeners["192.0.2.1", 1] = BEN.device_id
    with pytest.raises(TrustError, match="another key"):
        await dials.join(ticket("192.0.2.1:1"), "laptop")
    assert board.linked == {}


async def test_an_inviter_that_says_nothing_is_not_waited_for_without_end(
    dials: Dialler, world: World, board: Switchboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialler, "JOIN_TIMEOUT_S", 0.01)
    board.welcomes = False
    world.listeners["192.0.2.1", 1] = ANNA.device_id
    with pytest.raises(LinkError, match=r"192\.0\.2\.1:1 does not answer"):
        await dials.join(ticket("192.0.2.1:1"), "laptop")
