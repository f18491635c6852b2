# SPDX-License-Identifier: AGPL-3.0-or-later
"""What frps is told: harp.proxy.policy.frps."""

import tomllib
from typing import Any

import pytest

from harp.proxy.policy.frps import FrpsShape, frps_toml

DOOR = "http://harp:a-password@127.0.0.1:40000"


def told(**changed: Any) -> dict[str, Any]:
    said: dict[str, Any] = {"host": "*", "port": 8782, "door": DOOR, "tls": "/certs/frp", **changed}
    return tomllib.loads(frps_toml(FrpsShape(**said)))


def test_it_listens_where_clients_come_and_opens_ports_on_loopback_alone() -> None:
    said = told()

    assert (said["bindAddr"], said["bindPort"], said["proxyBindAddr"]) == ("0.0.0.0", 8782, "127.0.0.1")
    assert said["allowPorts"] == [{"start": 23_000, "end": 23_999}, {"start": 24_000, "end": 24_099}]
    assert said["maxPortsPerClient"] == 1
    assert (told(host="::")["bindAddr"], told(host="192.0.2.1")["bindAddr"]) == ("::", "192.0.2.1")


def test_every_client_and_every_port_is_asked_about() -> None:
    [plugin] = told()["httpPlugins"]

    assert (plugin["addr"], plugin["path"]) == (DOOR, "/frp_handler")
    assert {"Login", "NewProxy"} <= set(plugin["ops"])


def test_whoever_has_no_certificate_does_not_get_as_far_as_a_token() -> None:
    tls = told()["transport"]["tls"]

    assert tls == {
        "force": True,
        "certFile": "/certs/frp/server.crt",
        "keyFile": "/certs/frp/server.key",
        "trustedCaFile": "/certs/frp/ca.crt",
    }
    assert told(tls="")["transport"]["tls"] == {"force": False}


@pytest.mark.parametrize("folder", ['/a "b" \\ c', "/é漢\U0001f600", "/tab\there", "/{{ .Envs.HOME }}", "/\x7f"])
def test_a_folder_of_any_name_stays_what_it_is(folder: str) -> None:
    assert told(tls=folder)["transport"]["tls"]["certFile"] == f"{folder}/server.crt"
    assert "{{" not in frps_toml(FrpsShape(host="*", port=1, door=DOOR, tls=folder))


def test_it_says_as_much_as_harp_does() -> None:
    levels = {"debug": "debug", "info": "info", "warning": "warn", "error": "error"}

    assert {level: told(log_level=level)["log"]["level"] for level in levels} == levels


def test_the_password_of_the_door_is_not_shown() -> None:
    assert "a-password" not in repr(FrpsShape(host="*", port=1, door=DOOR))
