# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may come through FRP, and what each may claim there (contract, 4; 149). Whatever is not allowed here is refused.

An app has a token of its own, ``MAC.PORT.APP``: it opens one port under one name. It says whose it is, so that looking
at it takes one comparison. The secret of the MAC is random: were it the shared key, whoever has a token could try keys
without asking anybody. The shared key is what administrators write into the frpc of an engine elsewhere, and what the
containers have that the reference made.
"""

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass

from harp.proxy.model import APP_PORTS, ENGINE_PORTS, AppId, ExApp

_TOKEN = re.compile(r"[0-9a-f]{64}\.([0-9]{1,5})\.([a-z0-9_.-]{1,128})")


@dataclass(frozen=True, slots=True)
class AppHolder:
    """Who logs in with the token of one app."""

    app: AppId
    port: int


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """Who logs in with the shared key."""


Holder = AppHolder | KeyHolder


@dataclass(frozen=True, slots=True)
class Claim:
    """A proxy that a client of frps wants opened; ``kind`` is ``tcp`` …"""

    name: str
    kind: str
    port: int
    group: str = ""

    @property
    def app(self) -> AppId:
        """The app whose name it has."""
        return AppId(self.name.lower())

    @property
    def is_engine(self) -> bool:
        return self.port in ENGINE_PORTS


def token_of(secret: bytes, app: AppId, port: int) -> str:
    """The token by which ``app`` may open ``port``; the same for the same secret."""
    said = f"harp frp\0{port}\0{app}".encode()
    return f"{hmac.new(secret, said, hashlib.sha256).hexdigest()}.{port}.{app}"


def holder_of(token: str, *, secret: bytes, key: str) -> Holder | None:
    """Whose token it is; ``None`` for nobody's. What it compares, it compares in constant time."""
    if _are_equal(token, key):
        return KeyHolder()
    holder = _said(token)
    return holder if holder is not None and _are_equal(token, token_of(secret, holder.app, holder.port)) else None


def is_guess(token: str) -> bool:
    """Whether a wrong token may be a guess at the shared key. Nobody guesses an app's token: a wrong one is old."""
    return _said(token) is None


def _said(token: str) -> AppHolder | None:
    """Whose token it says that it is."""
    found = _TOKEN.fullmatch(token)
    return None if found is None else AppHolder(AppId(found[2]), int(found[1]))


def _are_equal(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), right.encode("utf-8", "surrogatepass"))


def refusal(
    holder: Holder, claim: Claim, *, record: ExApp | None, others: Collection[str], named: Collection[int]
) -> str:
    """Why a claim is refused; empty where it is allowed.

    ``record`` is what Nextcloud says of the app of that name, ``others`` are the apps that HAProxy looks for on the
    same port, ``named`` the engines that HP_DOCKER_ENGINES names.
    """
    if claim.kind != "tcp" or claim.group:
        return "only plain proxies of type tcp are opened here"
    if isinstance(holder, AppHolder):
        if claim.app != holder.app:
            return f"this token is for the name {holder.app} alone"
        if claim.port != holder.port:
            return f"this token is for the port {holder.port} alone"
    elif claim.is_engine:
        return f"HP_DOCKER_ENGINES says where the engine {claim.port} is" if claim.port in named else ""
    return _not_its_record(claim, record, others)


def _not_its_record(claim: Claim, record: ExApp | None, others: Collection[str]) -> str:
    if record is None:
        return "Nextcloud knows no app of this name"
    if not _is_loopback(record.host):
        return "Nextcloud does not look for this app behind FRP: its daemon is registered with --harp_exapp_direct"
    if claim.port != record.port or claim.port not in APP_PORTS:
        return f"this app's port is {record.port}, of those from {APP_PORTS[0]} to {APP_PORTS[-1]}"
    if others:
        return f"the port is that of the app {min(others)} too: register one of them with another"
    return ""


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
