# SPDX-License-Identifier: AGPL-3.0-or-later
"""Rates by the time of day, as people write them."""

import pytest

from harp.base.timetable import Timetable, timetable

NOON, EVENING, NIGHT = 12 * 60, 20 * 60, 3 * 60


@pytest.mark.parametrize("text", ["none", "", "  none  "])
def test_nothing_is_no_limit(text: str) -> None:
    assert timetable(text) == Timetable()
    assert timetable(text).rate_at(NOON) == 0


@pytest.mark.parametrize(
    ("text", "rate"), [("8 Mbit/s", 1e6), ("8mbit/s", 1e6), ("1.5 Mbit/s", 187_500), ("500 kbit/s", 62_500)]
)
def test_a_rate_holds_all_day(text: str, rate: float) -> None:
    assert timetable(text).rate_at(NOON) == timetable(text).rate_at(NIGHT) == rate


def test_times_of_the_day_go_over_midnight_and_the_first_one_counts() -> None:
    table = timetable("8 Mbit/s, 18:00-07:00 none, 12:00-13:00 2 Mbit/s, 12:30-14:00 4 Mbit/s")
    assert [table.rate_at(minute) for minute in (NOON, NOON + 45, NOON + 60, 14 * 60)] == [25e4, 25e4, 5e5, 1e6]
    assert table.rate_at(EVENING) == table.rate_at(NIGHT) == 0
    assert table.rate_at(7 * 60) == 1e6


def test_times_alone_leave_the_rest_of_the_day_free() -> None:
    assert timetable("09:00-17:00 4 Mbit/s").rate_at(NOON) == 5e5
    assert timetable("09:00-17:00 4 Mbit/s").rate_at(EVENING) == 0
    assert timetable("09:00-24:00 4 Mbit/s").rate_at(1439) == 5e5


@pytest.mark.parametrize(
    "text", ["8", "8 MB/s", "fast", "-1 Mbit/s", "1 bit/s", "25:00-26:00 none", "9:61-10:00 none", "none, 8 Mbit/s"]
)
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be|no day has|less than"):
        timetable(text)
