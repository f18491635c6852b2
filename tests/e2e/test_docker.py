# SPDX-License-Identifier: AGPL-3.0-or-later
"""The life of an app in a container, led by AppAPI's own commands, with a real engine and a real registry."""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.contract import instance
from tests.contract.docked import environment
from tests.contract.instance import Harp
from tests.e2e import image
from tests.e2e.browser import Reply
from tests.e2e.cloud import ADMIN, Cloud
from tests.e2e.exapp import described
from tests.e2e.image import NAME, Registry
from tests.e2e.site import Site, documented_location
from tests.e2e.test_doctor import failed
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
    settings: Mapping[str, str]

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

    def begin_again(self) -> None:
        """Harp alone: it ends and starts."""
        program = self.site.harp.program
        assert program is not None
        assert program.end() == 0
        self.site.harp.program = instance.started(program.log.parent, self.settings)
        instance.ready(self.site.harp.program, self.settings, KEY)

    def listens_at(self, app: str) -> tuple[str, int] | None:
        """Where an app listens in its container; None as long as it does not."""
        inspected = self.inspect(app)
        networks = inspected["NetworkSettings"]["Networks"].values()
        address = next((each["IPAddress"] for each in networks if each["IPAddress"]), "127.0.0.1")
        port = next(each for each in inspected["Config"]["Env"] if each.startswith("APP_PORT="))
        place = address, int(port.partition("=")[2])
        with socket.socket() as tried:
            tried.settimeout(1.0)
            return place if tried.connect_ex(place) == 0 else None

    def beside(self, app: str, another: str, port: int, *, host: str = "0.0.0.0", **configured: Any) -> None:
        """One more container of an app's image, made by hand, as an administrator may."""
        lines = [line for line in environment(another, port, direct=True) if not line.startswith("APP_HOST=")]
        asked = {
            "Image": self.inspect(app)["Config"]["Image"],
            "Env": [*lines, f"APP_HOST={host}"],
            "ExposedPorts": {f"{port}/tcp": {}},
            "HostConfig": configured,
        }
        assert self.engine.call("POST", f"/containers/create?name=nc_app_{another}", asked).status == 201
        assert self.engine.call("POST", f"/containers/nc_app_{another}/start").status == 204

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
        image.pushed(engine, started, "1", "2", dying="dying")
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="module")
def settings(harp_settings: dict[str, str], engine: DockerEngine) -> dict[str, str]:
    return {
        **harp_settings,
        **instance.own_addresses(),
        "HP_SHARED_KEY": KEY,
        "HP_DOCKER_ENGINES": f"24000={engine.url}",
    }


@pytest.fixture(scope="module")
def harp(settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harp]:
    program = instance.started(tmp_path_factory.mktemp("harp"), settings)
    started = instance.ready(program, settings, KEY)
    yield started
    assert started.program is not None
    started.program.end()


@pytest.fixture(scope="module")
def dock(
    nextcloud: Cloud, harp: Harp, engine: DockerEngine, registry: Registry, settings: dict[str, str]
) -> Iterator[Dock]:
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
            assert engine.call("POST", "/networks/create", {"Name": "own"}).status == 201
            networks.append("own")
            gateway = engine.call("GET", "/networks/own").json["IPAM"]["Config"][0]["Gateway"]
            nextcloud.place(f"listen {gateway}:{nextcloud.port};", "own")
            url = f"http://{gateway}:{nextcloud.port}"
            site.tell_nextcloud("docker-own", "docker-install", "--net", "own", "--harp_exapp_direct", url=url)
        yield Dock(site, engine, registry, tuple(networks), settings)
        for place in ("bridge", "own"):
            nextcloud.place("", place)


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
            assert dock.inspect("mover")["NetworkSettings"]["IPAddress"] != before
            assert within(30.0, lambda: dock.listens_at("mover") is not None)
            assert within(2.0, lambda: dock.public("mover").status == 200), dock.public("mover")
        finally:
            dock.engine.call("DELETE", "/containers/squatter?force=true")


def test_exapp_direct_in_a_network_of_its_own(dock: Dock) -> None:
    if "own" not in dock.networks:
        pytest.skip("no bridge can be made here")
    with dock.installed("direct", "own"):
        assert dock.public("direct").json["is_signed"]
        given = dock.inspect("direct")["Config"]["Env"]
        assert "APP_HOST=0.0.0.0" in given
        assert not any(each.startswith("HP_") for each in given)


def test_while_one_app_is_updated_the_others_notice_nothing(dock: Dock) -> None:
    with dock.installed("changing", "host"), dock.installed("steady", "host"):
        statuses, ended = [], threading.Event()

        def ask() -> None:
            browser = dock.site.browser()
            while not ended.wait(0.02):
                statuses.append(browser.get("/exapps/steady/public").status)

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            info = dock.info("changing", "1.1.0", "2")
            dock.site.cloud.occ("app_api:app:update", "changing", "--wait-finish", "--json-info", info)
        finally:
            ended.set()
            asking.join()

        assert dock.public("changing").json["version"] == "1.1.0"
        assert len(statuses) > 20
        assert set(statuses) == {200}


def test_after_a_reboot_everything_comes_back_by_itself(dock: Dock) -> None:
    apps = ["rebooted" + network for network in dock.networks[:2]]
    with contextlib.ExitStack() as stack:
        for app, network in zip(apps, dock.networks, strict=False):
            stack.enter_context(dock.installed(app, network))
        for is_begun_again in (False, True):
            dock.engine.stop()
            dock.engine.start()
            if is_begun_again:
                dock.begin_again()
            for app in apps:
                assert within(30.0, lambda app=app: dock.listens_at(app) is not None)  # type: ignore[misc]
                assert within(2.0, lambda app=app: dock.public(app).status == 200), app  # type: ignore[misc]
        assert dock.site.browser(ADMIN).get(f"/exapps/{apps[0]}/admin").status == 200
        assert "successfully disabled" in dock.site.cloud.occ("app_api:app:disable", apps[0])


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


def test_a_container_that_dies_is_said_to_and_does_not_go_on_dying(dock: Dock) -> None:
    try:
        code, said = dock.register("dying", "host", tag="dying")

        assert code == 1
        assert "container startup failed" in said
        program = dock.site.harp.program
        assert program is not None
        assert "container nc_app_dying ended with exit code 3" in program.output
        assert not dock.inspect("dying")["State"]["Running"]
        assert "dying" not in dock.site.cloud.occ("app_api:app:list")
        code, said = dock.register("dying", "host")
        assert code == 0, said
    finally:
        dock.site.cloud.occ_tried("app_api:app:unregister", "dying", "--force", "--rm-data")


def test_the_doctor_sees_what_is_wrong_with_containers_and_their_engine(dock: Dock) -> None:
    if "bridge" not in dock.networks:
        pytest.skip("no bridge can be made here")
    with dock.installed("seen", "bridge"):
        assert failed(dock.site, dock.site.harp, dock.settings) == {}

        dock.beside("seen", "inside", 23_901, host="127.0.0.1")
        dock.beside("seen", "open", 23_902, PortBindings={"23902/tcp": [{"HostIp": "0.0.0.0", "HostPort": "23902"}]})
        try:
            assert within(30.0, lambda: dock.listens_at("open") is not None)
            found = failed(dock.site, dock.site.harp, dock.settings)
        finally:
            for each in ("inside", "open"):
                dock.engine.call("DELETE", f"/containers/nc_app_{each}?force=true")
        assert "listens on 127.0.0.1:23901 inside its container nc_app_inside" in found["app inside"]["text"]
        assert any("nc_app_open is published at 0.0.0.0:23902" in check["text"] for check in found.values()), found

        dock.engine.stop()
        try:
            found = failed(dock.site, dock.site.harp, dock.settings)
        finally:
            dock.engine.start()
        assert "engine 24000" in found
        assert within(30.0, lambda: dock.public("seen").status == 200)


def test_nextclouds_own_checks_are_content(dock: Dock) -> None:
    reply = dock.site.harp.control("GET", "/v1.44/_ping", headers=[("docker-engine-port", "24000")])

    assert (reply.status, reply.text) == (200, "OK")
    assert Path(dock.engine.socket).exists()
