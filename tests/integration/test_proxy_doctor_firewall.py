# SPDX-License-Identifier: AGPL-3.0-or-later
"""``harp proxy doctor`` with a real packet filter between Nextcloud's machine and Harp's, and at an Internet address.

Both machines are network namespaces; what filters is nftables, on the one that is asked.
"""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.lab.namespace import Namespace, why_not
from tests.fakes.haproxy import needs_haproxy
from tests.fakes.ports import free_port
from tests.integration.frontdoor import FrontDoor, needs_nginx

CLOUD, HARP = "10.9.0.1", "10.9.0.2"
OUTSIDE = "192.88.99.1"
"""Of the Internet, and nobody's since RFC 7526."""
_WHY_NOT = why_not() or ("" if shutil.which("nft") else "nft is not installed (apt install nftables)")
pytestmark = [
    needs_haproxy,
    needs_nginx,
    pytest.mark.root,
    pytest.mark.skipif(bool(_WHY_NOT), reason=_WHY_NOT or "it can"),
    pytest.mark.timeout(180),
]

PASSED = """
    proxy_pass http://10.9.0.2:HARP;
    proxy_http_version 1.1;
    proxy_buffering off;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $connection_upgrade;
"""


class Machines:
    """Nextcloud's and Harp's; the test is on Harp's."""

    def __init__(self, folder: Path) -> None:
        self.cloud, self.harp = Namespace(), Namespace()
        self.harp.ip(
            [
                f"link add eth0 type veth peer name eth0 netns {self.cloud.path}",
                f"addr add {HARP}/24 dev eth0",
                "link set eth0 up",
            ]
        )
        self.cloud.ip([f"addr add {CLOUD}/24 dev eth0", "link set eth0 up"])
        self.harp.until_up()
        with self.harp.entered():
            port = free_port()
            self.door = FrontDoor(
                folder,
                cloud=self.cloud,
                at=CLOUD,
                HP_TRUSTED_PROXY_IPS=CLOUD,
                HP_EXAPPS_ADDRESS=f"0.0.0.0:{port}",
                HP_BLACKLIST_COUNT="1000",
            )
            self.public = f"http://{CLOUD}:{self.door.serve(PASSED)}"

    def failed(self) -> dict[str, dict[str, str]]:
        with self.harp.entered():
            return self.door.failed(self.public)

    def filter(self, where: Namespace, rule: str) -> None:
        """Of what comes in there, by this rule of nft(8) alone; an empty one lets all pass."""
        table = "add table inet filter; delete table inet filter; add table inet filter"
        chain = "add chain inet filter input { type filter hook input priority 0; }"
        with where.entered():
            subprocess.run(
                ["nft", "-f", "-"],
                input="\n".join([*table.split("; "), chain, *([f"add rule inet filter input {rule}"] if rule else [])]),
                text=True,
                check=True,
                timeout=20,
            )

    def close(self) -> None:
        with self.harp.entered():
            self.door.close()
        self.harp.close()
        self.cloud.close()


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    made = Machines(tmp_path_factory.mktemp("machines"))
    yield made
    made.close()


def test_nothing_is_filtered(machines: Machines) -> None:
    assert machines.failed() == {}


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        ("drop", "packets are dropped on the way"),
        ("reject with icmpx type admin-prohibited", "cannot be reached: a machine on the way, or this one, says so"),
        ("reject with tcp reset", "nobody listens there, or a firewall rejects it"),
    ],
)
def test_nextclouds_machine_filters(machines: Machines, verdict: str, said: str) -> None:
    machines.filter(machines.cloud, f"tcp dport {machines.door.served.port} {verdict}")
    try:
        found = machines.failed()
    finally:
        machines.filter(machines.cloud, "")
    assert list(found) == ["Nextcloud"]
    assert said in found["Nextcloud"]["text"]


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        ("drop", "waits for Harp, and gets no answer"),
        ("reject with tcp reset", "does not reach Harp, and answers 502"),
    ],
)
def test_harps_machine_filters(machines: Machines, verdict: str, said: str) -> None:
    port = machines.door.proxy.port
    machines.filter(machines.harp, f"ip saddr {CLOUD} tcp dport {port} {verdict}")
    try:
        found = machines.failed()
        with machines.cloud.entered():
            code, told = machines.door.asking().run("doctor", "--control", f"http://{HARP}:{port}")
    finally:
        machines.filter(machines.harp, "")
    assert list(found) == ["path"], "harp itself hears its own questions"
    assert said in found["path"]["text"]
    assert "port 8780" in found["path"]["remedy"]
    assert code == 1, "asked from there, it is the control address"
    assert ("dropped on the way" if verdict == "drop" else "a firewall rejects it") in told


def test_harps_machine_is_reached_from_the_internet(machines: Machines) -> None:
    machines.harp.ip(
        [
            "link add outside type bridge",
            f"addr add {OUTSIDE}/32 dev outside",
            "link set outside up",
            f"route add default dev outside src {OUTSIDE}",
        ]
    )
    try:
        found = machines.failed()
    finally:
        machines.harp.ip(["link delete outside"])
    assert list(found) == ["control port"], "the figures are on loopback"
    assert f"is open at {OUTSIDE}, an address of the Internet" in found["control port"]["text"]
    assert "`HP_EXAPPS_ADDRESS=127.0.0.1:" in found["control port"]["remedy"]
