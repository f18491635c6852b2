# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is wrong with the machine that apps run on: engines out of reach, ports that the world reaches. Pure."""

import ipaddress
import re
from collections.abc import Iterator

from harp.proxy.doctor import remedies
from harp.proxy.doctor.diagnosis import Finding
from harp.proxy.doctor.seen import Container, Door, Engine, Reach

LEAST_API = (1, 41)
"""Docker 20.10's (docs.docker.com/engine/api)."""


def engine(seen: Engine) -> Finding:
    """Whether an engine answers, speaks a language that Harp knows, and is nobody else's to command."""
    name = f"engine {seen.port}"
    if seen.reach is Reach.MISSING and not seen.is_named:
        text = f"there is no {seen.url}, and HP_DOCKER_ENGINES names none: apps are installed by hand alone"
        return Finding(name=name, ok=True, text=text)
    if seen.reach in remedies.ENGINE:
        why, remedy = remedies.ENGINE[seen.reach]
        return Finding(name=name, ok=False, text=f"{seen.url} {why}", remedy=remedy)
    if seen.reach is not Reach.ANSWERED:
        why, remedy = remedies.UNREACHED[seen.reach]
        return Finding(name=name, ok=False, text=f"{seen.url} {why}", remedy=remedy)
    if seen.said:
        text = f"what answers at {seen.url} is no Docker Engine that helps: {seen.said}"
        return Finding(name=name, ok=False, text=text, remedy="correct its place in HP_DOCKER_ENGINES")
    api = re.match(r"(\d{1,4})\.(\d{1,4})", seen.api, re.ASCII)
    if api is None or tuple(map(int, api.groups())) < LEAST_API:
        text = f"{seen.url} is Docker {seen.version or '?'}, which is too old"
        return Finding(name=name, ok=False, text=text, remedy="install Docker Engine 20.10 or newer")
    if seen.is_public:
        text = f"{seen.url} answers anybody at an address of the Internet: who reaches it is root there"
        return Finding(name=name, ok=False, text=text, remedy=remedies.ENGINE_IN_PUBLIC)
    return Finding(name=name, ok=True, text=f"{seen.url} is Docker {seen.version}")


def published(seen: Container) -> Finding | None:
    """A finding where the world may come to an app without passing Harp."""
    name = f"port of {seen.app}"
    if open_at := [address for address in seen.published if is_for_all(address)]:
        text = f"its container {seen.name} is published at {', '.join(open_at)}: people come to it without Harp"
        return Finding(name=name, ok=False, text=text, remedy=remedies.unpublish(seen.name))
    if seen.is_on_host and seen.heard is not None and seen.heard.get(seen.port or 0) is False:
        text = f"it is in the host's network and listens on port {seen.port} of all addresses, not on APP_HOST alone"
        return Finding(name=name, ok=False, text=text, remedy=remedies.HOST_NETWORK)
    return None


def door(seen: Door) -> Finding:
    """Whether a port that is for this machine, or its neighbours, is open to the Internet."""
    name = f"{seen.name} port"
    if open_at := [address for address in seen.published if is_for_all(address)]:
        text = f"{seen.port} of Harp's container is published at {', '.join(open_at)}"
        remedy = f"in compose.yaml: `127.0.0.1:{seen.port}:{seen.port}`, or an address of a private network before it"
        return Finding(name=name, ok=False, text=text, remedy=remedy)
    if seen.open_at:
        text = f"{seen.port} is open at {', '.join(seen.open_at)}, an address of the Internet"
        return Finding(name=name, ok=False, text=text, remedy=remedies.close(seen.setting, seen.port))
    return Finding(name=name, ok=True, text=f"{seen.port} was found open at no address of the Internet")


def is_for_all(address: str) -> bool:
    """Whether who publishes on ``HOST:PORT`` does so on all addresses, or on one of the Internet."""
    host = address.rpartition(":")[0].strip("[]")
    return host in ("", "*") or is_of_the_internet(host) or ipaddress.ip_address(host).is_unspecified


def is_of_the_internet(host: str) -> bool:
    """Whether it is an IP address that the Internet routes (IANA's special-purpose registries)."""
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return False


def of_containers(seen: list[Container]) -> Iterator[Finding]:
    """The findings of all of them that publish something."""
    yield from (finding for finding in map(published, seen) if finding is not None)
