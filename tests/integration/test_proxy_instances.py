# SPDX-License-Identifier: AGPL-3.0-or-later
"""Several instances of one app behind one route (harp.proxy.policy.backends), with a real HAProxy and real apps."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import pytest

from harp.base.errors import ConfigError
from harp.base.runtime import Tasks
from harp.proxy.edge.instances import Instances
from harp.proxy.edge.process import find_haproxy, version_of
from harp.proxy.model import AppId, Level, Route
from harp.proxy.policy import compile as policy
from tests.fakes.appplane import FakeNames
from tests.fakes.exapp import Answer, ExApp
from tests.fakes.haproxy import HAPROXY, RealHaproxy, app, needs_haproxy, shape
from tests.fakes.ports import free_port

pytestmark = needs_haproxy
APP, OTHER = AppId("app"), AppId("other")
OPEN, SHUT = Route("^/", Level.PUBLIC), Route("^/none", Level.PUBLIC)
Start = Callable[..., RealHaproxy]


@pytest.fixture
def apps() -> Iterator[list[ExApp]]:
    served = [ExApp(), ExApp(), ExApp()]
    for one in served:
        one.start()
    yield served
    for one in served:
        one.stop()


@pytest.fixture
def start(tmp_path: Path, apps: list[ExApp]) -> Iterator[Start]:
    try:
        version_of(find_haproxy(HAPROXY), with_instances=True)
    except ConfigError as error:
        pytest.skip(f"Harp does not run instances with this one: {error}")
    started: list[RealHaproxy] = []

    def with_instances(*instances: str) -> RealHaproxy:
        wanted = shape(tmp_path, free_port(), pools=(("app", instances),))
        known = {APP: app(1, OPEN), OTHER: app(apps[2].port, OPEN, name="other")}
        started.append(RealHaproxy(policy.placed(None, wanted, known)))
        return started[-1]

    yield with_instances
    for haproxy in started:
        haproxy.close()


def at(one: ExApp) -> str:
    return f"127.0.0.1:{one.port}"


def reached_after_s(haproxy: RealHaproxy, target: str) -> float:
    began = time.monotonic()
    while haproxy.get(target)[0] != 200:
        assert time.monotonic() - began < 10, "it is not reached again"
        time.sleep(0.05)
    return time.monotonic() - began


def test_both_instances_work_and_the_record_says_nothing_of_where(start: Start, apps: list[ExApp]) -> None:
    haproxy = start(at(apps[0]), at(apps[1]))

    assert {haproxy.get("/exapps/app/x")[0] for _ in range(10)} == {200}
    assert apps[0].seen
    assert apps[1].seen
    assert not apps[2].seen


async def test_one_that_dies_under_load_is_noticed_by_nobody_who_reads(start: Start, apps: list[ExApp]) -> None:
    haproxy = start(at(apps[0]), at(apps[1]))
    for one in apps[:2]:
        one.answers["/slow"] = Answer(delay_s=0.05)
    url, ending = f"http://127.0.0.1:{haproxy.port}/exapps", time.monotonic() + 2.5

    async def ask(session: aiohttp.ClientSession, target: str) -> list[int]:
        statuses = []
        while time.monotonic() < ending:
            async with session.get(url + target) as response:
                statuses.append(response.status)
        return statuses

    def dies_and_comes_back() -> None:
        time.sleep(0.5)
        with apps[0].served.down():
            time.sleep(1)

    async with aiohttp.ClientSession() as session:
        asking = [ask(session, "/app/slow") for _ in range(8)] + [ask(session, "/other/x")]
        dying = asyncio.ensure_future(asyncio.to_thread(dies_and_comes_back))
        results = await asyncio.gather(*asking)
        await dying

    assert [set(statuses) for statuses in results] == [{200}] * 9


async def test_what_may_not_come_twice_does_not(start: Start, apps: list[ExApp]) -> None:
    haproxy = start(at(apps[0]), at(apps[1]))
    for one in apps[:2]:
        one.answers["/slow"] = Answer(delay_s=5)
    async with aiohttp.ClientSession() as session:
        posting = asyncio.ensure_future(session.post(f"http://127.0.0.1:{haproxy.port}/exapps/app/slow", data=b"once"))

        def dies() -> None:
            while not (reached := [one for one in apps[:2] if one.seen]):
                time.sleep(0.01)
            with reached[0].served.down():
                time.sleep(0.5)

        await asyncio.to_thread(dies)
        assert (await posting).status == 502

    assert sum(len(one.seen) for one in apps[:2]) == 1


async def test_a_websocket_goes_to_one_of_them_and_a_new_one_to_the_other(start: Start, apps: list[ExApp]) -> None:
    haproxy = start(at(apps[0]), at(apps[1]))
    url = f"http://127.0.0.1:{haproxy.port}/exapps/app/ws"
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as first, session.ws_connect(url) as second:
        for socket in (first, second):
            await socket.send_str("hello")
            assert await socket.receive_str(timeout=5) == "hello"
        assert [one.open_sockets for one in apps[:2]] == [1, 1]


def test_one_that_is_restarted_is_reached_again_within_two_seconds(start: Start, apps: list[ExApp]) -> None:
    haproxy = start(at(apps[0]))
    assert haproxy.get("/exapps/app/x")[0] == 200
    with apps[0].served.down():
        time.sleep(2)
        assert haproxy.get("/exapps/app/x")[0] == 503
        assert haproxy.get("/exapps/other/x")[0] == 200

    assert reached_after_s(haproxy, "/exapps/app/x") < 2


def test_a_name_without_an_address_stops_nothing(start: Start, apps: list[ExApp]) -> None:
    haproxy = start("nowhere.invalid:80", at(apps[1]))

    assert {haproxy.get("/exapps/app/x")[0] for _ in range(5)} == {200}
    assert haproxy.get("/exapps/other/x")[0] == 200


async def test_a_name_is_followed_wherever_the_machine_finds_it(start: Start, apps: list[ExApp]) -> None:
    """hosts(5) too, which HAProxy itself would not read again."""
    names = {"one.invalid": "127.0.0.9"}
    pools = (("app", (f"one.invalid:{apps[0].port}", "nowhere.invalid:80")),)
    haproxy = start(*pools[0][1])

    assert haproxy.get("/exapps/app/x")[0] == 503
    async with Tasks("test") as tasks:
        tasks.start("instances", Instances(lambda: pools, FakeNames(names), haproxy.socket, tasks).follow())
        await asyncio.sleep(1.5)
        assert (await asyncio.to_thread(haproxy.get, "/exapps/app/x"))[0] == 503

        names["one.invalid"] = "127.0.0.1"

        assert await asyncio.to_thread(reached_after_s, haproxy, "/exapps/app/x") < 3
        await haproxy.become({APP: app(1, SHUT)})
        await haproxy.become({APP: app(1, OPEN)})
        assert haproxy.get("/exapps/app/x")[0] == 200


async def test_routes_change_from_one_slot_of_the_app_to_its_other(start: Start, apps: list[ExApp]) -> None:
    haproxy = start(at(apps[0]), at(apps[1]))
    for route, status in ((SHUT, 404), (OPEN, 200), (SHUT, 404)):
        await haproxy.become({APP: app(1, route)})
        assert haproxy.state.slots[APP] in (0, 1)
        assert (await asyncio.to_thread(haproxy.get, "/exapps/app/x"))[0] == status
