# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an app gets that is to come through FRP: implements :class:`harp.proxy.deploy.port.Tunnels`."""

from collections.abc import Callable, Mapping

from harp.proxy.edge.frp.authority import Authority
from harp.proxy.model import AppId
from harp.proxy.policy import tunnels


class AppTunnels:
    """Tokens and certificates, each for one app; ``now`` is seconds since the epoch."""

    def __init__(self, authority: Authority, secret: bytes, *, has_tls: bool, now: Callable[[], float]) -> None:
        self._authority = authority
        self._secret = secret
        self._has_tls = has_tls
        self._now = now

    def token(self, app: AppId, app_port: int) -> str | None:
        return tunnels.token_of(self._secret, app, app_port)

    def certificates(self, app: AppId) -> Mapping[str, bytes]:
        return self._authority.for_app(app, self._now()) if self._has_tls else {}
