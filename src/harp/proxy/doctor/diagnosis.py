# SPDX-License-Identifier: AGPL-3.0-or-later
"""From what the probes saw to findings, each good or with its remedy. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from harp.proxy.doctor import remedies
from harp.proxy.doctor.seen import Answered, Arrival, Container, Frp, Reach, Through, Upstream
from harp.proxy.model import APP_PORTS

LEAST_VERSION = (0, 3, 0)
"""The least that AppAPI accepts of the proxy (contract, 3.2)."""
AUTHORITY_ENDS_SOON = 30.0
"""Days."""
_GATEWAY = (502, 503, 504)
"""How web servers say that they did not reach what is behind them (RFC 9110, 15.6)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A line of the report; ``remedy`` is empty where ``ok``."""

    name: str
    ok: bool
    text: str
    remedy: str = ""


def reached(name: str, seen: Answered) -> Finding:
    """Whether an address answered at all."""
    if seen.reach is Reach.ANSWERED:
        return Finding(name=name, ok=True, text=f"{seen.address} answers")
    why, remedy = remedies.UNREACHED[seen.reach]
    return Finding(name=name, ok=False, text=f"{seen.address} {why}", remedy=remedy)


def control(seen: Answered, *, appapi_takes: bool | None = None) -> Iterator[Finding]:
    """Nextcloud's direct way to the control API: reached, the same key, new enough.

    ``appapi_takes`` is whether AppAPI took the key of these settings; None where it was not asked.
    """
    yield reached("control address", seen)
    if seen.reach is not Reach.ANSWERED:
        return
    if seen.status == 401:
        why, remedy = remedies.OTHER_KEY_RUNS[appapi_takes]
        yield Finding(name="shared key", ok=False, text=why, remedy=remedy)
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


def takes_key(seen: Answered) -> bool | None:
    """Whether who was asked with a key took it; None where that cannot be told."""
    if seen.reach is not Reach.ANSWERED:
        return None
    return {200: True, 401: False, 403: False}.get(seen.status)


def nextcloud(seen: Answered, *, is_keyed: bool, harp_takes: bool = True, strangers: int = 0) -> Iterator[Finding]:
    """Harp's own way to AppAPI in Nextcloud, with the key, if that could be sent (``is_keyed``).

    ``harp_takes`` is whether what runs has the key of these settings; ``strangers`` counts the calls that came to it
    with another one.
    """
    yield reached("Nextcloud", seen)
    if seen.reach is not Reach.ANSWERED:
        return
    if not is_keyed:
        if strangers:
            text = f"no app is known, and {strangers} times somebody came with another key: AppAPI, it seems"
            yield Finding(name="Nextcloud's key", ok=False, text=text, remedy=remedies.REGISTER)
        return
    if takes_key(seen) is False:
        why, remedy = remedies.OTHER_KEY_ASKED[harp_takes]
        yield Finding(name="Nextcloud's key", ok=False, text=why, remedy=remedy)
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
    if seen.front.reach is Reach.SILENT:
        yield Finding(name="public address", ok=True, text=f"{seen.front.address} takes connections")
        text = "the web server in front waits for Harp, and gets no answer: packets between them are dropped"
        yield Finding(name="path", ok=False, text=text, remedy=_between())
        return
    yield reached("public address", seen.front)
    if seen.front.reach is not Reach.ANSWERED:
        return
    if seen.front.status in _GATEWAY:
        text = f"the web server in front does not reach Harp, and answers {seen.front.status}"
        yield Finding(name="path", ok=False, text=text, remedy=_between())
        return
    if seen.front.status == 400 and seen.front.address.startswith("http://"):
        text = f"{seen.front.address} answers 400 to http: it speaks https, it seems"
        yield Finding(name="path", ok=False, text=text, remedy=remedies.UNREACHED[Reach.TLS][1])
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


def _between() -> str:
    return f"{remedies.FIREWALL_TO_HARP}\n{remedies.each(remedies.UPSTREAM)}"


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
    """Whether an app can be connected to; if not, whose fault it is, as far as its container tells."""
    name = f"app {seen.app}"
    if seen.reach is Reach.ANSWERED:
        return Finding(name=name, ok=True, text=f"{seen.address} takes connections")
    if seen.container is not None and (told := _contained(seen.container, seen.reach)) is not None:
        return Finding(name=name, ok=False, text=told[0], remedy=told[1])
    host, _, port = seen.address.rpartition(":")
    if seen.reach is Reach.REFUSED and host == "127.0.0.1" and int(port) in APP_PORTS:
        text = f"{seen.address} refuses: the app is not running, or has not come through FRP"
        return Finding(name=name, ok=False, text=text, remedy="start it; its log says whether frpc was let in")
    if seen.reach is Reach.REFUSED:
        text = f"{seen.address} refuses: the app is not running, or listens on 127.0.0.1 inside its container"
        return Finding(name=name, ok=False, text=text, remedy=f"start it; {remedies.LISTEN}")
    why, remedy = remedies.UNREACHED[seen.reach]
    return Finding(name=name, ok=False, text=f"{seen.address} {why}", remedy=remedy)


def _contained(seen: Container, reach: Reach) -> tuple[str, str] | None:
    """What is wrong inside, and the remedy; None where nothing is, or it could not be looked at."""
    if not seen.is_running:
        return f"its container {seen.name} does not run: {seen.stands}", remedies.restart(seen.name)
    if reach is not Reach.REFUSED or seen.heard is None or seen.port is None:
        return None
    if seen.port not in seen.heard:
        return f"nothing listens on port {seen.port} in its container {seen.name}", remedies.silent(seen.name)
    if seen.heard[seen.port] and not seen.is_on_host:
        return f"it listens on 127.0.0.1:{seen.port} inside its container {seen.name}: nobody reaches that", (
            remedies.LISTEN
        )
    return f"it listens on port {seen.port}, and something on the way to {seen.name} refuses", remedies.FIREWALL
