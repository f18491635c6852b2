# SPDX-License-Identifier: AGPL-3.0-or-later
"""harp.proxy.policy.engines in a real HAProxy: what passes to an engine, and what never does (136–141)."""

import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

from harp.proxy.model import EngineAddress
from harp.proxy.policy import compile as policy
from tests.fakes.haproxy import RealHaproxy, needs_haproxy, shape
from tests.fakes.ports import free_port
from tests.fakes.served import Served

pytestmark = needs_haproxy
KEY = {"harp-shared-key": "key"}
CONTROL = "/exapps/app_api"


class Engine:
    """It says what reached it."""

    def __init__(self, socket: Path | None = None) -> None:
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.served = Served(self._answer, socket=socket).start()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.seen.append((request.raw_path, dict(request.headers)))
        return web.Response(text="OK")


@pytest.fixture
def engine() -> Iterator[Engine]:
    found = Engine()
    yield found
    found.served.stop()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Engine]:
    found = Engine(tmp_path / "control.sock")
    yield found
    found.served.stop()


@pytest.fixture
def haproxy(tmp_path: Path, engine: Engine) -> Iterator[RealHaproxy]:
    engines = (
        EngineAddress(24_000, "unix", str(tmp_path / "no.sock")),
        EngineAddress(24_001, "tcp", f"127.0.0.1:{engine.served.port}"),
        EngineAddress(24_002, "tcp", "no-such-host.invalid:2375"),
    )
    found = RealHaproxy(policy.placed(None, shape(tmp_path, free_port(), engines=engines), {}))
    yield found
    found.close()


@pytest.mark.parametrize(
    ("path", "arrives"),
    [
        ("/v1.44/_ping", "/_ping"),
        ("/_ping", "/_ping"),
        ("/v1.41/images/ghcr.io%2Fa%2Fb%3A1/json", "/images/ghcr.io%2Fa%2Fb%3A1/json"),
        ("/v1.41/images/a/b:1/json?x=1", "/images/a/b:1/json?x=1"),
        ("/v1.41/containers/nc_app_A.b-c/logs?tail=5&stdout=true", "/containers/nc_app_A.b-c/logs?tail=5&stdout=true"),
    ],
)
def test_what_passes_is_asked_in_the_engines_own_version(
    haproxy: RealHaproxy, engine: Engine, path: str, arrives: str
) -> None:
    assert haproxy.get(CONTROL + path, {**KEY, "docker-engine-port": "24001"}) == (200, b"OK")
    assert [seen for seen, _headers in engine.seen] == [arrives]


def test_no_secret_reaches_an_engine(haproxy: RealHaproxy, engine: Engine) -> None:
    secret = {"Authorization": "Basic YTprZXk=", "Cookie": "a=b", "X-Registry-Auth": "e30="}

    haproxy.get(f"{CONTROL}/_ping", {**KEY, **secret, "docker-engine-port": "24001"})

    [(_path, headers)] = engine.seen
    names = {name.lower() for name in headers}
    assert not names & {"harp-shared-key", "authorization", "cookie", "docker-engine-port"}
    assert "x-registry-auth" in names


@pytest.mark.parametrize(
    "path",
    [
        "/v1.44/version",
        "/v1.44/_ping/x",
        "/v1.44/containers/nc_app_x/json/x",
        "/v1.44/containers/nc_app_x%2F..%2Fother/json",
        "/v1.44/containers/nc_app_x/logs/../../other/json",
        "/v1.44/containers/other/json?x=/containers/nc_app_x/json",
        "/v1.44/images/..%2Fcontainers/json",
        "/v1.44/images/json",
        "/v1.44/images/x/json%3Fy",
        "/v1.44/images/x%0A/json",
    ],
)
def test_what_does_not_pass(haproxy: RealHaproxy, engine: Engine, path: str) -> None:
    assert haproxy.get(CONTROL + path, {**KEY, "docker-engine-port": "24001"})[0] == 403
    assert not engine.seen


def test_without_the_key_there_is_no_engine(haproxy: RealHaproxy, engine: Engine) -> None:
    assert haproxy.get(f"{CONTROL}/_ping", {"docker-engine-port": "24001"})[0] == 401
    assert not engine.seen


@pytest.mark.parametrize(
    ("port", "said"),
    [
        ("24000", "no.sock (HP_DOCKER_ENGINES) cannot be reached"),
        ("24002", "tcp://no-such-host.invalid:2375 (HP_DOCKER_ENGINES) cannot be reached"),
        ("24099", "no Docker Engine has come through FRP under this number"),
        ("8080", "HP_DOCKER_ENGINES names no such engine"),
        ("0", "503 Service Unavailable"),
        ("24000x", "503 Service Unavailable"),
    ],
)
def test_an_engine_that_is_not_there_is_said_in_a_line(haproxy: RealHaproxy, port: str, said: str) -> None:
    status, body = haproxy.get(f"{CONTROL}/v1.44/_ping", {**KEY, "docker-engine-port": port})

    assert status == 503
    assert said in body.decode()
    assert b"\n" not in body


def posted(haproxy: RealHaproxy, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", haproxy.port, timeout=20)
    try:
        form = {"content-type": "application/x-www-form-urlencoded"}
        connection.request("POST", f"{CONTROL}{path}", b"fromSrc=-", {**KEY, **form, "docker-engine-port": "24001"})
        return connection.getresponse().status
    finally:
        connection.close()


def test_an_image_is_made_of_a_registry_alone(haproxy: RealHaproxy, engine: Engine, agent: Engine) -> None:
    assert posted(haproxy, "/v1.44/images/create?fromImage=a%3A1") == 200
    assert posted(haproxy, "/Images/Create?fromImage=b") == 200
    assert posted(haproxy, "/v1.44/images/create?fromSrc=-&repo=a") == 403
    assert posted(haproxy, "/v1.44/images/create?from%53rc=-&repo=a") == 403
    assert posted(haproxy, "/v1.44/images/create?fromImage=a&fromSrc=http%3A%2F%2F169.254.169.254%2F") == 403
    assert posted(haproxy, "/x/images/create?fromImage=a") == 403
    assert posted(haproxy, "/containers/nc_app_x%2F..%2Fimages/create?fromImage=a") == 403

    assert [path for path, _headers in agent.seen] == ["/docker/pull?fromImage=a%3A1", "/docker/pull?fromImage=b"]
    assert agent.seen[0][1]["docker-engine-port"] == "24001"
    assert not engine.seen


def test_without_an_agent_no_image_is_pulled(haproxy: RealHaproxy, engine: Engine) -> None:
    assert posted(haproxy, "/v1.44/images/create?fromImage=a%3A1") == 503
    assert not engine.seen
