# SPDX-License-Identifier: AGPL-3.0-or-later
"""harp.proxy.deploy.docker.address: where an app listens, by what its engine says; and where Harp itself is (4.6)."""

from typing import Any

import pytest

from harp.proxy.deploy.docker import address
from harp.proxy.deploy.docker.address import Whereabouts
from harp.proxy.model import AppId, Upstream

ID = "3f" * 32


def inspected(
    mode: str = "bridge", *, name: str = "/nc_app_MyApp", running: bool = True, **more: str
) -> dict[str, Any]:
    given = {"APP_ID": "MyApp", "APP_PORT": "23001"} | more
    return {
        "Name": name,
        "State": {"Running": running},
        "Config": {"Env": [f"{key}={value}" for key, value in given.items()]},
        "HostConfig": {"NetworkMode": mode},
        "NetworkSettings": {
            "Networks": {
                "bridge": {"IPAddress": "172.17.0.2"},
                "nc": {"IPAddress": "172.18.0.2"},
                "off": {"IPAddress": ""},
                "odd": None,
            }
        },
    }


@pytest.mark.parametrize(
    ("mode", "own", "expected"),
    [
        ("bridge", (), "172.17.0.2"),
        ("nc", (), "172.18.0.2"),
        ("off", (), "172.17.0.2"),
        ("bridge", ("nc",), "172.18.0.2"),
        ("host", (), "127.0.0.1"),
    ],
)
def test_where_it_listens(mode: str, own: tuple[str, ...], expected: str) -> None:
    found = address.whereabouts(inspected(mode), own_networks=own)

    assert found == Whereabouts(AppId("myapp"), "nc_app_MyApp", Upstream(expected, 23_001))


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"Name": "/nc_app_x", "State": None, "Config": {"Env": None}},
        inspected(running=False),
        inspected(name="/other"),
        inspected(HP_SHARED_KEY="it came through FRP"),
        inspected(APP_PORT="none"),
        inspected(APP_ID=""),
        inspected() | {"NetworkSettings": {"Networks": {}}},
    ],
)
def test_what_is_no_app_that_listens(said: dict[str, Any]) -> None:
    assert address.whereabouts(said) is None


@pytest.mark.parametrize(
    "line",
    [
        f"612 590 8:1 /var/lib/docker/containers/{ID}/hostname /etc/hostname rw,relatime - ext4 /dev/sda1 rw",
        f"612 590 8:1 /containers/storage/overlay-containers/{ID}/userdata/resolv.conf /etc/resolv.conf rw - ext4 a rw",
    ],
)
def test_an_engine_leaves_its_mark_in_the_mounts_of_its_containers(line: str) -> None:
    assert address.own_container(f"1 1 0:1 / / rw - overlay overlay rw\n{line}\n") == ID


def test_on_the_host_there_is_none() -> None:
    mounted = (
        f"9 1 8:1 /var/lib/docker/containers/{ID}/mounts/shm /var/lib/docker/containers/{ID}/mounts/shm rw - tmpfs"
    )
    assert address.own_container(mounted) is None
    assert address.own_container("") is None


def test_the_network_that_is_reached_from_here() -> None:
    own = address.networks_of(inspected("nc"))

    assert own == ("nc", "odd", "off", "bridge"), "in those with names, apps have names too"
    assert address.networks_of(inspected("host")) == ()
    assert address.network_for("host", ()) == "host"
    assert address.network_for("host", own) == "nc"
    assert address.network_for("bridge", own) == "bridge"


def test_where_the_host_leads_into_a_container() -> None:
    ports = {
        "23000/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8080"}],
        "53/udp": [{"HostIp": "0.0.0.0", "HostPort": "53"}],
        "80/tcp": None,
    }
    assert address.published({"NetworkSettings": {"Ports": ports}}) == ("0.0.0.0:8080=23000", "[::]:8080=23000")
    assert address.published({}) == ()
