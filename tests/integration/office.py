# SPDX-License-Identifier: AGPL-3.0-or-later
"""An office of real daemons, on loopback or in a laboratory: each a process with a home and a folder of its own.

They are asked as a person asks.
"""

import contextlib
import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from benchmarks.lab.namespace import tied
from benchmarks.lab.site import Host
from harp.base.errors import HarpError, UsageError
from harp.bridge import model
from harp.cli.client import Client, at
from tests.fakes.ports import free_port
from tests.integration.nursery import Born, born

T = TypeVar("T")
SOON_S = 30.0
"""Ten times and more what anything here needs."""
NAME = "desk"


class Item(NamedTuple):
    """What two copies of a folder have to agree on, of one path. A directory's times and modes are not synced."""

    kind: str
    executable: bool = False
    mtime_ns: int = 0
    content: str = ""


def tree(folder: Path) -> dict[bytes, Item]:
    """All of a folder but Harp's own corner, by relative path."""
    top = os.fsencode(folder)
    found: dict[bytes, Item] = {}
    for directory, names, files in os.walk(top):
        if directory == top:
            names[:] = [name for name in names if name != b".harp"]
        for name in names + files:
            path = os.path.join(directory, name)
            found[os.path.relpath(path, top)] = _item(path)
    return found


def _item(path: bytes) -> Item:
    info = os.lstat(path)
    if stat.S_ISLNK(info.st_mode):
        return Item("symlink", content=os.readlink(path).hex())
    if stat.S_ISDIR(info.st_mode):
        return Item("directory")
    if not stat.S_ISREG(info.st_mode):
        return Item("other")
    return Item("file", bool(info.st_mode & 0o100), info.st_mtime_ns, f"{info.st_size} {_digest(path, info)}")


_digests: dict[bytes, tuple[tuple[int, int, int], str]] = {}
"""Of each file that was read: which file it was then, by inode, size and change, and the digest of its content."""
_TICK_NS = 100_000_000
"""Many times the kernel's grain of time: who writes twice within one leaves no trace of the second in the inode."""


def _digest(path: bytes, info: os.stat_result) -> str:
    """Read anew unless nothing has touched the file since it was read: nobody can set the time of an inode's change."""
    is_old = info.st_ctime_ns < time.time_ns() - _TICK_NS
    state = (info.st_ino, info.st_size, info.st_ctime_ns)
    if path in _digests and _digests[path][0] == state:
        return _digests[path][1]
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if is_old:
        _digests[path] = (state, digest)
    return digest


def until(holds: Callable[[], T], what: str, timeout_s: float = SOON_S) -> T:
    """The first true answer; fails with ``what`` if there is none in time.

    Whoever asks keeps others from working: a question that takes long is asked less often, up to ten times a second.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        asked = time.monotonic()
        found = holds()
        if found:
            return found
        answered = time.monotonic()
        assert answered < deadline, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(min(max(0.01, 9 * (answered - asked)), 0.1))


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str


class Desk:
    """One device: ``home``, ``folder``, and the daemon that may run for them, on a ``host`` of a laboratory or here."""

    def __init__(self, place: Path, name: str, settings: Mapping[str, str], host: Host | None = None) -> None:
        self.name = name
        self.host = host
        self.home = place / f"{name}-home"
        self.folder = place / name / NAME
        self.log = place / f"{name}.log"
        self.client = Client(self.home)
        self.process: subprocess.Popen[bytes] | Born | None = None
        self.program: Sequence[str] = ()
        """What is run as its daemon in place of ``harp``."""
        # The same at each start, as it is for people: peers come back to where they found it.
        self.listen = f"127.0.0.1:{free_port()}"
        # Most desks have no console: one that has finds it again after a restart, too.
        self._settings = {"device_name": name, "console": "none", **settings}

    # --- the daemon ---------------------------------------------------------------------------------------------------

    def start(self, folder: Path | None = None) -> "Desk":
        """Runs the daemon until it answers; ``folder`` is shared by it."""
        self.launch(folder)
        return self.ready()

    def ready(self) -> "Desk":
        """Waits until the launched daemon answers."""
        until(lambda: not self.is_running or self._is_ready(), f"{self.name} answers")
        assert self.is_running, f"{self.name} did not start: {self.log.read_text()}"
        return self

    def launch(self, folder: Path | None = None) -> None:
        """Runs the daemon without waiting for anything."""
        assert self.process is None or self.process.poll() is not None, "it runs already"
        words = ["up", *([] if folder is None else [str(folder)]), "--home", str(self.home)]
        if self.host is None:
            words += ["--listen", self.listen, "--no-discovery"]
        network = None if self.host is None else self.host.namespace
        with self.log.open("ab") as log:
            if self.program:
                with contextlib.nullcontext() if network is None else network.entered():
                    command = tied([*self.program, *words])
                    self.process = subprocess.Popen(command, stdout=log, stderr=log, env=self._environ())
            else:
                where = "" if network is None else network.path
                self.process = born(words, environ=self._environ(), log=log.fileno(), network=where)

    def freeze(self) -> None:
        """It lives, and does nothing: its links stay open and silent."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def ask_to_stop(self) -> None:
        """Sends SIGTERM, and waits for nothing."""
        if self.process is not None and self.is_running:
            self.process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """Ends the daemon cleanly."""
        if self.process is not None and self.is_running:
            self.ask_to_stop()
            assert self.process.wait(SOON_S) == 0, f"{self.name} did not end well: {self.log.read_text()}"

    def kill(self) -> None:
        """``kill -9``."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(SOON_S)

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def _is_ready(self) -> bool:
        with contextlib.suppress(HarpError):
            self.client.get(at("status"), model.Status)
            return True
        return False

    def _environ(self) -> dict[str, str]:
        settings = {f"HARP_{key.upper()}": value for key, value in self._settings.items()}
        return {**os.environ, **settings, "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}

    # --- asking -------------------------------------------------------------------------------------------------------

    def run(self, *words: str | Path, timeout_s: float = 2 * SOON_S, typed: str = "") -> Said:
        """``harp WORDS --home …``, as a process of its own, with ``typed`` on standard input."""
        done = subprocess.run(
            [*INSTALLED, *map(str, words), "--home", str(self.home)],
            input=typed.encode(),
            capture_output=True,
            timeout=timeout_s,
            env=self._environ(),
            check=False,
        )
        said = Said(done.returncode, done.stdout.decode(), done.stderr.decode())
        assert "Traceback" not in said.err, said.err
        return said

    def do(self, *words: str | Path, typed: str = "") -> str:
        """What a command that must succeed prints."""
        said = self.run(*words, typed=typed)
        assert said.code == 0, f"harp {' '.join(map(str, words))}: {said}"
        return said.out

    def ask(self, *words: str | Path) -> Any:
        """The same with ``--json``."""
        return json.loads(self.do(*words, "--json"))

    def refuses(self, *words: str | Path, typed: str = "") -> Said:
        """A command that must fail: one line that says what is wrong, one that says what to do."""
        said = self.run(*words, typed=typed)
        assert said.code != 0, f"harp {' '.join(map(str, words))} should have failed: {said}"
        lines = said.err.splitlines()
        assert len(lines) == 2, f"a line and a hint: {said}"
        assert lines[0].startswith("harp: "), said
        assert lines[1].startswith("      "), said
        return said

    def status(self) -> model.FolderStatus:
        """The state of the one folder."""
        return self.client.get(at("status"), model.Status).folders[0]

    def invites(self, *, read_only: bool = False) -> str:
        """A ticket."""
        asked = {"read_only": read_only, "expires_s": 3600.0}
        return self.client.post(at("folders", NAME, "invitations"), model.Invitation, asked).ticket

    def join(self, ticket: str) -> None:
        """Joins into the desk's own, empty folder."""
        asked = {"path": str(self.folder), "ticket": ticket, "merge": False}
        self.client.post(at("join"), model.FolderStatus, asked)

    def held(self) -> list[model.HeldSet]:
        """What waits for a decision."""
        return self.client.get(at("folders", NAME, "held"), model.HeldList).held

    def versions(self, path: str) -> list[model.Version]:
        """The history of a path, newest first; empty for one that the folder never had."""
        with contextlib.suppress(UsageError):
            return self.client.get(at("folders", NAME, "history"), model.History, {"path": path}).versions
        return []

    def knows(self, other: "Desk") -> bool:
        """Whether the two are linked just now."""
        return any(peer.name == other.name and peer.is_connected for peer in self.peers())

    def peers(self) -> list[model.PeerStatus]:
        return self.client.get(at("peers"), model.PeerList).peers

    def traffic(self) -> int:
        """Bytes on the wire since the daemon started, both ways."""
        status = self.client.get(at("status"), model.Status)
        return status.bytes_in + status.bytes_out

    def wait(self, timeout_s: float = SOON_S) -> model.Progress:
        """``harp wait``, in process: how it ended."""
        last = model.Progress(phase=model.Phase.FAILED)
        for last in self.client.lines(at("folders", NAME, "wait"), {"timeout_s": timeout_s}):
            if last.phase.is_last:
                break
        return last

    def settled(self) -> "Desk":
        """Waits until the folder is the same everywhere."""
        ended = self.wait()
        assert ended.phase is model.Phase.DONE, f"{self.name}: {ended.reason}; {self.status()}"
        return self

    def verified(self) -> "Desk":
        """Nothing is wrong with history or files."""
        findings = [
            line.finding or line.reason
            for line in self.client.lines(at("folders", NAME, "verify"), {})
            if line.finding is not None or line.phase is model.Phase.FAILED
        ]
        assert findings == [], f"{self.name}: {findings}"
        return self

    # --- files --------------------------------------------------------------------------------------------------------

    def write(self, path: str | bytes, content: bytes = b"", *, mtime_ns: int | None = None) -> Path:
        """A file of the folder, saved in one go; its directories are made."""
        file = self.at(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        if mtime_ns is not None:
            os.utime(file, ns=(mtime_ns, mtime_ns))
        return file

    def at(self, path: str | bytes) -> Path:
        return self.folder / os.fsdecode(path)

    def read(self, path: str | bytes) -> bytes:
        return self.at(path).read_bytes()

    def tree(self) -> dict[bytes, Item]:
        return tree(self.folder)


def console_address() -> str:
    """Where a desk's console may be: ``office.desk(name, console=console_address())``."""
    return f"127.0.0.1:{free_port()}"


INSTALLED = (sys.executable, "-m", "harp.cli")
"""The command as it is installed."""


class Office:
    """All desks of a test; leaving it ends them, and looks into their logs for defects."""

    def __init__(self, place: Path) -> None:
        _digests.clear()
        self._place = place
        self.desks: list[Desk] = []

    def desk(self, name: str, host: Host | None = None, /, **settings: str) -> Desk:
        """A device that has not been started yet; ``settings`` are those of ``harp config``. On a ``host`` of a
        laboratory it listens and looks for others as it does by default."""
        found = Desk(self._place, name, settings, host)
        self.desks.append(found)
        return found

    def founder(self, name: str = "ada", **settings: str) -> Desk:
        """A running device that shares a folder."""
        desk = self.desk(name, **settings)
        return desk.start(desk.folder)

    def newcomer(self, inviter: Desk, name: str, *, read_only: bool = False, **settings: str) -> Desk:
        """A running device that joined ``inviter``'s folder."""
        desk = self.desk(name, **settings).start()
        desk.join(inviter.invites(read_only=read_only))
        return desk

    def pair(self, **settings: str) -> tuple[Desk, Desk]:
        """Two devices with one folder."""
        ada, ben = self.desk("ada", **settings), self.desk("ben", **settings)
        ada.launch(ada.folder)
        ben.launch()
        ada.ready()
        ben.ready().join(ada.invites())
        return ada, ben

    @staticmethod
    def linked(*desks: Desk) -> None:
        """Waits until each of the desks is linked to each other of them."""
        for desk in desks:
            for other in desks:
                until(lambda: desk is other or desk.knows(other), f"{desk.name} and {other.name} are linked")  # noqa: B023

    @staticmethod
    def agreed(*desks: Desk) -> dict[bytes, Item]:
        """Waits until all of them say that all is settled, and compares their folders; the tree they share."""
        for desk in desks:
            ended = desk.wait()
            states = {one.name: one.status() for one in desks} if ended.phase is not model.Phase.DONE else {}
            assert not states, f"{desk.name}: {ended.reason}; {states}"
        first = desks[0].tree()
        for other in desks[1:]:
            theirs = other.tree()
            differing = {path: (first.get(path), theirs.get(path)) for path in first.keys() | theirs.keys()}
            differing = {path: pair for path, pair in differing.items() if pair[0] != pair[1]}
            assert not differing, f"{desks[0].name} and {other.name} differ: {differing}"
        return first

    def close(self) -> None:
        """Ends all daemons; a traceback in a log is a defect, whatever the test made of it."""
        running = [desk for desk in self.desks if desk.is_running]
        for desk in running:
            desk.ask_to_stop()
        for desk in running:
            assert desk.process is not None
            assert desk.process.wait(SOON_S) == 0, f"{desk.name} did not end well: {desk.log.read_text()}"
        for desk in self.desks:
            log = desk.log.read_text(errors="replace") if desk.log.exists() else ""
            assert "Traceback" not in log, f"{desk.name}: {log}"

    def abandon(self) -> None:
        """Ends what still runs, and shows where each of its threads was: something has gone wrong."""
        for desk in self.desks:
            if desk.process is not None and desk.is_running:
                desk.process.send_signal(signal.SIGABRT)
                desk.process.send_signal(signal.SIGCONT)
                desk.process.wait(SOON_S)
            if desk.log.exists():
                print(f"--- {desk.name}\n{desk.log.read_text(errors='replace')}")


@contextlib.contextmanager
def opened(place: Path) -> Iterator[Office]:
    """An office in ``place`` until the block ends."""
    office = Office(place)
    try:
        yield office
        office.close()
    except BaseException:
        office.abandon()
        raise
