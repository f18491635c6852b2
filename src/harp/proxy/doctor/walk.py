# SPDX-License-Identifier: AGPL-3.0-or-later
"""All that the doctor looks at, in the order in which a request comes by; what fails first explains the rest."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from harp.proxy.deploy.docker.address import own_container
from harp.proxy.deploy.docker.call import Surroundings, is_here
from harp.proxy.deploy.port import NoTunnels
from harp.proxy.doctor import diagnosis, hosting, inspection
from harp.proxy.doctor.diagnosis import Finding
from harp.proxy.doctor.probes import Probes
from harp.proxy.doctor.seen import Container, Engine, Reach
from harp.proxy.edge import files
from harp.proxy.model import EngineAddress
from harp.proxy.settings import ProxySettings

MOUNTINFO = Path("/proc/self/mountinfo")
Known = tuple[str, str, int]
"""An app that HAProxy knows: its id, and the host and port of its upstream."""


async def control(settings: ProxySettings, address: str) -> list[Finding]:
    """Nextcloud's way to Harp alone, to where AppAPI was told that it is; nothing has to run here."""
    return list(diagnosis.control(await Probes(settings, settings.nextcloud, address).control()))


async def all_ways(settings: ProxySettings, public: str, apps: Sequence[Known], strangers: int) -> list[Finding]:
    """Both ways, the engines, the apps, and what is open to the world. Needs a proxy that runs here.

    ``strangers`` are the calls that came with another key until now.
    """
    probes = Probes(settings, public)
    asked = apps[0][0] if apps else None
    direct, appapi = await asyncio.gather(probes.control(), probes.nextcloud(asked))
    is_keyed = asked is not None
    findings = list(diagnosis.control(direct, appapi_takes=diagnosis.takes_key(appapi) if is_keyed else None))
    findings += diagnosis.nextcloud(
        appapi, is_keyed=is_keyed, harp_takes=diagnosis.takes_key(direct) is not False, strangers=strangers
    )
    if diagnosis.takes_key(direct):
        findings += diagnosis.through(await probes.through())
    engines = await asyncio.gather(
        *(inspection.engine(each, is_named=settings.names_engines) for each in settings.engines)
    )
    containers, own = await _contained(settings, engines)
    findings += map(hosting.engine, engines)
    findings += map(diagnosis.upstream, await probes.upstreams(_all_known(apps, containers), containers))
    findings += hosting.of_containers(containers)
    findings += diagnosis.frp(probes.frp())
    findings += map(hosting.door, await inspection.doors(settings, urlsplit(public).hostname or "", own))
    return findings


async def _contained(settings: ProxySettings, engines: Sequence[Engine]) -> tuple[list[Container], list[str]]:
    answering = {each.port for each in engines if each.reach is Reach.ANSWERED and not each.said}
    here: list[EngineAddress] = [each for each in settings.engines if each.port in answering and is_here(each)]
    around = Surroundings((), NoTunnels(), own_container(files.read(MOUNTINFO) or "") or "")
    found = await asyncio.gather(*(inspection.containers(each, around) for each in here))
    return [one for each, _own in found for one in each], [one for _each, own in found for one in own]


def _all_known(apps: Sequence[Known], containers: Sequence[Container]) -> list[Known]:
    """HAProxy's, and those of containers that nobody asked it for yet."""
    known = {app for app, _host, _port in apps}
    found = list(apps)
    for each in containers:
        host, _, port = each.address.rpartition(":")
        if host and each.app not in known:
            found.append((each.app, host, int(port)))
    return found
