# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may be talking: the names under which the console answers, and the pages that may send it something. Pure.

A page of someone else can make a browser ask anything of 127.0.0.1, and by DNS rebinding under a name that the page
chose. So a request counts only if its ``Host`` is a name that no stranger can own, and one that changes something only
if its ``Origin`` is the console itself.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy of every page: nothing inline, nothing from elsewhere, in no frame."""

# With "no-referrer", browsers would send "Origin: null" along with our own forms.
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "same-origin",
    "Server": "harp",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


_HOST = re.compile(r"(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<name>[^\s:\[\]/@]+))(?::[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class Front:
    """Where the console is reached from outside: ``https://nas.example/harp`` of a reverse proxy, or nothing."""

    origin: str = ""
    host: str = ""
    base: str = ""
    """The path under which it lies there, without a slash at its end."""

    @classmethod
    def at(cls, url: str) -> "Front":
        """The front of an address; the empty text is none."""
        if not url:
            return cls()
        parts = urlsplit(url)
        return cls(f"{parts.scheme}://{parts.netloc}".lower(), parts.netloc.lower(), parts.path.rstrip("/"))

    @property
    def is_secure(self) -> bool:
        return self.origin.startswith("https://")


@dataclass(frozen=True, slots=True)
class Origins:
    """``is_local``: bound to this machine alone. ``is_tls``: the console speaks TLS itself, and is called ``names``.

    Under TLS a rebound name comes to nothing: the certificate is not for it.
    """

    front: Front
    is_local: bool
    is_tls: bool = False
    names: frozenset[str] = frozenset()

    def knows_host(self, host: str) -> bool:
        """Whether a request under this ``Host`` may be answered at all."""
        if self.is_front(host):
            return True
        name = _name(host)
        if name == "localhost" or (self.is_tls and name in self.names):
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        # Nobody can have a number of their choice resolve to another one: it is names that are rebound.
        return address.is_loopback or not self.is_local

    def is_front(self, host: str) -> bool:
        """Whether the request came by the address of the reverse proxy."""
        return bool(self.front.host) and host.lower() == self.front.host

    def may_change(self, host: str, origin: str | None, site: str | None) -> bool:
        """Whether what a page sends is taken: ``Origin``, or where there is none ``Sec-Fetch-Site``, is our own."""
        if origin is None:
            return site == "same-origin"
        own = {f"{'https' if self.is_tls else 'http'}://{host.lower()}"}
        if self.is_front(host):
            own = {self.front.origin}
        return origin.lower() in own

    def base(self, host: str) -> str:
        """What every address of a page begins with."""
        return self.front.base if self.is_front(host) else ""

    def is_secure(self, host: str) -> bool:
        """Whether the browser is reached over TLS only."""
        return self.front.is_secure if self.is_front(host) else self.is_tls


def _name(host: str) -> str:
    """The host of ``HOST[:PORT]``, without brackets."""
    match = _HOST.fullmatch(host)
    return "" if match is None else (match["v6"] or match["name"]).lower()


def is_loopback(host: str) -> bool:
    """Whether something bound there is reached from this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
