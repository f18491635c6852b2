# SPDX-License-Identifier: AGPL-3.0-or-later
"""Docker and Kubernetes where there is no engine (contract, sections 3.3 to 3.7; numbers 109, 110, 120, 140, 141)."""

import pytest

from tests.contract.instance import Harp
from tests.fakes.exapp import ExApp
from tests.fakes.ports import free_port

HANDLERS = ("exists", "create", "start", "stop", "wait_for_start", "remove", "install_certificates")


@pytest.mark.contract(109)
@pytest.mark.parametrize("handler", HANDLERS)
def test_109_docker_without_the_engines_port(harp: Harp, handler: str) -> None:
    reply = harp.control("POST", f"/docker/exapp/{handler}", {"name": "x", "image_id": "y"})

    assert (reply.status, reply.text) == (400, "Missing 'docker-engine-port' header.")


@pytest.mark.contract(110)
@pytest.mark.parametrize("port", ["0", "65536", "x", "-1", "24000.0"])
def test_110_an_engines_port_that_is_none(harp: Harp, port: str) -> None:
    reply = harp.control("POST", "/docker/exapp/exists", {"name": "x"}, headers=[("docker-engine-port", port)])

    assert (reply.status, reply.text) == (400, f"Invalid 'docker-engine-port' header value: {port}")


@pytest.mark.contract(120)
def test_120_a_compute_device_that_there_is_not(harp: Harp) -> None:
    said = {"name": "x", "image_id": "y", "compute_device": "tpu"}

    reply = harp.control("POST", "/docker/exapp/create", said, headers=[("docker-engine-port", str(free_port()))])

    assert reply.status == 400
    assert reply.text.startswith("Payload validation error: ")


@pytest.mark.contract(120)
def test_a_body_that_is_no_json(harp: Harp) -> None:
    reply = harp.control("POST", "/docker/exapp/create", body=b"{", headers=[("docker-engine-port", str(free_port()))])

    assert (reply.status, reply.text) == (400, "Invalid JSON body")


@pytest.mark.contract(140)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1.44/containers/create"),
        ("GET", "/v1.44/version"),
        ("GET", "/v1.44/containers/other/json"),
        ("DELETE", "/v1.44/images/x"),
        ("POST", "/v1.44/_ping"),
        ("GET", "/v1.44/_ping/x"),
        ("GET", "/containers/json"),
        ("POST", "/v1.44/containers/nc_app_x/json"),
        ("GET", "/v1.44/images/create"),
        ("POST", "/v1.44/containers/nc_app_x/exec"),
    ],
)
def test_140_what_of_an_engine_is_closed(harp: Harp, exapp: ExApp, method: str, path: str) -> None:
    # A server does listen on that port: what comes to it was let through.
    reply = harp.control(method, path, headers=[("docker-engine-port", str(exapp.port))])

    assert reply.status == 403
    assert not exapp.seen


@pytest.mark.contract(141)
@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("GET", "/v1.44/_ping", None),
        ("GET", "/v1.44/containers/nc_app_x/json", None),
        ("POST", "/docker/exapp/create", {"name": "x", "image_id": "y"}),
        ("POST", "/docker/exapp/start", {"name": "x"}),
        ("POST", "/docker/exapp/remove", {"name": "x"}),
    ],
)
def test_141_an_engine_that_is_not_there(harp: Harp, method: str, path: str, said: object) -> None:
    reply = harp.control(method, path, said, headers=[("docker-engine-port", str(free_port()))])

    assert reply.status == 503
    assert reply.took_s < 5


@pytest.mark.parametrize("handler", ["exists", "create", "start", "stop", "wait_for_start", "remove"])
def test_kubernetes_is_disabled(harp: Harp, handler: str) -> None:
    said = {"name": "x", "image_id": "y"}

    reply = harp.control("POST", f"/k8s/exapp/{handler}", said)

    assert (reply.status, reply.text) == (503, "Kubernetes backend is disabled in HaRP.")


def test_exposing_on_kubernetes_is_disabled(harp: Harp) -> None:
    reply = harp.control("POST", "/k8s/exapp/expose", {"name": "x", "port": 23000})

    assert (reply.status, reply.text) == (503, "Kubernetes backend is disabled in HaRP.")


def test_certificates_on_kubernetes_need_nothing(harp: Harp) -> None:
    assert harp.control("POST", "/k8s/exapp/install_certificates", {"name": "x"}).status == 204
