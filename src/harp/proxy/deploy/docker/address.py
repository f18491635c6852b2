# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where the app in a container listens, and in which container Harp itself is (contract, 4.6)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harp.proxy.deploy.docker import environment
from harp.proxy.deploy.docker.names import PREFIX
from harp.proxy.model import AppId, Upstream

_OWN = re.compile(r"/(?:overlay-)?containers/([0-9a-f]{64})/\S*(?:hostname|hosts|resolv\.conf) /etc/")


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """An app that runs in a container of this name, and listens there."""

    app: AppId
    container: str
    upstream: Upstream


def whereabouts(
    inspected: Mapping[str, Any], *, own_networks: Sequence[str] = (), host: str = "127.0.0.1"
) -> Whereabouts | None:
    """What an engine's own words about a container tell; ``None`` where it is no app's, does not run or uses FRP.

    ``own_networks`` are those that Harp is in too, ``host`` is where the engine's machine is reached.
    """
    name = str(inspected.get("Name", "")).lstrip("/")
    given = environment.of(inspected)
    app, port = given.get("APP_ID", ""), environment.app_port(given)
    is_running = _mapping(inspected, "State").get("Running") is True
    if not name.startswith(PREFIX) or not app or port is None or not is_running or environment.speaks_frp(given):
        return None
    mode = _mode(inspected)
    networks = _mapping(_mapping(inspected, "NetworkSettings"), "Networks")
    address = host if mode == "host" else _address(networks, (*own_networks, mode))
    return Whereabouts(AppId(app.lower()), name, Upstream(address, port)) if address else None


def _address(networks: Mapping[str, Any], preferred: Sequence[str]) -> str:
    order = [name for name in preferred if name in networks] + sorted(networks)
    found = (str((networks[name] or {}).get("IPAddress") or "") for name in order)
    return next((address for address in found if address), "")


def _mapping(of: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = of.get(key)
    return found if isinstance(found, Mapping) else {}


def _mode(inspected: Mapping[str, Any]) -> str:
    return str(_mapping(inspected, "HostConfig").get("NetworkMode", ""))


def is_on_host(inspected: Mapping[str, Any]) -> bool:
    """Whether a container has no network of its own."""
    return _mode(inspected) == "host"


def published(inspected: Mapping[str, Any]) -> tuple[str, ...]:
    """Where its host leads TCP into a container: ``HOST:PORT=PORT``, the container's own port last."""
    ports = _mapping(_mapping(inspected, "NetworkSettings"), "Ports")
    return tuple(
        f"{f'[{ip}]' if ':' in (ip := str(place.get('HostIp', ''))) else ip}:{place.get('HostPort')}={inside[:-4]}"
        for inside, places in sorted(ports.items())
        if inside.endswith("/tcp")
        for place in places or ()
    )


def networks_of(inspected: Mapping[str, Any]) -> tuple[str, ...]:
    """The networks of a container, those with names of their own first: in them, apps have names too."""
    if is_on_host(inspected):
        return ()
    names = _mapping(_mapping(inspected, "NetworkSettings"), "Networks")
    return tuple(
        sorted((name for name in names if name not in ("host", "none")), key=lambda name: (name == "bridge", name))
    )


def own_container(mountinfo: str) -> str | None:
    """The id of the container that a process with this ``/proc/self/mountinfo`` is in (proc(5)): an engine mounts its
    own ``/etc/hostname`` and ``/etc/hosts`` there. ``None`` outside of one."""
    found = _OWN.search(mountinfo)
    return None if found is None else found.group(1)


def network_for(asked: str, own_networks: Sequence[str]) -> str:
    """The network in which Harp reaches an app that listens by itself.

    On the host Harp reaches all of them. Within a container it reaches those that it is in.
    """
    return asked if not own_networks or asked in own_networks else own_networks[0]
