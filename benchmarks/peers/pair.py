# SPDX-License-Identifier: AGPL-3.0-or-later
"""The port: two folders that one program keeps the same, and what the bench may ask of it."""

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.processes import Running


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What was just put into folder A, and what B holds once it is done.

    ``file``: the single file that was written, relative to the folder; None for a tree. ``files``: how many files the
    whole folder then has.
    """

    file: str | None
    files: int


class Pair(Protocol):
    """Two sides on loopback, freshly made, connected and idle once :meth:`start` returns.

    Every method may raise :class:`benchmarks.figures.Undone`.
    """

    name: str
    folder_a: Path
    folder_b: Path
    staging: Path
    """On the disk of ``folder_a``, outside of it: what is prepared here is renamed into A."""

    def start(self) -> None: ...

    def done_at(self, change: Change, *, deadline_s: float) -> float:
        """Wait until B durably has what lies in A; the monotonic time of that."""
        ...

    def cpu_s(self) -> float:
        """Processor seconds of both sides so far."""
        ...

    def peak_rss(self) -> tuple[int, ...]: ...

    def forget_peak(self) -> None: ...

    def wire_bytes(self) -> int | None:
        """Bytes of both directions so far, by the program's own count."""
        ...

    def stop(self) -> None: ...


class TwoSides:
    """What all pairs have: a place of their own, and at most two daemons that can be counted."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.folder_a = place / "a"
        self.folder_b = place / "b"
        self.staging = place / "staging"
        self.daemons: list[Running] = []
        for folder in (self.folder_a, self.folder_b, self.staging):
            folder.mkdir(parents=True)

    def cpu_s(self) -> float:
        return sum(daemon.cpu_s() for daemon in self.daemons)

    def peak_rss(self) -> tuple[int, ...]:
        return tuple(daemon.peak_rss_bytes() for daemon in self.daemons)

    def forget_peak(self) -> None:
        for daemon in self.daemons:
            daemon.forget_peak()

    def check_alive(self) -> None:
        for daemon in self.daemons:
            daemon.check_alive()

    def stop(self) -> None:
        for daemon in self.daemons:
            daemon.stop()


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listened on just now."""
    doors = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [door.getsockname()[1] for door in doors]
    for door in doors:
        door.close()
    return ports
