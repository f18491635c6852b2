# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is seen of FRP by whoever is not the agent: engines that came through it, and what frps has open."""

from harp.bridge import naming, proxyview
from harp.proxy.edge.frp.opened import open_now
from harp.proxy.edge.frp.server import CONFIGURATION
from harp.proxy.edge.listening import listens
from harp.proxy.model import ENGINE_PORTS, EngineAddress, through_frp
from harp.proxy.settings import ProxySettings


def engines(settings: ProxySettings) -> tuple[EngineAddress, ...]:
    """Those that are set, and those that came through FRP."""
    came = (through_frp(each.port) for each in open_now(settings.run) if each.port in ENGINE_PORTS)
    return (*settings.engines, *came)


def seen(settings: ProxySettings) -> proxyview.FrpView | None:
    """frps at one moment; ``None`` where the plane runs without."""
    if not (settings.run / CONFIGURATION).exists():
        return None
    tunnels = [
        proxyview.TunnelView(name=naming.printable(each.name), port=each.port) for each in open_now(settings.run)
    ]
    return proxyview.FrpView(listen=settings.frp, is_up=listens(settings.frp), tunnels=tunnels)
