# SPDX-License-Identifier: AGPL-3.0-or-later
"""The nouns of a run: what was measured, what failed, and the medians over the rounds."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

MIB = 1 << 20
GIB = 1 << 30


class Undone(Exception):
    """A peer did not do its work: it did not start, ended, or was not finished at the deadline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One piece of work, done once by one peer.

    ``peak_rss`` are the bytes of the sending and the receiving side; ``wire_bytes`` what the peer itself counted on its
    link, ``loopback_bytes`` what the kernel counted on ``lo`` meanwhile (whoever it came from).
    """

    row: str
    peer: str
    round: int
    wall_s: float
    cpu_s: float | None = None
    peak_rss: tuple[int, ...] = ()
    wire_bytes: int | None = None
    loopback_bytes: int | None = None
    extra: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A piece of work that came to nothing; ``is_wrong``: what lay at the receiver was not what was sent."""

    row: str
    peer: str
    round: int
    why: str
    is_wrong: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The medians of one row and peer over all rounds; ``walls_s`` are the single times, in order of rounds."""

    row: str
    peer: str
    wall_s: float
    walls_s: tuple[float, ...]
    cpu_s: float | None
    peak_rss: tuple[int, ...]
    wire_bytes: int | None
    extra: Mapping[str, float]


Summaries = Mapping[tuple[str, str], Summary]
"""By row and peer."""


def summaries(figures: Sequence[Figure]) -> dict[tuple[str, str], Summary]:
    """One summary for each row and peer that occurs; the peak of memory is the highest seen, all else is a median."""
    groups: dict[tuple[str, str], list[Figure]] = {}
    for figure in figures:
        groups.setdefault((figure.row, figure.peer), []).append(figure)
    return {key: _summary(group) for key, group in groups.items()}


def _summary(group: Sequence[Figure]) -> Summary:
    first = group[0]
    walls = tuple(figure.wall_s for figure in group)
    wire = _median([figure.wire_bytes for figure in group])
    sides = min(len(figure.peak_rss) for figure in group)
    return Summary(
        row=first.row,
        peer=first.peer,
        wall_s=statistics.median(walls),
        walls_s=walls,
        cpu_s=_median([figure.cpu_s for figure in group]),
        peak_rss=tuple(max(figure.peak_rss[side] for figure in group) for side in range(sides)),
        wire_bytes=None if wire is None else round(wire),
        extra={
            name: statistics.median(figure.extra[name] for figure in group if name in figure.extra)
            for name in first.extra
        },
    )


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
