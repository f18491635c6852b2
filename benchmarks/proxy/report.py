# SPDX-License-Identifier: AGPL-3.0-or-later
"""A run as people read it (a table, the goals, what failed) and as programs do (JSON)."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from benchmarks.proxy.figures import (
    HARP,
    PLAIN,
    REFERENCE,
    UPSTREAM,
    Failure,
    Figure,
    Load,
    Medians,
    Summaries,
    Summary,
)
from benchmarks.proxy.goals import Verdict

_HEAD = (
    *("apps", "caller", "threads", "peer", "req/s", "(all rounds)", "p50 ms", "p99 ms", "CPU s/1000"),
    *("x HAProxy", "x reference"),
)
_PEERS = (UPSTREAM, PLAIN, HARP, REFERENCE)


def table(summaries: Summaries) -> str:
    """One line for each row and peer, the rows as they came, the peers in the order of :data:`_PEERS`."""
    rows = list(dict.fromkeys(row for row, _peer in summaries))
    ordered = sorted(summaries.values(), key=lambda summary: (rows.index(summary.row), _PEERS.index(summary.peer)))
    lines = [_HEAD, *(_line(summary, summaries) for summary in ordered)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    text: list[str] = []
    last: tuple[str, ...] = ()
    for line in lines:
        labels = ("", "", "") if line[:3] == last else line[:3]
        last = line[:3]
        cells = [cell.ljust(width) for cell, width in zip((*labels, line[3]), widths, strict=False)]
        cells += [cell.rjust(width) for cell, width in zip(line[4:], widths[4:], strict=True)]
        text.append("  ".join(cells).rstrip())
    return "\n".join(text)


def _line(summary: Summary, summaries: Summaries) -> tuple[str, ...]:
    plain, reference = (summaries.get((summary.row, peer)) for peer in (PLAIN, REFERENCE))
    spread = f"({min(summary.rates):.0f}–{max(summary.rates):.0f}, n={len(summary.rates)})"
    return (
        summary.row.apps,
        summary.row.caller,
        str(summary.row.threads),
        summary.peer,
        f"{summary.rate:.0f}",
        spread,
        f"{summary.p50_ms:.2f}",
        f"{summary.p99_ms:.2f}",
        ", ".join(f"{program} {seconds:.3f}" for program, seconds in summary.cpu_s.items() if program != UPSTREAM),
        _relative(summary, plain, ".2f"),
        _relative(summary, reference, ".1f"),
    )


def _relative(summary: Summary, other: Summary | None, form: str) -> str:
    return "" if other is None or other is summary or not other.rate else f"{summary.rate / other.rate:{form}}"


def figure_lines(medians: Medians) -> Iterator[str]:
    for (what, peer), value in medians.items():
        yield f"  {what}: {peer} {value:.4g}"


def goal_lines(verdicts: Sequence[Verdict]) -> Iterator[str]:
    for verdict in verdicts:
        goal = verdict.goal
        bound = f"at least {goal.at_least:g}" if goal.at_least is not None else f"at most {goal.at_most:g}"
        if verdict.ceiling is not None:
            bound += f"; plain HAProxy: {verdict.ceiling:.3g}"
        if verdict.value is not None:
            yield f"  {'✓' if verdict.is_met else '✗'} {goal.asks}: {verdict.value:.3g} ({bound})"
    if missing := sum(verdict.value is None for verdict in verdicts):
        yield f"  – {missing} more were not measured"


def failure_lines(failures: Sequence[Failure]) -> Iterator[str]:
    for failure in failures:
        yield f"  {failure.where}, {failure.peer}, round {failure.round}: {failure.why}"


def error_lines(loads: Sequence[Load]) -> Iterator[str]:
    """Where something else than 2xx came back: such a rate says nothing."""
    for load in loads:
        if load.errors:
            row = load.row
            yield f"  {row.apps}, {row.caller}, {load.peer}, round {load.round}: {load.errors} of {load.requests}"


def document(
    machine: Mapping[str, object],
    loads: Sequence[Load],
    figures: Sequence[Figure],
    failures: Sequence[Failure],
    summaries: Summaries,
    verdicts: Sequence[Verdict],
) -> dict[str, object]:
    """All of it, for JSON: plain lists and dictionaries."""
    return {
        "machine": dict(machine),
        "loads": [{**dataclasses.asdict(load), "rate": load.rate} for load in loads],
        "figures": [dataclasses.asdict(figure) for figure in figures],
        "failures": [dataclasses.asdict(failure) for failure in failures],
        "medians": [dataclasses.asdict(summary) for summary in summaries.values()],
        "goals": [
            {
                "asks": verdict.goal.asks,
                "at_least": verdict.goal.at_least,
                "at_most": verdict.goal.at_most,
                "value": verdict.value,
                "is_met": verdict.is_met,
                "ceiling": verdict.ceiling,
            }
            for verdict in verdicts
        ],
    }
