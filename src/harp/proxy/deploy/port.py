# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a deployment backend does for AppAPI (contract, 3.3 to 3.7), and what it wants of others."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from harp.proxy.model import AppId


@dataclass(frozen=True, slots=True)
class Outcome:
    """An answer to AppAPI: a status, and either a text or an object for JSON."""

    status: int
    text: str = ""
    body: dict[str, Any] | None = None


class Backend(Protocol):
    """One family of calls, ``/docker/exapp/VERB`` or ``/k8s/exapp/VERB``."""

    def is_available(self) -> bool:
        """Whether apps can be deployed this way."""
        ...

    async def call(self, verb: str, engine_port: str | None, body: bytes) -> Outcome:
        """The answer to one call; ``engine_port`` is the header ``docker-engine-port``."""
        ...


class Puller(Protocol):
    """Who has an engine pull an image."""

    def pull(
        self, engine_port: str | None, query: Mapping[str, str], registry_auth: str | None
    ) -> AsyncGenerator[Outcome | bytes, None]:
        """An outcome first; if it is 200, what the engine tells follows, piece by piece as it comes.

        ``query`` is that of ``images/create``, ``registry_auth`` the header ``X-Registry-Auth`` (Docker Engine API).
        """
        ...


class Tunnels(Protocol):
    """What a deployment asks of FRP, for an app that AppAPI means to come through it."""

    def token(self, app: AppId, app_port: int) -> str | None:
        """The token of this app alone, by which it may open ``app_port``; ``None``: no frps runs here."""
        ...

    def certificates(self, app: AppId) -> Mapping[str, bytes]:
        """``ca.crt``, ``client.crt`` and ``client.key`` for the app; nothing where FRP goes without TLS."""
        ...


class NoTunnels:
    """No frps: every app is reached where it listens."""

    def token(self, app: AppId, app_port: int) -> str | None:
        return None

    def certificates(self, app: AppId) -> Mapping[str, bytes]:
        return {}
