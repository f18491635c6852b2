# SPDX-License-Identifier: AGPL-3.0-or-later
"""The calls ``/docker/exapp/VERB``: each to its engine, in its time; every failure is one line (contract, 3.3)."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from harp.proxy.deploy import payload
from harp.proxy.deploy.docker import life, making, trust
from harp.proxy.deploy.docker.call import Call, Surroundings
from harp.proxy.deploy.docker.engine import Refused, Unreachable, connected, lost, one_line
from harp.proxy.deploy.port import Outcome
from harp.proxy.model import ENGINE_PORTS, EngineAddress, through_frp

_log = logging.getLogger(__name__)

Handler = Callable[[Call, Any], Awaitable[Outcome]]
_VERBS: dict[str, tuple[Handler, float, str]] = {
    "exists": (life.exists, 15.0, "looking for"),
    "create": (making.create, 60.0, "creating"),
    "start": (life.start, 30.0, "starting"),
    "stop": (life.stop, 30.0, "stopping"),
    "wait_for_start": (life.wait_for_start, life.WAIT_S + 30.0, "waiting for"),
    "remove": (life.remove, 30.0, "removing"),
    "image_remove": (life.image_remove, 30.0, "removing the image of"),
    "install_certificates": (trust.install_certificates, 120.0, "installing certificates in"),
}
"""Who answers, within how many seconds, and what it is called where it fails."""


class DockerBackend:
    """All engines. One that AppAPI numbers 24001 to 24099 and no setting names is expected behind FRP, on loopback."""

    def __init__(self, engines: Sequence[EngineAddress], around: Surroundings) -> None:
        self._engines = {engine.port: engine for engine in engines}
        self._around = around

    def is_available(self) -> bool:
        return any(engine.kind == "tcp" or Path(engine.place).is_socket() for engine in self._engines.values())

    async def call(self, verb: str, engine_port: str | None, body: bytes) -> Outcome:
        outcome = await self._answered(verb, engine_port, body)
        if outcome.status >= 400:
            _log.log(
                logging.INFO if outcome.status in (404, 409) else logging.WARNING,
                "docker %s is answered with %s: %s",
                verb,
                outcome.status,
                one_line(outcome.text),
            )
        return outcome

    async def _answered(self, verb: str, engine_port: str | None, body: bytes) -> Outcome:
        # A body that cannot be is that whatever engine it is for.
        port = payload.engine_port(engine_port)
        form = port if isinstance(port, Outcome) else payload.read(verb, body)
        if isinstance(form, Outcome):
            return form
        engine = self.engine(engine_port)
        if isinstance(engine, Outcome):
            return engine
        handler, limit_s, doing = _VERBS[verb]
        what = form.image_ref if isinstance(form, payload.ImageRemove) else form.name
        try:
            async with asyncio.timeout(limit_s), connected(engine) as link:
                return await handler(Call(link, self._around), form)
        except Unreachable as error:
            return Outcome(503, f"{lost(engine.port)}: {error}")
        except Refused as error:
            return Outcome(503, f"Error {doing} {what}: {error}")
        except TimeoutError:
            return Outcome(
                504, f"Error {doing} {what}: Docker Engine on port {engine.port} took longer than {limit_s:g} s"
            )

    def engine(self, header: str | None) -> EngineAddress | Outcome:
        """The engine that ``docker-engine-port`` means, or the answer that says why there is none."""
        port = payload.engine_port(header)
        if isinstance(port, Outcome):
            return port
        if found := self._engines.get(port):
            return found
        if port in ENGINE_PORTS:
            return through_frp(port)
        return Outcome(503, f"{lost(port)}: HP_DOCKER_ENGINES names no such engine")
