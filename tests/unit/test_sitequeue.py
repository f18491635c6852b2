# SPDX-License-Identifier: AGPL-3.0-or-later
"""One queue for a site: in order, no more on its way than the line needs, the same thing to one device alone."""

from harp.identity.device import DeviceId
from harp.sync.engine.sitequeue import CHUNK_BYTES, INSIST_S, STUCK_S, Line, Request, SiteQueue

A, B, C = (DeviceId(bytes([number]) * 32) for number in (1, 2, 3))
IDS = [bytes([number]) * 32 for number in range(20)]
IDLE = Line(0, 0, 0.04)


def asked(queue: SiteQueue[int], device: DeviceId, *numbers: int, now: float = 0.0) -> list[DeviceId | None]:
    return [queue.ask(Request(device, number, IDS[number]), now=now) for number in numbers]


def test_only_two_chunks_are_on_their_way_while_nothing_is_known_of_the_line() -> None:
    queue = SiteQueue[int]()
    asked(queue, A, 0, 2, 4)
    asked(queue, B, 1, 3)
    assert [one.number for one in queue.take({A: IDLE, B: IDLE}, now=0.0)] == [0, 2]
    assert queue.take({A: Line(2 * CHUNK_BYTES, 0, 0.04), B: IDLE}, now=0.0) == []
    assert [one.number for one in queue.take({A: Line(CHUNK_BYTES, CHUNK_BYTES, 0.04), B: IDLE}, now=0.1)] == [4]
    assert queue.position(B, 3) == 1


def test_a_fast_line_gets_what_it_takes_in_within_a_round_trip_and_a_quarter_of_a_second() -> None:
    queue = SiteQueue[int]()
    asked(queue, A, *range(20))
    acked = 0
    for step in range(8):
        acked += CHUNK_BYTES * len(queue.take({A: Line(0, acked, 0.05)}, now=step / 20))
    assert queue.rate > 20 * CHUNK_BYTES
    assert queue.room({A: IDLE}) == int(queue.rate * (0.04 + 0.25))


def test_what_another_device_of_the_site_gets_is_elsewhere_until_it_is_insisted_on() -> None:
    queue = SiteQueue[int]()
    assert asked(queue, A, 1) == [None]
    assert asked(queue, B, 1) == [A]
    assert asked(queue, C, 1, now=0.1) == [A]
    assert asked(queue, B, 1, now=2.5 + INSIST_S) == [A], "it has waited, and asks whether that is still so"
    assert asked(queue, B, 1, now=2.6 + INSIST_S) == [None], "it asks at once: it does not know A"


def test_what_arrived_two_seconds_ago_and_was_not_handed_on_is_given_again() -> None:
    queue = SiteQueue[int]()
    asked(queue, A, 1)
    assert len(queue.take({A: IDLE}, now=0.0)) == 1
    queue.sent(A, IDS[1], Line(1000, 0, 0.04))
    queue.take({A: Line(0, 1000, 0.04)}, now=1.0)
    assert asked(queue, B, 1, now=2.9) == [A]
    assert asked(queue, C, 1, now=1.0 + STUCK_S) == [None]


def test_a_device_that_takes_nothing_in_holds_nobody_up_and_its_claims_are_void() -> None:
    queue = SiteQueue[int]()
    asked(queue, A, 0, 1, 2)
    asked(queue, B, 3)
    queue.take({A: IDLE, B: IDLE}, now=0.0)
    hung = Line(2 * CHUNK_BYTES, 0, 0.04)
    assert queue.take({A: hung, B: IDLE}, now=STUCK_S - 0.1) == []
    assert [one.number for one in queue.take({A: hung, B: IDLE}, now=STUCK_S)] == [3]
    assert asked(queue, B, 2, now=STUCK_S) == [None]


def test_a_silent_device_is_not_named_although_nothing_waits_and_nothing_is_sent() -> None:
    queue = SiteQueue[int]()
    asked(queue, A, 0)
    assert [one.number for one in queue.take({A: IDLE, B: IDLE}, now=0.0)] == [0]
    queue.sent(A, IDS[0], Line(CHUNK_BYTES, 0, 0.04))
    silent = {A: Line(CHUNK_BYTES, 0, 0.04), B: IDLE}
    queue.look(silent, now=1.0)
    assert asked(queue, B, 0, now=1.0) == [A]
    queue.look(silent, now=1.0 + STUCK_S)
    assert asked(queue, B, 0, now=1.0 + STUCK_S) == [None]


def test_what_another_gets_in_place_of_a_device_that_is_stuck_is_not_sent_to_it_as_well() -> None:
    queue = SiteQueue[int]()
    asked(queue, A, 0, 1, 2)
    queue.take({A: IDLE}, now=0.0)
    queue.take({A: Line(2 * CHUNK_BYTES, 0, 0.04), B: IDLE}, now=STUCK_S)
    assert asked(queue, B, 2, now=STUCK_S) == [None]
    assert [(one.device, one.number) for one in queue.displaced] == [(A, 2)]
    assert [(one.device, one.number) for one in queue.take({A: IDLE, B: IDLE}, now=9.0)] == [(B, 2)]


def test_silence_makes_nobody_more_patient() -> None:
    queue = SiteQueue[int]()
    asked(queue, A, *range(12))
    for step in range(11):
        acked = step * CHUNK_BYTES
        for request in queue.take({A: Line(CHUNK_BYTES, acked, 0.04), B: IDLE}, now=step * 0.25):
            queue.sent(A, request.id, Line(CHUNK_BYTES, acked, 0.04))
    silent = {A: Line(CHUNK_BYTES, 10 * CHUNK_BYTES, 0.04), B: IDLE}
    # 1 MiB/s was seen: what is on its way needs a quarter of a second.
    for step in range(100):
        queue.look(silent, now=2.5 + step * 0.025)
    assert asked(queue, B, 11, now=5.0) == [None]


def test_a_few_bytes_of_talk_do_not_make_a_line_slow() -> None:
    queue = SiteQueue[int]()
    asked(queue, A, *range(12))
    for step in range(11):
        acked = step * CHUNK_BYTES
        for request in queue.take({A: Line(CHUNK_BYTES, acked, 0.04), B: IDLE}, now=step * 0.25):
            queue.sent(A, request.id, Line(CHUNK_BYTES, acked, 0.04))
    # A holds all that may be on its way; B is told one thing and another.
    for step in range(1, 12):
        talk = {A: Line(CHUNK_BYTES, 10 * CHUNK_BYTES, 0.04), B: Line(0, step * 100, 0.04)}
        queue.look(talk, now=2.5 + step * 0.22)
    assert asked(queue, B, 11, now=5.0) == [None]


def on_their_way(queue: SiteQueue[int], *, is_lost: bool) -> dict[DeviceId, Line]:
    """A and B have been sent what they asked for, at 0.0, and have taken in nothing of it."""
    asked(queue, A, 0, 2)
    asked(queue, B, 1)
    queue.take({A: IDLE, B: IDLE, C: IDLE}, now=0.0)
    return {A: Line(CHUNK_BYTES, 0, 0.04, is_lost), B: Line(CHUNK_BYTES, 0, 0.04, is_lost), C: IDLE}


def test_while_nobody_is_reached_it_is_the_line_and_nothing_is_given_away() -> None:
    queue = SiteQueue[int]()
    cut = on_their_way(queue, is_lost=True)
    asked(queue, C, 3)
    assert [one.number for one in queue.take(cut, now=STUCK_S)] == [3], "one thing shows whether the line is alive"
    cut[C] = Line(CHUNK_BYTES, 0, 0.04, is_lost=True)
    assert queue.take(cut, now=9.0) == []
    assert asked(queue, C, 0, now=9.0) == [A]
    # It is mended: whoever has its bytes sent again a moment later is not late.
    mended = {**cut, B: Line(0, CHUNK_BYTES, 0.04), C: Line(0, CHUNK_BYTES, 0.04)}
    queue.look(mended, now=9.1)
    assert asked(queue, C, 2, now=9.1 + STUCK_S - 0.1) == [A]
    # However rarely anybody else hears something: A has had its time.
    queue.look({**mended, C: Line(0, CHUNK_BYTES + 100, 0.04)}, now=12.0)
    queue.look({**mended, C: Line(0, CHUNK_BYTES + 200, 0.04)}, now=15.0)
    assert asked(queue, B, 0, 2, now=15.0) == [None, None]


def test_a_machine_that_is_gone_is_found_out_by_what_another_takes_in() -> None:
    queue = SiteQueue[int]()
    gone = on_their_way(queue, is_lost=True)
    queue.look(gone, now=STUCK_S)
    assert asked(queue, C, 0, 1, now=STUCK_S) == [None, B], "one for a trial"
    assert [one.device for one in queue.take(gone, now=STUCK_S)] == [C]
    queue.look({**gone, C: Line(0, CHUNK_BYTES, 0.04)}, now=STUCK_S + 0.1)
    queue.look({**gone, C: Line(0, CHUNK_BYTES, 0.04)}, now=2 * STUCK_S)
    assert asked(queue, C, 1, now=2 * STUCK_S) == [B]
    lively = {**gone, C: Line(CHUNK_BYTES, CHUNK_BYTES + 1, 0.04)}
    queue.look(lively, now=2 * STUCK_S + 0.1)
    assert asked(queue, C, 1, now=2 * STUCK_S + 0.1) == [None]


def test_machines_that_answer_and_take_nothing_in_are_stuck_however_many() -> None:
    queue = SiteQueue[int]()
    frozen = on_their_way(queue, is_lost=False)
    queue.look(frozen, now=STUCK_S)
    assert asked(queue, C, 0, 1, now=STUCK_S) == [None, None]
    queue.look({**frozen, C: Line(0, CHUNK_BYTES, 0.04)}, now=STUCK_S + 0.1)
    assert asked(queue, C, 2, now=STUCK_S + 0.1) == [None], "what comes through shows nothing new of them"


def test_whoever_insists_does_so_against_the_one_it_was_named() -> None:
    queue = SiteQueue[int]()
    assert asked(queue, C, 1) == [None]
    assert asked(queue, A, 1) == [C]
    assert asked(queue, B, 1) == [C]
    assert asked(queue, A, 1, now=0.1) == [None], "A does not trust C"
    assert asked(queue, B, 1, now=0.1) == [A], "nor does B, but A it may trust"
    assert asked(queue, B, 1, now=0.2) == [None]


def test_who_leaves_and_what_is_cancelled_is_forgotten() -> None:
    queue = SiteQueue[int]()
    asked(queue, A, 0, 1)
    asked(queue, B, 2)
    assert queue.cancel(A, 1)
    assert not queue.cancel(A, 1)
    assert asked(queue, B, 1) == [None]
    queue.left(A)
    assert asked(queue, C, 0) == [None]
    assert [one.number for one in queue.take({B: IDLE, C: IDLE}, now=0.0)] == [2, 1]
    assert len(queue) == 1
