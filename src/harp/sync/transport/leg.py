# SPDX-License-Identifier: AGPL-3.0-or-later
"""A leg in one network: the two sockets by which the beacon hears that network's questions and asks its own."""

import contextlib
import ipaddress
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from harp.sync.transport.interfaces import Address, Interface

BEACON_PORT = 8784
IPV4_GROUP = "239.255.72.82"
"""Administratively scoped (RFC 2365)."""
IPV6_GROUP = "ff02::4852"
"""Link-local scope (RFC 4291, 2.7)."""

_IP_MULTICAST_ALL = 49
_IPV6_MULTICAST_ALL = 29
"""Linux: without these set to 0 a socket hears what others on this machine joined, on networks that are not its own."""


@dataclass(frozen=True, slots=True)
class Leg:
    """``ear`` is bound to the group, so that nothing else reaches it; ``mouth`` asks, answers and is answered."""

    ear: socket.socket
    mouth: socket.socket
    group: tuple[str, int] | tuple[str, int, int, int]

    def ask(self, data: bytes) -> None:
        """Send to all that listen on this network; a network that is down just now is passed over."""
        with contextlib.suppress(OSError):
            self.mouth.sendto(data, self.group)

    def close(self) -> None:
        self.ear.close()
        self.mouth.close()


def places(found: Iterable[Interface]) -> dict[tuple[int, Address], Interface]:
    """Where to have a leg: each IPv4 address, and the link-local IPv6 address, of what can multicast, and loopback."""
    return {(item.index, item.address): item for item in found if _is_place(item)}


def opened(interface: Interface, port: int) -> Leg:
    """The leg at one of :func:`places`. Raises OSError where the system refuses it."""
    with contextlib.ExitStack() as undo:
        family = socket.AF_INET if interface.address.version == 4 else socket.AF_INET6
        ear = undo.enter_context(socket.socket(family, socket.SOCK_DGRAM))
        mouth = undo.enter_context(socket.socket(family, socket.SOCK_DGRAM))
        for one in (ear, mouth):
            one.setblocking(False)
        # Several daemons on one machine, and several networks of one daemon, each have their own ear at the same group
        # and port. Not SO_REUSEPORT: with it a datagram was seen to reach one of them by its source port, whatever
        # network that one joined, and an ear that hears another network's question cannot answer it.
        ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        join = _join_ipv4 if family == socket.AF_INET else _join_ipv6
        leg = Leg(ear, mouth, join(ear, mouth, interface, port))
        undo.pop_all()
        return leg


def _is_place(item: Interface) -> bool:
    if isinstance(item.address, ipaddress.IPv4Address):
        return item.has_multicast or item.is_loopback
    return item.address.is_link_local and item.has_multicast and not item.is_loopback


def _join_ipv4(ear: socket.socket, mouth: socket.socket, interface: Interface, port: int) -> tuple[str, int]:
    group = socket.inet_aton(IPV4_GROUP)
    with contextlib.suppress(OSError):
        ear.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
    ear.bind((IPV4_GROUP, port))
    # struct ip_mreqn: group, address, interface index
    request = struct.pack("=4s4si", group, bytes(4), interface.index)
    ear.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
    mouth.bind((str(interface.address), 0))
    mouth.setsockopt(
        socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("=4s4si", bytes(4), bytes(4), interface.index)
    )
    mouth.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
    mouth.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
    return IPV4_GROUP, port


def _join_ipv6(ear: socket.socket, mouth: socket.socket, interface: Interface, port: int) -> tuple[str, int, int, int]:
    index = interface.index
    with contextlib.suppress(OSError):
        ear.setsockopt(socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, 0)
    ear.bind((IPV6_GROUP, port, 0, index))
    # struct ipv6_mreq: group, interface index
    request = socket.inet_pton(socket.AF_INET6, IPV6_GROUP) + struct.pack("=I", index)
    ear.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
    mouth.bind((str(interface.address), 0, 0, index))
    mouth.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
    mouth.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 1)
    mouth.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 1)
    return IPV6_GROUP, port, 0, index
