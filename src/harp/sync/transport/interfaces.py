# SPDX-License-Identifier: AGPL-3.0-or-later
"""The network interfaces of this machine, as getifaddrs(3) lists them."""

import ctypes
import ipaddress
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from harp.base.errors import LinkError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Subnet = ipaddress.IPv4Network | ipaddress.IPv6Network

# Flags of netdevice(7).
_UP = 0x1
_LOOPBACK = 0x8
_POINT_TO_POINT = 0x10
_MULTICAST = 0x1000


@dataclass(frozen=True, slots=True)
class Interface:
    """One address of one interface; an interface with two addresses is listed twice."""

    name: str
    index: int
    address: Address
    subnet: Subnet
    is_loopback: bool
    is_point_to_point: bool
    has_multicast: bool


class _Sockaddr(ctypes.Structure):
    _fields_ = (("family", ctypes.c_ushort), ("data", ctypes.c_ubyte * 26))


class _Ifaddrs(ctypes.Structure):
    pass


_Ifaddrs._fields_ = (
    ("next", ctypes.POINTER(_Ifaddrs)),
    ("name", ctypes.c_char_p),
    ("flags", ctypes.c_uint),
    ("address", ctypes.POINTER(_Sockaddr)),
    ("netmask", ctypes.POINTER(_Sockaddr)),
    ("other", ctypes.c_void_p),
    ("data", ctypes.c_void_p),
)


def interfaces() -> list[Interface]:
    """The IPv4 and IPv6 addresses of all interfaces that are up, in the system's order.

    Raises :class:`LinkError` where the system does not tell them.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    head = ctypes.POINTER(_Ifaddrs)()
    if libc.getifaddrs(ctypes.byref(head)) != 0:
        raise LinkError("the network interfaces of this machine cannot be listed")
    try:
        return [interface for item in _items(head) if (interface := _interface(item)) is not None]
    finally:
        libc.freeifaddrs(head)


def _items(head: "ctypes._Pointer[_Ifaddrs]") -> Iterator[_Ifaddrs]:
    item = head
    while bool(item):  # a null pointer is false
        yield item.contents
        item = item.contents.next


def _interface(item: _Ifaddrs) -> Interface | None:
    if not item.flags & _UP or not item.address or not item.netmask:
        return None
    address, mask = _address(item.address.contents), _address(item.netmask.contents)
    name = item.name.decode(errors="surrogateescape")
    if address is None or mask is None:
        return None
    try:
        index = socket.if_nametoindex(name)
    except OSError:  # gone since it was listed
        return None
    return Interface(
        name,
        index,
        address,
        _subnet(address, int(mask).bit_count()),
        is_loopback=bool(item.flags & _LOOPBACK),
        is_point_to_point=bool(item.flags & _POINT_TO_POINT),
        has_multicast=bool(item.flags & _MULTICAST),
    )


def _subnet(address: Address, prefix: int) -> Subnet:
    if isinstance(address, ipaddress.IPv4Address):
        return ipaddress.IPv4Network((int(address), prefix), strict=False)
    return ipaddress.IPv6Network((int(address), prefix), strict=False)


def _address(raw: _Sockaddr) -> Address | None:
    """struct sockaddr_in: port, 4 bytes; struct sockaddr_in6: port, flow label, 16 bytes (ipv6(7))."""
    data = bytes(raw.data)
    if raw.family == socket.AF_INET:
        return ipaddress.IPv4Address(struct.unpack_from("2x4s", data)[0])
    if raw.family == socket.AF_INET6:
        return ipaddress.IPv6Address(struct.unpack_from("6x16s", data)[0])
    return None
