# SPDX-License-Identifier: AGPL-3.0-or-later
"""Signs of life, on a clock of our choosing."""

from harp.sync.protocol.pulse import DEAD_AFTER_S, HANDSHAKE_S, PING_AFTER_S, Pulse


def test_before_a_link_is_open_only_the_time_since_the_start_counts() -> None:
    pulse = Pulse(now=10.0)
    pulse.heard(now=20.0)
    assert pulse.dead_at(is_open=False) == 10.0 + HANDSHAKE_S
    assert pulse.dead_at(is_open=True) == 20.0 + DEAD_AFTER_S


def test_a_ping_is_due_after_silence_and_again_after_a_ping() -> None:
    pulse = Pulse(now=0.0)
    assert pulse.ping_at() == PING_AFTER_S
    assert [pulse.ping(now=20.0), pulse.ping(now=21.0)] == [1, 2]
    assert pulse.ping_at() == 21.0 + PING_AFTER_S


def test_a_clock_that_goes_back_makes_nobody_die_sooner() -> None:
    pulse = Pulse(now=100.0)
    pulse.heard(now=3.0)
    assert pulse.dead_at(is_open=True) == 100.0 + DEAD_AFTER_S


def test_only_the_newest_ping_measures_and_only_once() -> None:
    pulse = Pulse(now=0.0)
    old, new = pulse.ping(now=1.0), pulse.ping(now=2.0)
    pulse.pong(old, now=2.5)
    assert pulse.round_trip_s is None
    pulse.pong(new, now=2.5)
    pulse.pong(new, now=9.0)
    assert pulse.round_trip_s == 0.5
