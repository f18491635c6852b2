# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where deployed apps listen just now, as their engines tell it: an app that moved is reached again at once.

Nothing is remembered: after a restart of Harp, of an engine or of the machine, what runs is found by looking.
"""

import asyncio
import contextlib
import ipaddress
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harp.base.runtime import Backoff
from harp.proxy.deploy.docker import address, knock, life
from harp.proxy.deploy.docker.call import Call, Surroundings, is_here
from harp.proxy.deploy.docker.engine import Denied, Engine, Refused, Unreachable, connected, one_line
from harp.proxy.deploy.docker.names import PREFIX
from harp.proxy.model import AppId, EngineAddress, ExApp, Upstream

_log = logging.getLogger(__name__)

GATHER_S = 0.02
"""A restart is several events."""
LOOK_AGAIN_S = 30.0
"""However quiet the engine is."""
LOOK_S = 20.0
LISTENS_S = 15.0
"""How long an app that has just been started is waited for; the patience of a question is 25 s."""
MOURNED_MOST = 1000
MOURN_AGAIN_S = 60.0
"""One that is restarted for ever is not said to have ended each time."""
_BACKOFF = Backoff(first_s=0.5, most_s=2.0)
_EVENTS: Mapping[str, Sequence[str]] = {
    "type": ("container", "network"),
    "event": ("start", "die", "destroy", "rename", "connect", "disconnect"),
}


class Watch:
    """The apps that run on the engines. ``moved(app)`` is called after each change of where one listens."""

    def __init__(self, engines: Sequence[EngineAddress], around: Surroundings) -> None:
        self.moved: Callable[[AppId], None] = lambda _app: None
        self._engines = [engine for engine in engines if is_here(engine)]
        self._around = around
        self._found: dict[int, dict[AppId, Upstream]] = {}
        self._hears: set[int] = set()
        self._mourned: dict[str, float] = {}
        self._young: dict[AppId, float] = {}

    def upstream(self, app: ExApp) -> Upstream | None:
        """Where an app listens that AppAPI says is on loopback, or has its own id for a host; ``None``: as AppAPI says.

        Another host was set by an administrator, and another port is another app's.
        """
        host = app.host.strip("[]").lower()
        if host not in (app.id, "localhost") and not _is_loopback(host):
            return None
        for port in sorted(self._found):
            upstream = self._found[port].get(app.id)
            if upstream is not None and upstream.port == app.port:
                return upstream
        return None

    async def listening(self, app: ExApp) -> None:
        """Until an app listens that has just been started: who finds nobody there tries again a second later."""
        now = asyncio.get_running_loop().time
        while now() < self._young.get(app.id, 0.0) and (place := self.upstream(app)) is not None:
            if await knock.listens(place):
                self._young.pop(app.id, None)
                return
            await asyncio.sleep(knock.AGAIN_S)

    def hears(self, port: int) -> bool:
        """Whether the engine of this number tells what happens there."""
        return port in self._hears

    def count(self, port: int) -> int:
        """How many apps run on it."""
        return len(self._found.get(port, ()))

    async def follow(self) -> None:
        """Until it is cancelled; an engine that goes away is looked for again."""
        async with asyncio.TaskGroup() as group:
            for engine in self._engines:
                group.create_task(self._follow(engine), name=f"engine {engine.port}")

    async def _follow(self, engine: EngineAddress) -> None:
        failures, said = 0, ""
        while True:
            began, why, level = asyncio.get_running_loop().time(), "", logging.INFO
            try:
                async with connected(engine) as link, asyncio.TaskGroup() as group:
                    told = asyncio.Event()
                    group.create_task(self._hear(link, told))
                    group.create_task(self._look_whenever(link, told))
            except* (Unreachable, Refused, TimeoutError) as errors:
                why = str(errors.exceptions[0])
                # An engine that does not run may not be wanted; one that is there and closed is a mistake.
                level = logging.WARNING if isinstance(errors.exceptions[0], Denied) else level
            self._hears.discard(engine.port)
            # Its apps may run on all the same: what was found stays.
            if why != said:
                _log.log(level, "the Docker Engine at %s tells nothing: %s", engine.url, why)
            said = why
            failures = 1 if asyncio.get_running_loop().time() - began > LOOK_AGAIN_S else failures + 1
            await asyncio.sleep(_BACKOFF.delay_s(failures, jitter=0.5))

    async def _look_whenever(self, link: Engine, told: asyncio.Event) -> None:
        """At each event, and from time to time. The first one is that the engine has begun to tell."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_AGAIN_S):
                    await told.wait()
            await asyncio.sleep(GATHER_S)
            told.clear()
            async with asyncio.timeout(LOOK_S):
                found = await running(link, await Call(link, self._around).own_networks())
            self._hears.add(link.address.port)
            self._took(link.address.port, found)

    async def _hear(self, link: Engine, told: asyncio.Event) -> None:
        async for event in link.events(**_EVENTS):
            told.set()
            self._mourn(event)

    def _mourn(self, event: Mapping[str, Any]) -> None:
        dead = life.death(event)
        if dead is None:
            return
        name, now = one_line(dead[0], 100), asyncio.get_running_loop().time()
        if now - self._mourned.get(name, float("-inf")) > MOURN_AGAIN_S:
            if len(self._mourned) >= MOURNED_MOST:
                self._mourned.clear()
            self._mourned[name] = now
            _log.warning("container %s ended with exit code %s: docker logs %s tells why", name, dead[1][:8], name)

    def _took(self, port: int, found: dict[AppId, Upstream]) -> None:
        before = self._found.get(port, {})
        self._found[port] = found
        for app in sorted(before.keys() | found.keys()):
            if before.get(app) != found.get(app):
                where = found.get(app)
                if where is not None:
                    self._young[app] = asyncio.get_running_loop().time() + LISTENS_S
                _log.info("the app %s %s", app, f"listens at {where.address}:{where.port}" if where else "runs no more")
                self.moved(app)


async def running(engine: Engine, own_networks: Sequence[str]) -> dict[AppId, Upstream]:
    """The apps that run in containers of an engine, and where. The container of an app's plain name comes first."""
    found: dict[AppId, address.Whereabouts] = {}
    for listed in await engine.containers(name=[f"^/{PREFIX}"], status=["running"]):
        inspected = await engine.inspect(str(listed.get("Id", "")))
        place = None if inspected is None else address.whereabouts(inspected, own_networks=own_networks)
        if place is not None and (place.app not in found or place.container.lower() == f"{PREFIX}{place.app}"):
            found[place.app] = place
    return {app: place.upstream for app, place in found.items()}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
