# SPDX-License-Identifier: AGPL-3.0-or-later
"""The map: a cloud, and offices; each has a LAN (a bridge) of 1 Gbit/s and one line to the cloud."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.lab.namespace import Namespace
from benchmarks.lab.wan import LineForm, Wan

CLOUD_ADDRESS = "198.51.100.1"
LAN_RATE = 1_000_000_000
_LAN_SHAPE = f"rate {LAN_RATE} burst 256k latency 20ms"


@dataclass(frozen=True, slots=True)
class Host:
    """A machine: its namespace, and the address under which others reach it."""

    namespace: Namespace
    address: str


class Site:
    """One office: ``hosts`` on a LAN behind a router, and ``wan``, which they share."""

    def __init__(self, cloud: Namespace, number: int, hosts: int, form: LineForm) -> None:
        self._cloud = cloud
        self._number = number
        self._router = Namespace()
        self._subnet = f"10.77.{number}"
        self.wan = Wan(cloud, f"site{number}", self._router, form)
        self._join_cloud()
        gateway = f"{self._subnet}.254"
        # Two switches; the second is empty but for a partition. One address and one MAC: a host need not notice.
        for switch, prefix in (("lan", 24), ("apart", 32)):
            self._router.ip(
                [
                    f"link add {switch} address 02:00:00:00:00:fe type bridge mcast_snooping 0",
                    f"link set {switch} up",
                    f"addr add {gateway}/{prefix} dev {switch}",
                ]
            )
        self.hosts = [self._host(index, gateway) for index in range(1, hosts + 1)]
        for namespace in (self._router, *(host.namespace for host in self.hosts)):
            namespace.until_up()

    def _join_cloud(self) -> None:
        device, near, far = f"site{self._number}", f"169.254.{self._number}.1", f"169.254.{self._number}.2"
        self._router.sysctl(ipv4__ip_forward="1", ipv4__conf__all__rp_filter="0", ipv4__conf__default__rp_filter="0")
        self._router.ip(
            [
                f"link add short type veth peer name short{self._number} netns {self._cloud.path}",
                f"addr add {near}/30 dev short",
                "link set short up",
                f"route add {CLOUD_ADDRESS} dev wan",
            ]
        )
        self._cloud.ip(
            [
                f"addr add {CLOUD_ADDRESS}/32 dev {device}",
                f"addr add {far}/30 dev short{self._number}",
                f"link set short{self._number} up",
                f"route add {self._subnet}.0/24 dev {device} src {CLOUD_ADDRESS}",
            ]
        )

    def _host(self, index: int, gateway: str) -> Host:
        host = Host(Namespace(), f"{self._subnet}.{index}")
        port = f"port{index}"
        self._router.ip(
            [
                f"link add {port} type veth peer name eth0 netns {host.namespace.path}",
                f"link set {port} master lan up",
            ]
        )
        self._router.tc([f"qdisc add dev {port} root tbf {_LAN_SHAPE}"])
        host.namespace.ip(
            [f"addr add {host.address}/24 dev eth0", "link set eth0 up", f"route add default via {gateway}"]
        )
        host.namespace.tc([f"qdisc add dev eth0 root tbf {_LAN_SHAPE}"])
        return host

    @contextlib.contextmanager
    def near_the_cloud(self) -> Iterator[None]:
        """Meanwhile there is a short fast way to the cloud, for what has to be there before one measures. It is not
        counted; the addresses stay the same."""
        cloud_route = f"route replace {self._subnet}.0/24"
        router_route = f"route replace {CLOUD_ADDRESS}"
        self._cloud.ip([f"{cloud_route} via 169.254.{self._number}.1 dev short{self._number} src {CLOUD_ADDRESS}"])
        self._router.ip([f"{router_route} via 169.254.{self._number}.2 dev short"])
        yield
        self._cloud.ip([f"{cloud_route} dev site{self._number} src {CLOUD_ADDRESS}"])
        self._router.ip([f"{router_route} dev wan"])

    def part(self, *hosts: Host) -> None:
        """These are on another switch: they reach each other and the cloud, but none of the rest."""
        for host in hosts:
            self._router.ip([f"link set {self._port(host)} master apart", f"route add {host.address} dev apart"])

    def rejoin(self, *hosts: Host) -> None:
        for host in hosts:
            self._router.ip([f"route del {host.address} dev apart", f"link set {self._port(host)} master lan"])

    def unplug(self, host: Host) -> None:
        """Its cable is out."""
        self._router.ip([f"link set {self._port(host)} down"])

    def plug(self, host: Host) -> None:
        self._router.ip([f"link set {self._port(host)} up"])

    def _port(self, host: Host) -> str:
        return f"port{self.hosts.index(host) + 1}"

    def close(self) -> None:
        self.wan.close()
        for namespace in (self._router, *(host.namespace for host in self.hosts)):
            namespace.close()


@dataclass(frozen=True, slots=True)
class Lab:
    cloud: Host
    sites: Sequence[Site]

    @property
    def site(self) -> Site:
        """The only one."""
        [site] = self.sites
        return site


@contextlib.contextmanager
def built(*offices: int, form: LineForm | None = None) -> Iterator[Lab]:
    """A laboratory whose sites have so many hosts each; all of it is gone at the end of the block, and of the process.

    Raises ``OSError`` where the system refuses; :func:`benchmarks.lab.namespace.why_not` says so beforehand.
    """
    with contextlib.ExitStack() as undo:
        cloud = Namespace()
        undo.callback(cloud.close)
        cloud.sysctl(ipv4__conf__all__rp_filter="0", ipv4__conf__default__rp_filter="0")
        sites = []
        for number, hosts in enumerate(offices, start=1):
            sites.append(Site(cloud, number, hosts, form or LineForm()))
            undo.callback(sites[-1].close)
        yield Lab(Host(cloud, CLOUD_ADDRESS), sites)
