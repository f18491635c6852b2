# SPDX-License-Identifier: AGPL-3.0-or-later
"""The life of an app in a container, led by AppAPI's own commands, with a real engine and a real registry."""

import contextlib
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.contract import instance
from tests.contract.instance import Harp
from tests.e2e import image
from tests.e2e.browser import Reply
from tests.e2e.cloud import ADMIN, Cloud
from tests.e2e.exapp import described
from tests.e2e.image import NAME, Registry
from tests.e2e.site import Site, documented_location
from tests.e2e.test_manual import within
from tests.integration import engine as engines
from tests.integration.engine import DockerEngine

KEY = "the-key-of-the-harp-with-an-engine"
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(bool(engines.why_not()), reason=engines.why_not() or "an engine"),
    pytest.mark.skipif(bool(image.why_not()), reason=image.why_not() or "a registry"),
]


@dataclass(slots=True)
class Dock:
    """Nextcloud, a Harp with an engine, and a registry with the app's image under the tags 1 and 2."""

    site: Site
    engine: DockerEngine
    registry: Registry
    networks: tuple[str, ...]

    def info(self, app: str, version: str, tag: str) -> str:
        where = {"registry": self.registry.address, "image": NAME, "image-tag": tag}
        return json.dumps(described(app, version, **{"docker-install": where}))

    def register(self, app: str, network: str, tag: str = "1") -> tuple[int, str]:
        return self.site.cloud.occ_tried(
            *("app_api:app:register", app, f"docker-{network}", "--wait-finish"),
            *("--json-info", self.info(app, "1.0.0", tag)),
            patience_s=200,
        )

    def inspect(self, app: str) -> Any:
        return self.engine.inspect(f"nc_app_{app}")

    def has_volume(self, app: str) -> bool:
        return self.engine.call("GET", f"/volumes/nc_app_{app}_data").status == 200

    def public(self, app: str) -> Reply:
        return self.site.browser().get(f"/exapps/{app}/public")

    @contextlib.contextmanager
    def installed(self, app: str, network: str) -> Iterator[None]:
        try:
            code, said = self.register(app, network)
            assert code == 0, f"{said}\n{self.site.harp.program and self.site.harp.program.output[-3000:]}"
            yield
        finally:
            self.site.cloud.occ_tried("app_api:app:unregister", app, "--force", "--rm-data")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerEngine]:
    with engines.opened(tmp_path_factory.mktemp("engine")) as opened:
        yield opened


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, engine: DockerEngine) -> Iterator[Registry]:
    started = Registry(tmp_path_factory.mktemp("registry"))
    try:
        image.pushed(engine, started, "1", "2")
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="module")
def harp(
    harp_settings: dict[str, str], engine: DockerEngine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Harp]:
    settings = {
        **harp_settings,
        **instance.own_addresses(),
        "HP_SHARED_KEY": KEY,
        "HP_DOCKER_ENGINES": f"24000={engine.url}",
    }
    program = instance.started(tmp_path_factory.mktemp("harp"), settings)
    try:
        yield instance.ready(program, settings, KEY)
    finally:
        program.end()


@pytest.fixture(scope="module")
def dock(nextcloud: Cloud, harp: Harp, engine: DockerEngine, registry: Registry) -> Iterator[Dock]:
    site, networks = Site(nextcloud, harp), ["host"]
    nextcloud.person("alice")
    with nextcloud.led_to(documented_location(harp.port)):
        site.tell_nextcloud("docker-host", "docker-install", "--net", "host")
        if engine.bridge:
            networks.append("bridge")
            address = f"10.214.{engine.bridge.removeprefix('harp')}.1"
            nextcloud.place(f"listen {address}:{nextcloud.port};", "bridge")
            site.tell_nextcloud(
                "docker-bridge", "docker-install", "--net", "bridge", url=f"http://{address}:{nextcloud.port}"
            )
        yield Dock(site, engine, registry, tuple(networks))
        nextcloud.place("", "bridge")


@pytest.mark.contract(150)
@pytest.mark.parametrize("network", ["bridge", "host"])
def test_a_container_from_the_first_command_to_the_last(dock: Dock, network: str) -> None:
    if network not in dock.networks:
        pytest.skip("no bridge can be made here")
    app, occ = f"life{network}", dock.site.cloud.occ
    with dock.installed(app, network):
        assert dock.inspect(app)["State"]["Running"]
        assert dock.public(app).json["is_signed"]
        asked = [dock.site.browser(name).get(f"/exapps/{app}/admin").status for name in ("", "alice", ADMIN)]
        assert asked == [403, 403, 200]
        given = dock.inspect(app)["Config"]["Env"]
        assert not any(KEY in each for each in given), "the key of the control plane is not the app's"

        occ("app_api:app:disable", app)
        assert not dock.inspect(app)["State"]["Running"]
        occ("app_api:app:enable", app)
        assert dock.public(app).json["enabled"] == ["enabled=1", "enabled=0", "enabled=1"]

        said = occ("app_api:app:update", app, "--wait-finish", "--json-info", dock.info(app, "1.1.0", "2"))
        assert "successfully updated" in said
        arrived = dock.public(app).json
        assert (arrived["version"], arrived["headers"]["ex-app-version"]) == ("1.1.0", "1.1.0")
        assert len(arrived["enabled"]) == 5, "the data of the old container is there"
        assert dock.inspect(app)["Config"]["Image"].endswith(":2")

        occ("app_api:app:unregister", app, "--rm-data")
        assert dock.inspect(app) is None
        assert not dock.has_volume(app)


def listens(address: str, port: int) -> bool:
    with socket.socket() as tried:
        tried.settimeout(1.0)
        return tried.connect_ex((address, port)) == 0


def test_a_container_that_restarts_or_moves_is_reached_again(dock: Dock) -> None:
    if "bridge" not in dock.networks:
        pytest.skip("no bridge can be made here")
    with dock.installed("mover", "bridge"):
        before = dock.inspect("mover")["NetworkSettings"]["IPAddress"]
        assert dock.engine.call("POST", "/containers/nc_app_mover/stop?t=1").status == 204
        squatter = dock.engine.call("POST", "/containers/create?name=squatter", {"Image": "harp-test-app"})
        assert squatter.status == 201
        dock.engine.call("POST", "/containers/squatter/start")
        try:
            assert dock.engine.call("POST", "/containers/nc_app_mover/start").status == 204
            after = dock.inspect("mover")["NetworkSettings"]["IPAddress"]
            assert after != before
            port = next(each for each in dock.inspect("mover")["Config"]["Env"] if each.startswith("APP_PORT="))
            assert within(30.0, lambda: listens(after, int(port.partition("=")[2])))
            assert within(2.0, lambda: dock.public("mover").status == 200), dock.public("mover")
        finally:
            dock.engine.call("DELETE", "/containers/squatter?force=true")


def test_unregistered_with_its_data_kept(dock: Dock) -> None:
    with dock.installed("kept", "host"):
        dock.site.cloud.occ("app_api:app:unregister", "kept")
        assert dock.inspect("kept") is None
        assert dock.has_volume("kept")
    dock.engine.call("DELETE", "/volumes/nc_app_kept_data")


def test_an_image_that_is_not_there_is_said_and_leaves_nothing(dock: Dock) -> None:
    code, said = dock.register("absent", "host", tag="no-such-tag")

    assert code == 1
    assert "no-such-tag" in said
    assert dock.inspect("absent") is None
    assert "absent" not in dock.site.cloud.occ("app_api:app:list")
    assert not dock.has_volume("absent")


def test_nextclouds_own_checks_are_content(dock: Dock) -> None:
    reply = dock.site.harp.control("GET", "/v1.44/_ping", headers=[("docker-engine-port", "24000")])

    assert (reply.status, reply.text) == (200, "OK")
    assert Path(dock.engine.socket).exists()
