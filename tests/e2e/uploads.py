# SPDX-License-Identifier: AGPL-3.0-or-later
"""How long many small files take from a device into Nextcloud, by Harp's mirror and by Nextcloud's own client.

``NEXTCLOUD=/path/to/tree python -m tests.e2e.uploads``, which ``make e2e`` runs after the tests. In each round each of
both sends a tree of its own into an empty folder of one account, in turn who is first; it prints Markdown. The ratio is
the median of the rounds' own ratios: on a machine that does other work it means more than the times. Harp Bridge is
enabled, but with ``--plain``.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.figures import Undone
from tests.e2e import cloud, database, mirrored
from tests.e2e.cloud import Cloud, Person

FILE_BYTES = 4096
SHAPES = {"in ten new folders": 10, "in a folder that was there before": 0}
GOALS = {"in ten new folders": "at most 0.7"}


def _tree(at: Path, files: int, folders: int) -> None:
    for number in range(files):
        folder = at / f"{number % folders}" if folders else at
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:05}.bin").write_bytes(os.urandom(FILE_BYTES))


def by_harp(on: Cloud, person: Person, folder: Path, top: str) -> float:
    """Seconds, from logging in to the walk that finds both sides the same."""
    files = len(mirrored.content(folder))

    async def settled() -> None:
        async with mirrored.opened(on.url, person, folder, top) as mirror:
            await mirror.settle()
            agreed = sum(not one.is_directory for one in mirror.agreed.values())
            if agreed != files or mirror.problems:
                raise Undone(f"{agreed} of {files} files are there: {mirror.problems}")

    begun = time.perf_counter()
    asyncio.run(settled())
    return time.perf_counter() - begun


def by_client(on: Cloud, person: Person, folder: Path, top: str) -> float:
    """Seconds of one run of ``nextcloudcmd``."""
    begun = time.perf_counter()
    mirrored.nextcloudcmd(on, person, folder, top)
    return time.perf_counter() - begun


def _row(on: Cloud, work: Path, shape: str, files: int, rounds: int) -> str:
    person = on.person("alice")
    ways: dict[str, Callable[[Cloud, Person, Path, str], float]] = {"client": by_client, "harp": by_harp}
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(rounds):
        for way in sorted(ways, reverse=turn % 2 == 1):
            top = f"{way}-{SHAPES[shape]}-{turn}"
            _tree(work / top, files, SHAPES[shape])
            mirrored.make_folder(on, person, top)
            taken[way].append(ways[way](on, person, work / top, top))
            print(f"{top}: {taken[way][-1]:.1f} s", file=sys.stderr, flush=True)
    ratio = statistics.median(harp / client for harp, client in zip(taken["harp"], taken["client"], strict=True))
    client, harp = (statistics.median(taken[way]) / files * 1000 for way in ("client", "harp"))
    return f"| {files:,} files {shape} | {client:.1f} ms | {harp:.1f} ms | {ratio:.2f} | {GOALS.get(shape, '')} |"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.uploads", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--plain", action="store_true", help="a Nextcloud without Harp Bridge")
    asked = parser.parse_args()
    if reason := cloud.why_not() or mirrored.why_no_client():
        print(reason, file=sys.stderr)
        return 2
    with cloud.opened(Path(os.environ["NEXTCLOUD"]), apps=()) as on, tempfile.TemporaryDirectory() as work:
        if not asked.plain:
            on.install_app(Path(__file__).resolve().parents[2] / "harpbridge")
        print(
            f"Nextcloud {on.version} {'without' if asked.plain else 'with'} Harp Bridge, {os.cpu_count()} cores, "
            f"{cloud.WORKERS} PHP processes, {database.title()}; a file's share\n"
        )
        print(f"| {FILE_BYTES // 1024} KiB each | nextcloudcmd | Harp | ratio | goal |")
        print("| --- | ---: | ---: | ---: | --- |")
        for shape in SHAPES:
            print(_row(on, Path(work), shape, asked.files, asked.rounds), flush=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Undone as why:
        sys.exit(str(why))
