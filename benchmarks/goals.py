# SPDX-License-Identifier: AGPL-3.0-or-later
"""The goals of the file plane's speed, as data: what each asks of the medians of one run."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from benchmarks.figures import MIB, Summaries, Summary
from benchmarks.scenarios import EDIT, FIRST_COPY, INSERT, LATENCY, MANY, NEW, RESTART

HARP, SYNCTHING, RSYNC = "Harp", "Syncthing", "rsync"


@dataclass(frozen=True, slots=True)
class Goal:
    """``reached`` gives the figure to hold against ``bound``, or None where one is missing."""

    row: str
    asks: str
    bound: float
    reached: Callable[[Summaries], float | None]
    unit: str = ""
    is_strict: bool = False
    is_least: bool = False
    """The bound is the least, not the most."""

    @property
    def bound_text(self) -> str:
        words = "at least" if self.is_least else "under" if self.is_strict else "at most"
        return f"{words} {self.bound:g}{self.unit and ' '}{self.unit}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """``is_met`` is None where a figure is missing: that peer did not run."""

    goal: Goal
    value: float | None

    @property
    def is_met(self) -> bool | None:
        if self.value is None:
            return None
        if self.goal.is_least:
            return self.value >= self.goal.bound
        return self.value < self.goal.bound if self.goal.is_strict else self.value <= self.goal.bound


def verdicts(summaries: Summaries, goals: Iterable[Goal]) -> list[Verdict]:
    return [Verdict(goal, goal.reached(summaries)) for goal in goals]


def _wall(summary: Summary) -> float | None:
    return summary.wall_s


def _cpu(summary: Summary) -> float | None:
    return summary.cpu_s


def _wire(summary: Summary) -> float | None:
    return None if summary.wire_bytes is None else summary.wire_bytes / MIB


def _ratio(row: str, of: Callable[[Summary], float | None], peer: str) -> Callable[[Summaries], float | None]:
    def reached(summaries: Summaries) -> float | None:
        ours, theirs = summaries.get((row, HARP)), summaries.get((row, peer))
        if ours is None or theirs is None:
            return None
        above, below = of(ours), of(theirs)
        return above / below if above is not None and below else None

    return reached


def _own(row: str, of: Callable[[Summary], float | None]) -> Callable[[Summaries], float | None]:
    def reached(summaries: Summaries) -> float | None:
        ours = summaries.get((row, HARP))
        return None if ours is None else of(ours)

    return reached


GOALS: Sequence[Goal] = (
    Goal(NEW, "of Syncthing's time", 0.3, _ratio(NEW, _wall, SYNCTHING)),
    Goal(NEW, "of Syncthing's CPU seconds", 0.6, _ratio(NEW, _cpu, SYNCTHING)),
    Goal(NEW, "of rsync's time", 1.0, _ratio(NEW, _wall, RSYNC)),
    Goal(MANY, "of Syncthing's time", 0.2, _ratio(MANY, _wall, SYNCTHING)),
    Goal(MANY, "of rsync's time", 2.0, _ratio(MANY, _wall, RSYNC)),
    Goal(EDIT, "of Syncthing's time", 0.3, _ratio(EDIT, _wall, SYNCTHING)),
    Goal(EDIT, "on the wire", 3.0, _own(EDIT, _wire), "MiB"),
    Goal(INSERT, "of Syncthing's time", 0.1, _ratio(INSERT, _wall, SYNCTHING)),
    Goal(INSERT, "on the wire", 1.0, _own(INSERT, _wire), "MiB"),
    Goal(LATENCY, "from close to seen", 25.0, _own(LATENCY, lambda ours: ours.wall_s * 1000), "ms"),
    Goal(FIRST_COPY, "peak RSS", 200.0, _own(FIRST_COPY, lambda ours: max(ours.peak_rss) / 1e6), "MB"),
    Goal(RESTART, "peak RSS", 200.0, _own(RESTART, lambda ours: max(ours.peak_rss) / 1e6), "MB"),
    Goal(
        RESTART,
        "of a core when idle",
        0.5,
        _own(RESTART, lambda ours: 100 * ours.extra["idle_cpu_share"]),
        "%",
        is_strict=True,
    ),
)
