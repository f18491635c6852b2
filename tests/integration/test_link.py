# SPDX-License-Identifier: AGPL-3.0-or-later
"""Links over real sockets: what arrives, in which order, and how it ends."""

import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from harp.sync.protocol.frames import MAX_FRAME, MAX_PAYLOAD, frame
from harp.sync.transport import link as link_module
from harp.sync.transport.link import Link
from harp.sync.transport.tcp import TcpCarrier
from harp.sync.transport.tls import Identity, TlsMachine
from tests.fakes.neighbours import (
    ALICE,
    BOB,
    DEADLINE_S,
    Ear,
    House,
    knock,
    only,
    open_house,
    raw_session,
    say,
    until,
    until_still,
)

TEXT, QUESTION = 13, 14


@pytest.fixture
def house() -> Iterator[House]:
    with open_house() as opened:
        yield opened


@pytest.fixture
def ends(house: House) -> Iterator[tuple[Link, Ear, Link, Ear]]:
    """A started link: Alice's end and what she hears, Bob's end and what he hears."""
    alice, bob = house.linked()
    ears = Ear(), Ear()
    alice.start(ears[0])
    bob.start(ears[1])
    yield alice, ears[0], bob, ears[1]
    for ear in ears:
        ear.go_on.set()
    for link in (alice, bob):
        link.close()
    until(lambda: len(ears[0].closed) == len(ears[1].closed) == 1)


# --- what arrives -----------------------------------------------------------------------------------------------------


def test_frames_arrive_both_ways_in_order(ends: tuple[Link, Ear, Link, Ear]) -> None:
    alice, alice_ear, bob, bob_ear = ends
    for i in range(1000):
        alice.send(frame(TEXT, b"%d" % i))
        bob.send(frame(QUESTION, b"%d" % i) + frame(TEXT, b""))
    until(lambda: len(bob_ear.frames) == 1000 and len(alice_ear.frames) == 2000)
    assert bob_ear.frames == [(TEXT, b"%d" % i) for i in range(1000)]
    assert alice_ear.frames[::2] == [(QUESTION, b"%d" % i) for i in range(1000)]
    until(lambda: bob.bytes_in == alice.bytes_out > sum(5 + len(b"%d" % i) for i in range(1000)))


def test_what_comes_in_one_piece_with_the_handshake_arrives(house: House) -> None:
    carrier = TcpCarrier(socket.create_connection((house.host, house.port)))
    carrier.sendall(knock())
    machine = TlsMachine(Identity.of(ALICE), is_client=True, accepts=only(BOB))
    buffer = memoryview(bytearray(1 << 16))
    while not machine.handshake():
        carrier.sendall(machine.data_to_send())
        machine.receive(buffer[: carrier.recv_into(buffer)])
    say(carrier, machine, frame(TEXT, b"early"))
    until(lambda: len(house.links) == 1)
    ear = Ear()
    house.links[0].start(ear)
    until(lambda: ear.frames == [(TEXT, b"early")])
    carrier.shut()
    carrier.close()


def test_a_made_session_may_be_quiet_for_as_long_as_it_likes(house: House) -> None:
    alice, bob = house.linked()
    for link in (alice, bob):
        assert isinstance(link._carrier, TcpCarrier)
        assert link._carrier._socket.gettimeout() is None
    alice.close()


def test_what_comes_after_the_close_is_not_delivered(ends: tuple[Link, Ear, Link, Ear]) -> None:
    alice, _, bob, bob_ear = ends
    heard: list[bytes] = []

    def close_at_once(link: Link, type: int, body: bytes) -> None:
        heard.append(body)
        bob.close("that will do")

    bob_ear.on_frame = close_at_once  # type: ignore[method-assign]
    alice.send(frame(TEXT, b"one") + frame(TEXT, b"two"))
    until(lambda: bool(bob_ear.closed))
    assert heard == [b"one"]
    assert bob_ear.closed == ["that will do"]


def test_a_hundred_mebibytes_of_answers_are_the_same_on_the_other_side(ends: tuple[Link, Ear, Link, Ear]) -> None:
    alice, _, _, bob_ear = ends
    content = memoryview(os.urandom(MAX_PAYLOAD))
    expected = hashlib.sha256()
    sizes = [MAX_PAYLOAD, 1, 0, 256 * 1024, 65_537, 12_345] * 80
    assert sum(sizes) > 100 * 1024 * 1024

    def reader(start: int, size: int) -> Callable[[memoryview], tuple[int, int]]:
        def read_into(buffer: memoryview) -> tuple[int, int]:
            assert len(buffer) == MAX_PAYLOAD
            buffer[:size] = content[start : start + size]
            return start % 5, size

        return read_into

    for request, size in enumerate(sizes):
        start = request % (MAX_PAYLOAD - size + 1)
        expected.update(content[start : start + size])
        alice.serve(request, reader(start, size))
    until(lambda: len(bob_ear.answers) == len(sizes))
    assert [(request, size) for request, _, size in bob_ear.answers] == list(enumerate(sizes))
    assert bob_ear.answers[3][1] == 3
    assert bob_ear.digest.digest() == expected.digest()


def test_answers_flow_both_ways_at_once(ends: tuple[Link, Ear, Link, Ear]) -> None:
    alice, alice_ear, bob, bob_ear = ends
    for request in range(100):
        alice.serve(request, lambda buffer: (0, len(buffer)))
        bob.serve(request, lambda buffer: (0, len(buffer)))
    until(lambda: len(alice_ear.answers) == len(bob_ear.answers) == 100)


def test_control_passes_bulk_and_what_is_cancelled_is_not_sent(ends: tuple[Link, Ear, Link, Ear]) -> None:
    alice, _, _, bob_ear = ends
    is_begun, may_go_on = threading.Event(), threading.Event()

    def first(buffer: memoryview) -> tuple[int, int]:
        is_begun.set()
        may_go_on.wait(DEADLINE_S)
        return 0, 4

    order: list[str] = []
    bob_ear.on_frame = lambda link, type, body: order.append("control")  # type: ignore[method-assign]
    bob_ear.on_answer = lambda link, request, status, payload: order.append(f"answer {request}")  # type: ignore[method-assign]
    alice.serve(0, first)
    assert is_begun.wait(DEADLINE_S)
    for request in range(1, 6):
        alice.serve(request, lambda buffer: (0, 4))
    alice.cancel({0, 2, 3})
    alice.send(frame(TEXT, b"urgent"))
    may_go_on.set()
    until(lambda: len(order) == 5)
    assert order == ["answer 0", "control", "answer 1", "answer 4", "answer 5"]


def test_a_slow_reader_holds_the_sender_back(ends: tuple[Link, Ear, Link, Ear]) -> None:
    alice, _, _, bob_ear = ends
    bob_ear.go_on.clear()
    served = 0

    def read_into(buffer: memoryview) -> tuple[int, int]:
        nonlocal served
        served += 1
        return 0, len(buffer)

    for request in range(200):
        alice.serve(request, read_into)

    until_still(lambda: served)
    assert 0 < served < 100
    bob_ear.go_on.set()
    until(lambda: len(bob_ear.answers) == 200)


# --- how it ends ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", [0, 2], ids=["dialler", "listener"])
def test_a_close_from_either_side_ends_both_once(ends: tuple[Link, Ear, Link, Ear], who: int) -> None:
    closer, other_ear = ends[who], ends[3 if who == 0 else 1]
    own_ear = ends[who + 1]
    assert isinstance(closer, Link)
    assert isinstance(own_ear, Ear)
    assert isinstance(other_ear, Ear)
    closer.send(frame(TEXT, b"goodbye"))
    closer.close("had enough")
    closer.close("again")
    until(lambda: bool(own_ear.closed and other_ear.closed))
    assert own_ear.closed == ["had enough"]
    assert other_ear.closed == ["the peer closed the link"]
    assert other_ear.frames == [(TEXT, b"goodbye")]
    closer.send(frame(TEXT, b"too late"))
    assert "had enough" in repr(closer)


def test_closed_from_both_sides_at_once_and_under_load(ends: tuple[Link, Ear, Link, Ear]) -> None:
    alice, alice_ear, bob, bob_ear = ends
    for link in (alice, bob):
        for request in range(50):
            link.serve(request, lambda buffer: (0, len(buffer)))
    threads = [threading.Thread(target=link.close) for link in (alice, bob) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(lambda: bool(alice_ear.closed and bob_ear.closed))
    assert len(alice_ear.closed) == len(bob_ear.closed) == 1


def test_closed_before_its_start_a_link_ends_once(house: House) -> None:
    alice, bob = house.linked()
    alice.close("changed my mind")
    ears = Ear(), Ear()
    alice.start(ears[0])
    bob.start(ears[1])
    until(lambda: bool(ears[0].closed and ears[1].closed))
    assert ears[0].closed == ["changed my mind"]


def test_no_thread_and_no_descriptor_stays(house: House) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        alice, bob = house.linked()
        ears = Ear(), Ear()
        alice.start(ears[0])
        bob.start(ears[1])
        alice.close()
        until(lambda ears=ears: len(ears[0].closed) == len(ears[1].closed) == 1)  # type: ignore[misc]
    until(lambda: not [t for t in threading.enumerate() if t.name.endswith((" reader", " writer", " flush"))])
    assert len(os.listdir("/proc/self/fd")) <= before + 2


def test_a_peer_that_is_cut_off_ends_the_link(house: House) -> None:
    carrier, machine = raw_session(house)
    until(lambda: len(house.links) == 1)
    ear = Ear()
    house.links[0].start(ear)
    say(carrier, machine, frame(TEXT, b"hello")[:-1])
    carrier.shut()
    carrier.close()
    until(lambda: len(ear.closed) == 1)
    assert ear.closed == ["the connection broke off"]
    assert ear.frames == []


def test_a_half_open_peer_does_not_keep_a_link_from_closing(house: House) -> None:
    """It reads nothing and answers nothing; the writer hangs in the socket until the flush is over."""
    carrier, _ = raw_session(house)
    until(lambda: len(house.links) == 1)
    bob, ear = house.links[0], Ear()
    bob.start(ear)
    for request in range(100):
        bob.serve(request, lambda buffer: (0, len(buffer)))
    until_still(lambda: bob.bytes_out)
    began = time.monotonic()
    bob.close("no sign of life")
    assert time.monotonic() - began < link_module.FLUSH_S
    until(lambda: len(ear.closed) == 1)
    assert ear.closed == ["no sign of life"]
    carrier.close()


def test_a_peer_that_takes_nothing_in_is_left_at_64_mib(house: House) -> None:
    carrier, _ = raw_session(house)
    until(lambda: len(house.links) == 1)
    bob, ear = house.links[0], Ear()
    bob.start(ear)
    message = frame(TEXT, bytes(1 << 20))
    for _ in range(200):
        bob.send(message)
    until(lambda: len(ear.closed) == 1)
    assert ear.closed == ["the peer takes nothing in"]
    assert bob.backlog_bytes == 0
    carrier.close()


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ((MAX_FRAME + 1).to_bytes(4, "big"), "a frame says"),
        (bytes(4), "a frame says"),
        (b"GET / HTTP/1.1\r\n\r\n", "a frame says"),
        (frame(8, b"123"), "shorter than its header"),
    ],
    ids=["over the limit", "empty", "http", "short answer"],
)
def test_a_hostile_frame_ends_the_link(house: House, said: bytes, why: str) -> None:
    carrier, machine = raw_session(house)
    until(lambda: len(house.links) == 1)
    ear = Ear()
    house.links[0].start(ear)
    say(carrier, machine, frame(TEXT, b"polite") + said)
    until(lambda: len(ear.closed) == 1)
    assert why in ear.closed[0]
    assert ear.frames == [(TEXT, b"polite")]
    carrier.close()


def test_garbage_in_place_of_records_ends_the_link(house: House) -> None:
    carrier, _ = raw_session(house)
    until(lambda: len(house.links) == 1)
    ear = Ear()
    house.links[0].start(ear)
    carrier.sendall(b"\xff" + os.urandom(5000))
    until(lambda: len(ear.closed) == 1)
    assert ear.closed == ["the secured session broke"]
    carrier.close()


def test_a_defect_in_the_receiver_ends_the_link_and_is_logged(house: House, caplog: pytest.LogCaptureFixture) -> None:
    alice, bob = house.linked()
    ears = Ear(), Ear()

    def broken(link: Link, type: int, body: bytes) -> None:
        raise ZeroDivisionError

    ears[1].on_frame = broken  # type: ignore[method-assign]
    alice.start(ears[0])
    bob.start(ears[1])
    alice.send(frame(TEXT, b"boom"))
    until(lambda: bool(ears[0].closed and ears[1].closed))
    assert "defect" in ears[1].closed[0]
    assert "ZeroDivisionError" in caplog.text


def test_an_answer_that_cannot_be_read_ends_the_link_and_is_logged(
    ends: tuple[Link, Ear, Link, Ear], caplog: pytest.LogCaptureFixture
) -> None:
    alice, alice_ear, _, bob_ear = ends

    def broken(buffer: memoryview) -> tuple[int, int]:
        raise ZeroDivisionError

    alice.serve(1, broken)
    until(lambda: bool(alice_ear.closed and bob_ear.closed))
    assert "defect" in alice_ear.closed[0]
    assert "ZeroDivisionError" in caplog.text


def test_a_link_whose_key_is_used_up_says_so(
    ends: tuple[Link, Ear, Link, Ear], monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, alice_ear, _, bob_ear = ends
    monkeypatch.setattr("harp.sync.transport.records.MAX_BLOCKS", 1)
    alice.send(frame(TEXT, b"last"))
    until(lambda: bool(alice_ear.closed and bob_ear.closed))
    assert "used up" in alice_ear.closed[0]
    assert bob_ear.frames == [(TEXT, b"last")]
