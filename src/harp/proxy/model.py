# SPDX-License-Identifier: AGPL-3.0-or-later
"""The nouns of the app plane, and what it asks of the world.

Contract numbers, here and elsewhere, are those of docs/harp-compatibility.md.
"""

import enum
from dataclasses import dataclass
from typing import Literal, NewType, Protocol

AppId = NewType("AppId", str)
"""An ExApp's id in lower case; the spelling of the URL is a plain ``str``."""

CredentialKey = NewType("CredentialKey", str)
"""SHA-256 over what identifies a person to Nextcloud, whichever app is asked for; HAProxy makes it."""

CONTROL_ID = "app_api"
"""The first part of a path that is meant for the control API; it is compared as it is written."""

INTERNAL_PATHS = ("/heartbeat", "/init", "/enabled")
"""What only Nextcloud may ask of an ExApp, with its key."""


class Level(enum.IntEnum):
    """Who may use a route, and what a person may use."""

    PUBLIC = 0
    USER = 1
    ADMIN = 2


@dataclass(frozen=True, slots=True)
class Route:
    """A regular expression of Python, matched at the start of the raw target path, and what it grants.

    ``statuses`` are the answers of the app that count as a failure of the client.
    """

    pattern: str
    level: Level
    statuses: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ExApp:
    """What Nextcloud says of one External App. ``token`` is a secret that the app and Nextcloud share."""

    id: AppId
    token: str
    version: str
    host: str
    port: int
    routes: tuple[Route, ...] = ()


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where an app listens: an IP address as text, and a port."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class EngineAddress:
    """Where a Docker Engine listens: the path of a Unix socket, or ``HOST:PORT``.

    ``port`` is the number by which AppAPI calls it (``docker-engine-port``); nobody listens there.
    """

    port: int
    kind: Literal["unix", "tcp"]
    place: str

    @property
    def url(self) -> str:
        """As Docker's own tools write it."""
        return f"{self.kind}://{self.place}"


def through_frp(port: int) -> EngineAddress:
    """An engine that came through FRP: frps has it on loopback, on the port that is its number."""
    return EngineAddress(port, "tcp", f"127.0.0.1:{port}")


ENGINE_PORTS = range(24_000, 24_100)
"""What AppAPI may call an engine by; 24000 is the local socket (contract, 1.1)."""

APP_PORTS = range(23_000, 24_000)
"""Where frps opens the ports of apps on loopback: each has that of its own record (contract, 1.1)."""


@dataclass(frozen=True, slots=True)
class BindFolder:
    """A folder of the host that apps may be given, with all below it."""

    path: str
    is_read_only: bool = False


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom Nextcloud takes someone for. The empty user is nobody, who has :attr:`Level.PUBLIC`."""

    user: str
    level: Level

    @property
    def is_somebody(self) -> bool:
        return bool(self.user)


NOBODY = Identity("", Level.PUBLIC)


class Refusal(enum.Enum):
    """Why a request does not reach an app: its status, whether it counts towards a ban, and the name in the log."""

    BANNED = (429, False, "banned")
    CLIMBS = (403, True, "parent-directory")
    NO_APP_ID = (404, True, "no-app-id")
    UNKNOWN_APP = (404, True, "unknown-app")
    WRONG_KEY = (401, True, "wrong-key")
    INTERNAL = (403, True, "internal-path")
    NO_ROUTE = (404, True, "no-route")
    FORBIDDEN = (403, True, "forbidden")
    LOOKUP_FAILED = (404, False, "lookup-failed")
    UNRESOLVABLE = (404, False, "unresolvable-host")
    IDENTITY_UNKNOWN = (401, False, "nextcloud-trouble")
    ROUTE_TOO_SLOW = (503, False, "route-too-slow")
    TOO_MANY_QUESTIONS = (429, False, "too-many-credentials")
    BAD_UPSTREAM = (503, False, "bad-upstream")

    def __init__(self, status: int, counts: bool, reason: str) -> None:
        self.status = status
        self.counts = counts
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Allowed:
    """The first route that matched grants it; ``statuses`` as in :class:`Route`."""

    level: Level
    statuses: tuple[int, ...]


Verdict = Allowed | Refusal


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client sent to identify itself to Nextcloud; all of it is secret."""

    cookie: str
    authorization: str
    user_agent: str = ""
    language: str = ""
    client: str = ""
    """The client's address, so that Nextcloud throttles the right one."""


class NextcloudUnsure(Exception):
    """Nextcloud did not answer, or not with sense: nothing is known, and nothing may be remembered."""


class Nextcloud(Protocol):
    """What the app plane asks of Nextcloud's AppAPI."""

    async def exapp(self, app: AppId) -> ExApp | None:
        """The record of an app; ``None`` where Nextcloud knows none. Raises :class:`NextcloudUnsure`."""
        ...

    async def identify(self, app: AppId, credentials: Credentials) -> Identity | None:
        """Who has these credentials, at whatever app; ``None`` where Nextcloud refuses to say, which may be the app's
        fault. Raises :class:`NextcloudUnsure`."""
        ...


class Resolver(Protocol):
    """Names to addresses."""

    async def address(self, host: str) -> str | None:
        """An IP address as text, IPv4 first; ``None`` where there is none."""
        ...


class Matcher(Protocol):
    """Regular expressions that HAProxy is not given, under a time limit."""

    async def first(self, patterns: tuple[str, ...], path: str) -> int | None:
        """The index of the first pattern that matches at the start of ``path``. Raises :class:`TimeoutError`."""
        ...
