# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sites: one token for those who are near, one queue and one limit for each site beyond the WAN."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import pytest

from harp.identity.device import DeviceId
from harp.sync.engine.fetcher import Reach
from harp.sync.protocol.frames import Status
from harp.sync.protocol.officemessages import Site
from harp.sync.service.peer import Peer
from harp.sync.service.sites import Limits, Sites
from harp.sync.transport.carrier import Flow
from harp.sync.transport.pacer import Pacer
from tests.integration.office import until

SMALL, GREAT = b"\x00" * 16, b"\xff" * 16
ONE, TWO = b"1" * 32, b"2" * 32


@dataclass
class Wire:
    """A link of which nothing leaves before a test says so."""

    on_way: int = 0
    arrived: int = 0
    waiting_answers: int = 0
    bytes_in: int = 0
    pacer: Pacer | None = None

    def flow(self) -> Flow:
        return Flow(self.arrived, self.on_way, 0.04)


@dataclass(eq=False)
class Far:
    """A peer as Sites sees it."""

    device: DeviceId
    reach: Reach = Reach.WAN
    link: Wire = field(default_factory=Wire)
    told: list[Site] = field(default_factory=list)
    served: list[int] = field(default_factory=list)
    answered: list[tuple[int, Status, bytes]] = field(default_factory=list)

    @property
    def peer(self) -> Peer:
        return cast(Peer, self)

    def send(self, message: Site) -> bool:
        self.told.append(message)
        return True

    def serve(self, request: int, read_into: Callable[[memoryview], tuple[int, int]]) -> None:
        _, length = read_into(memoryview(bytearray(1 << 20)))
        self.link.on_way += length
        self.served.append(request)

    def answer(self, request: int, status: Status, payload: bytes = b"") -> None:
        self.answered.append((request, status, payload))


def far(number: int) -> Far:
    return Far(DeviceId(bytes([number]) * 32))


def near(number: int) -> Far:
    return Far(DeviceId(bytes([number]) * 32), Reach.LAN)


def chunk(buffer: memoryview) -> tuple[int, int]:
    return Status.OK, 300_000


@pytest.fixture
def office() -> tuple[Sites, Far, Far]:
    """Two devices of one site, and another one."""
    sites = Sites()
    one, two = far(1), far(2)
    for peer in (one, two):
        sites.linked(peer.peer)
        sites.heard(peer.peer, Site(SMALL, 0, False))
    return sites, one, two


def test_those_who_are_near_agree_on_the_smallest_token_and_everyone_is_told() -> None:
    sites, neighbour, cloud = Sites(), near(1), far(2)
    sites.linked(cloud.peer)
    sites.linked(neighbour.peer)
    own = sites.token
    sites.heard(neighbour.peer, Site(GREAT, 0, False))
    assert sites.token == own
    sites.heard(neighbour.peer, Site(SMALL, 0, False))
    assert sites.token == cloud.told[-1].token == neighbour.told[-1].token == SMALL
    sites.heard(cloud.peer, Site(bytes(15) + b"\x00", 0, False))
    assert sites.token == SMALL, "a peer beyond the WAN is at another site"


def test_whoever_goes_elsewhere_does_not_take_the_token_along() -> None:
    sites, neighbour, cloud = Sites(), near(1), far(2)
    sites.linked(cloud.peer)
    own = sites.token
    sites.linked(neighbour.peer)
    sites.heard(neighbour.peer, Site(SMALL, 0, False))
    sites.ended(neighbour.peer)
    assert sites.token not in (SMALL, own)
    assert cloud.told[-1].token == sites.token


def test_one_site_has_one_queue(office: tuple[Sites, Far, Far]) -> None:
    sites, one, two = office
    for number in range(1, 5):
        sites.ask(one.peer, number, bytes([number]) * 32, chunk)
        sites.ask(two.peer, number, bytes([100 + number]) * 32, chunk)
    until(lambda: len(one.served + two.served) == 2, "two chunks are on their way")
    other = far(3)
    sites.linked(other.peer)
    sites.heard(other.peer, Site(GREAT, 0, False))
    sites.ask(other.peer, 1, ONE, chunk)
    until(lambda: other.served == [1], "another site does not wait for this one")
    assert len(one.served + two.served) == 2
    for peer in (one, two):
        peer.link.arrived, peer.link.on_way = peer.link.on_way, 0
    until(lambda: len(one.served + two.served) == 4, "what has arrived makes room")


def test_the_second_of_a_site_is_told_who_gets_it(office: tuple[Sites, Far, Far]) -> None:
    sites, one, two = office
    sites.ask(one.peer, 1, ONE, chunk)
    sites.ask(two.peer, 9, ONE, chunk)
    assert two.answered == [(9, Status.ELSEWHERE, one.device)]
    sites.ask(two.peer, 10, ONE, chunk)
    until(lambda: two.served == [10], "who asks again at once gets it")


def test_what_is_not_here_after_all_is_no_reason_to_send_anybody_away(office: tuple[Sites, Far, Far]) -> None:
    sites, one, two = office
    sites.ask(one.peer, 1, ONE, lambda _: (Status.NOT_HELD, 0))
    until(lambda: one.served == [1], "it is answered")
    sites.ask(two.peer, 2, ONE, chunk)
    assert two.answered == []


def test_what_is_cancelled_or_whose_link_ends_is_not_sent(office: tuple[Sites, Far, Far]) -> None:
    sites, one, two = office
    one.link.on_way = 10_000_000
    sites.ask(one.peer, 1, ONE, chunk)
    sites.ask(one.peer, 2, TWO, chunk)
    sites.cancel(one.peer, [1])
    sites.ask(two.peer, 3, ONE, chunk)
    assert two.answered == []
    sites.ended(one.peer)
    until(lambda: two.served == [3], "the other's turn")
    assert one.served == []


def test_a_peer_that_turns_out_to_be_of_a_site_takes_its_asks_along() -> None:
    sites, one = Sites(), far(1)
    sites.linked(one.peer)
    one.link.on_way = 10_000_000
    sites.ask(one.peer, 1, ONE, chunk)
    sites.heard(one.peer, Site(SMALL, 0, False))
    one.link.arrived, one.link.on_way = one.link.on_way, 0
    until(lambda: one.served == [1], "it is served from the site's queue")


def test_limits_are_told_kept_and_shared() -> None:
    sites = Sites(lambda: Limits(receive=1e6, send=6e5))
    cloud, neighbour = far(1), near(2)
    sites.linked(cloud.peer)
    sites.linked(neighbour.peer)
    assert cloud.told[-1].limit == 1_000_000
    assert neighbour.link.pacer is None, "the LAN has no limit"
    assert cloud.link.pacer is not None
    assert cloud.link.pacer.record_bytes == 3000
    sites.heard(cloud.peer, Site(GREAT, 400_000, False))
    assert cloud.link.pacer.record_bytes == 2000, "what the other site can take in counts too"
    sites.heard(neighbour.peer, Site(GREAT, 0, True))
    sites.heard(cloud.peer, Site(GREAT, 0, False))
    assert cloud.link.pacer.record_bytes == 1500, "half of it is the neighbour's"
    sites.ask(cloud.peer, 1, ONE, chunk)
    until(lambda: neighbour.told[-1].sending, "and it is told that we send")
