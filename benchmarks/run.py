# SPDX-License-Identifier: AGPL-3.0-or-later
"""What all runs have in common: who takes part, on which machine, and where the outcome goes."""

import datetime
import json
import os
import platform
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.figures import Failure, Figure

ROOT = Path(__file__).resolve().parents[1]


def chosen(said: str, known: Sequence[str], what: str) -> list[str]:
    """What was asked for, in the order known; ends the program where a word is not."""
    if said == "all":
        return list(known)
    asked = [word.strip() for word in said.split(",") if word.strip()]
    if unknown := [word for word in asked if word not in known]:
        raise SystemExit(f"{what}: {', '.join(unknown)} is none of {', '.join(known)}")
    return [word for word in known if word in asked]


def available(asked: Sequence[str], versions: Mapping[str, Callable[[], str | None]]) -> dict[str, str]:
    """The versions of the peers that are installed; says of the others that they do not run."""
    found = {}
    for peer in asked:
        version = versions[peer]()
        if version is None:
            print(f"{peer} is not installed: it does not run, and what is held against it is not measured")
        else:
            found[peer] = version
    return found


def machine(versions: Mapping[str, str], rounds: int, rows: Sequence[str], sizes: Any) -> dict[str, object]:
    """Where, with whom and how much; ``sizes`` is a dataclass with slots."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return {
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "peers": dict(versions),
        "rounds": rounds,
        "rows": list(rows),
        "sizes": {name: getattr(sizes, name) for name in sizes.__slots__},
    }


def note(outcome: Figure | Failure, figures: list[Figure], failures: list[Failure]) -> None:
    """Say it at once, and keep it."""
    if isinstance(outcome, Figure):
        figures.append(outcome)
        print(f"  round {outcome.round}  {outcome.row:<36}{outcome.peer:<10}{report.seconds(outcome.wall_s):>9} s")
    else:
        failures.append(outcome)
        print("\n".join(report.failure_lines([outcome])))
    sys.stdout.flush()


def print_sections(sections: Mapping[str, Iterable[str]]) -> None:
    """What stands under the table; a title without lines is left out."""
    for title, lines in sections.items():
        if found := list(lines):
            print(f"\n{title}:", *found, sep="\n")


def write(target: Path | None, about: Mapping[str, object], document: Mapping[str, object], prefix: str = "") -> None:
    """The JSON; by default into `benchmarks/results`, named by the time."""
    target = target or ROOT / "benchmarks" / "results" / f"{prefix}{str(about['at'])[:19].replace(':', '')}Z.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(document, indent=1))
    print(f"\n{target}")


def exit_code(failures: Sequence[Failure]) -> int:
    """1 where something that was delivered is not what was sent, or where Harp did not deliver it at all."""
    return 1 if any(failure.is_wrong or failure.peer == "Harp" for failure in failures) else 0
