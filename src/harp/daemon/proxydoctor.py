# SPDX-License-Identifier: AGPL-3.0-or-later
"""The proxy's doctor, wired: what the probes see of both ways, judged, each failure with its remedy."""

from harp.bridge.model import Check
from harp.daemon import proxyanswers
from harp.proxy.doctor import diagnosis
from harp.proxy.doctor.probes import Probes
from harp.proxy.settings import ProxySettings


async def checks(settings: ProxySettings, public: str) -> list[Check]:
    """``public`` is Nextcloud's address for browsers. Takes seconds. Raises :class:`RuntimeSocketError`."""
    probes = Probes(settings, public)
    known = [app for app in await proxyanswers.upstreams(settings) if not app[0].startswith("harpdoctor")]
    asked = known[0][0] if known else None
    findings = list(diagnosis.control(await probes.control()))
    is_open = all(each.ok for each in findings if each.name != "version")
    findings += diagnosis.nextcloud(await probes.nextcloud(asked), is_keyed=asked is not None)
    if is_open:
        findings += diagnosis.through(await probes.through())
    findings += map(diagnosis.upstream, await probes.upstreams(known))
    findings += diagnosis.frp(probes.frp())
    return [Check(name=each.name, ok=each.ok, text=each.text, remedy=each.remedy) for each in findings]
