# SPDX-License-Identifier: AGPL-3.0-or-later
"""One run: for each round and each piece of work, the peers in turn; then the table, the goals and the JSON."""

import argparse
import datetime
import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import report
from benchmarks.baselines import disk_alone
from benchmarks.figures import Failure, Figure, Undone, summaries
from benchmarks.goals import verdicts
from benchmarks.peers.harp import HarpPair
from benchmarks.peers.pair import Pair
from benchmarks.peers.rsync import RsyncPair
from benchmarks.peers.syncthing import SyncthingPair
from benchmarks.scenarios import SCENARIOS, Material, Scenario, Sizes

ROOT = Path(__file__).resolve().parents[1]
PEERS: dict[str, Callable[[Path], Pair]] = {"Harp": HarpPair, "Syncthing": SyncthingPair, "rsync": RsyncPair}
VERSIONS = {"Harp": HarpPair.version, "Syncthing": SyncthingPair.version, "rsync": RsyncPair.version}
_NEEDED_BYTES = 9 * (1 << 30)


@dataclass(slots=True)
class Run:
    """What was asked for, and what has come of it so far."""

    rounds: int
    rows: list[str]
    peers: list[str]
    divide: int
    work: Path
    figures: list[Figure] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    @property
    def sizes(self) -> Sizes:
        return Sizes().divided(self.divide) if self.divide > 1 else Sizes()

    def all_rounds(self) -> None:
        for number in range(1, self.rounds + 1):
            material = Material(source=self.work / "source", sizes=self.sizes, round=number)
            for figure in disk_alone(self.work / "alone", material, frozenset(self.rows)):
                self.note(figure)
            shutil.rmtree(self.work / "alone", ignore_errors=True)
            for row in self.rows:
                if row != "scale" or number == 1:
                    self.one_row(row, material)
            material.forget()

    def one_row(self, row: str, material: Material) -> None:
        scenario, whose = SCENARIOS[row]
        # Each round begins with another peer, so that a slow trend of the machine meets all alike.
        first = material.round % len(self.peers)
        for peer in self.peers[first:] + self.peers[:first]:
            if peer in whose:
                for outcome in outcomes(PEERS[peer](self.work / "pair"), row, scenario, material):
                    self.note(outcome)
                shutil.rmtree(self.work / "pair", ignore_errors=True)

    def note(self, outcome: Figure | Failure) -> None:
        if isinstance(outcome, Figure):
            self.figures.append(outcome)
            print(f"  round {outcome.round}  {outcome.row:<28}{outcome.peer:<10}{report.seconds(outcome.wall_s):>9} s")
        else:
            self.failures.append(outcome)
            print("\n".join(report.failure_lines([outcome])))
        sys.stdout.flush()


def outcomes(pair: Pair, row: str, scenario: Scenario, material: Material) -> Iterator[Figure | Failure]:
    """Everything one peer does in one scenario; what it could not do is an outcome too."""
    try:
        pair.start()
        yield from scenario(pair, material)
    except Undone as error:
        yield Failure(row=row, peer=pair.name, round=material.round, why=str(error))
    finally:
        pair.stop()


def machine(versions: dict[str, str], run: Run) -> dict[str, object]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return {
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "peers": versions,
        "rounds": run.rounds,
        "rows": run.rows,
        "sizes": {name: getattr(run.sizes, name) for name in Sizes.__slots__},
    }


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", default="all", help=f"some of {','.join(SCENARIOS)}")
    parser.add_argument("--peers", default="all", help=f"some of {','.join(PEERS)}")
    parser.add_argument("--divide", type=int, default=1, help="send only a part of it, to try the bench itself")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "bench", help="where, on the disk to be measured")
    parser.add_argument("--json", type=Path, help="default: benchmarks/results/<time>.json")
    return parser.parse_args(argv)


def chosen(said: str, known: Sequence[str], what: str) -> list[str]:
    """What was asked for, in the order known; ends the program where a word is not."""
    if said == "all":
        return list(known)
    asked = [word.strip() for word in said.split(",") if word.strip()]
    if unknown := [word for word in asked if word not in known]:
        raise SystemExit(f"{what}: {', '.join(unknown)} is none of {', '.join(known)}")
    return [word for word in known if word in asked]


def available(asked: Sequence[str]) -> dict[str, str]:
    """The versions of the peers that are installed; says of the others that they do not run."""
    found = {}
    for peer in asked:
        version = VERSIONS[peer]()
        if version is None:
            print(f"{peer} is not installed: it does not run, and what is held against it is not measured")
        else:
            found[peer] = version
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """0; 1 where something that was delivered is not what was sent, or where Harp did not deliver it at all."""
    asked = arguments(argv)
    versions = available(chosen(asked.peers, list(PEERS), "peers"))
    if not versions:
        raise SystemExit("nothing to measure: none of the peers is installed")
    work: Path = asked.work / str(os.getpid())
    work.mkdir(parents=True)
    if asked.divide == 1 and shutil.disk_usage(work).free < _NEEDED_BYTES:
        print(f"{work} has less than {_NEEDED_BYTES >> 30} GiB free: expect failures", file=sys.stderr)
    run = Run(
        rounds=asked.rounds,
        rows=chosen(asked.rows, list(SCENARIOS), "rows"),
        peers=list(versions),
        divide=asked.divide,
        work=work,
    )
    about = machine(versions, run)
    print(", ".join(f"{peer}: {version}" for peer, version in versions.items()))
    try:
        run.all_rounds()
    finally:
        shutil.rmtree(work, ignore_errors=True)
    conclude(run, about, asked.json)
    return 1 if any(failure.is_wrong or failure.peer == "Harp" for failure in run.failures) else 0


def conclude(run: Run, about: dict[str, object], target: Path | None) -> None:
    """Print the table and everything under it, and write the JSON."""
    medians = summaries(run.figures)
    judged = verdicts(medians) if run.divide == 1 else []
    print(f"\n{about['cpu']}, {about['cores']} cores, Linux {about['kernel']}, rounds: {run.rounds}; medians\n")
    if run.divide > 1:
        print(f"Only 1/{run.divide} of everything was sent: this tries the bench, and says nothing about the peers.\n")
    print(report.table(medians))
    sections = {
        "also": report.extra_lines(medians),
        "goals": report.goal_lines(judged),
        "more on the loopback than was counted": report.loopback_lines(run.figures),
        "failed": report.failure_lines(run.failures),
    }
    for title, lines in sections.items():
        if found := list(lines):
            print(f"\n{title}:", *found, sep="\n")
    target = target or ROOT / "benchmarks" / "results" / f"{str(about['at'])[:19].replace(':', '')}Z.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(report.document(about, run.figures, run.failures, medians, judged), indent=1))
    print(f"\n{target}")


if __name__ == "__main__":
    sys.exit(main())
