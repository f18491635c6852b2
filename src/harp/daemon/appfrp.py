# SPDX-License-Identifier: AGPL-3.0-or-later
"""The agent's part of FRP, wired: the door at which frps asks, what apps are given, and the figures of both."""

import functools
import os
import socket
from dataclasses import dataclass

from harp.base.runtime import Clock, Counters
from harp.proxy.deploy.port import NoTunnels, Tunnels
from harp.proxy.edge import bans
from harp.proxy.edge.frp.apps import AppTunnels
from harp.proxy.edge.frp.authority import Authority
from harp.proxy.edge.frp.door import Door
from harp.proxy.edge.frp.opened import open_now
from harp.proxy.edge.frp.server import DOOR, folder_of
from harp.proxy.edge.listening import listens
from harp.proxy.registry import Registry
from harp.proxy.settings import ProxySettings


@dataclass(frozen=True, slots=True)
class Frp:
    """``door`` is ``None`` where no frps runs."""

    tunnels: Tunnels
    door: Door | None = None
    address: str = ""

    async def start(self) -> None:
        """Opens the door."""
        if self.door is not None:
            await self.door.start()

    def rekey(self, key: str) -> None:
        """From now on this shared key opens."""
        if self.door is not None:
            self.door.rekey(key)

    def remark(self) -> str:
        """What whoever asks for readiness should know: the rest is served all the same."""
        return (
            f"frps does not listen on {self.address}\n" if self.door is not None and not listens(self.address) else ""
        )

    async def close(self) -> None:
        if self.door is not None:
            await self.door.close()


def wired(settings: ProxySettings, registry: Registry, clock: Clock, counters: Counters) -> Frp:
    """What the supervisor's variable tells of; without it nothing comes through FRP."""
    told = os.environ.pop(DOOR, "")
    if not told:
        return Frp(NoTunnels())
    number, _, password = told.partition(" ")
    listener = socket.socket(fileno=int(number))
    listener.set_inheritable(False)
    authority = Authority(folder_of(settings), settings.frp_certificate_days)
    secret = authority.tokens_secret()
    door = Door(
        settings.run,
        (listener, password),
        secret,
        settings.key,
        find=registry.find,
        known=registry.known,
        failed=functools.partial(bans.count, settings.run),
        engines=[engine.port for engine in settings.engines],
        counters=counters,
    )
    counters.gauge("harp_proxy_frps_up", "Whether frps listens.", functools.partial(listens, settings.frp))
    counters.gauge(
        "harp_proxy_frp_tunnels", "Ports that frps has open for apps and engines.", lambda: len(open_now(settings.run))
    )
    return Frp(AppTunnels(authority, secret, has_tls=settings.frp_has_tls, now=clock.now), door, settings.frp)
