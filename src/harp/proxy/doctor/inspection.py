# SPDX-License-Identifier: AGPL-3.0-or-later
"""Looks at the machine that apps run on: its Docker Engines, the containers of apps, and Harp's own ports."""

import asyncio
import contextlib
import socket
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import aiohttp

from harp.proxy.deploy.docker import environment
from harp.proxy.deploy.docker.address import is_on_host, published, whereabouts
from harp.proxy.deploy.docker.call import Call, Surroundings
from harp.proxy.deploy.docker.engine import Engine, Refused, Unreachable, connected
from harp.proxy.deploy.docker.names import PREFIX
from harp.proxy.doctor import hosting, probes, seen
from harp.proxy.doctor.echo import WAIT_S
from harp.proxy.doctor.seen import Door, Reach
from harp.proxy.model import EngineAddress
from harp.proxy.settings import ProxySettings

_SOMEWHERE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
"""Documentation's addresses (RFC 5737, RFC 3849): nothing is sent to them."""
_OF_TLS = "HTTPS server"
"""Go's answer to a request without TLS, status 400 (net/http, server.go)."""


async def engine(place: EngineAddress, *, is_named: bool) -> seen.Engine:
    """By a connection, and by asking for its version."""
    host, _, number = place.place.rpartition(":")
    reach = await (
        probes.connected_unix(place.place) if place.kind == "unix" else probes.connected(host.strip("[]"), int(number))
    )
    found = seen.Engine(port=place.port, url=place.url, is_named=is_named, reach=reach)
    if reach is not Reach.ANSWERED:
        return found
    try:
        async with asyncio.timeout(WAIT_S), connected(place) as link:
            version, api = await link.version()
    except Refused as error:
        if error.status == 400 and _OF_TLS in str(error):
            return replace(found, reach=Reach.TLS)
        return replace(found, said=str(error))
    except Unreachable as error:
        return replace(found, said=str(error))
    except TimeoutError:
        return replace(found, reach=Reach.SILENT)
    is_public = place.kind == "tcp" and bool(await _of_the_internet(host.strip("[]")))
    return replace(found, version=version, api=api, is_public=is_public)


async def containers(place: EngineAddress, around: Surroundings) -> tuple[list[seen.Container], tuple[str, ...]]:
    """Those of apps on an engine, and what is published of Harp's own (``HOST:PORT=PORT``); nothing if it is silent."""
    found: list[seen.Container] = []
    with contextlib.suppress(Unreachable, Refused, TimeoutError):
        async with asyncio.timeout(4 * WAIT_S), connected(place) as link:
            own = await link.inspect(around.own_container) if around.own_container else None
            networks = await Call(link, around).own_networks()
            for listed in await link.containers(name=[f"^/{PREFIX}"]):
                inspected = await link.inspect(str(listed.get("Id", "")))
                if inspected is not None:
                    found.append(await _container(link, inspected, networks))
            return found, published(own or {})
    return found, ()


async def _container(link: Engine, inspected: Mapping[str, Any], networks: Sequence[str]) -> seen.Container:
    given = environment.variables((inspected.get("Config") or {}).get("Env") or ())
    state = inspected.get("State") or {}
    place = whereabouts(inspected, own_networks=networks)
    name, is_running = str(inspected.get("Name", "")).lstrip("/"), state.get("Running") is True
    status = str(state.get("Status", "?"))
    return seen.Container(
        name=name,
        app=given.get("APP_ID", name.removeprefix(PREFIX)).lower(),
        port=environment.app_port(given),
        is_running=is_running,
        stands=status if is_running else f"{status}, exit code {state.get('ExitCode')}",
        address="" if place is None else f"{place.upstream.address}:{place.upstream.port}",
        is_on_host=is_on_host(inspected),
        heard=await _heard(link, name) if is_running else None,
        published=tuple(each.partition("=")[0] for each in published(inspected)),
    )


async def _heard(link: Engine, container: str) -> dict[int, bool] | None:
    """None where the image has no ``cat``, or the kernel no such table."""
    try:
        code, said = await link.execute(container, "cat", "/proc/net/tcp", "/proc/net/tcp6")
    except Refused:
        return None
    table = seen.heard(said)
    return table if table or code == 0 else None


async def doors(settings: ProxySettings, public_host: str, own: Sequence[str]) -> list[Door]:
    """Harp's ports that are not for the world, looked at from here under every address that it may have outside."""
    found = []
    addresses = await _of_the_internet(public_host) | await _own_addresses()
    for name, setting, listen, path, sign in (
        ("control", "HP_EXAPPS_ADDRESS", settings.http, "/", probes.NO_APP),
        ("metrics", "HP_METRICS_ADDRESS", settings.metrics, "/healthz", "ok"),
    ):
        port = int(listen.rpartition(":")[2])
        ours = await asyncio.gather(*(_is_ours(address, port, path, sign) for address in sorted(addresses)))
        found.append(
            Door(
                name=name,
                setting=setting,
                port=port,
                open_at=tuple(address for address, is_ours in zip(sorted(addresses), ours, strict=True) if is_ours),
                published=tuple(each.partition("=")[0] for each in own if each.endswith(f"={port}")),
            )
        )
    return found


async def _is_ours(address: str, port: int, path: str, sign: str) -> bool:
    """Whether what listens there says what Harp does."""
    url = f"http://[{address}]:{port}{path}" if ":" in address else f"http://{address}:{port}{path}"
    with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=WAIT_S)) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            return (await response.content.read(probes.MAX_BODY)).decode("ascii", "replace").strip() == sign
    return False


async def _of_the_internet(host: str) -> set[str]:
    """The addresses of a name that the Internet routes; none where it has none."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return set()
    return {str(each[4][0]) for each in found if hosting.is_of_the_internet(str(each[4][0]))}


async def _own_addresses() -> set[str]:
    """Those of this machine from which it would speak to the Internet."""
    found = set()
    for family, somewhere in _SOMEWHERE:
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((somewhere, 9))
            found.add(str(probe.getsockname()[0]))
    return {address for address in found if hosting.is_of_the_internet(address)}
