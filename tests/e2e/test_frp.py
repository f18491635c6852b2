# SPDX-License-Identifier: AGPL-3.0-or-later
"""AppAPI deploys an app on an engine that came through FRP, as "Apps on another machine" has it; all parts are real."""

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.contract import instance
from tests.contract.instance import Harp
from tests.e2e import image
from tests.e2e.cloud import ADMIN, Cloud
from tests.e2e.exapp import described
from tests.e2e.image import Registry
from tests.e2e.site import Site, documented_location
from tests.e2e.test_manual import within
from tests.fakes import frp
from tests.fakes.ports import free_port
from tests.integration import engine as engines
from tests.integration.engine import DockerEngine

KEY, NAME, ENGINE = "the-key-of-the-harp-with-frp", "hello-far", "24043"
pytestmark = [
    pytest.mark.root,
    *(
        pytest.mark.skipif(bool(reason), reason=reason or "all is there")
        for reason in (engines.why_not(), image.why_not(), frp.why_not(), frp.why_not_inside())
    ),
]


@dataclass(slots=True)
class Far:
    """Nextcloud, a Harp, and an engine that nothing but FRP leads to, with a registry."""

    site: Site
    engine: DockerEngine
    registry: Registry

    def frps(self) -> int:
        assert self.site.harp.program is not None
        return self.site.harp.program.only("frps")

    def answers(self, app: str) -> bool:
        return self.site.browser().get(f"/exapps/{app}/public").status == 200


@pytest.fixture(scope="module")
def harp(harp_settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harp]:
    folder = tmp_path_factory.mktemp("harp")
    settings = {
        **harp_settings,
        **instance.own_addresses(),
        "HP_SHARED_KEY": KEY,
        "HP_FRPS": str(frp.program("frps")),
        "HP_FRP_ADDRESS": f"0.0.0.0:{free_port()}",
        "HP_FRP_DIR": str(folder / "frp"),
        "HP_DOCKER_ENGINES": f"24000=unix://{folder}/no.sock",
    }
    program = instance.started(folder, settings)
    try:
        yield instance.ready(program, settings, KEY)
    finally:
        program.end()


@pytest.fixture(scope="module")
def far(nextcloud: Cloud, harp: Harp, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    folder = tmp_path_factory.mktemp("far")
    [configuration] = tmp_path_factory.getbasetemp().rglob("frps.toml")
    [port] = [line.partition(" = ")[2] for line in configuration.read_text().splitlines() if "bindPort" in line]
    [certificates] = [path.parent for path in tmp_path_factory.getbasetemp().rglob("tokens.key")]
    with engines.opened(folder / "engine") as engine:
        if not engine.bridge:
            pytest.skip("no bridge for containers can be made here")
        gateway = f"10.214.{engine.bridge.removeprefix('harp')}.1"
        registry, site = Registry(folder), Site(nextcloud, harp)
        said = frp.configuration(
            f"127.0.0.1:{port}",
            KEY,
            name="the-engine",
            port=ENGINE,
            local=engine.socket,
            certificates=certificates,
        )
        try:
            image.pushed(
                engine,
                registry,
                "1",
                name=NAME,
                command="/start",
                more=frp.packed(start=frp.start_script(" ".join(image.START))),
            )
            with frp.running(folder / "frpc", said) as client, nextcloud.led_to(documented_location(harp.port)):
                client.says("start proxy success")
                nextcloud.place(f"listen {gateway}:{nextcloud.port};", "far")
                site.tell_nextcloud(
                    *("far", "docker-install", "--net", "bridge", "--harp_docker_socket_port", ENGINE),
                    url=f"http://{gateway}:{nextcloud.port}",
                    frp=f"{gateway}:{port}",
                )
                yield Far(site, engine, registry)
                nextcloud.place("", "far")
        finally:
            registry.stop()


@pytest.mark.contract(150)
def test_an_app_on_another_machine_from_the_first_command_to_the_last(far: Far) -> None:
    app, occ = "farapp", far.site.cloud.occ
    where = {"registry": far.registry.address, "image": NAME, "image-tag": "1"}
    info = json.dumps(described(app, "1.0.0", **{"docker-install": where}))
    try:
        code, said = far.site.cloud.occ_tried(
            "app_api:app:register", app, "far", "--wait-finish", "--json-info", info, patience_s=200
        )
        assert code == 0, f"{said}\n{far.engine.logs(f'nc_app_{app}')}"

        assert far.site.browser().get(f"/exapps/{app}/public").json["is_signed"]
        assert [far.site.browser(name).get(f"/exapps/{app}/admin").status for name in ("", ADMIN)] == [403, 200]
        given = far.engine.inspect(f"nc_app_{app}")["Config"]["Env"]
        [token] = [each for each in given if each.startswith("HP_SHARED_KEY=")]
        assert token.endswith(f".{app}")
        assert not any(KEY in each for each in given), "the key of the control plane is not the app's"

        occ("app_api:app:disable", app)
        assert not far.engine.inspect(f"nc_app_{app}")["State"]["Running"]
        occ("app_api:app:enable", app)
        assert far.answers(app)

        os.kill(far.frps(), signal.SIGKILL)
        assert within(15.0, lambda: far.answers(app)), "by itself, as soon as frpc tries again"

        occ("app_api:app:unregister", app, "--rm-data")
        assert far.engine.inspect(f"nc_app_{app}") is None
    finally:
        far.site.cloud.occ_tried("app_api:app:unregister", app, "--force", "--rm-data")
