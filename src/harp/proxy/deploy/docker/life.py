# SPDX-License-Identifier: AGPL-3.0-or-later
"""A container's life after it was made: there or not, started, stopped, waited for, removed (111, 122–131)."""

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Any

from harp.proxy.deploy.docker import address, environment, knock, names
from harp.proxy.deploy.docker.call import Call, is_here
from harp.proxy.deploy.docker.engine import Refused
from harp.proxy.deploy.payload import ImageRemove, Named, Remove
from harp.proxy.deploy.port import Outcome
from harp.proxy.model import Upstream

_log = logging.getLogger(__name__)

WAIT_S = 90.0
STEADY_S = 2.0
_CHANGES = ("start", "die", "pause", "unpause", "rename", "destroy", "health_status")
"""The events after which a container stands otherwise."""
_WELL = ("0", "137", "143")
"""By itself; by KILL and by TERM, as it ends when it is stopped."""
_DEATHS_MOST = 5
"""So many restarts in a row are no start: the engine waits longer and longer between them."""


async def exists(call: Call, form: Named) -> Outcome:
    found = await call.engine.inspect(names.container(form))
    if found is None:
        return Outcome(200, body={"exists": False})
    configured = found.get("Config") or {}
    return Outcome(200, body={"exists": True, "image_ref": configured.get("Image") or found.get("Image") or ""})


async def start(call: Call, form: Named) -> Outcome:
    """204 only where it was really started: AppAPI takes anything else for a failure."""
    name = names.container(form)
    try:
        was_started = await call.engine.start(name)
    except Refused as error:
        if error.status == 404:
            return _unknown(name)
        raise
    return Outcome(204) if was_started else Outcome(200, f"Container '{name}' was already started.")


async def stop(call: Call, form: Named) -> Outcome:
    name = names.container(form)
    try:
        was_stopped = await call.engine.stop(name)
    except Refused as error:
        if error.status == 404:
            return _unknown(name)
        raise
    return Outcome(204) if was_stopped else Outcome(200, f"Container '{name}' was already stopped.")


def _unknown(name: str) -> Outcome:
    return Outcome(404, f"Container '{name}' not found.")


async def wait_for_start(call: Call, form: Named) -> Outcome:
    """Until it runs, and is healthy where it says so; or until it is clear that it will not."""
    name = names.container(form)
    found: Mapping[str, Any] | None = None
    with contextlib.suppress(TimeoutError):
        async with (
            asyncio.timeout(WAIT_S),
            contextlib.aclosing(call.engine.events(type=["container"], container=[name], event=_CHANGES)) as events,
        ):
            async for _event in events:
                found = await call.engine.inspect(name)
                verdict = standing(found)
                if verdict is None or (verdict["started"] and found is not None and not await _stays(call, found)):
                    continue
                if verdict["status"] == "restarting":
                    await call.engine.stop(name)
                    _log.warning("container %s is stopped: %s", name, verdict["reason"])
                return Outcome(200, body=verdict)
    state = (found or {}).get("State") or {}
    said = {"started": False, "status": state.get("Status"), "health": _health(state)}
    return Outcome(200, body={**said, "reason": "timeout after max tries"})


async def _stays(call: Call, found: Mapping[str, Any]) -> bool:
    """Whether an app listens, or has at least not died within :data:`STEADY_S`.

    For one that dies a moment after it was said to run, AppAPI would ask in vain for ten minutes.
    """
    given = environment.of(found)
    port, is_tunnelled = environment.app_port(given), environment.speaks_frp(given)
    if port is None or not (is_tunnelled or is_here(call.engine.address)):
        return True
    if is_tunnelled:
        place: Upstream | None = Upstream("127.0.0.1", port)  # frps listens there as soon as the app's frpc has come
    else:
        found_at = address.whereabouts(found, own_networks=await call.own_networks())
        place = None if found_at is None else found_at.upstream
    # One that is just ending has no address any more.
    if place is None:
        await asyncio.sleep(STEADY_S)
    elif await knock.listens_within(place, STEADY_S):
        return True
    now = await call.engine.inspect(str(found["Id"]))
    return now is not None and _run(now) == _run(found)


def _run(inspected: Mapping[str, Any]) -> tuple[Any, Any]:
    """What one run of a container is known by; between two runs there is the time of the last."""
    state = inspected.get("State") or {}
    return state.get("Status"), state.get("StartedAt")


def standing(inspected: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What AppAPI is told of a container's start; ``None`` while that cannot be said yet (124–128)."""
    if inspected is None:
        return {"started": False, "status": "not_found", "reason": "container not found"}
    state = inspected.get("State") or {}
    status, health = state.get("Status"), _health(state)
    said = {"status": status, "health": health}
    if status == "running":
        if health in (None, "healthy", "none"):
            return {"started": True, **said}
        return {"started": True, **said, "reason": "unhealthy"} if health == "unhealthy" else None
    ended = f", exit code {state.get('ExitCode')}" + (f": {state['Error']}" if state.get("Error") else "")
    if status in ("paused", "exited", "dead"):
        return {"started": False, **said, "reason": f"non-recoverable state: {status}{ended}"}
    deaths = inspected.get("RestartCount")
    if status == "restarting" and isinstance(deaths, int) and deaths >= _DEATHS_MOST:
        return {"started": False, **said, "reason": f"it ended {deaths} times at once{ended}"}
    return None


def death(event: Mapping[str, Any]) -> tuple[str, str] | None:
    """The container and the exit code, where an engine's event is that one ended by itself, and not well."""
    actor = event.get("Actor")
    said = actor.get("Attributes") if isinstance(actor, Mapping) else None
    if event.get("Action") != "die" or not isinstance(said, Mapping):
        return None
    name, code = str(said.get("name", "")), str(said.get("exitCode", ""))
    return (name, code) if name.startswith(names.PREFIX) and code not in _WELL else None


def _health(state: Mapping[str, Any]) -> str | None:
    health = state.get("Health")
    return health.get("Status") if isinstance(health, Mapping) else None


async def remove(call: Call, form: Remove) -> Outcome:
    """204 also where there was none: what is asked for is that it is gone."""
    try:
        await call.engine.remove(names.container(form))
    except Refused as error:
        if error.status not in (404, 409):
            raise
    if not form.remove_data:
        return Outcome(204)
    volume = names.volume(form)
    try:
        await call.engine.remove_volume(volume)
    except Refused as error:
        if error.status == 409:
            return Outcome(409, f"Volume '{volume}' is in use: another container of the app has it.")
        if error.status != 404:
            raise
    return Outcome(204)


async def image_remove(call: Call, form: ImageRemove) -> Outcome:
    """The image of an app that is gone; one that another container uses stays."""
    gone = Outcome(200, body={"deleted": True, "bytes_freed": 0, "reason": "not_found"})
    image = await call.engine.image(form.image_ref)
    if image is None:
        return gone
    try:
        done = await call.engine.remove_image(form.image_ref)
    except Refused as error:
        if error.status == 404:
            return gone
        if error.status == 409:
            return Outcome(200, body={"deleted": False, "reason": "in_use"})
        raise
    was_deleted = any("Deleted" in each for each in done)
    return Outcome(200, body={"deleted": True, "bytes_freed": image.get("Size") or 0 if was_deleted else 0})
