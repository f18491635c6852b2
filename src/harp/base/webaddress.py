# SPDX-License-Identifier: AGPL-3.0-or-later
"""Addresses with a scheme: ``wss://`` of hubs, ``https://`` of servers; without TLS on this machine only."""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

MAX_CHARACTERS = 250
"""A ticket and a message have room for a host name and a port; a path has to fit beside them."""

# RFC 3986: scheme, host (a name, an IPv4 address, or an IPv6 one in brackets), port, and a path of pchars. A query, a
# fragment or a person's name and password have no place in an address that is told to others.
_FORM = re.compile(
    r"(?P<scheme>wss?)://(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})*)*)",
    re.ASCII,
)
_PORTS = {"wss": 443, "ws": 80}


@dataclass(frozen=True, slots=True)
class WebAddress:
    """``host`` has no brackets; ``path`` begins with a slash."""

    is_secure: bool
    host: str
    port: int
    path: str

    def __str__(self) -> str:
        scheme = "wss" if self.is_secure else "ws"
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[scheme] else f":{self.port}"
        return f"{scheme}://{host}{port}{self.path}"


def is_web(text: str) -> bool:
    """Whether this is meant as a web address, and not as ``host:port``."""
    return "://" in text


def web_address(text: str) -> WebAddress:
    """The address that ``text`` is. Raises ``ValueError``, which says what it must be.

    >>> str(web_address("wss://Cloud.Example:443/exapps/harp/link"))
    'wss://cloud.example/exapps/harp/link'
    """
    match = _FORM.fullmatch(text.strip())
    if match is None or len(text) > MAX_CHARACTERS:
        raise ValueError(f"it must be wss://HOST/PATH, of at most {MAX_CHARACTERS} characters")
    scheme, host, path = match["scheme"], match["host"].strip("[]").lower(), match["path"] or "/"
    port = int(match["port"] or _PORTS[scheme])
    if not 1 <= port <= 65_535:
        raise ValueError("its port must be one from 1 to 65535")
    if match["host"].startswith("["):
        host = str(ipaddress.IPv6Address(host))
    if {".", ".."} & {part.lower().replace("%2e", ".") for part in path.split("/")}:
        raise ValueError("its path must not lead upwards")
    if scheme == "ws" and not _is_here(host):
        raise ValueError("it must be wss://; ws:// is for this machine only")
    return WebAddress(scheme == "wss", host, port, path)


def https_address(text: str) -> str:
    """The address ``https://HOST/PATH`` that ``text`` is, without a slash at its end. Raises ``ValueError``.

    >>> https_address(" https://nas.example/harp/ ")
    'https://nas.example/harp'
    """
    url = text.strip()
    parts = urlsplit(url)
    is_plain = not (parts.query or parts.fragment or parts.username or parts.password)
    if parts.scheme not in ("http", "https") or not parts.hostname or not is_plain or not url.isascii():
        raise ValueError("it must be an address such as https://nas.example/harp")
    if parts.scheme == "http" and not _is_here(parts.hostname):
        raise ValueError("it must begin with https://: on a line without TLS others could act as you")
    return url.rstrip("/")


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
