# SPDX-License-Identifier: AGPL-3.0-or-later
"""The proxy's doctor, wired: what the probes see of both ways, judged, each failure with its remedy."""

from collections.abc import Iterable

from harp.bridge.model import Check
from harp.daemon import proxyanswers
from harp.proxy.doctor import walk
from harp.proxy.doctor.diagnosis import Finding
from harp.proxy.settings import ProxySettings


async def checks(settings: ProxySettings, public: str) -> list[Check]:
    """``public`` is Nextcloud's address for browsers. Takes seconds. Raises :class:`RuntimeSocketError`."""
    known = [app for app in await proxyanswers.upstreams(settings) if not app[0].startswith("harpdoctor")]
    return _shown(await walk.all_ways(settings, public, known, await proxyanswers.wrong_keys(settings)))


async def control(settings: ProxySettings, address: str) -> list[Check]:
    """Only whether Harp is reached at this address, as AppAPI was told it; nothing has to run here."""
    return _shown(await walk.control(settings, address))


def _shown(findings: Iterable[Finding]) -> list[Check]:
    return [Check(name=each.name, ok=each.ok, text=each.text, remedy=each.remedy) for each in findings]
