# SPDX-License-Identifier: AGPL-3.0-or-later
"""The geometry of the console's pictures."""

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from harp.console import charts

DAYS = st.lists(
    st.builds(
        lambda ago, lan, wan, local: {
            "day": (date(2026, 11, 25) - timedelta(days=ago)).isoformat(),
            "lan": lan,
            "wan": wan,
            "local": local,
        },
        st.integers(0, 40),
        st.integers(0, 1 << 50),
        st.integers(0, 1 << 50),
        st.integers(0, 1 << 50),
    ),
    unique_by=lambda day: day["day"],
    max_size=20,
)


@given(DAYS)
def test_every_bar_lies_within_the_picture_and_stands_on_the_one_below(days: list[dict[str, object]]) -> None:
    columns = charts.columns(days, "2026-11-25", 31, width=620, height=120)
    assert [column.day for column in columns][-1] == "2026-11-25"
    assert len(columns) == 31
    for column in columns:
        for bar in column.bars:
            assert 0 <= bar.x <= bar.x + bar.width <= 620
            assert 0 <= bar.y <= bar.y + bar.height <= 124
        assert [bar.source for bar in column.bars] == [s for s in charts.SOURCES if column.carried[s] and column.bars]


@given(st.fixed_dictionaries(dict.fromkeys(charts.SOURCES, st.integers(0, 1 << 50))))
def test_a_days_bar_is_filled_from_end_to_end_by_what_there_was(carried: dict[str, int]) -> None:
    bars = charts.strip(carried, width=620)
    assert [bar.source for bar in bars] == [source for source in charts.SOURCES if carried[source]]
    ends = [0.0, *(bar.x + bar.width for bar in bars)]
    assert all(abs(bar.x - end) <= 0.11 for bar, end in zip(bars, ends, strict=False))
    assert not bars or abs(ends[-1] - 620) <= 0.11


def test_a_month_with_nothing_is_flat() -> None:
    assert all(column.bars == () for column in charts.columns([], "2026-11-25", 31))


def test_what_did_not_come_over_the_line() -> None:
    days = [
        {"day": "2026-11-25", "lan": 60, "wan": 25, "local": 15},
        {"day": "2026-10-01", "lan": 1, "wan": 1, "local": 1},
    ]
    assert charts.share(charts.total(days, "2026-11-01")) == 0.75
    assert charts.share(charts.total([])) == 0.0


@given(st.floats(0, 1e12))
def test_a_line_is_never_thicker_than_it_may_be(bytes_s: float) -> None:
    assert 0 <= charts.thickness(bytes_s) <= 1


def test_a_line_is_drawn_for_each_device() -> None:
    peers = [{"rate_out": 0.0, "rate_in": 1e6}, {"rate_out": 1e9, "rate_in": 10.0}]
    one, two = charts.flows(peers)
    assert one.y < two.y
    assert (one.given, two.taken) == (0.0, 0.0)
    assert two.given > one.taken > 0


def test_a_folder_that_has_all_makes_no_progress() -> None:
    assert (
        charts.advance({"needed_files": 0, "needed_bytes": 0, "files": 3, "bytes": 9, "arrived_bytes": 0}, 1e6) is None
    )


def test_progress_goes_by_bytes_and_by_files_whichever_says_more() -> None:
    large = charts.advance(
        {"needed_files": 1, "needed_bytes": 3_000_000, "files": 1, "bytes": 500_000, "arrived_bytes": 500_000}, 1e6
    )
    assert large == charts.Advance(0.25, 3.0)
    many = charts.advance(
        {"needed_files": 900, "needed_bytes": 10, "files": 100, "bytes": 1_000_000, "arrived_bytes": 0}, 0.0
    )
    assert many == charts.Advance(0.1, None)
