# SPDX-License-Identifier: AGPL-3.0-or-later
"""Syncthing: two instances on loopback that know each other, told nothing of the world; asked by its REST API."""

import json
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.content import is_same_file
from benchmarks.figures import Undone
from benchmarks.peers.pair import Change, TwoSides, free_ports
from benchmarks.processes import Running, last_words, wait_until

_KEY = "bench"
_FOLDER = "bench"

# Left out is what is good as it is: Syncthing fills in its defaults. The watcher delay is its lowest (default 10).
_CONFIG = """<configuration version="36">
  <folder id="{folder}" path="{path}" type="sendreceive" rescanIntervalS="3600"
          fsWatcherEnabled="true" fsWatcherDelayS="1">
    <device id="{own_id}"/><device id="{peer_id}"/>
  </folder>
  <device id="{own_id}" name="own"><address>dynamic</address></device>
  <device id="{peer_id}" name="peer"><address>tcp://127.0.0.1:{peer_port}</address></device>
  <gui enabled="true" tls="false"><address>127.0.0.1:{gui_port}</address><apikey>{key}</apikey></gui>
  <options>
    <listenAddress>tcp://127.0.0.1:{port}</listenAddress>
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
class Side:
    home: Path
    folder: Path
    device_id: str
    port: int
    gui_port: int

    def ask(self, question: str) -> dict[str, Any]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.gui_port}/rest/{question}", headers={"X-API-Key": _KEY}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
            return found


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
        self._a = self._new_side("home-a", self.folder_a, *ports[:2])
        self._b = self._new_side("home-b", self.folder_b, *ports[2:])
        for own, peer in ((self._a, self._b), (self._b, self._a)):
            self._configure(own, peer)
            argv = ["syncthing", "serve", f"--home={own.home}", "--no-browser", "--no-restart", "--no-upgrade"]
            self.daemons.append(Running(argv, log=own.home / "log", env={"STNODEFAULTFOLDER": "1"}))
        wait_until(self._is_ready, deadline_s=60, every_s=0.1, what="two connected instances")

    def _new_side(self, name: str, folder: Path, port: int, gui_port: int) -> Side:
        home = self.place / name
        argv = ["syncthing", "generate", f"--home={home}", "--no-default-folder", "--skip-port-probing"]
        said = subprocess.run(argv, capture_output=True, text=True, check=False)
        found = re.search(r"(?:[A-Z2-7]{7}-){7}[A-Z2-7]{7}", said.stdout + said.stderr)
        if found is None:
            raise Undone(f"syncthing generate: {said.stderr.strip()[-200:]}")
        return Side(home, folder, found[0], port, gui_port)

    def _configure(self, own: Side, peer: Side) -> None:
        (own.folder / ".stfolder").mkdir()
        text = _CONFIG.format(
            folder=_FOLDER,
            path=own.folder,
            own_id=own.device_id,
            peer_id=peer.device_id,
            port=own.port,
            peer_port=peer.port,
            gui_port=own.gui_port,
            key=_KEY,
        )
        (own.home / "config.xml").write_text(text)

    def _is_ready(self) -> bool:
        self.check_alive()
        try:
            return all(
                side.ask("system/connections")["connections"][peer.device_id]["connected"]
                and side.ask(f"db/status?folder={_FOLDER}")["state"] == "idle"
                for side, peer in ((self._a, self._b), (self._b, self._a))
            )
        except (OSError, KeyError, json.JSONDecodeError):
            return False

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
