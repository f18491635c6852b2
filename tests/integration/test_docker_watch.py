# SPDX-License-Identifier: AGPL-3.0-or-later
"""An app that moved is seen to have moved, one just started is waited for, an engine that comes back is heard again.

harp.proxy.deploy.docker.watch and harp.proxy.deploy.docker.knock.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harp.base.runtime import Tasks
from harp.proxy.deploy.docker import knock
from harp.proxy.deploy.docker.call import Surroundings
from harp.proxy.deploy.docker.watch import Watch
from harp.proxy.deploy.port import NoTunnels
from harp.proxy.model import AppId, EngineAddress, ExApp, Upstream
from tests.contract.docked import environment
from tests.fakes.dockerengine import FakeEngine
from tests.fakes.ports import free_port

DIRECT = environment("MyApp", direct=True)


def app(host: str = "127.0.0.1", port: int = 23_000) -> ExApp:
    return ExApp(AppId("myapp"), "t", "1", host, port)


async def until(is_so: Callable[[], bool]) -> None:
    for _ in range(1000):
        if is_so():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not become so within ten seconds")


@dataclass(slots=True)
class Watched:
    engine: FakeEngine
    watch: Watch
    moved: list[AppId] = field(default_factory=list)

    async def sees(self, expected: Upstream | None) -> None:
        await until(lambda: self.watch.upstream(app()) == expected)


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    engine = FakeEngine(tmp_path / "docker.sock")
    watch = Watch((EngineAddress(24_000, "unix", str(engine.socket)),), Surroundings((), NoTunnels()))
    found = Watched(engine, watch)
    watch.moved = found.moved.append
    async with Tasks("test") as tasks:
        tasks.start("watch", watch.follow())
        yield found
    await engine.stop()


async def test_what_runs_already_is_found(watched: Watched) -> None:
    watched.engine.runs("nc_app_MyApp", "172.17.0.2", env=DIRECT)
    await watched.engine.start()

    await watched.sees(Upstream("172.17.0.2", 23_000))


async def test_an_app_comes_moves_and_goes(watched: Watched) -> None:
    await watched.engine.start()
    steps: list[tuple[Callable[[], object], Upstream | None]] = [
        (lambda: watched.engine.runs("nc_app_MyApp", "172.17.0.2", env=DIRECT), Upstream("172.17.0.2", 23_000)),
        (lambda: watched.engine.runs("nc_app_MyApp", "172.17.0.9", env=DIRECT), Upstream("172.17.0.9", 23_000)),
        (lambda: watched.engine.ends("nc_app_MyApp"), None),
    ]
    await until(lambda: bool(watched.engine.listeners))

    for act, expected in steps:
        act()
        await watched.sees(expected)

    assert watched.moved == [AppId("myapp")] * 3


async def test_an_engine_that_was_away_is_heard_again_and_its_apps_are_kept_meanwhile(watched: Watched) -> None:
    watched.engine.runs("nc_app_MyApp", "172.17.0.2", env=DIRECT)
    await watched.engine.start()
    await watched.sees(Upstream("172.17.0.2", 23_000))

    await watched.engine.stop()
    assert watched.watch.upstream(app()) == Upstream("172.17.0.2", 23_000)
    watched.engine.runs("nc_app_MyApp", "172.17.0.3", env=DIRECT)
    await watched.engine.start()

    await watched.sees(Upstream("172.17.0.3", 23_000))


async def test_one_that_ends_by_itself_is_a_line_in_the_log(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    await watched.engine.start()
    await until(lambda: bool(watched.engine.listeners))

    for name, code in (
        ("nc_app_x", "127"),
        ("nc_app_x", "127"),
        ("other", "1"),
        ("nc_app_y", "143"),
        ("nc_app_z\n", "1"),
    ):
        watched.engine.tell(Type="container", Action="die", Actor={"Attributes": {"name": name, "exitCode": code}})
    await until(lambda: "nc_app_z" in caplog.text)

    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "container nc_app_x ended with exit code 127: docker logs nc_app_x tells why",
        "container nc_app_z ended with exit code 1: docker logs nc_app_z tells why",
    ]


async def test_how_many_apps_an_engine_has_and_whether_it_is_heard(watched: Watched) -> None:
    assert not watched.watch.hears(24_000)
    watched.engine.runs("nc_app_MyApp", "172.17.0.2", env=DIRECT)
    await watched.engine.start()
    await until(lambda: watched.watch.hears(24_000))
    assert (watched.watch.count(24_000), watched.watch.count(24_001)) == (1, 0)

    await watched.engine.stop()

    await until(lambda: not watched.watch.hears(24_000))


async def test_one_that_was_just_started_is_waited_for_until_it_listens(watched: Watched) -> None:
    port = free_port()
    watched.engine.runs("nc_app_MyApp", "127.0.0.1", env=environment("MyApp", port, direct=True))
    await watched.engine.start()
    await until(lambda: watched.moved == [AppId("myapp")])
    waiting = asyncio.create_task(watched.watch.listening(app(port=port)))
    done, _ = await asyncio.wait({waiting}, timeout=0.3)
    assert not done

    async with await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", port):
        await asyncio.wait_for(waiting, 0.5)

    # It is no longer young: what happens to it now is HAProxy's to find out.
    await asyncio.wait_for(watched.watch.listening(app(port=port)), 0.1)


async def test_who_knocks_is_told_and_gives_up_after_a_while() -> None:
    place = Upstream("127.0.0.1", free_port())
    assert not await knock.listens_within(place, 0.1)

    async with await asyncio.start_server(lambda _reader, writer: writer.close(), place.address, place.port):
        assert await knock.listens(place)
        assert await knock.listens_within(place, 0.1)


async def test_nobody_waits_for_one_that_ended_or_never_was(watched: Watched) -> None:
    await watched.engine.start()
    await asyncio.wait_for(watched.watch.listening(app()), 0.1)
    port = free_port()
    watched.engine.runs("nc_app_MyApp", "127.0.0.1", env=environment("MyApp", port, direct=True))
    await until(lambda: watched.moved == [AppId("myapp")])
    waiting = asyncio.create_task(watched.watch.listening(app(port=port)))
    await asyncio.sleep(0.1)
    assert not waiting.done()

    watched.engine.ends("nc_app_MyApp")

    await asyncio.wait_for(waiting, 5.0)


async def test_whose_address_it_is(watched: Watched) -> None:
    watched.engine.runs("nc_app_MyApp_worker", "172.17.0.1", env=DIRECT)
    watched.engine.runs("nc_app_MyApp", "172.17.0.2", env=DIRECT)
    watched.engine.runs("nc_app_tunnelled", "172.17.0.3", env=environment("tunnelled"))
    watched.engine.runs("nc_app_other", "172.17.0.4", env=environment("other", direct=True))
    await watched.engine.start()
    here = Upstream("172.17.0.2", 23_000)
    await watched.sees(here)

    upstream = watched.watch.upstream
    assert upstream(app("myapp")) == here
    assert upstream(app("MyApp")) == here, "exapp_direct: its host is its id"
    assert upstream(app("::1")) == here
    assert upstream(app("192.0.2.7")) is None, "an administrator set this one"
    assert upstream(app(port=23_001)) is None
    assert upstream(ExApp(AppId("tunnelled"), "t", "1", "127.0.0.1", 23_000)) is None


async def test_an_engine_that_answers_nonsense_ends_nothing(watched: Watched) -> None:
    watched.engine.broken["GET /containers/json"] = (500, "no space left on device")
    watched.engine.runs("nc_app_MyApp", "172.17.0.2", env=DIRECT)
    await watched.engine.start()
    await until(lambda: "GET /containers/json" in watched.engine.asked)

    watched.engine.broken.clear()

    await watched.sees(Upstream("172.17.0.2", 23_000))
