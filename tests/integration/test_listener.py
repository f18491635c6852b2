# SPDX-License-Identifier: AGPL-3.0-or-later
"""Dialling and listening over real sockets: who comes in, and what a stranger sees."""

import contextlib
import socket
import time
from collections.abc import Iterator
from typing import cast

import pytest

from harp.base.errors import HarpError, LinkError, TrustError
from harp.sync.transport import carrier as carrier_module
from harp.sync.transport import listener as listener_module
from harp.sync.transport.carrier import Carrier, shake_hands
from harp.sync.transport.knock import KNOCK_BYTES, place
from harp.sync.transport.listener import Listener
from harp.sync.transport.tcp import TcpCarrier, dial
from harp.sync.transport.tls import Identity, TlsMachine
from tests.fakes.neighbours import (
    ALICE,
    BOB,
    DEADLINE_S,
    EVE,
    Door,
    Ear,
    House,
    knock,
    only,
    open_house,
    until,
)


@pytest.fixture
def house() -> Iterator[House]:
    with open_house() as opened:
        yield opened


# --- who comes in -----------------------------------------------------------------------------------------------------


def test_both_ends_know_each_other(house: House) -> None:
    alice, bob = house.linked()
    assert (alice.peer, bob.peer) == (BOB.device_id, ALICE.device_id)
    assert (alice.is_dialler, bob.is_dialler) == (True, False)
    assert (alice.admitted, bob.admitted) == (None, "photos")
    assert alice.remote == house.listener.address
    alice.close()


def test_a_knock_for_the_address_opens_as_well(house: House) -> None:
    house.dialled(said=knock(place(house.host, house.port))).close()
    until(lambda: len(house.links) == 1)


def test_a_listener_on_all_addresses_is_reached_by_both_protocols() -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    opened = House("::")
    for count, host in enumerate(("127.0.0.1", "::1"), start=1):
        said = knock(place(host, opened.port))
        dial(host, opened.port, Identity.of(ALICE), said, only(BOB), DEADLINE_S).close()
        until(lambda count=count: len(opened.links) == count)  # type: ignore[misc]
    assert [link.remote[0] for link in opened.links] == ["127.0.0.1", "::1"]
    for link in opened.links:
        link.close()
    opened.listener.close()


def test_a_dialler_refuses_another_device_than_it_expects(house: House) -> None:
    with pytest.raises(TrustError):
        house.dialled(expects=EVE)
    until(lambda: house.listener.failed == 1)
    assert house.links == []


def test_a_listener_refuses_another_device_than_the_knock_admits(house: House) -> None:
    ear = Ear()
    with contextlib.suppress(LinkError):
        house.dialled(by=EVE).start(ear)
        until(lambda: len(ear.closed) == 1)
    until(lambda: house.listener.failed == 1)
    assert house.links == []
    assert ear.frames == []


def test_an_unknown_knock_ends_the_dialling_with_a_link_error(house: House) -> None:
    with pytest.raises(LinkError):
        house.dialled(said=knock(secret=b"x" * 32))
    assert house.listener.strangers == 1


def test_nobody_at_the_address_is_a_link_error() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    for host in ("127.0.0.1", "not a host name\N{SNOWMAN}"):
        with pytest.raises(LinkError):
            dial(host, port, Identity.of(ALICE), knock(), only(BOB), DEADLINE_S)


def test_a_listener_that_never_speaks_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        began = time.monotonic()
        with pytest.raises(LinkError):
            dial("127.0.0.1", mute.getsockname()[1], Identity.of(ALICE), knock(), only(BOB), 0.2)
        assert time.monotonic() - began < DEADLINE_S


def test_a_port_in_use_is_one_clear_line(house: House) -> None:
    with pytest.raises(LinkError, match=f"port {house.port} is in use") as caught:
        Listener("127.0.0.1", house.port, Identity.of(BOB), Door(), house.links.append)
    assert "--listen" in caught.value.hint


@pytest.mark.parametrize("host", ["192.0.2.55", "no such host.invalid"])
def test_an_address_that_is_not_ours_is_one_clear_line(host: str) -> None:
    with pytest.raises(LinkError) as caught:
        Listener(host, 0, Identity.of(BOB), Door(), print)
    assert "--listen" in caught.value.hint


def test_after_its_close_a_listener_answers_nobody(house: House) -> None:
    house.listener.close()
    with pytest.raises(LinkError):
        house.dialled()


# --- what a stranger sees: nothing ------------------------------------------------------------------------------------


def heard_by_stranger(house: House, said: bytes, *, ends: bool = False) -> bytes:
    """All bytes that come back to whoever says ``said`` (and then stops sending, if ``ends``)."""
    heard = b""
    with socket.create_connection((house.host, house.port), timeout=DEADLINE_S) as stranger:
        stranger.sendall(said)
        if ends:
            with contextlib.suppress(OSError):  # closed by the listener already
                stranger.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while piece := stranger.recv(4096):
                heard += piece
    return heard


CLIENT_HELLO = TlsMachine(Identity.of(EVE), is_client=True, accepts=only(BOB))
CLIENT_HELLO.handshake()
HELLO = CLIENT_HELLO.data_to_send()


@pytest.mark.parametrize(
    "said",
    [HELLO, b"GET / HTTP/1.1\r\n\r\n" * 20, bytes(KNOCK_BYTES), b"\xff" * 5000, knock(secret=b"x" * 32) + HELLO],
    ids=["tls", "http", "zeros", "noise", "another key"],
)
def test_a_stranger_gets_not_a_byte(house: House, said: bytes) -> None:
    assert heard_by_stranger(house, said) == b""
    assert house.links == []
    assert house.listener.strangers == 1


def test_whoever_stops_before_the_knock_is_whole_gets_not_a_byte(house: House) -> None:
    assert heard_by_stranger(house, b"", ends=True) == b""
    assert heard_by_stranger(house, knock()[:-1], ends=True) == b""


def test_whoever_is_late_gets_not_a_byte(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_module, "KNOCK_TIMEOUT_S", 0.05)
    assert heard_by_stranger(house, b"") == b""
    assert heard_by_stranger(house, knock()[:-1]) == b""


def test_a_knock_of_an_hour_ago_gets_not_a_byte(house: House) -> None:
    assert heard_by_stranger(house, knock(at=time.time() - 3600) + HELLO) == b""


def test_a_knock_that_was_overheard_gets_not_a_byte(house: House) -> None:
    said = knock()
    house.dialled(said=said).close()
    assert heard_by_stranger(house, said + HELLO) == b""


def test_the_door_is_not_blocked_from_one_source(house: House) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(listener_module.MAX_FROM_ONE_SOURCE):
            stack.enter_context(socket.create_connection((house.host, house.port)))
        until(lambda: len(house.listener._at_the_door) == listener_module.MAX_FROM_ONE_SOURCE)
        assert heard_by_stranger(house, b"x", ends=True) == b""
        assert house.listener.turned_away == 1
        elsewhere = socket.create_connection((house.host, house.port), source_address=("127.0.0.2", 0))
        stack.enter_context(elsewhere)
        until(lambda: len(house.listener._at_the_door) == listener_module.MAX_FROM_ONE_SOURCE + 1)
    until(lambda: not house.listener._at_the_door)
    assert not house.listener._sources
    house.dialled().close()


def test_a_knock_may_come_in_pieces(house: House) -> None:
    said = knock()
    carrier = TcpCarrier(socket.create_connection((house.host, house.port)))
    for piece in (said[:1], said[1:100], said[100:]):
        carrier.sendall(piece)
        time.sleep(0.02)
    machine = TlsMachine(Identity.of(ALICE), is_client=True, accepts=only(BOB))
    shake_hands(carrier, machine, timeout_s=DEADLINE_S)
    until(lambda: len(house.links) == 1)
    carrier.close()


def test_a_handshake_that_never_ends_is_given_up(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_module, "HANDSHAKE_TIMEOUT_S", 0.1)
    with socket.create_connection((house.host, house.port), timeout=DEADLINE_S) as slow:
        slow.sendall(knock() + HELLO[:10])
        assert slow.recv(100) == b""
    until(lambda: house.listener.failed == 1)


def test_shaking_hands_with_a_closed_door_is_a_link_error() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    theirs.close()

    class Gone:
        remote = ("nowhere", 0)
        set_timeout = ours.settimeout
        sendall = ours.sendall
        recv_into = ours.recv_into

        def end_writing(self) -> None: ...

        def shut(self) -> None: ...

        def close(self) -> None: ...

    machine = TlsMachine(Identity.of(ALICE), is_client=True, accepts=only(BOB))
    with pytest.raises(HarpError, match="broke"):
        carrier_module.shake_hands(cast(Carrier, Gone()), machine, timeout_s=1)
    ours.close()
