# SPDX-License-Identifier: AGPL-3.0-or-later
"""Syncthing: instances that know each other, told nothing of the world, asked by their REST API; two on loopback."""

import contextlib
import json
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.content import is_same_file
from benchmarks.figures import Undone
from benchmarks.lab.namespace import Namespace
from benchmarks.peers.pair import Change, TwoSides, free_ports
from benchmarks.processes import Running, last_words, wait_until

_KEY = "bench"
_FOLDER = "bench"

# Left out is what is good as it is: Syncthing fills in its defaults. The watcher delay is its lowest (default 10).
_CONFIG = """<configuration version="36">
  <folder id="{folder}" path="{path}" type="sendreceive" rescanIntervalS="3600"
          fsWatcherEnabled="true" fsWatcherDelayS="1">
    {members}
  </folder>
  {devices}
  <gui enabled="true" tls="false"><address>127.0.0.1:{gui_port}</address><apikey>{key}</apikey></gui>
  <options>
    <listenAddress>tcp://{address}</listenAddress>
    <globalAnnounceEnabled>false</globalAnnounceEnabled>
    <localAnnounceEnabled>false</localAnnounceEnabled>
    <relaysEnabled>false</relaysEnabled>
    <natEnabled>false</natEnabled>
    <startBrowser>false</startBrowser>
    <urAccepted>-1</urAccepted>
    <autoUpgradeIntervalH>0</autoUpgradeIntervalH>
    <crashReportingEnabled>false</crashReportingEnabled>
    <reconnectionIntervalS>1</reconnectionIntervalS>
    <setLowPriority>false</setLowPriority>
  </options>
</configuration>
"""


@dataclass(frozen=True, slots=True)
class Instance:
    """One device: where it listens (``HOST:PORT``), and the port of its REST API on the loopback."""

    home: Path
    folder: Path
    device_id: str
    address: str
    gui_port: int
    namespace: Namespace | None = None

    @staticmethod
    def made(home: Path, folder: Path, address: str, gui_port: int, namespace: Namespace | None = None) -> "Instance":
        """A new one, with a key of its own and nothing else."""
        argv = ["syncthing", "generate", f"--home={home}", "--no-default-folder", "--skip-port-probing"]
        said = subprocess.run(argv, capture_output=True, text=True, check=False)
        found = re.search(r"(?:[A-Z2-7]{7}-){7}[A-Z2-7]{7}", said.stdout + said.stderr)
        if found is None:
            raise Undone(f"syncthing generate: {said.stderr.strip()[-200:]}")
        (folder / ".stfolder").mkdir(parents=True)
        return Instance(home, folder, found[0], address, gui_port, namespace)

    def configure(self, peers: Sequence["Instance"], *, dials: bool = True) -> None:
        """Shares the folder with all of them, whose addresses it is told where it is to dial them."""
        everyone = [self, *peers]
        places = ["dynamic", *(f"tcp://{peer.address}" if dials else "dynamic" for peer in peers)]
        devices = (
            f'<device id="{one.device_id}" name="{one.home.name}"><address>{place}</address></device>'
            for one, place in zip(everyone, places, strict=True)
        )
        text = _CONFIG.format(
            folder=_FOLDER,
            path=self.folder,
            members="".join(f'<device id="{one.device_id}"/>' for one in everyone),
            devices="".join(devices),
            address=self.address,
            gui_port=self.gui_port,
            key=_KEY,
        )
        (self.home / "config.xml").write_text(text)

    def up(self) -> Running:
        argv = ["syncthing", "serve", f"--home={self.home}", "--no-browser", "--no-restart", "--no-upgrade"]
        log = self.home / "log"
        return Running(argv, log=log, env={"STNODEFAULTFOLDER": "1"}, namespace=self.namespace)

    def ask(self, question: str) -> dict[str, Any]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.gui_port}/rest/{question}", headers={"X-API-Key": _KEY}
        )
        place = self.namespace.entered() if self.namespace else contextlib.nullcontext()
        with place, urllib.request.urlopen(request, timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def answers(self) -> bool:
        """Its REST API, which comes up after its listener."""
        try:
            return bool(self.ask("system/ping"))
        except OSError:
            return False

    def is_ready(self, peers: Sequence["Instance"]) -> bool:
        """Connected to all of them, and idle."""
        try:
            connections = self.ask("system/connections")["connections"]
            return (
                all(connections[peer.device_id]["connected"] for peer in peers)
                and self.ask(f"db/status?folder={_FOLDER}")["state"] == "idle"
            )
        except (OSError, KeyError, json.JSONDecodeError):
            return False


class SyncthingPair(TwoSides):
    """Done: seen under its name at B with size and mtime (a tree: B's index counts all files and needs none).

    Syncthing calls fsync on each file and its folder before it counts it, so that is durable.
    """

    name = "Syncthing"

    @staticmethod
    def version() -> str | None:
        program = shutil.which("syncthing")
        if program is None:
            return None
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
        return " ".join(said.split()[:2]) or None

    def start(self) -> None:
        ports = free_ports(4)
        self._a = Instance.made(self.place / "home-a", self.folder_a, f"127.0.0.1:{ports[0]}", ports[1])
        self._b = Instance.made(self.place / "home-b", self.folder_b, f"127.0.0.1:{ports[2]}", ports[3])
        for own, peer in ((self._a, self._b), (self._b, self._a)):
            own.configure([peer])
            self.daemons.append(own.up())
        wait_until(self._is_ready, deadline_s=60, every_s=0.1, what="two connected instances")

    def _is_ready(self) -> bool:
        self.check_alive()
        return self._a.is_ready([self._b]) and self._b.is_ready([self._a])

    def done_at(self, change: Change, *, deadline_s: float) -> float:
        if change.file is None:
            return wait_until(
                lambda: self._has_all(change.files), deadline_s=deadline_s, every_s=0.1, what="the tree at B"
            )
        here, there = self.folder_a / change.file, self.folder_b / change.file
        at = wait_until(lambda: is_same_file(here, there), deadline_s=deadline_s, every_s=0.002, what="the file at B")
        wait_until(lambda: self._has_all(change.files), deadline_s=30, every_s=0.1, what="completion by the REST API")
        return at

    def _has_all(self, files: int) -> bool:
        self.check_alive()
        try:
            seen = self._b.ask(f"db/status?folder={_FOLDER}")
        except (OSError, json.JSONDecodeError) as error:
            raise Undone(f"REST API: {error}: {last_words(self._b.home / 'log')}") from error
        return bool(seen["localFiles"] == files and seen["needTotalItems"] == 0)

    def wire_bytes(self) -> int | None:
        total = self._a.ask("system/connections")["total"]
        return int(total["inBytesTotal"]) + int(total["outBytesTotal"])
