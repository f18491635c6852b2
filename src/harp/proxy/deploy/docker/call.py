# SPDX-License-Identifier: AGPL-3.0-or-later
"""What every handler of a Docker call is given."""

from collections.abc import Sequence
from dataclasses import dataclass

from harp.proxy.deploy.docker.address import networks_of
from harp.proxy.deploy.docker.engine import Engine
from harp.proxy.deploy.port import Tunnels
from harp.proxy.model import BindFolder, EngineAddress, through_frp


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the settings and the machine say. ``own_container`` is the id of the one that Harp is in, or empty."""

    bind_mounts: Sequence[BindFolder]
    tunnels: Tunnels
    own_container: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """An engine, and what is around."""

    engine: Engine
    around: Surroundings

    async def own_networks(self) -> Sequence[str]:
        """The networks of the container that Harp is in; none where it is in no container of this engine."""
        if not self.around.own_container:
            return ()
        own = await self.engine.inspect(self.around.own_container)
        return () if own is None else networks_of(own)


def is_here(address: EngineAddress) -> bool:
    """Whether an engine's containers are on this very machine."""
    host = address.place.rpartition(":")[0]
    return address.kind == "unix" or host in ("localhost", "[::1]") or host.startswith("127.")


def needs_tunnel(address: EngineAddress) -> bool:
    """Whether the apps of an engine are reached through FRP alone: it is elsewhere, or came through FRP itself.

    On this machine an app is reached where it listens; FRP would be one more thing that can fail.
    """
    return not is_here(address) or address == through_frp(address.port)
