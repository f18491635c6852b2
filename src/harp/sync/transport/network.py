# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where a peer is: on this LAN or beyond it, and by which addresses it can find us."""

import ipaddress
from collections.abc import Sequence

from harp.sync.engine.fetcher import Reach
from harp.sync.transport.addresses import address_text
from harp.sync.transport.interfaces import Address, Interface, Subnet, interfaces

MAX_ADVERTISED = 16


def local_subnets() -> list[Subnet]:
    """The subnets this machine has a leg in, tunnels (point-to-point interfaces) left out: what lies behind one may be
    far away. Raises :class:`LinkError` where the system does not tell them."""
    return _subnets(interfaces())


def advertised_addresses(port: int) -> list[str]:
    """``host:port`` for each address under which others may reach this machine, IPv4 first, at most 16.

    Raises :class:`LinkError` where the system does not tell them.
    """
    return _advertised(interfaces(), port)


def reach(
    remote: str,
    local: Sequence[Subnet],
    lan: Sequence[Subnet],
    wan: Sequence[Subnet],
    *,
    is_close: bool = False,
) -> Reach:
    """How the peer at address ``remote`` is reached, given the subnets of this machine.

    ``lan`` and ``wan`` come from the configuration and go first; where both hold the address the narrower one counts,
    ``wan`` if they are equally narrow. Else the subnets of this machine are LAN, and whoever ``is_close`` by the time
    that an answer takes. What is no address is WAN.
    """
    address = _parsed(remote)
    if address is None:
        return Reach.WAN
    named_lan, named_wan = _narrowest(address, lan), _narrowest(address, wan)
    if named_lan >= 0 or named_wan >= 0:
        return Reach.LAN if named_lan > named_wan else Reach.WAN
    is_near = is_close or address.is_loopback or address.is_link_local or _narrowest(address, local) >= 0
    return Reach.LAN if is_near else Reach.WAN


def _narrowest(address: Address, subnets: Sequence[Subnet]) -> int:
    """The longest prefix of those that hold ``address``, -1 if none does."""
    return max((subnet.prefixlen for subnet in subnets if address in subnet), default=-1)


def _parsed(remote: str) -> Address | None:
    try:
        address = ipaddress.ip_address(remote.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _subnets(found: Sequence[Interface]) -> list[Subnet]:
    return list(dict.fromkeys(item.subnet for item in found if not item.is_point_to_point))


def _advertised(found: Sequence[Interface], port: int) -> list[str]:
    usable = [item.address for item in found if not item.address.is_loopback and not item.address.is_link_local]
    ordered = sorted(dict.fromkeys(usable), key=lambda address: address.version)
    return [address_text(str(address), port) for address in ordered[:MAX_ADVERTISED]]
