# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a link keeps on its way in and on its way out, without any link."""

import threading

import pytest

from harp.base.errors import RemoteProtocolError
from harp.sync.protocol.frames import MAX_FRAME, frame
from harp.sync.transport import outflow as outflow_module
from harp.sync.transport.inflow import MAX_ROOMS, QUIET_S, READ_BYTES, Inflow, Room
from harp.sync.transport.outflow import Bulk, Outflow
from harp.sync.transport.records import reserved
from harp.sync.transport.unloading import Unloading


def put(inflow: Inflow, data: bytes) -> None:
    inflow.space()[: len(data)] = data
    inflow.filled(len(data))


def taken(inflow: Inflow) -> list[tuple[int, bytes]]:
    frames = []
    while (found := inflow.next_frame()) is not None:
        frames.append((found[0], bytes(found[1])))
    return frames


def nothing(buffer: memoryview) -> tuple[int, int]:
    return 0, 0


def test_frames_come_out_as_they_went_in() -> None:
    inflow = Inflow()
    put(inflow, frame(1, b"one") + frame(2, b"") + frame(3, b"three")[:4])
    assert taken(inflow) == [(1, b"one"), (2, b"")]
    assert inflow.pending_bytes == 4
    put(inflow, frame(3, b"three")[4:])
    assert taken(inflow) == [(3, b"three")]
    assert inflow.pending_bytes == 0


def test_the_largest_frame_fits_behind_whatever_came_before_it() -> None:
    inflow = Inflow()
    large = frame(9, bytes(MAX_FRAME - 1))
    stream = frame(1, bytes(1000)) + large + large + frame(2, b"x")
    frames = []
    for start in range(0, len(stream), READ_BYTES):
        assert len(inflow.space()) >= READ_BYTES
        put(inflow, stream[start : start + READ_BYTES])
        frames += [(type, len(body)) for type, body in taken(inflow)]
    assert frames == [(1, 1000), (9, MAX_FRAME - 1), (9, MAX_FRAME - 1), (2, 1)]


@pytest.mark.parametrize("length", [0, MAX_FRAME + 1, 2**32 - 1])
def test_a_length_beyond_the_limit_is_refused_before_its_body_comes(length: int) -> None:
    inflow = Inflow()
    put(inflow, length.to_bytes(4, "big"))
    with pytest.raises(RemoteProtocolError):
        inflow.next_frame()


def test_reserved_room_is_empty_and_writable() -> None:
    room = reserved(5000)
    assert bytes(room) == bytes(5000)
    room[4999] = 1
    assert room[4999] == 1


def test_control_goes_before_bulk_and_in_order() -> None:
    outflow = Outflow()
    bulk = Bulk(1, nothing)
    assert outflow.put_bulk(bulk)
    assert outflow.put_control(b"a")
    assert outflow.put_control(b"b")
    assert outflow.backlog_bytes == 2
    assert outflow.take() == b"ab"
    assert outflow.backlog_bytes == 0
    assert outflow.take() is bulk


def test_a_long_backlog_leaves_in_pieces() -> None:
    outflow = Outflow()
    for _ in range(5):
        outflow.put_control(bytes(100 * 1024))
    assert [outflow.take() for _ in range(3)] == [bytes(size * 1024) for size in (200, 200, 100)]


def test_more_than_64_mib_of_control_is_refused() -> None:
    outflow = Outflow()
    mib = bytes(1 << 20)
    assert all(outflow.put_control(mib) for _ in range(64))
    assert not outflow.put_control(b"x")
    outflow.take()
    assert outflow.put_control(b"x")


def test_more_answers_than_anyone_asks_for_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outflow_module, "MAX_WAITING_ANSWERS", 2)
    outflow = Outflow()
    assert [outflow.put_bulk(Bulk(i, nothing)) for i in range(3)] == [True, True, False]
    assert outflow.waiting_answers == 2


def test_a_dropped_answer_is_not_taken() -> None:
    outflow = Outflow()
    for i in range(4):
        outflow.put_bulk(Bulk(i, nothing))
    outflow.drop({0, 2, 9})
    assert [work.request for _ in range(2) if isinstance(work := outflow.take(), Bulk)] == [1, 3]


def test_finished_it_still_gives_its_control_and_aborted_nothing() -> None:
    finished, aborted = Outflow(), Outflow()
    for outflow in (finished, aborted):
        outflow.put_control(b"last")
        outflow.put_bulk(Bulk(1, nothing))
    finished.finish()
    aborted.abort()
    assert finished.put_control(b"too late")
    assert finished.put_bulk(Bulk(2, nothing))
    assert [finished.take(), finished.take()] == [b"last", None]
    assert aborted.take() is None
    assert aborted.backlog_bytes == 0


def test_whoever_waits_is_woken() -> None:
    outflow = Outflow()
    got: list[object] = []
    waiting = threading.Thread(target=lambda: got.extend((outflow.take(), outflow.take())))
    waiting.start()
    outflow.put_control(b"hello")
    outflow.finish()
    waiting.join(timeout=10)
    assert got == [b"hello", None]


# --- what is kept while more comes ------------------------------------------------------------------------------------


def test_what_is_kept_stays_while_more_comes_in() -> None:
    inflow = Inflow()
    kept: list[tuple[bytes, memoryview, Room]] = []
    for number in range(2 * MAX_ROOMS):
        body = bytes([number]) * (MAX_FRAME // 3)
        for start in range(0, len(data := frame(9, body)), READ_BYTES):
            put(inflow, data[start : start + READ_BYTES])
        found = inflow.next_frame()
        assert found is not None
        kept.append((body, found[1], inflow.room.keep()))
    assert all(bytes(view) == body for body, view, _ in kept)
    for _, _, room in kept:
        room.give_back()


def test_where_all_rooms_are_kept_the_next_waits_until_one_is_given_back() -> None:
    inflow = Inflow()
    kept: list[Room] = []
    large = frame(9, bytes(MAX_FRAME - 1))

    def one() -> None:
        for start in range(0, len(large), READ_BYTES):
            put(inflow, large[start : start + READ_BYTES])
        assert inflow.next_frame() is not None
        kept.append(inflow.room.keep())

    for _ in range(MAX_ROOMS):
        one()
    thread = threading.Thread(target=one, daemon=True)
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()
    kept[0].give_back()
    thread.join(10)
    assert not thread.is_alive()


def test_an_inflow_keeps_its_rooms_over_a_pause_and_one_room_when_it_is_quiet() -> None:
    now = 100.0
    inflow = Inflow(lambda: now)
    rooms = set()
    for _ in range(MAX_ROOMS - 1):
        for start in range(0, MAX_FRAME - 1, READ_BYTES):
            put(inflow, frame(9, bytes(MAX_FRAME - 6))[start : start + READ_BYTES])
        assert inflow.next_frame() is not None
        rooms.add(inflow.room.keep())
    for room in rooms:
        while room.is_kept:
            room.give_back()
    inflow.space()
    assert len(inflow._others) == MAX_ROOMS - 2
    now += QUIET_S + 1
    inflow.space()
    assert len(inflow._others) == 0


def test_answers_are_unloaded_in_order_and_their_rooms_given_back() -> None:
    inflow = Inflow()
    handed_on: list[tuple[int, int, bytes]] = []
    may_go_on = threading.Event()

    def hand_on(request: int, status: int, payload: memoryview) -> None:
        may_go_on.wait(10)
        handed_on.append((request, status, bytes(payload)))

    unloading = Unloading(hand_on, "test")

    def is_idle() -> bool:
        return unloading.is_idle

    assert is_idle()
    put(inflow, frame(9, b"abc"))
    found = inflow.next_frame()
    assert found is not None
    for request in range(3):
        unloading.put(request, 0, found[1], inflow.room.keep())
    assert inflow.room.is_kept
    assert not is_idle()
    may_go_on.set()
    unloading.finish()
    assert handed_on == [(request, 0, b"abc") for request in range(3)]
    assert is_idle()
    assert not inflow.room.is_kept
