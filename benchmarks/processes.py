# SPDX-License-Identifier: AGPL-3.0-or-later
"""The processes that are measured: started, counted by /proc, and ended, each by its own id."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.figures import Undone
from benchmarks.lab.namespace import Namespace, tied

_TICKS = os.sysconf("SC_CLK_TCK")
_STOP_S = 20.0


class Running:
    """A program that was started for a bench, without the settings of Harp's that its caller may have in the
    environment; its output goes to ``log``. In a ``namespace`` it ends with the thread that started it.

    There it is ``user``'s, where that is given.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        namespace: Namespace | None = None,
        user: str = "",
    ) -> None:
        self.log = log
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("HARP_")}
        with log.open("ab") as sink, namespace.entered() if namespace else contextlib.nullcontext():
            self._process = subprocess.Popen(
                tied(argv, user=user) if namespace else argv,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env={**inherited, **(env or {})},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def check_alive(self) -> None:
        """Raises :class:`Undone` with the last words of a program that has ended."""
        if self._process.poll() is not None:
            raise Undone(f"ended with {self._process.returncode}: {last_words(self.log)}")

    def cpu_s(self) -> float:
        """Seconds of processor time so far: its own, its children's that live and those that it has reaped."""
        return sum(_cpu_ticks(pid) for pid in family(self.pid)) / _TICKS

    def rss_bytes(self) -> int:
        """What it and its children hold in memory now."""
        return sum(_status_bytes(pid, "VmRSS") for pid in family(self.pid))

    def peak_rss_bytes(self) -> int:
        """The highest resident size since :meth:`forget_peak`, summed over the processes that still live."""
        return sum(_status_bytes(pid, "VmHWM") for pid in family(self.pid))

    def forget_peak(self) -> None:
        for pid in family(self.pid):
            try:
                Path(f"/proc/{pid}/clear_refs").write_text("5")
            except OSError:
                continue  # not ours to reset: then the peak is that of its whole life

    def stop(self) -> None:
        """Ask it to end; make it end after 20 s."""
        if self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait(_STOP_S)


def family(pid: int) -> list[int]:
    """A process and all that descend from it and live."""
    found = [pid]
    for one in found:
        try:
            for task in Path(f"/proc/{one}/task").iterdir():
                found.extend(int(child) for child in (task / "children").read_text().split())
        except OSError:
            continue
    return found


def _cpu_ticks(pid: int) -> int:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return 0
    fields = stat.rpartition(b")")[2].split()
    return sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime (proc(5))


def _status_bytes(pid: int, key: str) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text(errors="replace")
    except OSError:
        return 0
    for line in status.splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    return 0


def loopback_bytes() -> int:
    """All bytes that ``lo`` has carried, headers included."""
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, counters = line.partition(":")
        if name.strip() == "lo":
            return int(counters.split()[0])
    return 0


def last_words(log: Path, size: int = 400) -> str:
    try:
        text = log.read_bytes()[-4 * size :].decode(errors="replace")
    except OSError:
        return ""
    return " / ".join(line.strip() for line in text.splitlines()[-4:])[-size:]


def wait_until(is_so: Callable[[], bool], *, deadline_s: float, every_s: float, what: str) -> float:
    """Look again and again; the monotonic time at which it was so. Raises :class:`Undone` at the deadline."""
    deadline = time.monotonic() + deadline_s
    while not is_so():
        if time.monotonic() > deadline:
            raise Undone(f"{what}: not within {deadline_s:.0f} s")
        time.sleep(every_s)
    return time.monotonic()
