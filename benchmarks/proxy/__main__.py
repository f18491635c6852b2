# SPDX-License-Identifier: AGPL-3.0-or-later
"""One run: for each number of threads, row and round, the peers in turn; then the table, the goals and the JSON."""

import argparse
import datetime
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.figures import Undone
from benchmarks.proxy import report
from benchmarks.proxy.figures import HARP, Failure, Figure, Load, medians, summaries
from benchmarks.proxy.goals import verdicts
from benchmarks.proxy.peers import ROOT, Harp, Reference
from benchmarks.proxy.scenarios import ROWS, Asked, Group, Outcome
from benchmarks.run import chosen


@dataclass(slots=True)
class Run:
    """What has come of it so far."""

    loads: list[Load] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def note(self, outcome: Outcome) -> None:
        match outcome:
            case Load():
                self.loads.append(outcome)
                row = outcome.row
                where = f"{row.apps}, {row.caller}, {row.threads} thread(s)"
                print(f"  round {outcome.round}  {where:<48}{outcome.peer:<11}{outcome.rate:>9.0f} requests/s")
            case Figure():
                self.figures.append(outcome)
                print(f"  round {outcome.round}  {outcome.what}: {outcome.peer} {outcome.value:.4g}")
            case Failure():
                self.failures.append(outcome)
                print("\n".join(report.failure_lines([outcome])))
        sys.stdout.flush()


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.proxy", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", default="all", help=f"some of {','.join(ROWS)}")
    parser.add_argument("--threads", default="1,2", help="of HAProxy, one run of all rows for each")
    parser.add_argument("--seconds", type=int, default=4, help="for each load, after 1 s to warm up")
    parser.add_argument(
        "--reference", type=Path, help="a checkout of the reference HaRP, see benchmarks/proxy/reference.py"
    )
    parser.add_argument("--without-harp", action="store_true", help="to try the bench itself")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "bench-proxy")
    parser.add_argument("--json", type=Path, help="default: benchmarks/results/proxy-<time>.json")
    return parser.parse_args(argv)


def machine(asked: argparse.Namespace) -> dict[str, object]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    said = subprocess.run(["haproxy", "-v"], capture_output=True, text=True, check=True).stdout
    return {
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cpu": next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), ""),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "haproxy": said.splitlines()[0],
        "rounds": asked.rounds,
        "seconds": asked.seconds,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """0; 1 where Harp did not serve at all, or answered with errors under load."""
    asked = arguments(argv)
    if absent := [program for program in ("haproxy", "wrk") if shutil.which(program) is None]:
        raise SystemExit(f"not installed: {', '.join(absent)} (sudo apt install {' '.join(absent)})")
    threads = [int(word) for word in asked.threads.split(",")]
    checkout = None if asked.reference is None else asked.reference.resolve()
    if checkout is not None and (why := Reference.why_not(checkout)):
        print(f"the reference does not run, and what is held against it is not measured: {why}")
        checkout = None
    if not asked.without_harp and (why := Harp.why_not()):
        raise SystemExit(f"Harp does not run: {why}")
    # What was started ends with the run, also where that is told to end.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    about = machine(asked)
    work: Path = asked.work / str(os.getpid())
    work.mkdir(parents=True)
    run = Run()
    try:
        for count in threads:
            todo = Asked(
                work=work / f"{count}-threads",
                rounds=asked.rounds,
                seconds=asked.seconds,
                with_harp=not asked.without_harp,
                checkout=checkout,
                rows=chosen(asked.rows, ROWS, "rows"),
            )
            todo.work.mkdir()
            with ExitStack() as stack:
                for outcome in Group(todo, count, stack).outcomes():
                    run.note(outcome)
    except Undone as error:
        raise SystemExit(f"the bench itself failed: {error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
        if run.loads or run.figures:  # a run that was ended says what it has
            conclude(run, about, asked.json)
    broken = [load for load in run.loads if load.peer == HARP and load.errors]
    return 1 if broken or any(failure.peer == HARP for failure in run.failures) else 0


def conclude(run: Run, about: dict[str, object], target: Path | None) -> None:
    """Print the table and everything under it, and write the JSON."""
    found, middle = summaries(run.loads), medians(run.figures)
    judged = verdicts(found, middle)
    print(f"\n{about['cpu']}, {about['cores']} cores, Linux {about['kernel']}, {about['haproxy']}; medians\n")
    print(report.table(found))
    sections = {
        "also": report.figure_lines(middle),
        "goals": report.goal_lines(judged),
        "answers that were not 2xx, or none": report.error_lines(run.loads),
        "failed": report.failure_lines(run.failures),
    }
    for title, lines in sections.items():
        if listed := list(lines):
            print(f"\n{title}:", *listed, sep="\n")
    name = f"proxy-{str(about['at'])[:19].replace(':', '')}Z.json"
    target = target or ROOT / "benchmarks" / "results" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    whole = report.document(about, run.loads, run.figures, run.failures, found, judged)
    target.write_text(json.dumps(whole, indent=1))
    print(f"\n{target}")


if __name__ == "__main__":
    sys.exit(main())
