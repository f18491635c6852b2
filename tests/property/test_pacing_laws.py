# SPDX-License-Identifier: AGPL-3.0-or-later
"""Laws of a limit: no second has three per cent more than it on the wire, and the line is not left idle."""

from hypothesis import given
from hypothesis import strategies as st

from harp.sync.engine.pacing import Bucket, on_the_wire

RATES = st.floats(125_000, 125e6)


@given(RATES, st.lists(st.tuples(st.integers(1, 262_144), st.floats(0, 0.3)), min_size=1, max_size=60))
def test_no_second_has_three_per_cent_more_than_the_limit(rate: float, work: list[tuple[int, float]]) -> None:
    bucket, now, sent = Bucket(rate, now=0.0), 0.0, list[tuple[float, int]]()
    for size, pause in work:
        now += pause
        while size:
            piece = min(size, bucket.record_bytes)
            now += bucket.take(piece, now=now)
            sent.append((now, on_the_wire(piece)))
            size -= piece
    for begin, _ in sent:
        assert sum(size for at, size in sent if begin <= at < begin + 1) <= 1.03 * rate + 2 * 1514


@given(RATES)
def test_a_busy_line_is_used_up_to_its_limit(rate: float) -> None:
    bucket, now, sent = Bucket(rate, now=0.0), 0.0, 0
    for _ in range(500):
        now += bucket.take(bucket.record_bytes, now=now)
        sent += on_the_wire(bucket.record_bytes)
    assert sent >= 0.99 * rate * now


@given(RATES, RATES, st.integers(1, 10_000_000))
def test_what_was_taken_is_paid_back_at_a_new_rate(one: float, other: float, size: int) -> None:
    bucket = Bucket(one, now=0.0)
    bucket.take(size, now=0.0)
    bucket.change(other, now=0.0)
    wait = bucket.take(1, now=0.0)
    assert wait <= on_the_wire(size) / other + 1e-6
    bucket.change(0.0, now=0.0)
    assert bucket.take(size, now=0.0) == 0.0
