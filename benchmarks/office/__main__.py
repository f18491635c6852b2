# SPDX-License-Identifier: AGPL-3.0-or-later
"""One run: the links by iperf3, then row by row each program in an office of its own; the table, goals and JSON."""

import argparse
import dataclasses
import itertools
import os
import shutil
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from benchmarks import report, run
from benchmarks.figures import Failure, Figure, Summaries, Summary, Undone, summaries
from benchmarks.goals import verdicts
from benchmarks.lab.namespace import why_not
from benchmarks.lab.site import built
from benchmarks.office.goals import goals
from benchmarks.office.reference import Reference, measured
from benchmarks.office.rows import ROWS, Measure, Row, Sizes, done
from benchmarks.peers.harp import HarpPair
from benchmarks.peers.syncthing import SyncthingPair

_HEAD = ("work", "program", "s", "first s", "CPU s", "WAN down MB", "WAN up MB", "x size", "x line's time", "x LAN")
_NEEDED_BYTES = 9 * (1 << 30)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.office", description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--rows", default="all", help=f"some of {','.join(ROWS)}")
    parser.add_argument("--programs", default="all", help="some of Harp,Syncthing")
    parser.add_argument("--divide", type=int, default=1, help="send only a part of it, to try the bench itself")
    parser.add_argument("--work", type=Path, default=run.ROOT / "build" / "office", help="where, on the disk")
    parser.add_argument("--json", type=Path, help="default: benchmarks/results/office-<time>.json")
    return parser.parse_args(argv)


def outcomes(row: Row, programs: Collection[str], measure: Measure, work: Path) -> Iterator[Figure | Failure]:
    """Of one row in one round: what comes of each program that does it."""
    for kind in row.fleets:
        if kind.name in programs:
            with built(row.offices) as lab:
                yield done(lab, row, kind, measure, work / "fleet")
            shutil.rmtree(work / "fleet", ignore_errors=True)


def table(found: Summaries) -> str:
    titles = [row.title for row in ROWS.values()]
    ordered = sorted(found.values(), key=lambda summary: (titles.index(summary.row), summary.peer))
    return report.columns([_HEAD, *(_line(summary) for summary in ordered)])


def _line(summary: Summary) -> tuple[str, ...]:
    extra = summary.extra
    return (
        summary.row,
        summary.peer,
        report.seconds(summary.wall_s),
        f"{extra['first_s']:.2f}" if "first_s" in extra else "",
        f"{summary.cpu_s:.1f}" if summary.cpu_s is not None else "",
        *(f"{extra[name] / 1e6:.2f}" for name in ("wan_down", "wan_up")),
        *(f"{extra[name]:.3f}" if name in extra else "" for name in ("wan_ratio", "time_ratio", "lan_ratio")),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """0; 1 where something that was delivered is not what was sent, or Harp did not deliver; 2 where it cannot run."""
    asked = arguments(argv)
    if reason := why_not():
        print(f"the office cannot be built here: {reason}", file=sys.stderr)
        return 2
    if shutil.which("iperf3") is None:
        print("the office is measured against iperf3, which is not installed: sudo apt install iperf3", file=sys.stderr)
        return 2
    known = {"Harp": HarpPair.version, "Syncthing": SyncthingPair.version}
    versions = run.available(run.chosen(asked.programs, list(known), "programs"), known)
    work: Path = asked.work / str(os.getpid())
    work.mkdir(parents=True)
    if asked.divide == 1 and shutil.disk_usage(work).free < _NEEDED_BYTES:
        print(f"{work} has less than {_NEEDED_BYTES >> 30} GiB free: expect failures", file=sys.stderr)
    try:
        return _measured_in(work, asked, versions)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _measured_in(work: Path, asked: argparse.Namespace, versions: dict[str, str]) -> int:
    print(", ".join(f"{program}: {version}" for program, version in versions.items()))
    chosen = run.chosen(asked.rows, list(ROWS), "rows")
    rows = [name for name in chosen if _runs(name)]
    if not rows:
        return 2
    sizes = Sizes().divided(asked.divide) if asked.divide > 1 else Sizes()
    try:
        reference = measured()
    except Undone as error:
        print(f"the links cannot be measured: {error}", file=sys.stderr)
        return 2
    print(_said(reference))
    figures: list[Figure] = []
    failures: list[Failure] = []
    for number, name in itertools.product(range(1, asked.rounds + 1), rows):
        measure = Measure(row=ROWS[name].title, round=number, sizes=sizes, reference=reference)
        for outcome in outcomes(ROWS[name], versions, measure, work):
            run.note(outcome, figures, failures)
    about = run.machine(versions, asked.rounds, rows, sizes) | {"reference": dataclasses.asdict(reference)}
    medians = summaries(figures)
    judged = verdicts(medians, goals(chosen)) if asked.divide == 1 else []
    print(f"\n{about['cpu']}, {about['cores']} cores, Linux {about['kernel']}, rounds: {asked.rounds}; medians")
    print(f"{_said(reference)}\n\n{table(medians)}")
    run.print_sections({"goals": report.goal_lines(judged), "failed": report.failure_lines(failures)})
    run.write(asked.json, about, report.document(about, figures, failures, medians, judged), "office-")
    return run.exit_code(failures)


def _runs(name: str) -> bool:
    """Whether a row has whom it needs; says so where it has not."""
    reason = next(filter(None, (kind.why_not() for kind in ROWS[name].fleets)), "")
    if reason:
        print(f"{name} does not run: {reason}")
    return not reason


def _said(reference: Reference) -> str:
    rates = (f"{name} {8 * rate / 1e6:.2f} Mbit/s" for name, rate in dataclasses.asdict(reference).items())
    return "iperf3: " + ", ".join(rates)


if __name__ == "__main__":
    sys.exit(main())
