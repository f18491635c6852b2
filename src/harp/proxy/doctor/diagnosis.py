# SPDX-License-Identifier: AGPL-3.0-or-later
"""From what the probes saw to findings, each good or with its remedy. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from harp.proxy.doctor import remedies
from harp.proxy.model import APP_PORTS

LEAST_VERSION = (0, 3, 0)
"""The least that AppAPI accepts of the proxy (contract, 3.2)."""
AUTHORITY_ENDS_SOON = 30.0
"""Days."""


class Reach(Enum):
    """How an attempt to reach an address ended."""

    ANSWERED = auto()
    REFUSED = auto()
    TIMED_OUT = auto()
    UNRESOLVED = auto()
    EXPIRED = auto()
    OTHER_NAME = auto()
    UNTRUSTED = auto()
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
class Upstream:
    """An app that Harp knows, and whether its address takes a connection."""

    app: str
    address: str
    reach: Reach


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
class Finding:
    """A line of the report; ``remedy`` is empty where ``ok``."""

    name: str
    ok: bool
    text: str
    remedy: str = ""


_UNREACHED = {
    Reach.REFUSED: ("refuses the connection", "start what should listen there, or correct the address and its port"),
    Reach.TIMED_OUT: (
        "does not answer: packets are dropped on the way",
        "a firewall in between: let this machine reach that port (harp listens on 8780 and 8781)",
    ),
    Reach.UNRESOLVED: (
        "has a name that does not resolve",
        "correct the name, or the DNS",
    ),
    Reach.EXPIRED: ("has a certificate that is out of date", "renew it, reload the web server, and look at the clock"),
    Reach.OTHER_NAME: (
        "has a certificate for another name",
        "use the name of the certificate in NC_INSTANCE_URL, or get a certificate for this one",
    ),
    Reach.UNTRUSTED: (
        "has a certificate from an unknown authority, or without its chain",
        "set HP_CA_FILE to the authority's PEM file; a public one: serve the full chain"
        " (nginx `ssl_certificate fullchain.pem;`, Apache `SSLCertificateFile fullchain.pem`,"
        " Caddy `tls fullchain.pem key.pem`, Traefik `certFile: fullchain.pem`)",
    ),
    Reach.BROKEN: ("breaks the connection off", "is it http where https is meant, or the other way round?"),
}


def reached(name: str, seen: Answered) -> Finding:
    """Whether an address answered at all."""
    if seen.reach is Reach.ANSWERED:
        return Finding(name=name, ok=True, text=f"{seen.address} answers")
    why, remedy = _UNREACHED[seen.reach]
    return Finding(name=name, ok=False, text=f"{seen.address} {why}", remedy=remedy)


def control(seen: Answered) -> Iterator[Finding]:
    """Nextcloud's direct way to the control API: reached, the same key, new enough."""
    yield reached("control address", seen)
    if seen.reach is not Reach.ANSWERED:
        return
    if seen.status == 401:
        yield Finding(
            name="shared key",
            ok=False,
            text="what runs has another key than HP_SHARED_KEY says",
            remedy="restart harp proxy after a change, and give AppAPI the same one (--harp_shared_key)",
        )
    elif seen.status != 200:
        what = {403: "the control API refuses: this way leads through a proxy", 429: "this address is banned"}
        yield Finding(
            name="control API",
            ok=False,
            text=what.get(seen.status, f"/exapps/app_api/info answers {seen.status}"),
            remedy="harp proxy bans, harp proxy unban IP" if seen.status == 429 else "register harp's own HOST:8780",
        )
    else:
        yield Finding(name="shared key", ok=True, text="the control API takes it")
        yield _version(seen.version)


def _version(text: str) -> Finding:
    match = re.match(r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})", text, re.ASCII)
    if match and tuple(map(int, match.groups())) >= LEAST_VERSION:
        return Finding(name="version", ok=True, text=f"{text} is new enough for AppAPI")
    least = ".".join(map(str, LEAST_VERSION))
    return Finding(
        name="version",
        ok=False,
        text=f"{text or 'no version'} is too old for AppAPI",
        remedy=f"install {least} or newer",
    )


def nextcloud(seen: Answered, *, is_keyed: bool) -> Iterator[Finding]:
    """Harp's own way to AppAPI in Nextcloud, with the key."""
    yield reached("Nextcloud", seen)
    if seen.reach is not Reach.ANSWERED or not is_keyed:
        return
    if seen.status in (401, 403):
        yield Finding(
            name="Nextcloud's key",
            ok=False,
            text="AppAPI does not take this key",
            remedy="register the daemon again with --harp_shared_key as HP_SHARED_KEY has it",
        )
    elif seen.status == 200:
        yield Finding(name="Nextcloud's key", ok=True, text="AppAPI takes it")
    else:
        yield Finding(
            name="AppAPI",
            ok=False,
            text=f"AppAPI answers {seen.status}",
            remedy="occ app:enable app_api; NC_INSTANCE_URL has to be Nextcloud's own address, with its folder",
        )


def through(seen: Through) -> Iterator[Finding]:
    """The public way: path, WebSocket, streams, the person's address."""
    yield reached("public address", seen.front)
    if seen.front.reach is not Reach.ANSWERED:
        return
    faults = {
        Arrival.STRIPPED: ("the web server in front takes /exapps/ away from the path", remedies.STRIPPED),
        Arrival.PREFIXED: ("the web server in front puts something before /exapps/", remedies.PREFIXED),
        Arrival.NOT_AT_ALL: (
            f"/exapps/ does not arrive at this harp: the answer was {seen.front.status}",
            remedies.NOT_PASSED,
        ),
    }
    if seen.arrival is not Arrival.WHOLE:
        text, lines = faults[seen.arrival]
        yield Finding(name="path", ok=False, text=text, remedy=remedies.each(lines))
        return
    yield Finding(name="path", ok=True, text="/exapps/ arrives as it was sent")
    if seen.websocket is not None:
        yield _judged("WebSocket", seen.websocket, "upgraded", "the upgrade is not passed on", remedies.WEBSOCKET)
    if seen.streams is not None:
        yield _judged("SSE", seen.streams, "events come at once", "events are held back", remedies.BUFFERED)
    yield _trust(seen)


def _judged(name: str, ok: bool, good: str, bad: str, lines: dict[str, str]) -> Finding:
    return Finding(name=name, ok=ok, text=good if ok else bad, remedy="" if ok else remedies.each(lines))


def _trust(seen: Through) -> Finding:
    name = "trusted proxies"
    if not seen.forwarded_for:
        return _judged(name, False, "", "no X-Forwarded-For arrives: all people are one client", remedies.FORWARDED)
    if not seen.trusts:
        text = "HP_TRUSTED_PROXY_IPS is empty: behind the web server in front all people are one client"
        return Finding(name=name, ok=False, text=text, remedy="HP_TRUSTED_PROXY_IPS=ADDRESS of that web server")
    last = seen.forwarded_for.rpartition(",")[2].strip()
    if seen.counted is not None and seen.counted != last:
        text = f"the person at {last} counts as {seen.counted}"
        remedy = f"add {seen.counted} to HP_TRUSTED_PROXY_IPS, if that is the web server in front"
        return Finding(name=name, ok=False, text=text, remedy=remedy)
    return Finding(name=name, ok=True, text=f"a person counts as {last}")


def frp(seen: Frp) -> Iterator[Finding]:
    """Whether apps and engines on other machines can come."""
    name = "FRP"
    if not seen.runs and not seen.elsewhere:
        text = "there is no frps, nor any need of it: apps on other machines could not come"
        yield Finding(name=name, ok=True, text=text)
    elif not seen.runs:
        yield Finding(
            name=name,
            ok=False,
            text=f"frps not found: FRP daemons cannot be used, and the engine {', '.join(seen.elsewhere)} is elsewhere",
            remedy="install frps (frp 0.52 or newer) on PATH and restart harp proxy, or register the daemon with"
            " --harp_exapp_direct in a network that reaches there",
        )
    elif not seen.listens:
        yield Finding(
            name=name,
            ok=False,
            text=f"frps does not listen on {seen.address}",
            remedy="look at harp's log for what it said; it is started again and again",
        )
    else:
        yield Finding(name=name, ok=True, text=f"frps listens on {seen.address}")
    if seen.runs and seen.ends is not None and seen.ends < AUTHORITY_ENDS_SOON:
        when = f"ends in {seen.ends:.0f} days" if seen.ends > 0 else "has ended"
        yield Finding(
            name="FRP's authority",
            ok=False,
            text=f"its certificate {when}: nobody comes through FRP any more then",
            remedy="move its folder away (HP_FRP_DIR), restart harp proxy, give engines elsewhere the new ca.crt,"
            " client.crt and client.key, and update each app there",
        )


def upstream(seen: Upstream) -> Finding:
    """Whether a known app can be connected to."""
    name = f"app {seen.app}"
    if seen.reach is Reach.ANSWERED:
        return Finding(name=name, ok=True, text=f"{seen.address} takes connections")
    host, _, port = seen.address.rpartition(":")
    if seen.reach is Reach.REFUSED and host == "127.0.0.1" and int(port) in APP_PORTS:
        text = f"{seen.address} refuses: the app is not running, or has not come through FRP"
        return Finding(name=name, ok=False, text=text, remedy="start it; its log says whether frpc was let in")
    if seen.reach is Reach.REFUSED:
        text = f"{seen.address} refuses: the app is not running, or listens on 127.0.0.1 inside its container"
        return Finding(name=name, ok=False, text=text, remedy="start it; it has to listen on APP_HOST (0.0.0.0)")
    why, remedy = _UNREACHED[seen.reach]
    return Finding(name=name, ok=False, text=f"{seen.address} {why}", remedy=remedy)
