# SPDX-License-Identifier: AGPL-3.0-or-later
"""AppAPI's whole flow on an engine that came through FRP: the app's container comes through FRP in turn.

All parts are real: frps beside Harp, frpc beside a Docker Engine and in the app's image, HAProxy in front of it all.
"""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.contract import instance
from tests.contract.conftest import KEY, Cloud, Launch
from tests.contract.docked import Docked, environment
from tests.contract.talk import next_name
from tests.contract.test_frp import Fronted
from tests.fakes import frp
from tests.fakes.ports import free_port
from tests.integration import engine

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        instance.IS_REFERENCE or bool(instance.URL), reason="needs a Harp of its own: frps is left out of the others"
    ),
    pytest.mark.skipif(bool(frp.why_not()), reason=frp.why_not()),
    pytest.mark.skipif(bool(frp.why_not_inside()), reason=frp.why_not_inside()),
]
IMAGE, ENGINE = "harp-test-frp-app", 24_042


@dataclass(slots=True)
class Elsewhere:
    """An engine to which nothing but FRP leads, and the address of frps in its containers."""

    docked: Docked
    frps: str
    fronted: Fronted

    def deployed(self, nextcloud: Cloud, port: int) -> str:
        """AppAPI's flow up to the start; the app's id."""
        name = next_name("Far")
        nextcloud.apps[name.lower()] = {
            "exapp_token": "a-token",
            "exapp_version": "1.0.0",
            "host": "127.0.0.1",
            "port": port,
            "routes": [{"url": "^/", "access_level": 0}],
        }
        host, _, number = self.frps.rpartition(":")
        given = [f"HP_FRP_ADDRESS={host}", f"HP_FRP_PORT={number}", f"HP_SHARED_KEY={KEY}"]
        lines = [line for line in environment(name, port) if not line.startswith("HP_")] + given
        self.docked.made(name=name, image_id=IMAGE, environment_variables=lines)
        assert self.docked.call("install_certificates", name=name).status == 204
        self._bring_frpc(name)
        assert self.docked.call("start", name=name).status == 204
        assert self.docked.call("wait_for_start", name=name).json["started"] is True
        return name

    def _bring_frpc(self, name: str) -> None:
        """What an app's image has; this one is of text alone."""
        put = self.docked.engine.call("PUT", f"/containers/nc_app_{name}/archive?path=/", body=frp.packed())
        assert put.status == 200, put

    def reached(self, name: str, *, within_s: float = 20.0) -> str:
        """What the app says of its environment."""
        deadline = time.monotonic() + within_s
        while True:
            reply = self.docked.harp.caller().get(f"/exapps/{name}/cgi-bin/env", patience_s=1.0)
            if reply.status == 200 or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        assert reply.status == 200, (reply, self.docked.engine.logs(f"nc_app_{name}"))
        return reply.text


@pytest.fixture(scope="module")
def elsewhere(launch: Launch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    if reason := engine.why_not():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("elsewhere")
    asked: dict[str, Any] = {"HP_FRPS": frp.program("frps"), "HP_FRP_DIR": str(folder / "frp")}
    asked |= {"HP_FRP_ADDRESS": f"0.0.0.0:{free_port()}", "HP_DOCKER_ENGINES": f"24000=unix://{folder}/no.sock"}
    with engine.opened(folder / "dockerd") as dockerd, launch(folder, HP_FRP_DISABLE_TLS=None, **asked) as harp:
        if not dockerd.bridge:
            pytest.skip("no bridge for containers can be made here")
        dockerd.make_image(IMAGE, changes=('CMD ["/start"]',), files={"start": frp.start_script("/serve")})
        port = asked["HP_FRP_ADDRESS"].rpartition(":")[2]
        text = frp.configuration(
            f"127.0.0.1:{port}",
            KEY,
            name="the-engine",
            port=ENGINE,
            local=dockerd.socket,
            certificates=folder / "frp",
        )
        with frp.running(folder / "frpc", text) as client:
            client.says("start proxy success")
            gateway = f"10.214.{dockerd.bridge.removeprefix('harp')}.1"
            yield Elsewhere(
                Docked(harp, dockerd, ENGINE, folder),
                f"{gateway}:{port}",
                Fronted(harp, asked["HP_FRP_ADDRESS"], folder / "frp", folder),
            )


@pytest.mark.contract(149)
def test_149_an_app_on_another_machine(elsewhere: Elsewhere, nextcloud: Cloud) -> None:
    assert elsewhere.docked.through("GET", "/v1.44/_ping").text == "OK"

    name = elsewhere.deployed(nextcloud, 23_051)

    said = elsewhere.reached(name)
    variables = dict(line.partition("=")[::2] for line in said.splitlines())
    assert (variables["APP_ID"], variables["APP_PORT"], variables["APP_HOST"]) == (name, "23051", "127.0.0.1")
    assert variables["HP_FRP_ADDRESS"] == elsewhere.frps.rpartition(":")[0]
    assert variables["HP_SHARED_KEY"].endswith(f".23051.{name.lower()}")
    assert KEY not in said
    container = f"nc_app_{name}"
    code, configuration = elsewhere.docked.engine.run(container, "cat", "/frpc.toml")
    assert (code, KEY in configuration, "serverName" in configuration) == (0, False, True)
    files = elsewhere.docked.engine.run(container, "ls", "/certs/frp")[1].split()
    assert files == ["ca.crt", "client.crt", "client.key"]
    assert "listening on 127.0.0.1:23051" in elsewhere.fronted.asked("log", container)
    assert elsewhere.docked.call("remove", name=name, remove_data=True).status == 204
    assert elsewhere.docked.harp.caller().get(f"/exapps/{name}/cgi-bin/env").status == 503


def test_it_comes_back_whatever_is_started_anew(elsewhere: Elsewhere, nextcloud: Cloud) -> None:
    name = elsewhere.deployed(nextcloud, 23_052)
    elsewhere.reached(name)

    restarted = elsewhere.docked.engine.call("POST", f"/containers/nc_app_{name}/restart?t=1")
    assert restarted.status == 204
    elsewhere.reached(name)

    os.kill(elsewhere.fronted.frps(), signal.SIGKILL)
    elsewhere.reached(name)
    deadline = time.monotonic() + 20
    while (pinged := elsewhere.docked.through("GET", "/_ping")).status != 200 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert pinged.text == "OK", "the engine is back as well"
