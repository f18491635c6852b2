# SPDX-License-Identifier: AGPL-3.0-or-later
"""What there is to see between a browser and an app, in the words of the doctor. Pure."""

import re
from dataclasses import dataclass
from enum import Enum, auto

LOOPBACK = "127.0.0.1"
_LISTENS = "0A"
"""TCP_LISTEN in proc(5)'s net/tcp."""
_SOCKET = re.compile(r"\s*\d+: ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) \S+ ([0-9A-F]{2}) ")
_LOOPBACKS = re.compile(r"[0-9A-F]{6}7F|0{24}01000000|0{16}FFFF0000[0-9A-F]{6}7F")
"""127.0.0.0/8, ::1 and ::ffff:127.0.0.0/104, each word of 32 bits with its least byte first."""


class Reach(Enum):
    """How an attempt to reach an address ended."""

    ANSWERED = auto()
    REFUSED = auto()
    TIMED_OUT = auto()
    """No connection in time."""
    SILENT = auto()
    """A connection, and no word on it."""
    PROHIBITED = auto()
    """ICMP, or this machine itself, says that there is no way."""
    MISSING = auto()
    """No such socket."""
    FORBIDDEN = auto()
    """A socket for others."""
    UNRESOLVED = auto()
    EXPIRED = auto()
    NOT_YET = auto()
    OTHER_NAME = auto()
    SELF_SIGNED = auto()
    UNTRUSTED = auto()
    """The chain is whole, its authority unknown."""
    INCOMPLETE = auto()
    """The last certificate that came was signed by somebody unknown."""
    PLAIN = auto()
    """http where https is meant."""
    TLS = auto()
    """https where http is meant."""
    BROKEN = auto()


class Arrival(Enum):
    """How the path of a request through the web server in front arrived at the probe."""

    WHOLE = auto()
    STRIPPED = auto()
    PREFIXED = auto()
    NOT_AT_ALL = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One address that was asked; ``status`` is HTTP's, 0 where there was none; ``version`` what it calls itself."""

    address: str
    reach: Reach
    status: int = 0
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Through:
    """The public way: None is what could not be looked at. ``counted`` is the client whom Harp holds responsible."""

    front: Answered
    arrival: Arrival = Arrival.NOT_AT_ALL
    websocket: bool | None = None
    streams: bool | None = None
    forwarded_for: str | None = None
    counted: str | None = None
    trusts: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A Docker Engine: whether a setting names it, and what it said where it answered."""

    port: int
    url: str
    reach: Reach
    is_named: bool = True
    version: str = ""
    api: str = ""
    said: str = ""
    is_public: bool = False
    """Whether it was reached, unencrypted, at an address of the Internet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """An app's container. ``heard`` are the ports on which something listens in it, each with whether that is on
    loopback alone; None where it could not be looked at. ``published`` are addresses of its host that lead into it.
    """

    name: str
    app: str
    port: int | None
    is_running: bool
    stands: str
    """As the engine words it: ``running``, ``exited (1)``."""
    address: str = ""
    """Where Harp would connect to, ``HOST:PORT``; empty where it would not."""
    is_on_host: bool = False
    heard: dict[int, bool] | None = None
    published: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """An app that Harp knows, whether its address takes a connection, and its container, if it has one here."""

    app: str
    address: str
    reach: Reach
    container: Container | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Frp:
    """frps, or that there is none; ``elsewhere`` are the engines that nothing else leads to, ``ends`` days until the
    authority does (None: there is no TLS)."""

    address: str
    runs: bool
    listens: bool = False
    ends: float | None = None
    elsewhere: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """A port of Harp's own that is not for the world, and the addresses of the Internet at which it was found open."""

    name: str
    setting: str
    port: int
    open_at: tuple[str, ...] = ()
    published: tuple[str, ...] = ()
    """Where Harp is in a container: the addresses of its host."""


def heard(table: str) -> dict[int, bool]:
    """The TCP ports that something listens on, by proc(5)'s net/tcp and net/tcp6; True: on loopback alone."""
    found: dict[int, bool] = {}
    for line in table.splitlines():
        match = _SOCKET.match(line)
        if match and match.group(3) == _LISTENS:
            port = int(match.group(2), 16)
            found[port] = found.get(port, True) and _LOOPBACKS.fullmatch(match.group(1)) is not None
    return found
