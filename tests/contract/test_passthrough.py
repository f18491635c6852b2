# SPDX-License-Identifier: AGPL-3.0-or-later
"""What AppAPI asks of the engine itself, through HaRP (contract, section 3.5; numbers 136 to 139)."""

import json
from collections.abc import Iterator

import pytest

from tests.contract.docked import Docked
from tests.contract.instance import CONTROL
from tests.fakes.registry import Registry

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]


@pytest.fixture
def registry() -> Iterator[Registry]:
    found = Registry().start()
    yield found
    found.stop()


@pytest.mark.contract(6)
def test_006_with_an_engine_docker_is_there(docked: Docked) -> None:
    assert docked.harp.control("GET", "/info").json["docker"] is True


@pytest.mark.contract(136)
@pytest.mark.deviates("an engine that is older than the version in the path answers too: it is asked in its own")
def test_136_ping(docked: Docked) -> None:
    # The reference passes the version on, and an engine older than it answers 400.
    paths = ["/_ping"] if docked.harp.is_reference else ["/_ping", "/v1.44/_ping", "/v1.24/_ping"]

    for path in paths:
        reply = docked.through("GET", path)
        assert (reply.status, reply.text) == (200, "OK")
        assert reply.values("api-version")


@pytest.mark.contract(137)
def test_137_progress_arrives_while_an_image_is_pulled(docked: Docked, registry: Registry) -> None:
    caller = docked.harp.caller()
    connection = caller.connect(60)
    path = f"{CONTROL}/v1.41/images/create?fromImage={registry.reference}%3Alatest"
    caller.send(connection, "POST", path, [("harp-shared-key", docked.harp.key), docked.header])
    answer = connection.getresponse()

    # The registry holds the layer back: what has come by now was not gathered at the end.
    first = json.loads(answer.readline())
    registry.let_go()
    lines = [json.loads(line) for line in answer.read().splitlines()]
    connection.close()

    assert answer.status == 200
    assert "Pulling from" in first["status"]
    assert "Downloaded newer image" in lines[-1]["status"]
    assert docked.through("GET", f"/v1.41/images/{registry.reference}:latest/json").status == 200


@pytest.mark.contract(138)
def test_138_a_tag_that_there_is_not(docked: Docked, registry: Registry) -> None:
    reply = docked.through("POST", f"/v1.41/images/create?fromImage={registry.reference}%3Amissing")

    assert reply.status == 404
    assert "manifest" in reply.json["message"]


@pytest.mark.contract(139)
def test_139_an_apps_container_is_looked_at(docked: Docked) -> None:
    name = docked.runs()

    found = docked.through("GET", f"/v1.41/containers/nc_app_{name}/json")
    logs = docked.through("GET", f"/v1.41/containers/nc_app_{name}/logs?stdout=true&stderr=true&tail=100")

    assert (found.status, found.json["Name"]) == (200, f"/nc_app_{name}")
    assert logs.status == 200
    assert docked.through("GET", "/v1.41/containers/nc_app_nobody/json").status == 404
    assert docked.through("GET", "/v1.41/containers/other/json").status == 403
