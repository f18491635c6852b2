# SPDX-License-Identifier: AGPL-3.0-or-later
"""Harp: daemons joined by a ticket, driven by its command line only; two of them on loopback."""

import atexit
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import harp
from benchmarks.figures import Undone
from benchmarks.lab.namespace import Namespace
from benchmarks.peers.pair import Change, TwoSides
from benchmarks.processes import Running, wait_until

PACKAGE = Path(harp.__file__).parent
_PROGRAM = Path(sys.executable).with_name("harp")


@functools.cache
def frozen(package: Path) -> Path:
    """A copy of Harp as it is when the run begins: what is edited meanwhile is neither measured nor stumbled over."""
    copy = Path(tempfile.mkdtemp(prefix="harp-bench-"))
    copy.chmod(0o755)  # a hub is another user's
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    shutil.copytree(package, copy / package.name)
    return copy


def _environment() -> dict[str, str]:
    return {"PYTHONPATH": str(frozen(PACKAGE))}


@dataclass(slots=True)
class Side:
    """One device, in this network with a port of its own, or in a namespace as it is by default.

    In a namespace its daemon is ``user``'s, where that is given. ``settings`` are those of ``harp config``.
    """

    home: Path
    folder: Path
    listen: str = "127.0.0.1:0"
    namespace: Namespace | None = None
    user: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)

    def up(self, *path: str) -> Running:
        """Start its daemon and wait until it answers; one that ran before listens where it did."""
        argv = [str(_PROGRAM), "up", *path, "--home", str(self.home)]
        if self.namespace is None:
            argv += ["--listen", self.listen, "--no-discovery"]
        said = {"device_name": self.home.name, **self.settings}
        env = {**_environment(), **{f"HARP_{name.upper()}": value for name, value in said.items()}}
        log = self.home.with_name(f"{self.home.name}.log")
        daemon = Running(argv, log=log, env=env, namespace=self.namespace, user=self.user)

        def answers() -> bool:
            daemon.check_alive()
            try:
                self.listen = self.ask("status")["device"]["listen"] or self.listen
            except (Undone, ValueError):
                return False
            return True

        try:
            wait_until(answers, deadline_s=60, every_s=0.1, what="a daemon that answers")
        except Undone:
            daemon.stop()
            raise
        return daemon

    def run(self, *words: str, timeout_s: float = 60.0, typed: str = "") -> str:
        """One command against this side's daemon; what it printed. Raises :class:`Undone` with its last words."""
        argv = [str(_PROGRAM), *words, "--home", str(self.home)]
        try:
            said = subprocess.run(
                argv,
                input=typed,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
                env=os.environ | _environment(),
            )
        except subprocess.TimeoutExpired as error:
            raise Undone(f"harp {words[0]}: no answer within {timeout_s:.0f} s") from error
        if said.returncode != 0:
            text = " ".join((said.stderr or said.stdout).split())[-300:]
            raise Undone(f"harp {words[0]} ended with {said.returncode}: {text}")
        return said.stdout

    def ask(self, *words: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run(*words, "--json"))
        return found

    def the_folder(self) -> str:
        """The id of its only folder."""
        [folder] = self.ask("folders")["folders"]
        return str(folder["id"])

    def invites(self, folder: str) -> str:
        """A ticket."""
        return str(self.ask("invite", folder)["ticket"])

    def connected(self) -> int:
        """To how many devices it is connected just now."""
        return sum(bool(peer["is_connected"]) for peer in self.ask("peers")["peers"])


class HarpPair(TwoSides):
    """Done: `harp wait` at A has returned, which promises that B has it durably. Default settings, no discovery."""

    name = "Harp"

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        # Short names: the path of a Unix socket has at most 107 bytes.
        self.a = Side(place / "ha", self.folder_a)
        self.b = Side(place / "hb", self.folder_b)

    @staticmethod
    def version() -> str | None:
        try:
            said = subprocess.run([str(_PROGRAM), "--version"], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return None
        return said.stdout.strip() or "harp"

    def start(self) -> None:
        self.daemons.append(self.a.up(str(self.a.folder)))
        self.daemons.append(self.b.up())
        self._folder = self.a.the_folder()
        self.b.run("join", self.a.invites(self._folder), str(self.b.folder))
        wait_until(self._is_ready, deadline_s=60, every_s=0.2, what="two connected daemons")
        self.a.run("wait", self._folder, "--timeout", "60")

    def restart_a(self) -> float:
        """End A's daemon and start it again; the monotonic time of the start."""
        self.a.run("down")
        self.daemons[0].stop()
        at = time.monotonic()
        self.daemons[0] = self.a.up()
        return at

    def _is_ready(self) -> bool:
        self.check_alive()
        return all(side.connected() for side in (self.a, self.b))

    def done_at(self, change: Change, *, deadline_s: float) -> float:
        self.check_alive()
        self.a.run("wait", self._folder, "--timeout", f"{deadline_s:.0f}", timeout_s=deadline_s + 30)
        return time.monotonic()

    def wire_bytes(self) -> int | None:
        status = self.a.ask("status")
        return int(status["bytes_in"]) + int(status["bytes_out"])
