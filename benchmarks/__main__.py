# SPDX-License-Identifier: AGPL-3.0-or-later
"""One run: for each round and each piece of work, the peers in turn; then the table, the goals and the JSON."""

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import report, run
from benchmarks.baselines import disk_alone
from benchmarks.figures import Failure, Figure, Undone, summaries
from benchmarks.goals import GOALS, verdicts
from benchmarks.peers.harp import HarpPair
from benchmarks.peers.pair import Pair
from benchmarks.peers.rsync import RsyncPair
from benchmarks.peers.syncthing import SyncthingPair
from benchmarks.scenarios import SCENARIOS, Material, Scenario, Sizes

PEERS: dict[str, Callable[[Path], Pair]] = {"Harp": HarpPair, "Syncthing": SyncthingPair, "rsync": RsyncPair}
VERSIONS = {"Harp": HarpPair.version, "Syncthing": SyncthingPair.version, "rsync": RsyncPair.version}
_NEEDED_BYTES = 9 * (1 << 30)


@dataclass(slots=True)
class Bench:
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
                run.note(figure, self.figures, self.failures)
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
                    run.note(outcome, self.figures, self.failures)
                shutil.rmtree(self.work / "pair", ignore_errors=True)


def outcomes(pair: Pair, row: str, scenario: Scenario, material: Material) -> Iterator[Figure | Failure]:
    """Everything one peer does in one scenario; what it could not do is an outcome too."""
    try:
        pair.start()
        yield from scenario(pair, material)
    except Undone as error:
        yield Failure(row=row, peer=pair.name, round=material.round, why=str(error))
    finally:
        pair.stop()


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", default="all", help=f"some of {','.join(SCENARIOS)}")
    parser.add_argument("--peers", default="all", help=f"some of {','.join(PEERS)}")
    parser.add_argument("--divide", type=int, default=1, help="send only a part of it, to try the bench itself")
    parser.add_argument(
        "--work", type=Path, default=run.ROOT / "build" / "bench", help="where, on the disk to be measured"
    )
    parser.add_argument("--json", type=Path, help="default: benchmarks/results/<time>.json")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """0; 1 where something that was delivered is not what was sent, or where Harp did not deliver it at all."""
    asked = arguments(argv)
    versions = run.available(run.chosen(asked.peers, list(PEERS), "peers"), VERSIONS)
    if not versions:
        raise SystemExit("nothing to measure: none of the peers is installed")
    work: Path = asked.work / str(os.getpid())
    work.mkdir(parents=True)
    if asked.divide == 1 and shutil.disk_usage(work).free < _NEEDED_BYTES:
        print(f"{work} has less than {_NEEDED_BYTES >> 30} GiB free: expect failures", file=sys.stderr)
    bench = Bench(
        rounds=asked.rounds,
        rows=run.chosen(asked.rows, list(SCENARIOS), "rows"),
        peers=list(versions),
        divide=asked.divide,
        work=work,
    )
    about = run.machine(versions, bench.rounds, bench.rows, bench.sizes)
    print(", ".join(f"{peer}: {version}" for peer, version in versions.items()))
    try:
        bench.all_rounds()
    finally:
        shutil.rmtree(work, ignore_errors=True)
    conclude(bench, about, asked.json)
    return run.exit_code(bench.failures)


def conclude(bench: Bench, about: dict[str, object], target: Path | None) -> None:
    """Print the table and everything under it, and write the JSON."""
    medians = summaries(bench.figures)
    judged = verdicts(medians, GOALS) if bench.divide == 1 else []
    print(f"\n{about['cpu']}, {about['cores']} cores, Linux {about['kernel']}, rounds: {bench.rounds}; medians\n")
    if bench.divide > 1:
        print(f"Only 1/{bench.divide} of everything was sent: that tries the bench and says nothing of the peers.\n")
    print(report.table(medians))
    run.print_sections(
        {
            "also": report.extra_lines(medians),
            "goals": report.goal_lines(judged),
            "more on the loopback than was counted": report.loopback_lines(bench.figures),
            "failed": report.failure_lines(bench.failures),
        }
    )
    run.write(target, about, report.document(about, bench.figures, bench.failures, medians, judged))


if __name__ == "__main__":
    sys.exit(main())
