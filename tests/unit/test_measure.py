# SPDX-License-Identifier: AGPL-3.0-or-later
"""How far a stream in a WebSocket has come, by pings that carry a position: harp.sync.transport.websocket.Measure."""

from hypothesis import given
from hypothesis import strategies as st

from harp.sync.transport.carrier import Flow
from harp.sync.transport.websocket import Measure


def test_a_position_that_comes_back_has_arrived() -> None:
    measure = Measure()
    ping = measure.sent(1000, now=1.0)
    assert measure.flow(now=1.5) == Flow(0, 1000, 0.0, 0.5)
    assert measure.answered(ping, now=2.0) == b""
    assert measure.flow(now=9.0) == Flow(1000, 0, 1.0, 0.0)


def test_a_little_more_is_asked_about_once_the_first_has_come() -> None:
    measure = Measure()
    first = measure.sent(1000, now=1.0)
    assert measure.sent(10, now=1.1) == b""
    second = measure.answered(first, now=1.2)
    assert measure.answered(second, now=1.3) == b""
    assert measure.flow(now=1.3).acked == 1010


def test_much_more_is_asked_about_on_the_way_and_one_answer_serves_for_those_before() -> None:
    measure = Measure()
    pings = [ping for _ in range(10) if (ping := measure.sent(32 * 1024, now=1.0))]
    assert len(pings) == 5
    last = measure.answered(pings[-1], now=2.0)
    assert measure.answered(pings[0], now=2.1) == b"", "an older one says nothing new"
    assert measure.flow(now=2.5) == Flow(9 * 32 * 1024, 32 * 1024, 1.0, 0.5)
    measure.answered(last, now=3.0)
    assert measure.flow(now=3.0).unacked == 0


@given(st.lists(st.binary(max_size=12) | st.integers(0, 1 << 64 - 1).map(lambda n: n.to_bytes(8, "big"))))
def test_whatever_a_liar_answers_no_more_has_arrived_than_was_sent(answers: list[bytes]) -> None:
    measure = Measure()
    measure.sent(5000, now=1.0)
    for answer in answers:
        measure.answered(answer, now=2.0)
        flow = measure.flow(now=2.0)
        assert flow.acked + flow.unacked == 5000
        assert flow.acked >= 0 <= flow.unacked


@given(st.lists(st.integers(1, 300_000) | st.none(), max_size=60))
def test_once_all_pings_were_answered_all_has_arrived(steps: list[int | None]) -> None:
    """A number is so much sent, None the next answer that comes; in the end all come."""
    measure, on_way, total = Measure(), [], 0
    for step in steps:
        if step is not None:
            total += step
            on_way.append(measure.sent(step, now=1.0))
        elif on_way:
            on_way.append(measure.answered(on_way.pop(0), now=1.0))
        on_way = [ping for ping in on_way if ping]
    while on_way:
        on_way = [ping for ping in (*on_way[1:], measure.answered(on_way[0], now=2.0)) if ping]
    assert measure.flow(now=3.0)[:2] == (total, 0)
