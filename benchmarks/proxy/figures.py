# SPDX-License-Identifier: AGPL-3.0-or-later
"""The nouns of a run: loads on a peer, single figures, what failed; and medians over the rounds."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

UPSTREAM, PLAIN, HARP, REFERENCE = "upstream", "HAProxy", "Harp", "reference"
PUBLIC, SESSION, PASSWORD = "public", "session", "app password"
ONE_APP, MANY_APPS = "1 app, 1 path", "50 apps, new paths"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What is asked: of ``apps``, by ``caller``, through an HAProxy of so many ``threads``."""

    apps: str
    caller: str
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One peer under one load. ``cpu_s`` are seconds for 1,000 requests, by program; ``errors`` the answers that were
    not 2xx, time-outs and broken connections."""

    row: Row
    peer: str
    round: int
    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    cpu_s: Mapping[str, float]
    errors: int

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number about one peer, e.g. how often Nextcloud was asked; ``what`` names it with its unit."""

    what: str
    peer: str
    round: int
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    where: str
    peer: str
    round: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The medians of one row and peer over all rounds; ``rates`` are the single ones."""

    row: Row
    peer: str
    rate: float
    rates: tuple[float, ...]
    p50_ms: float
    p99_ms: float
    cpu_s: Mapping[str, float] = field(default_factory=dict)

    @property
    def own_cpu_s(self) -> float:
        """Of the peer alone, without whom it stands between."""
        return sum(seconds for program, seconds in self.cpu_s.items() if program not in (UPSTREAM, "wrk", "Nextcloud"))


Summaries = Mapping[tuple[Row, str], Summary]
Medians = Mapping[tuple[str, str], float]
"""Of the figures, by what and peer."""


def summaries(loads: Sequence[Load]) -> dict[tuple[Row, str], Summary]:
    groups: dict[tuple[Row, str], list[Load]] = {}
    for load in loads:
        groups.setdefault((load.row, load.peer), []).append(load)
    return {key: _summary(group) for key, group in groups.items()}


def _summary(group: Sequence[Load]) -> Summary:
    programs = {program for load in group for program in load.cpu_s}
    return Summary(
        row=group[0].row,
        peer=group[0].peer,
        rate=statistics.median(load.rate for load in group),
        rates=tuple(load.rate for load in group),
        p50_ms=statistics.median(load.p50_ms for load in group),
        p99_ms=statistics.median(load.p99_ms for load in group),
        cpu_s={
            program: statistics.median(load.cpu_s.get(program, 0.0) for load in group) for program in sorted(programs)
        },
    )


def medians(figures: Iterable[Figure]) -> dict[tuple[str, str], float]:
    groups: dict[tuple[str, str], list[float]] = {}
    for figure in figures:
        groups.setdefault((figure.what, figure.peer), []).append(figure.value)
    return {key: statistics.median(values) for key, values in groups.items()}
