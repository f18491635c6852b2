# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whoever is measured in an office: a device in the cloud and some in the office, each with the same folder."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from benchmarks.figures import Undone
from benchmarks.lab.site import Host, Lab
from benchmarks.peers.harp import Side
from benchmarks.peers.syncthing import Instance
from benchmarks.processes import Running, wait_until

_START_S = 120.0


class Fleet(ABC):
    """Device 0 is the cloud's, device ``n`` the office's n-th. ``folders`` are in that order.

    Every method may raise :class:`benchmarks.figures.Undone`.
    """

    name: str

    def __init__(self, place: Path, lab: Lab) -> None:
        self.lab = lab
        self.place = place
        self.hosts: list[Host] = [lab.cloud, *lab.site.hosts]
        self.folders = [place / f"folder{index}" for index in range(len(self.hosts))]
        self.staging = place / "staging"
        """On the same disk: what is prepared here is renamed into a folder."""
        self.staging.mkdir(parents=True)
        self.daemons: list[Running] = []

    @staticmethod
    def why_not() -> str:
        """Why it cannot run here; empty if it can."""
        return ""

    @abstractmethod
    def start(self, offices: int) -> None:
        """The cloud and so many of the office are there, know each other, are connected and idle."""

    @abstractmethod
    def restart(self) -> None:
        """All that run are ended and started again; returns when they are connected."""

    def put_in(self, prepared: Path, name: str) -> None:
        """The cloud's folder has what is prepared under that name."""
        prepared.rename(self.folders[0] / name)

    def cpu_s(self) -> float:
        return sum(daemon.cpu_s() for daemon in self.daemons)

    def check_alive(self) -> None:
        for daemon in self.daemons:
            daemon.check_alive()

    def end_daemons(self) -> None:
        for daemon in self.daemons:
            daemon.stop()
        self.daemons.clear()

    def stop(self) -> None:
        """It is over: nothing of it runs any longer."""
        self.end_daemons()

    def until(self, is_so: Callable[[], bool], what: str) -> None:
        def alive_and_so() -> bool:
            self.check_alive()
            return is_so()

        wait_until(alive_and_so, deadline_s=_START_S, every_s=0.1, what=f"{self.name}: {what}")


class HarpFleet(Fleet):
    """Harp with its default settings; all join by the cloud's tickets and find each other by themselves."""

    name = "Harp"

    def __init__(self, place: Path, lab: Lab) -> None:
        super().__init__(place, lab)
        # Short names: the path of a Unix socket has at most 107 bytes.
        self.sides = [
            Side(place / f"h{index}", folder, namespace=host.namespace)
            for index, (folder, host) in enumerate(zip(self.folders, self.hosts, strict=True))
        ]
        self._folder = ""

    def start(self, offices: int) -> None:
        self.daemons.append(self.sides[0].up(str(self.folders[0])))
        self._folder = self.sides[0].the_folder()
        for index in range(1, offices + 1):
            self.join(index)
        self._connected()

    def join(self, index: int) -> None:
        """Device ``index`` starts and joins; returns as soon as it is a member."""
        self.daemons.append(self.sides[index].up())
        self.redeem(index, self.ticket())

    def ticket(self) -> str:
        return self.sides[0].invites(self._folder)

    def redeem(self, index: int, ticket: str) -> None:
        self.sides[index].run("join", ticket, str(self.folders[index]))

    def restart(self) -> None:
        running = self.sides[: len(self.daemons)]
        self.end_daemons()
        self.daemons.extend(side.up() for side in running)
        self._connected()

    def _connected(self) -> None:
        others = len(self.daemons) - 1
        for side in self.sides[: len(self.daemons)]:
            self.until(lambda side=side: side.connected() >= others, f"{side.home.name} is linked to all")  # type: ignore[misc]


class SyncthingFleet(Fleet):
    """Syncthing; those of the office are told the addresses of all others. The cloud cannot dial into the office."""

    name = "Syncthing"
    _PORT, _GUI_PORT = 22_000, 8384

    def start(self, offices: int) -> None:
        self._instances = [
            Instance.made(
                self.place / f"h{index}",
                self.folders[index],
                f"{self.hosts[index].address}:{self._PORT}",
                self._GUI_PORT,
                self.hosts[index].namespace,
            )
            for index in range(offices + 1)
        ]
        for instance in self._instances:
            # Two that dial each other from the ports they listen on meet half-way, and neither is the server.
            instance.configure(self._others(instance), dials=instance is not self._instances[0])
        self._up()

    def restart(self) -> None:
        self.end_daemons()
        self._up()

    def _up(self) -> None:
        # The cloud first: one that was refused at its first attempt tries again seconds later.
        for instance in self._instances:
            self.daemons.append(instance.up())
            self.until(instance.answers, "its REST API")
        for instance in self._instances:
            self.until(lambda one=instance: one.is_ready(self._others(one)), "all connected")  # type: ignore[misc]

    def _others(self, one: Instance) -> list[Instance]:
        return [instance for instance in self._instances if instance is not one]


def seen_at(fleet: Fleet, *, source: int, names: list[str], deadline_s: float) -> list[float]:
    """The monotonic time at which each running device but ``source`` shows all files of those names as the source has
    them, by size and mtime; in the order of devices, with the source's own left out."""
    wanted = {}
    for name in names:
        info = (fleet.folders[source] / name).stat()
        wanted[name] = (info.st_size, info.st_mtime_ns)
    running = [index for index in range(len(fleet.daemons)) if index != source]
    missing = {index: list(names) for index in running}
    seen: dict[int, float] = {}
    deadline = time.monotonic() + deadline_s
    while len(seen) < len(running):
        for index, pending in missing.items():
            while pending and _form(fleet.folders[index] / pending[-1]) == wanted[pending[-1]]:
                pending.pop()
            if not pending:
                seen.setdefault(index, time.monotonic())
        if time.monotonic() > deadline:
            fleet.check_alive()
            carried = fleet.lab.site.wan.traffic()
            raise Undone(
                f"{len(seen)} of {len(running)} devices have it after {deadline_s:.0f} s; "
                f"the line carried {carried.down / 1e6:.1f} MB down, {carried.up / 1e6:.1f} MB up"
            )
        time.sleep(0.002)
    return [seen[index] for index in running]


def _form(path: Path) -> tuple[int, int] | None:
    try:
        info = path.stat()
    except FileNotFoundError:
        return None
    return info.st_size, info.st_mtime_ns
