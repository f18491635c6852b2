# SPDX-License-Identifier: AGPL-3.0-or-later
"""The trash counts the time for which the computer ran, no more, whatever stops, starts and is lost in between."""

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from harp.sync.folder import age
from harp.sync.folder.age import Awake, Counted

seconds = st.floats(0, 40 * 24 * 3600)


class Runs(NamedTuple):
    seconds: float


class Stops(NamedTuple):
    """And starts again; ``is_said``: it had the time to note its count."""

    is_said: bool


class Restarts(NamedTuple):
    """The daemon alone, from what was noted last."""


Turn = Runs | Stops | Restarts
lives: st.SearchStrategy[list[Turn]] = st.lists(
    st.one_of(st.builds(Runs, seconds), st.builds(Stops, st.booleans()), st.just(Restarts()))
)


@given(lives, seconds)
def test_nothing_is_over_before_the_computer_ran_for_so_long(life: list[Turn], most_s: float) -> None:
    boots, awake_s, ran_s = 0, 50.0, 0.0
    counted = Counted(0.0, Awake("0", awake_s))
    noted, stamp = counted.written(), counted.stamp
    is_all_said = True
    for turn in life:
        match turn:
            case Runs():
                awake_s, ran_s = awake_s + turn.seconds, ran_s + turn.seconds
            case Stops():
                if turn.is_said:
                    noted = counted.at(Awake(str(boots), awake_s)).written()
                is_all_said = is_all_said and turn.is_said
                boots, awake_s = boots + 1, 0.0
                counted = _read(noted)
            case Restarts():
                counted = _read(noted)
        counted = counted.at(Awake(str(boots), awake_s))
        if not isinstance(turn, Runs):
            noted = counted.written()  # as the first look after each start does
        if counted.is_over(stamp, most_s):
            assert ran_s > most_s - 0.01 * len(life)
        elif is_all_said:
            assert ran_s <= most_s + 0.01 * len(life)


@given(seconds, seconds)
def test_a_stamp_is_never_older_than_its_moment(total_s: float, awake_s: float) -> None:
    counted = Counted(total_s, Awake("0", awake_s))
    assert total_s <= counted.stamp <= total_s + 1
    assert not counted.is_over(counted.stamp, 0.0)


@given(st.binary(max_size=80))
def test_what_is_no_count_is_none(text: bytes) -> None:
    found = age.read(text)
    assert found is None or age.read(found.written()) == found


def _read(text: bytes) -> Counted:
    found = age.read(text)
    assert found is not None
    return found
