# SPDX-License-Identifier: AGPL-3.0-or-later
"""Addresses of sockets, as people write them and as two ends agree on them."""

import socket
from typing import Any

from harp.base.webaddress import is_web


def address_text(host: str, port: int) -> str:
    """``host:port`` as it is written: an IPv6 address in brackets (RFC 3986, 3.2.2), a web address as it is."""
    if is_web(host):
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def plain_address(address: tuple[Any, ...]) -> tuple[str, int]:
    """Host and port of what a socket says of itself or of its peer.

    An IPv4 address that came in by an IPv6 socket becomes the IPv4 address it is; a link-local one keeps its zone,
    without which it cannot be dialled.
    """
    host, port = str(address[0]), int(address[1])
    if host.startswith("::ffff:") and "." in host:
        return host.removeprefix("::ffff:"), port
    if len(address) == 4 and address[3] and "%" not in host:
        return f"{host}%{socket.if_indextoname(address[3])}", port
    return host, port
