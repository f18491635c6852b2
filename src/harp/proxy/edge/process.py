# SPDX-License-Identifier: AGPL-3.0-or-later
"""The processes of the app plane: the agent, HAProxy as master and worker, frps; each is brought back when it ends."""

import asyncio
import contextlib
import logging
import os
import resource
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from harp.base.errors import ConfigError
from harp.base.runtime import Backoff, Clock

_log = logging.getLogger(__name__)

MAXCONN_MOST = 16_384
"""Beyond it, HAProxy's own tables of descriptors cost more than they serve here."""
_KILL_AFTER_S = 3.0
_OLDEST = (2, 6)
_LOOPING = ((3, 2, 0), (3, 2, 1))
"""Versions whose ``balance leastconn`` looks for another instance than the one that failed for ever, if there is no
other, and serves nobody meanwhile (HAProxy's issues 3004 and 3014, mended in 3.2.2)."""


def maxconn() -> int:
    """How many connections HAProxy may have, from the descriptors that there are.

    Each has one to the client and one to the app; questions to the agent, listeners and the pipes of uploads take some
    more.
    """
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        return MAXCONN_MOST
    most = (hard - 200) * 2 // 5
    if most < 32:
        raise ConfigError(
            f"{hard} file descriptors are too few for a proxy", hint="raise the limit (ulimit -Hn) to 4096 or more"
        )
    return min(MAXCONN_MOST, most)


def find_haproxy(name: str) -> str:
    """HAProxy's path. Raises :class:`ConfigError` where there is none that can be run."""
    found = shutil.which(name)
    if found is None:
        raise ConfigError(f"there is no {name} to run", hint="install HAProxy 2.6 or newer: sudo apt install haproxy")
    return found


def version_of(haproxy: str, *, with_instances: bool = False) -> tuple[str, bool]:
    """HAProxy's version, and whether it has the Prometheus exporter.

    Raises :class:`ConfigError` where Harp cannot run with it, or cannot ``with_instances`` (HP_EXAPP_UPSTREAMS).
    """
    try:
        said = subprocess.run([haproxy, "-vv"], capture_output=True, text=True, timeout=20, check=True).stdout  # noqa: S603
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigError(f"{haproxy} cannot be run: {type(error).__name__}", hint="is it HAProxy?") from None
    words = said.split()
    version = words[2] if len(words) > 2 and said.startswith("HAProxy version") else ""
    numbers = tuple(int(n) for n in version.split("-")[0].split(".")[:3] if n.isdecimal())
    if numbers < _OLDEST:
        raise ConfigError(f"{haproxy} is version {version or '?'}", hint="Harp needs HAProxy 2.6 or newer")
    if with_instances and numbers in _LOOPING:
        raise ConfigError(
            f"{haproxy} is version {version}, which hangs when an instance of HP_EXAPP_UPSTREAMS ends",
            hint="install HAProxy 3.2.2 or newer",
        )
    if "+OPENSSL" not in said:
        raise ConfigError(f"{haproxy} was built without OpenSSL", hint="install your distribution's HAProxy")
    if "+PCRE" not in said:
        raise ConfigError(f"{haproxy} was built without PCRE", hint="install your distribution's HAProxy")
    return version, "+PROMEX" in said or "USE_PROMEX=1" in said


def checked(haproxy: str, run: Path) -> None:
    """Raises :class:`ConfigError` with HAProxy's own words where it refuses the configuration."""
    tried = subprocess.run(  # noqa: S603
        [haproxy, "-c", "-f", "haproxy.cfg"], cwd=run, capture_output=True, text=True, timeout=60, check=False
    )
    if tried.returncode:
        lines = [line.partition(" : ")[2] for line in tried.stderr.splitlines() if "[ALERT]" in line]
        raise ConfigError(f"HAProxy refuses its configuration: {(lines or ['?'])[0]}", hint="see harp proxy config")


def demand_free(name: str, address: str) -> None:
    """Raises :class:`ConfigError` where someone listens on ``HOST:PORT`` already.

    HAProxy would share the port (SO_REUSEPORT), and each of both would get a part of the requests.
    """
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(("" if host == "*" else host, int(port)))
            tried.listen(1)
    except OSError as error:
        raise ConfigError(f"{name} {address} cannot be used: {error.strerror}", hint="choose another address") from None


class Child:
    """One process that is started again when it ends, until it is told to end."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        clock: Clock,
        *,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
        descriptors: Sequence[int] = (),
    ) -> None:
        """It has our environment unless it is given one, and the standard descriptors beside those it is given."""
        self.name = name
        self.starts = 0
        self._command = list(command)
        self._clock = clock
        self._folder = folder
        self._environment = environment
        self._descriptors = descriptors
        self._process: asyncio.subprocess.Process | None = None
        self._ending = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """The running process."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def run(self, started: Callable[[], None]) -> None:
        """Until :meth:`end`; ``started`` is called after each start."""
        backoff, failures = Backoff(first_s=0.2, most_s=5.0), 0
        while not self._ending.is_set():
            began = self._clock.monotonic()
            try:
                await self._start()
                assert self._process is not None
                started()
                how = f"ended with {await self._process.wait()}"
            except OSError as error:
                how = f"cannot be started: {error.strerror}"  # its program is just being replaced
            if self._ending.is_set():
                return
            failures = 1 if self._clock.monotonic() - began > 30.0 else failures + 1
            _log.error("%s %s; it is started again", self.name, how)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(backoff.delay_s(failures, jitter=0.5)):
                    await self._ending.wait()

    async def _start(self) -> None:
        self.starts += 1
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=subprocess.DEVNULL,
            cwd=self._folder,
            env=self._environment,
            pass_fds=self._descriptors,
            preexec_fn=_die_with_parent,
            start_new_session=True,
        )

    def tell(self, number: signal.Signals) -> None:
        """Tells the process something, if it runs."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def ends(self) -> None:
        """Whatever happens from now on, it is not started again."""
        self._ending.set()

    async def end(self, gently: signal.Signals, within_s: float) -> None:
        """Ends the process: gently, then by TERM, then by KILL."""
        self._ending.set()
        for number, wait_s in ((gently, within_s), (signal.SIGTERM, _KILL_AFTER_S), (signal.SIGKILL, _KILL_AFTER_S)):
            if self._process is None or self._process.returncode is not None:
                return
            self.tell(number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._process.wait()


def _die_with_parent() -> None:
    """A supervisor that is killed leaves nobody behind (prctl(2), PR_SET_PDEATHSIG).

    What it tells a process that has no ears yet is lost, and not the end of it.
    """
    import ctypes

    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(1, int(signal.SIGTERM), 0, 0, 0)
