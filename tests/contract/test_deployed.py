# SPDX-License-Identifier: AGPL-3.0-or-later
"""Apps in containers of a real engine, reached through Harp without FRP: as AppAPI has them made, moved and restarted.

The reference reaches them through frps alone, so this is no part of its contract (contract, section 4.6).
"""

import concurrent.futures
import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.contract import instance
from tests.contract.conftest import Cloud
from tests.contract.docked import Docked, environment
from tests.contract.talk import Reply, next_name

pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(180),
    pytest.mark.skipif(
        instance.IS_REFERENCE or bool(instance.URL), reason="a promise of Harp's, with an engine's socket"
    ),
]
Deploy = Callable[..., str]


@pytest.fixture
def deployed(docked: Docked, nextcloud: Cloud) -> Deploy:
    """AppAPI's flow: what Nextcloud says of the app comes first, then create, start, wait."""

    def made(port: int = 23_000, *, direct: bool = False, host: str | None = None, **said: Any) -> str:
        name = next_name("deployed")
        nextcloud.apps[name] = {
            "exapp_token": "a-token",
            "exapp_version": "1.0.0",
            "host": host or (name if direct else "127.0.0.1"),
            "port": port,
            "routes": [{"url": "^/", "access_level": 0}],
        }
        docked.made(name=name, environment_variables=environment(name, port, direct=direct), **said)
        assert docked.call("start", name=name).status == 204
        assert docked.call("wait_for_start", name=name).json["started"] is True
        return name

    return made


def until_ok(docked: Docked, name: str, path: str = "/cgi-bin/env", *, within_s: float = 10.0) -> Reply:
    """A request that comes while the app is away may wait for HAProxy to try again: each is given up soon."""
    deadline = time.monotonic() + within_s
    while True:
        reply = docked.harp.caller().get(f"/exapps/{name}{path}", patience_s=0.5)
        if reply.status == 200 or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    assert reply.status == 200, reply
    return reply


@pytest.mark.parametrize("network", ["bridge", "host"])
def test_an_app_that_appapi_means_to_come_through_frp(docked: Docked, deployed: Deploy, network: str) -> None:
    name = deployed(23_041, network_mode=network)

    said = until_ok(docked, name).text

    assert f"APP_ID={name}\n" in said
    assert f"APP_HOST={'127.0.0.1' if network == 'host' else '0.0.0.0'}\n" in said
    assert "HP_SHARED_KEY" not in said
    assert "the-key-of-all" not in said
    assert docked.call("remove", name=name).status == 204


def test_exapp_direct_in_a_network_of_its_own(docked: Docked, deployed: Deploy) -> None:
    network = next_name("net")
    assert docked.engine.call("POST", "/networks/create", {"Name": network}).status == 201

    name = deployed(direct=True, network_mode=network)

    assert f"APP_ID={name}\n" in until_ok(docked, name).text
    assert docked.call("remove", name=name).status == 204


def test_two_apps_with_one_port_do_not_disturb_each_other(docked: Docked, deployed: Deploy) -> None:
    first, second = deployed(23_042), deployed(23_042)

    assert f"APP_ID={first}\n" in until_ok(docked, first).text
    assert f"APP_ID={second}\n" in until_ok(docked, second).text


def test_an_app_that_moves_is_reached_again_and_the_others_notice_nothing(docked: Docked, deployed: Deploy) -> None:
    other, name = deployed(), deployed()
    until_ok(docked, other)
    until_ok(docked, name)
    before = docked.inspect(name)["NetworkSettings"]["IPAddress"]

    # Somebody else takes its address while it is away.
    assert docked.call("stop", name=name).status == 204
    squatter = deployed()
    assert docked.inspect(squatter)["NetworkSettings"]["IPAddress"] == before
    assert docked.call("start", name=name).status == 204

    assert docked.inspect(name)["NetworkSettings"]["IPAddress"] != before
    assert f"APP_ID={name}\n" in until_ok(docked, name, within_s=2.0).text
    assert f"APP_ID={other}\n" in docked.harp.caller().get(f"/exapps/{other}/cgi-bin/env").text


def test_an_app_that_is_stopped_is_503_at_once(docked: Docked, deployed: Deploy) -> None:
    name = deployed(23_043)
    until_ok(docked, name)

    assert docked.call("stop", name=name).status == 204
    time.sleep(0.5)
    reply = docked.harp.caller().get(f"/exapps/{name}/cgi-bin/env")

    assert reply.status == 503


@pytest.mark.parametrize("lives_s", [0, 1])
def test_one_that_dies_soon_is_said_so_in_the_answer_and_in_the_log(docked: Docked, lives_s: int) -> None:
    docked.engine.make_image("harp-test-dying", changes=[f'CMD ["/bin/sh", "-c", "sleep {lives_s}; exit 3"]'])
    name = docked.runs(image_id="harp-test-dying")
    program = docked.harp.program
    assert program is not None

    said = docked.call("wait_for_start", name=name).json

    assert said["started"] is False
    assert "exit code 3" in said["reason"]
    assert f"container nc_app_{name} ended with exit code 3" in program.output
    stopped = re.search(rf"container nc_app_{name} is stopped: it ended (\d+) times at once", program.output)
    assert stopped is not None
    # It may have ended once more between the engine's word of it and the look at it.
    assert int(stopped[1]) >= 5
    assert docked.inspect(name)["State"]["Status"] == "exited", "it does not go on dying for ever"
    assert docked.call("remove", name=name, remove_data=True).status == 204
    assert not docked.has_volume(name)


def test_one_that_takes_its_time_to_listen_is_waited_for_a_little(docked: Docked, deployed: Deploy) -> None:
    docked.engine.make_image("harp-test-slow", changes=['CMD ["/bin/sh", "-c", "sleep 0.7; exec /serve"]'])
    docked.engine.make_image("harp-test-mute", changes=['CMD ["sleep", "1000"]'])

    slow = deployed(image_id="harp-test-slow")
    assert docked.harp.caller().get(f"/exapps/{slow}/cgi-bin/env").status == 200
    began = time.monotonic()
    deployed(image_id="harp-test-mute")
    assert time.monotonic() - began < 10, "it may take long: the start is said all the same"


def test_an_engine_that_ends_while_it_is_waited_for(docked: Docked) -> None:
    name = docked.made()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(docked.call, "wait_for_start", name=name)
        time.sleep(0.5)
        docked.engine.stop()
        reply = waiting.result(20)
    docked.engine.start()

    assert reply.status == 503
    assert reply.text.startswith(f"Could not connect to Docker Engine on port {docked.port}: ")
    assert docked.call("start", name=name).status == 204, "it is asked again as if nothing had been"
    assert docked.call("wait_for_start", name=name).json["started"] is True


def test_after_the_machine_comes_back_everything_does(docked: Docked, deployed: Deploy) -> None:
    first, second = deployed(), deployed()
    until_ok(docked, first)
    until_ok(docked, second)

    docked.engine.stop()
    docked.engine.start()

    for name in (second, first):
        assert f"APP_ID={name}\n" in until_ok(docked, name).text
