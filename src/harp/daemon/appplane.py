# SPDX-License-Identifier: AGPL-3.0-or-later
"""The app plane's supervisor: starts agent, HAProxy and frps, watches them, drains at the end."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from pathlib import Path

from harp.base.errors import ConfigError, HarpError
from harp.base.runtime import SystemClock, Tasks
from harp.base.sockets import short_name
from harp.proxy import settings as variables
from harp.proxy.edge import files
from harp.proxy.edge.frp import opened
from harp.proxy.edge.frp import server as frp
from harp.proxy.edge.process import Child, checked, demand_free, find_haproxy, version_of
from harp.proxy.settings import ProxySettings, trusting

_log = logging.getLogger(__name__)

START_S = 30.0
_OF_ONE_RUN = (
    *("ready", "haproxy.sock", "master.sock", "control.sock", "agent.sock", "inside.sock"),
    *(frp.CONFIGURATION, opened.FILE),
)
PROBE_S = 2.0


def load_settings(home: Path) -> ProxySettings:
    """The settings of the environment, over those of ``HOME/proxy.env``. Raises :class:`ConfigError`."""
    return variables.load(environment(home), run=home / "proxy", read_file=lambda path: path.read_text("utf-8"))


def environment(home: Path) -> dict[str, str]:
    """``NAME=value`` lines of ``HOME/proxy.env``, and over them the process' own environment."""
    found: dict[str, str] = {}
    for line in (files.read(home / "proxy.env") or "").splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith("#"):
            found[name.strip()] = value.strip()
    return found | dict(os.environ)


def run(home: Path) -> int:
    """Runs the app plane alone, in the foreground, until TERM; 0 then. Raises :class:`HarpError` at the start."""
    settings = load_settings(home)
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    asyncio.run(_run(home, settings))
    return 0


async def _run(home: Path, settings: ProxySettings) -> None:
    loop = asyncio.get_running_loop()
    ending = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        loop.add_signal_handler(number, ending.set)
    plane = AppPlane(home, settings)
    loop.add_signal_handler(signal.SIGHUP, plane.reload)
    async with Tasks("app plane") as tasks:
        try:
            await plane.start(tasks)
            print(f"harp proxy listens on {settings.http}", flush=True)  # noqa: T201
            await ending.wait()
        finally:
            await plane.close()


class AppPlane:
    """Agent, HAProxy and, where there is one, frps, one after the other; and a watchdog."""

    def __init__(self, home: Path, settings: ProxySettings) -> None:
        self._settings = settings
        self._run = settings.run
        self._clock = SystemClock()
        self._haproxy_path = find_haproxy(settings.haproxy)
        self.version, self._has_exporter = version_of(self._haproxy_path, with_instances=bool(settings.exapp_upstreams))
        frps = frp.find_frps(settings)
        self._frp = None if frps is None else frp.FrpServer(frps, settings, self._clock)
        python = [sys.executable, "-m", "harp.cli", "--home", str(home)]
        self._agent = Child(
            "the agent",
            [*python, "proxy", "agent"],
            self._clock,
            environment=None if self._frp is None else {**os.environ, **self._frp.door},
            descriptors=() if self._frp is None else (self._frp.door_descriptor,),
        )
        self._haproxy = Child(
            "HAProxy",
            [
                self._haproxy_path,
                "-W",
                "-q" if settings.log_level == "error" else "-db",
                "-S",
                "unix@./master.sock,mode,600",
                "-f",
                "haproxy.cfg",
            ],
            self._clock,
            folder=self._run,
        )
        self._up = asyncio.Event()

    async def start(self, tasks: Tasks) -> None:
        """Returns when HAProxy answers. Raises :class:`HarpError` where it cannot."""
        for name in variables.unreadable_networks(os.environ.get("HP_TRUSTED_PROXY_IPS", "")):
            _log.warning("HP_TRUSTED_PROXY_IPS: %r is no address or network, and is left out", name)
        files.make_run_folder(self._run)
        self._demand_alone()
        addresses = {"HP_EXAPPS_ADDRESS": self._settings.http, "HP_METRICS_ADDRESS": self._settings.metrics}
        if self._settings.agent:
            addresses["HP_SPOA_ADDRESS"] = self._settings.agent
        if self._settings.certificate.is_file():
            addresses["HP_EXAPPS_HTTPS_ADDRESS"] = self._settings.https
        elif self._settings.certificate.exists():
            _log.warning("HP_CERTIFICATE %s is no file: nothing is served over TLS", self._settings.certificate)
        trusting(self._settings.ca_file)
        for name, address in addresses.items():
            demand_free(name, address)
        for name in _OF_ONE_RUN:
            (self._run / name).unlink(missing_ok=True)
        if self._frp is None:
            _log.info("there is no frps: apps and engines on other machines cannot come through FRP")
        else:
            await asyncio.to_thread(self._frp.prepare)
        tasks.start("agent", self._agent.run(lambda: None))
        await self._wait_for("the agent", self._run / "ready")
        await asyncio.to_thread(checked, self._haproxy_path, self._run)
        tasks.start("haproxy", self._haproxy.run(self._haproxy_started))
        await self._wait_for("HAProxy", self._run / "haproxy.sock")
        self._agent.tell(signal.SIGUSR1)
        if self._frp is not None:
            tasks.start("frps", self._frp.run())
            tasks.start("FRP's certificates", self._frp.keep_certified())
        tasks.start("watchdog", self._watch())

    @property
    def settings(self) -> ProxySettings:
        """Those that it runs with."""
        return self._settings

    @property
    def address(self) -> str:
        """Where browsers and Nextcloud reach it."""
        return self._settings.http

    def reload(self) -> None:
        """Settings from files and certificates are read again; no connection is cut."""
        self._agent.tell(signal.SIGHUP)
        if self._frp is not None:
            self._frp.renew()

    async def close(self) -> None:
        """Lets requests under way end for a while, then ends all."""
        self._agent.ends()
        if self._frp is not None:
            self._frp.ends()
        await self._haproxy.end(signal.SIGUSR1, self._settings.drain_s)
        if self._frp is not None:
            await self._frp.end()
        await self._agent.end(signal.SIGTERM, 2.0)

    def _demand_alone(self) -> None:
        """Two planes in one folder would write over each other."""
        import fcntl

        self._lock = os.open(self._run / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f"a proxy runs in {self._run} already", hint="stop it, or set HP_RUN_DIR") from None

    def _haproxy_started(self) -> None:
        """A HAProxy that was brought back has the files, but neither bans nor sessions: the agent gives them."""
        self._agent.tell(signal.SIGUSR1)

    async def _wait_for(self, who: str, path: Path) -> None:
        deadline = self._clock.monotonic() + START_S
        while not path.exists():
            if self._clock.monotonic() > deadline or self._agent.starts > 2 or self._haproxy.starts > 2:
                raise HarpError(f"{who} did not start", hint="look at the lines above; is each address free?")
            await asyncio.sleep(0.02)

    async def _watch(self) -> None:
        """An agent that does not answer is ended, and so started again."""
        settings, failures = self._settings, 0
        while settings.watchdog:
            await asyncio.sleep(settings.watchdog_interval_s)
            failures = 0 if await agent_answers(settings) else failures + 1
            if failures >= settings.watchdog_fails:
                _log.error("the agent has not answered %s times: it is ended", failures)
                self._agent.tell(signal.SIGKILL)
                failures = 0


async def agent_answers(settings: ProxySettings) -> bool:
    """Whether the agent answers its heartbeat."""
    with short_name(settings.run / "control.sock") as name, contextlib.suppress(OSError):
        async with asyncio.timeout(PROBE_S):
            reader, writer = await asyncio.open_unix_connection(name)
            try:
                writer.write(b"GET /alive HTTP/1.1\r\nHost: control\r\nConnection: close\r\n\r\n")
                return (await reader.readline()).startswith(b"HTTP/1.1 200 ")
            finally:
                writer.close()
    return False
