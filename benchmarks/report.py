# SPDX-License-Identifier: AGPL-3.0-or-later
"""A run as people read it (a table, the goals, what failed) and as programs do (JSON)."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from benchmarks.figures import MIB, Failure, Figure, Summaries, Summary
from benchmarks.goals import HARP, RSYNC, SYNCTHING, Verdict
from benchmarks.scenarios import ROWS

_HEAD = ("work", "peer", "s", "(all rounds)", "CPU s", "peak MB", "wire MiB", "x Syncthing", "x rsync")
_PEERS = (HARP, SYNCTHING, RSYNC, "cp", "cp + sync", "dd fsync")
_LOOPBACK_SLACK = 1.15


def table(summaries: Summaries) -> str:
    """One line for each row and peer: the rows in their order, the peers in the order of :data:`_PEERS`."""
    ordered = sorted(summaries.values(), key=lambda summary: (ROWS.index(summary.row), _PEERS.index(summary.peer)))
    return columns([_HEAD, *(_line(summary, summaries) for summary in ordered)])


def columns(lines: Sequence[Sequence[str]]) -> str:
    """Cells as a table, the first two columns to the left; what repeats the first cell above it is left out."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text, last = [], ""
    for line in lines:
        first = "" if line[0] == last else line[0]
        last = line[0]
        cells = [first.ljust(widths[0]), line[1].ljust(widths[1])]
        cells += [cell.rjust(width) for cell, width in zip(line[2:], widths[2:], strict=True)]
        text.append("  ".join(cells).rstrip())
    return "\n".join(text)


def _line(summary: Summary, summaries: Summaries) -> tuple[str, ...]:
    return (
        summary.row,
        summary.peer,
        seconds(summary.wall_s),
        _spread(summary.walls_s),
        "" if summary.cpu_s is None else f"{summary.cpu_s:.2f}",
        " / ".join(f"{size / 1e6:.0f}" for size in summary.peak_rss),
        "" if summary.wire_bytes is None else f"{summary.wire_bytes / MIB:.2f}",
        _ratio(summary, summaries.get((summary.row, SYNCTHING))),
        _ratio(summary, summaries.get((summary.row, RSYNC))),
    )


def seconds(value: float) -> str:
    return f"{value:.4f}" if value < 0.1 else f"{value:.2f}"


def _spread(walls_s: Sequence[float]) -> str:
    return f"({seconds(min(walls_s))}–{seconds(max(walls_s))}, n={len(walls_s)})"


def _ratio(ours: Summary, theirs: Summary | None) -> str:
    return "" if theirs is None or theirs.peer == ours.peer else f"{ours.wall_s / theirs.wall_s:.2f}"


def goal_lines(verdicts: Sequence[Verdict]) -> Iterator[str]:
    for verdict in verdicts:
        goal = verdict.goal
        unit = f" {goal.unit}" if goal.unit else ""
        if verdict.value is None:
            yield f"  – {goal.row}: {goal.asks}: not measured ({goal.bound_text})"
        else:
            mark = "✓" if verdict.is_met else "✗"
            yield f"  {mark} {goal.row}: {verdict.value:.3g}{unit} {goal.asks} ({goal.bound_text})"


def extra_lines(summaries: Summaries) -> Iterator[str]:
    """The figures that only one row has, e.g. files a second."""
    for summary in summaries.values():
        if summary.extra:
            said = ", ".join(f"{name} {value:.4g}" for name, value in summary.extra.items())
            yield f"  {summary.row}, {summary.peer}: {said}"


def loopback_lines(figures: Sequence[Figure]) -> Iterator[str]:
    """Where the kernel saw clearly more on ``lo`` than the peer says it sent: a wrong count, or another program."""
    for figure in figures:
        if figure.wire_bytes is None or figure.loopback_bytes is None:
            continue
        if figure.loopback_bytes > figure.wire_bytes * _LOOPBACK_SLACK + MIB:
            yield (
                f"  {figure.row}, {figure.peer}, round {figure.round}: counted {figure.wire_bytes / MIB:.2f} MiB, "
                f"while lo carried {figure.loopback_bytes / MIB:.2f} MiB"
            )


def failure_lines(failures: Sequence[Failure]) -> Iterator[str]:
    for failure in failures:
        kind = "WRONG CONTENT" if failure.is_wrong else "not done"
        yield f"  {failure.row}, {failure.peer}, round {failure.round}: {kind}: {failure.why}"


def document(
    machine: Mapping[str, object],
    figures: Sequence[Figure],
    failures: Sequence[Failure],
    summaries: Summaries,
    verdicts: Sequence[Verdict],
) -> dict[str, object]:
    """All of it, for JSON: plain lists and dictionaries."""
    return {
        "machine": dict(machine),
        "figures": [dataclasses.asdict(figure) for figure in figures],
        "failures": [dataclasses.asdict(failure) for failure in failures],
        "medians": [dataclasses.asdict(summary) for summary in summaries.values()],
        "goals": [
            {
                "row": verdict.goal.row,
                "asks": verdict.goal.asks,
                "bound": verdict.goal.bound_text,
                "value": verdict.value,
                "is_met": verdict.is_met,
            }
            for verdict in verdicts
        ],
    }
