# SPDX-License-Identifier: AGPL-3.0-or-later
"""The goals of the app plane's speed, as data: what each asks of the medians of one run."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.proxy.figures import (
    HARP,
    MANY_APPS,
    ONE_APP,
    PASSWORD,
    PLAIN,
    PUBLIC,
    REFERENCE,
    SESSION,
    Medians,
    Row,
    Summaries,
    Summary,
)

EXPIRING = "session, expiring"
NEXTCLOUD_CALLS = "Nextcloud calls for one credential, 128 clients at once"
SOCKET_KIB = "KiB for each of 1,000 idle WebSockets, all processes"
CALL_MS = "ms that one call to Nextcloud takes"


@dataclass(frozen=True, slots=True)
class Goal:
    """``reached`` gives the figure to hold against the bound, or None where one is missing.

    ``ceiling`` gives the same figure of plain HAProxy: nothing that is built on it can do better.
    """

    asks: str
    reached: Callable[[Summaries, Medians], float | None]
    at_least: float | None = None
    at_most: float | None = None
    ceiling: Callable[[Summaries, Medians], float | None] | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """``is_met`` is None where a figure is missing: that peer did not run."""

    goal: Goal
    value: float | None
    ceiling: float | None = None

    @property
    def is_met(self) -> bool | None:
        if self.value is None:
            return None
        least, most = self.goal.at_least, self.goal.at_most
        return (least is None or self.value >= least) and (most is None or self.value <= most)


def verdicts(summaries: Summaries, medians: Medians) -> list[Verdict]:
    return [
        Verdict(
            goal,
            goal.reached(summaries, medians),
            None if goal.ceiling is None else goal.ceiling(summaries, medians),
        )
        for goal in goals()
    ]


def _ratio(
    row: Row, of: Callable[[Summary], float], peer: str, whose: str = HARP
) -> Callable[[Summaries, Medians], float | None]:
    def reached(summaries: Summaries, _medians: Medians) -> float | None:
        ours, theirs = summaries.get((row, whose)), summaries.get((row, peer))
        return of(ours) / of(theirs) if ours and theirs and of(theirs) else None

    return reached


def _own(what: str) -> Callable[[Summaries, Medians], float | None]:
    return lambda _summaries, medians: medians.get((what, HARP))


def _agents_share(row: Row) -> Callable[[Summaries, Medians], float | None]:
    def reached(summaries: Summaries, _medians: Medians) -> float | None:
        ours = summaries.get((row, HARP))
        return None if ours is None else 100 * ours.cpu_s.get("agent", 0.0) * ours.rate / 1000

    return reached


def _late(summaries: Summaries, medians: Medians) -> float | None:
    """The p99 over expiring sessions without one call to Nextcloud, in p99s of plain HAProxy."""
    row = Row(apps=ONE_APP, caller=EXPIRING, threads=1)
    ours, plain, call_ms = summaries.get((row, HARP)), summaries.get((row, PLAIN)), medians.get((CALL_MS, HARP))
    if ours is None or plain is None or call_ms is None:
        return None
    return max(0.0, ours.p99_ms - call_ms) / plain.p99_ms


_RELATIVE = {(PUBLIC, ONE_APP): 0.8, (PUBLIC, MANY_APPS): 0.75, (SESSION, ONE_APP): 0.7, (SESSION, MANY_APPS): 0.65}
_RELATIVE |= {(PASSWORD, apps): _RELATIVE[SESSION, apps] for apps in (ONE_APP, MANY_APPS)}


def goals() -> Iterator[Goal]:
    for (caller, apps), least in _RELATIVE.items():
        for threads in (1, 2):
            row = Row(apps=apps, caller=caller, threads=threads)
            where = f"{caller}, {apps}, {threads} thread{'s' if threads > 1 else ''}"
            yield Goal(f"{where}: of plain HAProxy's requests/s", _ratio(row, lambda s: s.rate, PLAIN), at_least=least)
            yield Goal(
                f"{where}: the reference's requests/s",
                _ratio(row, lambda s: s.rate, REFERENCE),
                at_least=6,
                ceiling=_ratio(row, lambda s: s.rate, REFERENCE, PLAIN),
            )
            yield Goal(
                f"{where}: the reference's CPU",
                _ratio(row, lambda s: s.own_cpu_s, REFERENCE),
                at_most=0.25,
                ceiling=_ratio(row, lambda s: s.own_cpu_s, REFERENCE, PLAIN),
            )
    yield Goal(NEXTCLOUD_CALLS, _own(NEXTCLOUD_CALLS), at_most=1)
    yield Goal("p99 over 12 s of expiring sessions, less one call: of plain HAProxy's", _late, at_most=3)
    for apps in (ONE_APP, MANY_APPS):
        yield Goal(
            f"agent, % of a core while known public routes are served ({apps})",
            _agents_share(Row(apps=apps, caller=PUBLIC, threads=1)),
            at_most=1,
        )
    yield Goal(SOCKET_KIB, _own(SOCKET_KIB), at_most=64)
