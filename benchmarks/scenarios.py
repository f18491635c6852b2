# SPDX-License-Identifier: AGPL-3.0-or-later
"""The work: what is put into folder A, and how long it takes until B has it. Each starts with a fresh pair."""

import dataclasses
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import content
from benchmarks.figures import GIB, MIB, Failure, Figure, Undone
from benchmarks.peers.harp import HarpPair
from benchmarks.peers.pair import Change, Pair
from benchmarks.processes import loopback_bytes

NEW = "1 GiB new"
EDIT = "1 MiB edit in 1 GiB"
INSERT = "1 byte before 256 MiB"
MANY = "10,000 x 4 KiB"
LATENCY = "1 KiB file"
FIRST_COPY = "100,000 x 1 KiB, first copy"
RESTART = "100,000 x 1 KiB, restart"

ROWS = (NEW, EDIT, INSERT, MANY, LATENCY, FIRST_COPY, RESTART)
"""In the order of the table."""

DEADLINE_S = 300.0
SAMPLES = 20
_POLL_S = 0.0002
_IDLE_SHARE = 0.02
_IDLE_WATCHED_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is sent; smaller only to try the bench itself."""

    big: int = GIB
    edit: int = MIB
    inserted: int = 256 * MIB
    many: int = 10_000
    many_size: int = 4096
    samples: int = SAMPLES
    scale: int = 100_000
    scale_size: int = 1024

    def divided(self, by: int) -> "Sizes":
        return Sizes(
            big=self.big // by,
            edit=max(1, self.edit // by),
            inserted=self.inserted // by,
            many=max(1, self.many // by),
            samples=max(3, self.samples // by),
            scale=max(1, self.scale // by),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What one round sends, the same bytes for each peer: ``source`` holds it, prepared once."""

    source: Path
    sizes: Sizes
    round: int

    def big(self) -> Path:
        return self._made("big", lambda path: content.random_file(path, self.sizes.big))

    def edited(self) -> Path:
        return self._made("edited", lambda path: content.edited_file(self.big(), path, self.sizes.edit))

    def inserted(self) -> Path:
        return self._made("inserted", lambda path: content.random_file(path, self.sizes.inserted))

    def prefixed(self) -> Path:
        return self._made("prefixed", lambda path: content.prefixed_file(self.inserted(), path))

    def many(self) -> Path:
        return self._made("many", lambda path: content.random_tree(path, self.sizes.many, self.sizes.many_size))

    def _made(self, name: str, make: Callable[[Path], object]) -> Path:
        path = self.source / name
        if not path.exists():
            self.source.mkdir(parents=True, exist_ok=True)
            make(path)
        return path

    def forget(self) -> None:
        shutil.rmtree(self.source, ignore_errors=True)


Outcome = Figure | Failure
Scenario = Callable[[Pair, Material], Iterator[Outcome]]


def timed(pair: Pair, row: str, material: Material, prepared: Path, change: Change) -> Outcome:
    """Rename what is prepared into A; from there to B durably having it; then compare every byte."""
    name = change.file or prepared.name
    content.settle(pair.staging)
    pair.forget_peak()
    cpu_s, wire, loopback = pair.cpu_s(), pair.wire_bytes(), loopback_bytes()
    started = time.monotonic()
    prepared.rename(pair.folder_a / name)
    done = pair.done_at(change, deadline_s=DEADLINE_S)
    cpu_s, loopback = pair.cpu_s() - cpu_s, loopback_bytes() - loopback
    peak = pair.peak_rss()
    wire_after = pair.wire_bytes()
    if differs := content.difference(pair.folder_a, pair.folder_b):
        return Failure(row=row, peer=pair.name, round=material.round, why=differs, is_wrong=True)
    return Figure(
        row=row,
        peer=pair.name,
        round=material.round,
        wall_s=done - started,
        cpu_s=cpu_s,
        peak_rss=peak,
        wire_bytes=None if wire is None or wire_after is None else wire_after - wire,
        loopback_bytes=loopback,
    )


def big_file(pair: Pair, material: Material) -> Iterator[Outcome]:
    """1 GiB, then 1 MiB in its middle."""
    one = Change(file="big", files=1)
    yield timed(pair, NEW, material, content.copied_file(material.big(), pair.staging / "new"), one)
    yield timed(pair, EDIT, material, content.copied_file(material.edited(), pair.staging / "edit"), one)


def insertion(pair: Pair, material: Material) -> Iterator[Outcome]:
    """256 MiB are there; then they come again, one byte further back."""
    one = Change(file="inserted", files=1)
    first = timed(pair, INSERT, material, content.copied_file(material.inserted(), pair.staging / "first"), one)
    if isinstance(first, Failure):
        yield first
        return
    yield timed(pair, INSERT, material, content.copied_file(material.prefixed(), pair.staging / "second"), one)


def many_files(pair: Pair, material: Material) -> Iterator[Outcome]:
    prepared = content.copied_tree(material.many(), pair.staging / "many")
    yield timed(pair, MANY, material, prepared, Change(file=None, files=material.sizes.many))


def latency(pair: Pair, material: Material) -> Iterator[Outcome]:
    """Small files, one after the other, at odd moments: from the close in A until the same bytes are seen at B."""
    moments = random.Random(material.round)
    for index in range(material.sizes.samples):
        time.sleep(moments.uniform(0.1, 0.4))
        name = f"note {index}.txt"
        said = os.urandom(1024)
        cpu_s, file = pair.cpu_s(), (pair.folder_a / name).open("wb", buffering=0)
        file.write(said)
        closed = time.monotonic()
        file.close()
        seen = _seen_at(pair.folder_b / name, len(said))
        if (pair.folder_b / name).read_bytes() != said:
            yield Failure(row=LATENCY, peer=pair.name, round=material.round, why="other bytes at B", is_wrong=True)
            return
        yield Figure(
            row=LATENCY, peer=pair.name, round=material.round, wall_s=seen - closed, cpu_s=pair.cpu_s() - cpu_s
        )


def _seen_at(path: Path, size: int) -> float:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if path.stat().st_size == size:
                return time.monotonic()
        except FileNotFoundError:
            pass
        time.sleep(_POLL_S)
    raise Undone(f"{path.name} is not at B after 60 s")


def scale(pair: Pair, material: Material) -> Iterator[Outcome]:
    """A folder of 100,000 files: the first copy, then a restart of the sender, then nothing at all for 20 s."""
    if not isinstance(pair, HarpPair):
        return
    prepared = pair.staging / "many"
    files = material.sizes.scale
    content.random_tree(prepared, files, material.sizes.scale_size)
    whole = Change(file=None, files=files)
    first = timed(pair, FIRST_COPY, material, prepared, whole)
    if isinstance(first, Failure):
        yield first
        return
    yield dataclasses.replace(first, extra={"files_per_s": files / first.wall_s})

    pair.daemons[0].forget_peak()
    started = pair.restart_a()
    done = pair.done_at(whole, deadline_s=DEADLINE_S)
    settled = _idle_since(pair)
    restart_cpu_s = pair.daemons[0].cpu_s()
    idle = _cpu_shares(pair, _IDLE_WATCHED_S)
    yield Figure(
        row=RESTART,
        peer=pair.name,
        round=material.round,
        wall_s=done - started,
        cpu_s=restart_cpu_s,
        peak_rss=pair.peak_rss(),
        extra={
            "idle_after_s": settled - started,
            "idle_cpu_share": max(idle),
            "idle_rss_bytes": float(max(daemon.rss_bytes() for daemon in pair.daemons)),
        },
    )


def _idle_since(pair: HarpPair) -> float:
    """The begin of the first second in which both daemons together use less than 2 % of a core."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        begin = time.monotonic()
        if sum(_cpu_shares(pair, 1.0)) < _IDLE_SHARE:
            return begin
    raise Undone(f"not idle within {DEADLINE_S:.0f} s")


def _cpu_shares(pair: HarpPair, seconds: float) -> list[float]:
    before = [daemon.cpu_s() for daemon in pair.daemons]
    begin = time.monotonic()
    time.sleep(seconds)
    elapsed = time.monotonic() - begin
    return [(daemon.cpu_s() - had) / elapsed for daemon, had in zip(pair.daemons, before, strict=True)]


SCENARIOS: dict[str, tuple[Scenario, frozenset[str]]] = {
    "latency": (latency, frozenset({"Harp", "Syncthing"})),
    "big": (big_file, frozenset({"Harp", "Syncthing", "rsync"})),
    "insert": (insertion, frozenset({"Harp", "Syncthing", "rsync"})),
    "many": (many_files, frozenset({"Harp", "Syncthing", "rsync"})),
    "scale": (scale, frozenset({"Harp"})),
}
"""By the name that ROWS takes: the work, and whose it is. `scale` is done in the first round only."""
