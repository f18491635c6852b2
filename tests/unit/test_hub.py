# SPDX-License-Identifier: AGPL-3.0-or-later
"""The hub and its peers over links in memory: who is admitted to which folder, and who is shown the door."""

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path as FilePath
from typing import Any, cast

import pytest

from harp.base.errors import TrustError
from harp.identity import pairing
from harp.identity.device import DeviceId
from harp.sync.engine.fetcher import Reach
from harp.sync.model import MAX_CHUNK, FolderId, Role
from harp.sync.protocol.frames import FrameSplitter
from harp.sync.protocol.messages import CloseCode, Hello, State
from harp.sync.service.doors import ByDevice, ByTicket
from harp.sync.service.hub import UNADMITTED_S, Hub, Joining
from harp.sync.service.inbox import PeerCame, PeerWent, Said
from harp.sync.service.peer import Peer
from harp.sync.store.registry import OpenTicket, Registry
from harp.sync.transport.carrier import Flow
from harp.sync.transport.link import Link, Receiver
from tests.fakes.history import device_key
from tests.fakes.link import hello
from tests.fakes.replicas import Device, office, unlink_all

SECRET = b"s" * pairing.SECRET_BYTES


class Wire:
    """One end of a link in memory; frames wait until :func:`carry` hands them over."""

    def __init__(self, peer: DeviceId, *, is_dialler: bool, admitted: object = None) -> None:
        self.peer, self.is_dialler, self.admitted = peer, is_dialler, admitted
        self.remote = ("192.0.2.1", 4711)
        self.bytes_in = self.bytes_out = self.backlog_bytes = 0
        self.sent: deque[bytes] = deque()
        self.why: str | None = None
        self.receiver: Receiver | None = None
        self.splitter = FrameSplitter()
        self.other: Wire

    def start(self, receiver: Receiver) -> None:
        self.receiver = receiver

    def send(self, data: bytes) -> None:
        self.bytes_out += len(data)
        self.sent.append(data)

    def serve(self, request: int, read_into: Callable[[memoryview], tuple[int, int]]) -> None:
        buffer = memoryview(bytearray(MAX_CHUNK))
        status, length = read_into(buffer)
        assert self.other.receiver is not None
        self.other.receiver.on_answer(cast(Link, self.other), request, status, buffer[:length])

    def cancel(self, requests: object) -> None:
        """Nothing waits here."""

    def flow(self) -> Flow:
        return Flow(0, 0, 0.02)

    def close(self, why: str = "") -> None:
        if self.why is None:
            self.why = why

    def take(self, data: bytes) -> None:
        self.bytes_in += len(data)
        assert self.receiver is not None
        for type_, body in self.splitter.feed(data):
            self.receiver.on_frame(cast(Link, self), type_, body)


class House:
    """A hub with its device's folder; its loop's calls are answered at once."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.registry = Registry(device.home / "registry.db")
        self.hub = Hub(device.key, self.registry, self, lambda: None)
        self.posted: list[object] = []
        device.loop.call = self.call  # type: ignore[method-assign]
        device.loop.post = self.posted.append  # type: ignore[method-assign, assignment]
        self.hub.add_loop(device.loop)

    @staticmethod
    def call(what: Callable[[], Any]) -> "Future[Any]":
        done: Future[Any] = Future()
        try:
            done.set_result(what())
        except Exception as error:  # noqa: BLE001 - whoever asks the future is told
            done.set_exception(error)
        return done

    def reach(self, host: str, round_trip_s: float) -> Reach:
        return Reach.LAN

    def hello(self) -> Hello:
        return hello("house")

    def own_addresses(self) -> list[str]:
        return ["192.0.2.9:8783"]

    def came(self) -> list[DeviceId]:
        return [event.peer.device for event in self.posted if isinstance(event, PeerCame)]

    def went(self) -> list[DeviceId]:
        return [event.peer.device for event in self.posted if isinstance(event, PeerWent)]


def dialled(
    here: House,
    there: House,
    *,
    admitted: object = None,
    joining: Joining | None = None,
    remote: tuple[str, int] = ("192.0.2.1", 4711),
) -> tuple[Peer, Peer, Wire, Wire]:
    """``here`` dials ``there``; both links are started, nothing is carried yet."""
    ours = Wire(there.device.key.device_id, is_dialler=True)
    theirs = Wire(here.device.key.device_id, is_dialler=False, admitted=admitted or ByDevice(here.device.key.device_id))
    ours.other, theirs.other = theirs, ours
    ours.remote = theirs.remote = remote
    one = here.hub.link_made(cast(Link, ours), joining)
    other = there.hub.link_made(cast(Link, theirs))
    return one, other, ours, theirs


def carry(*wires: Wire) -> None:
    """Until nothing is left to say; a closed end ends the other."""
    while any(wire.sent for wire in wires):
        for wire in wires:
            while wire.sent:
                data = wire.sent.popleft()
                if wire.other.why is None:
                    wire.other.take(data)
    for wire in wires:
        if wire.why is not None or wire.other.why is not None:
            wire.why = wire.why or "the peer hung up"
            receiver, wire.receiver = wire.receiver, None
            if receiver is not None:
                receiver.on_closed(cast(Link, wire), wire.why)


@pytest.fixture
def two(tmp_path: FilePath) -> tuple[House, House]:
    anna, ben = office(tmp_path, Role.READ_WRITE)
    unlink_all([anna, ben])
    return House(anna), House(ben)


def test_members_who_meet_share_their_folder_and_know_where_they_are(two: tuple[House, House]) -> None:
    anna, ben = two
    one, other, *wires = dialled(ben, anna)
    carry(*wires)
    assert one.is_open
    assert other.is_open
    assert anna.came() == [ben.device.key.device_id]
    assert ben.came() == [anna.device.key.device_id]
    assert "192.0.2.9:8783" in ben.registry.addresses(anna.device.key.device_id)
    assert ben.registry.addresses(anna.device.key.device_id)[0] == "192.0.2.1:4711", "what worked comes first"
    assert anna.hub.peer(ben.device.key.device_id) is other
    assert one.name == "house"
    assert anna.hub.traffic()[0] > 0


def test_what_a_peer_says_while_it_is_admitted_comes_after_its_coming_and_in_its_order(
    two: tuple[House, House], monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, ben = two
    folder, device = anna.device.replica.folder, ben.device.key.device_id
    anna.hub.drop_loop(folder)
    _, other, *wires = dialled(ben, anna)
    carry(*wires)
    first, second, third = (State(folder, {}, False, waiting, 0) for waiting in (1, 2, 3))
    anna.hub.claimed(other, first)
    saying = threading.Thread(target=anna.hub.received, args=(other, second))
    admit = other.admit

    def admitted(folder: FolderId) -> None:
        admit(folder)
        # The gate is open: the link's thread hears the next one before anything else happens here.
        saying.start()
        saying.join(0.2)

    monkeypatch.setattr(other, "admit", admitted)
    anna.hub.add_loop(anna.device.loop)
    saying.join()
    # This one had been heard before the gate opened, and is only told of now.
    anna.hub.claimed(other, third)
    came, *said = anna.posted
    assert isinstance(came, PeerCame)
    assert came.peer.device == device
    assert [
        event.message.waiting for event in said if isinstance(event, Said) and isinstance(event.message, State)
    ] == [1, 2, 3]


def test_a_member_that_is_granted_anew_while_it_is_shown_out_is_heard_again(
    tmp_path: FilePath, two: tuple[House, House], monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, ben = two
    folder, device = anna.device.replica.folder, ben.device.key.device_id
    _, other, *wires = dialled(ben, anna)
    carry(*wires)
    # Another folder that both are in keeps their link.
    another = Device(tmp_path / "another", 9).found().loop
    monkeypatch.setattr(another, "call", House.call)
    monkeypatch.setattr(another, "post", lambda event: None)
    anna.hub.add_loop(another)
    anna.hub.admit_provisionally(another.replica.folder, device)
    granting = threading.Thread(target=anna.hub.members_changed, args=(folder,))
    withdraw = other.withdraw

    def withdrawn(folder: FolderId) -> None:
        # The cut was read a moment ago; now another thread learns of the grant that came after it.
        anna.device.loop.governor.grant(device, Role.READ_WRITE, "ben")
        granting.start()
        granting.join(0.2)
        withdraw(folder)

    monkeypatch.setattr(other, "withdraw", withdrawn)
    anna.device.loop.governor.cut(device)
    anna.hub.members_changed(folder)
    granting.join()
    coming = [type(event) for event in anna.posted if isinstance(event, PeerCame | PeerWent)]
    assert coming == [PeerCame, PeerWent, PeerCame], "what is told last is what holds"
    assert other.send(State(folder, {}, False, 1, 0)), "the folder is spoken of on this link"


def test_a_folder_that_is_opened_anew_while_a_link_is_reviewed_is_told_who_is_there(
    two: tuple[House, House], monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, ben = two
    folder = anna.device.replica.folder
    *_, ours, theirs = dialled(ben, anna)
    loops = anna.hub.loops

    def looked() -> object:
        found = loops()
        monkeypatch.setattr(anna.hub, "loops", loops)
        # The folder is closed in the moment after this thread has seen it.
        anna.hub.drop_loop(folder)
        return found

    monkeypatch.setattr(anna.hub, "loops", looked)
    carry(ours, theirs)
    assert anna.came() == []
    anna.hub.add_loop(anna.device.loop)
    assert anna.came() == [ben.device.key.device_id]


def test_of_two_links_both_keep_the_same_one(two: tuple[House, House]) -> None:
    anna, ben = two
    first = dialled(ben, anna)
    second = dialled(anna, ben)
    carry(*first[2:], *second[2:])
    [of_anna], [of_ben] = anna.hub.peers(), ben.hub.peers()
    assert (of_anna, of_ben) in [(first[1], first[0]), (second[0], second[1])]
    assert of_anna.is_open
    assert of_ben.is_open


def test_a_link_that_is_replaced_while_it_settles_in_does_not_push_out_the_one_that_replaced_it(
    two: tuple[House, House], monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, ben = two
    first, second = dialled(ben, anna), dialled(ben, anna)
    note = anna.hub.directory.note

    def noted(peer: Peer) -> bool:
        # The first link's thread has got so far when the second one's does all of its own.
        monkeypatch.setattr(anna.hub.directory, "note", note)
        carry(*second[2:])
        return note(peer)

    monkeypatch.setattr(anna.hub.directory, "note", noted)
    carry(*first[2:])
    assert [event.peer for event in anna.posted if isinstance(event, PeerCame)] == [second[1]]
    assert list(anna.hub.peers()) == [second[1]]


def test_a_link_that_ends_before_it_has_settled_in_is_not_taken_for_an_open_one(two: tuple[House, House]) -> None:
    anna, ben = two
    *_, ours, theirs = dialled(ben, anna)
    forgotten = anna.registry.forgotten

    def asked() -> frozenset[DeviceId]:
        assert theirs.receiver is not None
        theirs.receiver.on_closed(cast(Link, theirs), "the peer hung up")
        return frozenset(forgotten())

    anna.registry.forgotten = asked  # type: ignore[method-assign, assignment]
    carry(ours, theirs)
    assert list(anna.hub.peers()) == []
    assert anna.came() == []


@pytest.mark.parametrize("is_web_first", [True, False])
@pytest.mark.parametrize("is_same_way", [True, False])
def test_a_link_of_its_own_goes_before_one_through_a_web_server(
    two: tuple[House, House], is_web_first: bool, is_same_way: bool
) -> None:
    anna, ben = two
    web, own = ("wss://cloud.example/harp", 0), ("192.0.2.1", 4711)
    wires: list[Wire] = []
    for number, remote in enumerate((web, own) if is_web_first else (own, web)):
        here, there = (ben, anna) if is_same_way or number else (anna, ben)
        *_, ours, theirs = dialled(here, there, remote=remote)
        wires += ours, theirs
        carry(*wires)
    for house in two:
        (peer,) = house.hub.peers()
        assert peer.link.remote == own
        assert peer.is_open


def test_a_link_that_ended_is_forgotten(two: tuple[House, House]) -> None:
    anna, ben = two
    one, _, *wires = dialled(ben, anna)
    carry(*wires)
    one.close(CloseCode.SHUTDOWN, "good night")
    carry(*wires)
    assert anna.hub.peers() == ben.hub.peers() == ()
    assert anna.went() == [ben.device.key.device_id]


def test_when_a_device_was_here_outlives_the_daemon_whoever_dialled_and_however_it_ends(
    two: tuple[House, House],
) -> None:
    anna, ben = two
    one, _, *wires = dialled(ben, anna)
    began = time.time()

    def seen(of: House, at: House) -> float:
        """As the next daemon on this registry knows it; 0 for not at all."""
        again = Registry(at.device.home / "registry.db")
        found = again.seen_s(of.device.key.device_id)
        again.close()
        return found or 0.0

    carry(*wires)
    anna.hub.tick()
    linked = seen(ben, at=anna)
    assert linked >= began, "it dialled us, and this daemon may be killed any time"
    one.close(CloseCode.SHUTDOWN, "good night")
    carry(*wires)
    assert seen(ben, at=anna) > linked
    assert seen(anna, at=ben) > linked


def test_a_daemon_that_ends_writes_down_who_was_here_and_nothing_afterwards(two: tuple[House, House]) -> None:
    anna, ben = two
    *_, ours, theirs = dialled(ben, anna)
    carry(ours, theirs)
    anna.hub.close_all(CloseCode.SHUTDOWN)
    seen = anna.registry.seen_s(ben.device.key.device_id)
    carry(ours, theirs)
    assert seen is not None
    assert anna.registry.seen_s(ben.device.key.device_id) == seen
    assert anna.went() == [ben.device.key.device_id]


def test_who_is_no_member_any_more_is_shown_the_door(two: tuple[House, House]) -> None:
    anna, ben = two
    *_, ours, theirs = dialled(ben, anna)
    carry(ours, theirs)
    anna.device.loop.governor.cut(ben.device.key.device_id)
    anna.hub.members_changed(anna.device.replica.folder)
    carry(ours, theirs)
    assert anna.went() == [ben.device.key.device_id]
    assert anna.hub.peers() == ()


def test_a_forgotten_device_is_not_let_in(two: tuple[House, House]) -> None:
    anna, ben = two
    anna.registry.forget(ben.device.key.device_id, now=1.0)
    *_, ours, theirs = dialled(ben, anna)
    carry(ours, theirs)
    assert anna.came() == []
    assert anna.hub.peers() == ()


def test_a_stranger_with_nothing_to_share_is_let_go(tmp_path: FilePath, two: tuple[House, House]) -> None:
    anna, _ = two
    stranger = House(Device(tmp_path / "stranger", 9).found())
    one, other, ours, theirs = dialled(stranger, anna)
    carry(ours, theirs)
    assert anna.came() == []
    other.since_s = time.time() - UNADMITTED_S - 1
    anna.hub.tick()
    carry(ours, theirs)
    assert anna.hub.peers() == ()
    assert not one.is_open


def joining(anna: House, at: FilePath, secret: bytes = SECRET) -> tuple[Joining, list[Wire]]:
    """Somebody new comes with a ticket."""
    ticket = OpenTicket(
        pairing.secret_hash(SECRET), b"k" * 32, anna.device.replica.folder, Role.READ_ONLY, time.time() + 60
    )
    if not anna.registry.open_tickets(now=time.time()):
        anna.registry.add_ticket(ticket)
    new = House(Device(at, 20 + len(at.name)).found())
    coming = Joining(secret, "new")
    *_, ours, theirs = dialled(new, anna, admitted=ByTicket(ticket), joining=coming)
    carry(ours, theirs)
    return coming, [ours, theirs]


def test_a_ticket_makes_one_member_and_tells_the_next_that_it_is_used(
    tmp_path: FilePath, two: tuple[House, House]
) -> None:
    anna, _ = two
    first, wires = joining(anna, tmp_path / "x")
    welcome = first.welcome.result(0)
    assert (welcome.role, welcome.folder) == (Role.READ_ONLY, anna.device.replica.folder)
    assert welcome.content == anna.device.replica.secrets.content
    assert anna.device.replica.membership.role(wires[1].peer) is Role.READ_ONLY
    second, _ = joining(anna, tmp_path / "xx")
    with pytest.raises(TrustError, match="used already"):
        second.welcome.result(0)
    assert len(anna.device.replica.membership.members) == 3


def test_a_wrong_secret_is_answered_with_nothing_but_the_door(tmp_path: FilePath, two: tuple[House, House]) -> None:
    anna, _ = two
    coming, _ = joining(anna, tmp_path / "x", b"guess".ljust(pairing.SECRET_BYTES))
    with pytest.raises(TrustError, match="does not know this ticket"):
        coming.welcome.result(0)
    assert len(anna.device.replica.membership.members) == 2
    assert device_key(21).device_id not in anna.device.replica.membership.members
