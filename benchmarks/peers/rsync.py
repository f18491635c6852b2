# SPDX-License-Identifier: AGPL-3.0-or-later
"""rsync: a daemon on loopback, to which `rsync -a` sends folder A; it watches nothing, so its time is its run's."""

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

from benchmarks.figures import Undone
from benchmarks.peers.pair import Change, TwoSides, free_ports
from benchmarks.processes import Running, last_words, wait_until

_CONFIG = """use chroot = no
address = 127.0.0.1
port = {port}
pid file = {place}/pid
[b]
path = {folder}
read only = no
{rights}"""


class RsyncPair(TwoSides):
    """Done: the command has ended; with `--fsync` for one file, with `sync -f` after a tree."""

    name = "rsync"

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self._client_cpu_s = 0.0
        self._client_rss = 0
        self._wire_bytes = 0

    @staticmethod
    def version() -> str | None:
        program = shutil.which("rsync")
        if program is None:
            return None
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
        return " ".join(said.split()[:3]) or None

    def start(self) -> None:
        [self._port] = free_ports(1)
        rights = f"uid = {os.getuid()}\ngid = {os.getgid()}\n" if os.getuid() == 0 else ""
        config = self.place / "rsyncd.conf"
        config.write_text(_CONFIG.format(port=self._port, place=self.place, folder=self.folder_b, rights=rights))
        self.daemons.append(Running(["rsync", "--daemon", "--no-detach", f"--config={config}"], log=self.place / "log"))
        wait_until(self._listens, deadline_s=10, every_s=0.02, what="the rsync daemon")
        said = subprocess.run(["rsync", "--help"], capture_output=True, text=True, check=False).stdout
        self._has_fsync = "--fsync" in said

    def _listens(self) -> bool:
        self.check_alive()
        return subprocess.run(["rsync", self._url], capture_output=True, check=False).returncode == 0

    @property
    def _url(self) -> str:
        return f"rsync://127.0.0.1:{self._port}/b/"

    def done_at(self, change: Change, *, deadline_s: float) -> float:
        is_single = change.file is not None
        # Whole seconds would hide an edit that follows at once.
        argv = ["rsync", "-a", "--stats", "--modify-window=-1", f"{self.folder_a}/", self._url]
        if is_single and self._has_fsync:
            argv.insert(1, "--fsync")
        self._run(argv, deadline_s)
        if not (is_single and self._has_fsync):
            subprocess.run(["sync", "-f", str(self.folder_b)], check=True)
        at = time.monotonic()
        wait_until(self._is_at_rest, deadline_s=10, every_s=0.01, what="the end of the daemon's children")
        return at

    def _run(self, argv: list[str], deadline_s: float) -> None:
        log = self.place / "stats"
        with log.open("wb") as sink:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink)
            deadline = time.monotonic() + deadline_s
            while True:
                pid, status, usage = os.wait4(process.pid, os.WNOHANG)
                if pid:
                    break
                if time.monotonic() > deadline:
                    process.kill()
                    process.wait()
                    raise Undone(f"rsync: not within {deadline_s:.0f} s")
                time.sleep(0.002)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise Undone(f"rsync ended with {process.returncode}: {last_words(log)}")
        self._client_cpu_s += usage.ru_utime + usage.ru_stime
        self._client_rss = max(self._client_rss, usage.ru_maxrss * 1024)
        for number in re.findall(r"^Total bytes (?:sent|received): ([\d,]+)", log.read_text(), re.MULTILINE):
            self._wire_bytes += int(number.replace(",", ""))

    def _is_at_rest(self) -> bool:
        """The daemon counts a child's time as its own only once the child has been reaped."""
        [daemon] = self.daemons
        return not Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()

    def cpu_s(self) -> float:
        return self._client_cpu_s + super().cpu_s()

    def peak_rss(self) -> tuple[int, ...]:
        return (self._client_rss,)  # the receiving children are gone, and their peak with them

    def forget_peak(self) -> None:
        self._client_rss = 0

    def wire_bytes(self) -> int | None:
        return self._wire_bytes
