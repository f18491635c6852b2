# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the disk itself takes in the same round: `cp` and `dd conv=fsync`, without any peer."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import content
from benchmarks.figures import Figure
from benchmarks.scenarios import MANY, NEW, Material


def disk_alone(place: Path, material: Material, names: frozenset[str]) -> Iterator[Figure]:
    """The figures of `cp`, of `cp` and `sync -f`, and of `dd conv=fsync`, for the rows that are run."""
    place.mkdir(parents=True)
    if "big" in names:
        source, target = material.big(), place / "copy"
        yield from _copied(NEW, material, source, target)
        target.unlink()
        argv = ["dd", f"if={source}", f"of={target}", "bs=1M", "conv=fsync", "status=none"]
        content.settle(place)
        yield Figure(row=NEW, peer="dd fsync", round=material.round, wall_s=_duration_s(argv))
        target.unlink()
    if "many" in names:
        yield from _copied(MANY, material, material.many(), place / "tree")


def _copied(row: str, material: Material, source: Path, target: Path) -> Iterator[Figure]:
    content.settle(target.parent)
    copy_s = _duration_s(["cp", "-r", str(source), str(target)])
    sync_s = _duration_s(["sync", "-f", str(target)])
    yield Figure(row=row, peer="cp", round=material.round, wall_s=copy_s)
    yield Figure(row=row, peer="cp + sync", round=material.round, wall_s=copy_s + sync_s)


def _duration_s(argv: list[str]) -> float:
    started = time.monotonic()
    subprocess.run(argv, check=True)
    return time.monotonic() - started
