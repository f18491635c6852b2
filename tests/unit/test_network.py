# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who is near and who is far, and what this machine says of where it can be found."""

import ipaddress
import socket

import pytest

from harp.sync.engine.fetcher import Reach
from harp.sync.transport import network
from harp.sync.transport.addresses import address_text, plain_address
from harp.sync.transport.interfaces import Interface, Subnet, interfaces
from harp.sync.transport.network import advertised_addresses, local_subnets, reach


def subnets(*texts: str) -> list[Subnet]:
    return [ipaddress.ip_network(text) for text in texts]


def interface(text: str, name: str = "eth0", **flags: bool) -> Interface:
    whole = ipaddress.ip_interface(text)
    known = {"is_loopback": False, "is_point_to_point": False, "has_multicast": True} | flags
    return Interface(name, 2, whole.ip, whole.network, **known)


HOME = subnets("192.168.1.0/24", "2001:db8:1::/64")


@pytest.mark.parametrize(
    ("remote", "expected"),
    [
        ("192.168.1.77", Reach.LAN),
        ("192.168.2.77", Reach.WAN),
        ("::ffff:192.168.1.77", Reach.LAN),
        ("2001:db8:1::5", Reach.LAN),
        ("2001:db8:2::5", Reach.WAN),
        ("127.0.0.1", Reach.LAN),
        ("::1", Reach.LAN),
        ("fe80::1%eth0", Reach.LAN),
        ("169.254.3.4", Reach.LAN),
        ("203.0.113.9", Reach.WAN),
        ("not an address", Reach.WAN),
        ("", Reach.WAN),
    ],
)
def test_the_same_subnet_is_near(remote: str, expected: Reach) -> None:
    assert reach(remote, HOME, [], []) is expected


def test_the_configuration_goes_first() -> None:
    assert reach("10.9.0.1", HOME, subnets("10.0.0.0/8"), []) is Reach.LAN
    assert reach("192.168.1.77", HOME, [], subnets("192.168.1.64/26")) is Reach.WAN
    assert reach("127.0.0.1", HOME, [], subnets("127.0.0.0/8")) is Reach.WAN


def test_the_narrower_setting_counts_and_far_if_they_are_equal() -> None:
    wide, narrow = subnets("10.0.0.0/8"), subnets("10.9.0.0/16")
    assert reach("10.9.0.1", [], narrow, wide) is Reach.LAN
    assert reach("10.9.0.1", [], wide, narrow) is Reach.WAN
    assert reach("10.9.0.1", [], wide, wide) is Reach.WAN


def test_what_lies_behind_a_tunnel_is_not_near(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [interface("192.168.1.5/24"), interface("10.8.0.2/24", "wg0", is_point_to_point=True)]
    monkeypatch.setattr(network, "interfaces", lambda: found)
    assert local_subnets() == subnets("192.168.1.0/24")


def test_only_addresses_that_others_can_use_are_advertised(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        interface("127.0.0.1/8", "lo", is_loopback=True),
        interface("2001:db8:1::5/64"),
        interface("fe80::5/64"),
        interface("192.168.1.5/24"),
        interface("192.168.1.5/24", "eth0:1"),
        interface("10.8.0.2/24", "wg0", is_point_to_point=True),
    ]
    monkeypatch.setattr(network, "interfaces", lambda: found)
    assert advertised_addresses(8783) == ["192.168.1.5:8783", "10.8.0.2:8783", "[2001:db8:1::5]:8783"]


def test_a_machine_with_many_addresses_names_sixteen(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [interface(f"10.0.{i}.1/24") for i in range(40)]
    monkeypatch.setattr(network, "interfaces", lambda: found)
    assert len(advertised_addresses(1)) == 16


def test_this_machine_has_a_loopback_and_says_so() -> None:
    found = [item for item in interfaces() if item.address == ipaddress.ip_address("127.0.0.1")]
    assert [item.subnet for item in found] == subnets("127.0.0.0/8")
    assert found[0].is_loopback
    assert found[0].name == socket.if_indextoname(found[0].index)
    assert ipaddress.ip_network("127.0.0.0/8") in local_subnets()


def test_an_ipv6_address_is_written_in_brackets() -> None:
    assert address_text("192.0.2.1", 8783) == "192.0.2.1:8783"
    assert address_text("::1", 8783) == "[::1]:8783"


def test_a_socket_says_plainly_where_it_is() -> None:
    assert plain_address(("192.0.2.1", 5)) == ("192.0.2.1", 5)
    assert plain_address(("::ffff:192.0.2.1", 5, 0, 0)) == ("192.0.2.1", 5)
    assert plain_address(("2001:db8::1", 5, 0, 0)) == ("2001:db8::1", 5)
    name = socket.if_indextoname(1)
    assert plain_address(("fe80::1", 5, 0, 1)) == (f"fe80::1%{name}", 5)
    assert plain_address((f"fe80::1%{name}", 5, 0, 1)) == (f"fe80::1%{name}", 5)
