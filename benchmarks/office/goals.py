# SPDX-License-Identifier: AGPL-3.0-or-later
"""The goals of the office, as data."""

from collections.abc import Callable, Collection, Mapping, Sequence

from benchmarks.figures import Summaries
from benchmarks.goals import HARP, Goal
from benchmarks.office.rows import ROWS, Work, edit, many, put, saved, second, upload


def goals(rows: Collection[str]) -> list[Goal]:
    """Those of the rows of those names."""
    return [goal for name in rows for goal in _GOALS[name]]


def _goal(
    row: str, asks: str, bound: float, of: str, *, unit: str = "", is_strict: bool = False, is_least: bool = False
) -> Goal:
    return Goal(row, asks, bound, _extra(row, of), unit, is_strict, is_least)


def _extra(row: str, of: str) -> Callable[[Summaries], float | None]:
    def reached(summaries: Summaries) -> float | None:
        ours = summaries.get((row, HARP))
        return None if ours is None else ours.extra[of]

    return reached


def _of_put(row: str) -> Sequence[Goal]:
    return (
        _goal(row, "of the file over the line", 1.05, "wan_ratio"),
        _goal(row, "of one copy's time on the line", 1.1, "time_ratio"),
    )


def _of_upload(row: str) -> Sequence[Goal]:
    return (
        _goal(row, "of the file over the line", 1.05, "wan_ratio"),
        _goal(row, "of one copy's time on the line", 1.15, "time_ratio"),
    )


def _of_many(row: str) -> Sequence[Goal]:
    return (
        _goal(row, "of the files over the line", 1.1, "wan_ratio"),
        _goal(row, "of one copy's time on the line", 1.2, "time_ratio"),
    )


def _of_second(row: str) -> Sequence[Goal]:
    return (
        _goal(row, "of the LAN's rate", 0.9, "lan_ratio", is_least=True),
        _goal(row, "of the file over the line", 0.01, "wan_ratio", is_strict=True),
    )


def _of_edit(row: str) -> Sequence[Goal]:
    return (_goal(row, "of the change over the line", 1.3, "wan_ratio"),)


def _of_saved(row: str) -> Sequence[Goal]:
    return (
        _goal(row, "until the neighbour has it", 0.3, "neighbour_s", unit="s"),
        _goal(row, "of the line's time until the cloud has it", 1.1, "time_ratio"),
    )


_OF_WORK: Mapping[Work, Callable[[str], Sequence[Goal]]] = {
    put: _of_put,
    upload: _of_upload,
    many: _of_many,
    second: _of_second,
    edit: _of_edit,
    saved: _of_saved,
}
_GOALS = {name: _OF_WORK[row.work](row.title) for name, row in ROWS.items()}
