# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where this device is in its networks: what is near, under which addresses it is found, and what it says of itself."""

import time
from collections.abc import Sequence

from harp import __version__
from harp.base.config import Config
from harp.base.errors import LinkError
from harp.sync.engine.fetcher import Reach
from harp.sync.protocol.messages import OLDEST_VERSION, PROTOCOL_VERSION, Hello
from harp.sync.service.sites import Limits
from harp.sync.transport import network
from harp.sync.transport.addresses import address_text
from harp.sync.transport.interfaces import Subnet

REFRESH_S = 10.0
ANYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound to


class Survey:
    """Implements :class:`harp.sync.service.hub.Surveyor`; for every thread."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._address = ("", 0)
        self._refreshed_s = 0.0
        self._subnets: Sequence[Subnet] = ()
        self._addresses: Sequence[str] = ()

    def listening(self, address: tuple[str, int]) -> None:
        """The listener is bound there."""
        self._address = address
        self._refreshed_s = 0.0
        self.refresh()

    def reconfigured(self, config: Config) -> None:
        """What can change while the daemon runs, has."""
        self._config = config

    def refresh(self) -> None:
        """Looks again which networks there are, if that was not done just now."""
        if time.monotonic() - self._refreshed_s < REFRESH_S and self._refreshed_s:
            return
        self._refreshed_s = time.monotonic()
        host, port = self._address
        try:
            self._subnets = network.local_subnets()
            self._addresses = network.advertised_addresses(port) if host in ANYWHERE else [address_text(host, port)]
        except LinkError:
            self._subnets, self._addresses = (), [address_text(host, port)]

    def reach(self, host: str, round_trip_s: float = 0.0) -> Reach:
        """How a peer is reached; a round trip of 0 is one that is not known."""
        config = self._config
        is_close = 0 < round_trip_s * 1000 <= config.lan_round_trip_ms
        return network.reach(host, self._subnets, config.lan_subnets, config.wan_subnets, is_close=is_close)

    def limits(self) -> Limits:
        """What the line may carry at this time of the day."""
        now = time.localtime()
        minute = now.tm_hour * 60 + now.tm_min
        return Limits(self._config.receive_limit.rate_at(minute), self._config.send_limit.rate_at(minute))

    def own_addresses(self) -> Sequence[str]:
        """Where others find this device; first the way that is open from everywhere."""
        url = self._config.websocket_url
        return self._addresses if url is None else [str(url), *self._addresses]

    def hello(self) -> Hello:
        return Hello(
            OLDEST_VERSION,
            PROTOCOL_VERSION,
            f"harp/{__version__}",
            self._config.device_name,
            self._address[1],
            time.time_ns() // 1_000_000,
        )
