# SPDX-License-Identifier: AGPL-3.0-or-later
"""The proxy for External Apps, as ``/v1`` shows it: apps with routes and figures, who is banned, how that is lifted."""

from typing import Protocol

import msgspec

from harp.bridge.model import Done, Noun, Report


class RouteFact(Noun, frozen=True, kw_only=True):
    """``level`` is ``public``, ``user`` or ``admin``."""

    pattern: str
    level: str


class AppFigures(Noun, frozen=True, kw_only=True):
    """Since HAProxy last was given the app's routes. ``most_ms`` is the longest wait of them all."""

    requests: int = 0
    errors: int = 0
    """Answers of 500 and above, and connections to the app that failed."""
    most_ms: int = 0
    p50_ms: int | None = None
    """Half of the last ``timed`` requests waited no longer for the app; None where none is known."""
    p99_ms: int | None = None
    timed: int = 0
    """How many of the proxy's last ten thousand requests were for this app."""
    sessions: int = 0
    """Under way just now."""


class AppView(Noun, frozen=True, kw_only=True):
    """One app that HAProxy knows. The first hundred routes; ``route_count`` counts all."""

    id: str
    version: str
    upstream: str
    listens: bool = False
    """Whether it took a connection at ``upstream`` just now."""
    routes: list[RouteFact]
    route_count: int = 0
    figures: AppFigures


class BanView(Noun, frozen=True, kw_only=True):
    """One client that failed lately; ``banned_for_s`` is 0 where it is not refused (yet)."""

    client: str
    failures: int
    banned_for_s: float


class ContainerView(Noun, frozen=True, kw_only=True):
    """A deployed app's container, in its engine's words: ``state`` is ``running``, ``exited`` …"""

    name: str
    image: str
    state: str
    status: str


class PullView(Noun, frozen=True, kw_only=True):
    """How far an image has come: layers that are unpacked, bytes that were fetched. Both sums grow as layers begin."""

    layers: int
    layers_done: int
    size_bytes: int
    done_bytes: int


class StepView(Noun, frozen=True, kw_only=True):
    """A step of an app's deployment. ``ended_at`` is None meanwhile; ``text`` is why it failed, without secrets."""

    app: str
    """The image, where one is pulled."""
    verb: str
    """``pull``, ``create``, ``install_certificates``, ``start``, ``wait_for_start``, ``stop`` or ``remove``."""
    began_at: float
    ended_at: float | None = None
    ok: bool = True
    text: str = ""
    progress: PullView | None = None
    """Of an image that is pulled, as soon as its layers are known."""


class TunnelView(Noun, frozen=True, kw_only=True):
    """An app or an engine that came through FRP, and its port on loopback."""

    name: str
    port: int


class FrpView(Noun, frozen=True, kw_only=True):
    """frps: where it should listen, whether it does, and what came through it."""

    listen: str
    is_up: bool
    tunnels: list[TunnelView]


class ContainerAsked(Noun, frozen=True, kw_only=True):
    container: str
    lines: int = 200


class ContainerLog(Noun, frozen=True, kw_only=True):
    """What it has said last, the oldest first, without what looks like a secret."""

    lines: list[str]


class ProxyView(Noun, frozen=True, kw_only=True):
    """The app plane at a glance. ``is_running``: whether it is wanted here; ``error``: why it cannot be seen."""

    is_running: bool
    error: str = ""
    listen: str = ""
    haproxy: str = ""
    uptime_s: int = 0
    connections: int = 0
    most_connections: int = 0
    requests: int = 0
    agent_answers: bool = False
    people: int = 0
    """Whose sessions are known just now."""
    apps: list[AppView]
    bans: list[BanView]
    containers: list[ContainerView] = msgspec.field(default_factory=list)
    steps: list[StepView] = msgspec.field(default_factory=list)
    """Of deployments lately, the newest first."""
    frp: FrpView | None = None
    """None: no frps runs here."""


class ClientAsked(Noun, frozen=True, kw_only=True):
    """``client`` is an IP address; of an IPv6 one, its network is meant."""

    client: str


class ProxyDoctorAsked(Noun, frozen=True, kw_only=True):
    """``public`` is Nextcloud's address for browsers, where that is not ``NC_INSTANCE_URL``.

    With ``control``, it is only looked whether Harp is reached at this address, as AppAPI was told it.
    """

    public: str = ""
    control: str = ""


class ProxyConfiguration(Noun, frozen=True, kw_only=True):
    """``haproxy.cfg`` as it was compiled, without what is secret."""

    text: str


class Proxied(Protocol):
    """What the running daemon answers about its app plane; see :class:`harp.bridge.daemonport.Daemon`."""

    async def proxy(self) -> ProxyView: ...

    async def container_log(self, container: str, lines: int) -> ContainerLog: ...

    async def proxy_configuration(self) -> ProxyConfiguration: ...

    async def proxy_doctor(self, public: str, control: str) -> Report:
        """Both ways looked at, which takes seconds, or only ``control``.

        Raises :class:`harp.base.errors.UsageError` where none runs.
        """
        ...

    async def lift(self, client: str) -> Done:
        """Forget the failures of a client. Raises :class:`harp.base.errors.UsageError` where it has none."""
        ...
