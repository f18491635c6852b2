# SPDX-License-Identifier: AGPL-3.0-or-later
"""An app's container is made: its volume if need be, never running, and nothing is left where it fails (112–121)."""

import logging
import os

from harp.proxy.deploy.docker import address, container, environment, names
from harp.proxy.deploy.docker.call import Call, is_here, needs_tunnel
from harp.proxy.deploy.docker.engine import Refused, Unreachable
from harp.proxy.deploy.docker.mounts import MountRefused
from harp.proxy.deploy.payload import Create
from harp.proxy.deploy.port import Outcome
from harp.proxy.model import AppId

_log = logging.getLogger(__name__)


async def create(call: Call, form: Create) -> Outcome:
    """201 with the id and the name; 409 where there is one of this name, or another with its port."""
    name = names.container(form)
    network, lines = form.network_mode, form.environment_variables
    given = environment.variables(lines)
    if environment.speaks_frp(given):
        token = None
        if needs_tunnel(call.engine.address):
            token = call.around.tunnels.token(AppId(form.name.lower()), environment.app_port(given) or 0)
        if token is not None:
            lines = environment.with_token(lines, token)
        elif not is_here(call.engine.address):
            return Outcome(
                503,
                f"Error creating container {name}: an app on the engine {call.engine.address.url} is reached through"
                " FRP alone, and no frps runs here. Install frps, or register the daemon with --harp_exapp_direct.",
            )
        else:
            network = await reachable_network(call, network)
            lines = environment.without_frp(lines, is_on_host=network == "host")
    try:
        specification = container.specification(form, network=network, lines=lines, allowed=call.around.bind_mounts)
    except MountRefused as error:
        return Outcome(400, str(error))
    if leads_away := symlinked(call, form):
        return Outcome(400, leads_away)
    if taken := await _port_taken(call, name, network, environment.variables(lines)):
        return Outcome(409, taken)
    return await _made(call, form, name, specification, network)


def symlinked(call: Call, form: Create) -> str:
    """An app that may write into a folder may put a link there that leads out of it; the next mount would follow it.

    Where the host's files cannot be seen from here, nobody can tell.
    """
    if call.engine.address.kind != "unix" or call.around.own_container:
        return ""
    for mount in form.mount_points:
        real = os.path.realpath(mount.source)
        if real != mount.source:
            return f"Mount of {mount.source!r} refused: it leads to {real!r}; name that folder, in HP_BIND_MOUNTS too"
    return ""


async def reachable_network(call: Call, asked: str) -> str:
    """The network in which an app that listens by itself is reached from here."""
    network = address.network_for(asked, await call.own_networks())
    if network != asked:
        _log.warning(
            "an app goes into the network %s in place of %s, which this container does not reach", network, asked
        )
    return network


async def _port_taken(call: Call, name: str, network: str, given: dict[str, str]) -> str:
    """In the host's network a port is one app's alone; elsewhere each container has ports of its own."""
    port = environment.app_port(given)
    if network != "host" or port is None:
        return ""
    for other in await call.engine.containers(label=[f"{container.LABEL_HOST_PORT}={port}"]):
        other_name = str((other.get("Names") or ["?"])[0]).lstrip("/")
        if other_name != name:
            return (
                f"Port {port} in the host's network is that of container '{other_name}':"
                " unregister that app, or give this one another port."
            )
    return ""


async def _made(call: Call, form: Create, name: str, specification: dict[str, object], network: str) -> Outcome:
    volume, is_new = names.volume(form), False
    if not await call.engine.has_volume(volume):
        await call.engine.make_volume(volume)
        is_new = True
    try:
        number = await call.engine.create(name, specification)
    except BaseException as error:
        if is_new:
            await _take_back(call, volume)
        if isinstance(error, Refused) and error.status == 409:
            return Outcome(409, f"Container with name '{name}' already exists.")
        raise
    _log.info("container %s is made from %s, in the network %s", name, form.reference, network)
    return Outcome(201, body={"id": number, "name": name})


async def _take_back(call: Call, volume: str) -> None:
    try:
        await call.engine.remove_volume(volume)
    except (Refused, Unreachable) as error:
        _log.warning("the new volume %s could not be removed again: %s", volume, error)
