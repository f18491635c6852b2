# SPDX-License-Identifier: AGPL-3.0-or-later
"""frps, where there is one: what it needs is made, it is started, and started again with new certificates."""

import asyncio
import logging
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from harp.base.errors import ConfigError
from harp.base.runtime import Clock
from harp.proxy.edge import files
from harp.proxy.edge.process import Child, demand_free
from harp.proxy.policy.frps import FrpsShape, frps_toml
from harp.proxy.settings import ProxySettings

_log = logging.getLogger(__name__)

DOOR = "HARP_FRP_DOOR"
"""The agent's variable: the number of the listening socket's descriptor, and the password that frps will say."""
_LEAST = (0, 52)
"""The first frps that reads TOML."""
_RENEW_S = 6 * 3600.0
CONFIGURATION = "frps.toml"
"""In the run folder as long as the plane there has an frps."""


def find_frps(settings: ProxySettings) -> str | None:
    """frps' path; ``None`` where there is none, or none is wanted. Raises :class:`ConfigError`."""
    found = shutil.which(settings.frps)
    if found is None and settings.frps not in ("frps", "none"):
        raise ConfigError(f"HP_FRPS: there is no {settings.frps} to run", hint="frp's server program, or none")
    return found


def folder_of(settings: ProxySettings) -> Path:
    """Where FRP's certificates and secret are: as the reference has them, in a volume that outlives the container."""
    if settings.frp_folder is not None:
        return settings.frp_folder
    volume = settings.certificate.absolute().parent
    return (volume if volume.is_dir() else settings.run.absolute()) / "frp"


class FrpServer:
    """frps, and the socket at which it asks the agent: that one outlives each agent."""

    def __init__(self, program: str, settings: ProxySettings, clock: Clock) -> None:
        self._program = program
        self._settings = settings
        self._clock = clock
        from harp.proxy.edge.frp.authority import Authority  # whoever runs without frps does not need cryptography

        self._authority = Authority(folder_of(settings), settings.frp_certificate_days)
        self._password = secrets.token_hex(16)
        self._door = socket.socket()
        self._child = Child(
            "frps",
            [program, "-c", CONFIGURATION],
            clock,
            folder=settings.run,
            # Neither the shared key nor anything else of Harp's: its configuration can read variables.
            environment={"PATH": os.environ.get("PATH", "")},
        )

    @property
    def door(self) -> dict[str, str]:
        """What the agent is told by its environment."""
        return {DOOR: f"{self._door.fileno()} {self._password}"}

    @property
    def door_descriptor(self) -> int:
        return self._door.fileno()

    def prepare(self) -> None:
        """All that frps needs. Raises :class:`ConfigError`."""
        _demand_new_enough(self._program)
        demand_free("HP_FRP_ADDRESS", self._settings.frp)
        self._authority.tokens_secret()
        if self._settings.frp_has_tls:
            self._authority.ensure(self._clock.now())
        self._door.bind(("127.0.0.1", 0))
        self._door.listen(128)
        host, _, port = self._settings.frp.rpartition(":")
        shape = FrpsShape(
            host=host,
            port=int(port),
            door=f"http://harp:{self._password}@127.0.0.1:{self._door.getsockname()[1]}",
            tls=str(self._authority.folder.absolute()) if self._settings.frp_has_tls else "",
            log_level=self._settings.log_level,
        )
        files.write(self._settings.run / CONFIGURATION, frps_toml(shape))
        said = _output(self._program, "verify", "-c", str(self._settings.run / CONFIGURATION))
        if said.returncode:
            raise ConfigError(
                f"frps refuses its configuration: {_last_line(said)}", hint="is it frp's server, 0.52 or newer?"
            )

    async def run(self) -> None:
        """Until :meth:`end`."""
        await self._child.run(lambda: None)

    async def keep_certified(self) -> None:
        """Certificates that are about to end are made anew, until it is cancelled."""
        while True:
            await asyncio.sleep(_RENEW_S)
            self.renew()

    def renew(self) -> None:
        """Certificates that end, or that somebody took away, are made anew; frps reads them only when it starts."""
        if not self._settings.frp_has_tls:
            return
        try:
            if self._authority.ensure(self._clock.now()):
                _log.warning("frps is started again, with new certificates")
                self._child.tell(signal.SIGTERM)
        except ConfigError as error:
            _log.error("FRP's certificates cannot be renewed: %s", error)

    async def end(self) -> None:
        """Ends frps; apps behind it come again when there is one again."""
        await self._child.end(signal.SIGTERM, 2.0)
        self._door.close()

    def ends(self) -> None:
        """Whatever happens from now on, it is not started again."""
        self._child.ends()


def _demand_new_enough(program: str) -> None:
    version = _last_line(_output(program, "--version"))
    numbers = re.fullmatch(r"v?([0-9]{1,4})\.([0-9]{1,4})(\..*)?", version)
    if numbers is None or (int(numbers[1]), int(numbers[2])) < _LEAST:
        raise ConfigError(
            f"{program} is version {version or '?'}", hint="Harp needs frps 0.52 or newer; HP_FRPS=none goes without"
        )


def _output(*command: str) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=20, check=False)  # noqa: S603
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigError(f"{command[0]} cannot be run: {type(error).__name__}", hint="is it frp's server?") from None


def _last_line(said: "subprocess.CompletedProcess[str]") -> str:
    return ((said.stdout + said.stderr).strip().splitlines() or [""])[-1]
