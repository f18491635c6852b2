# SPDX-License-Identifier: AGPL-3.0-or-later
"""The agent's doors, over real sockets: SPOP, AppAPI's control API, the calls of Nextcloud, the matcher's process."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import aiohttp.web
import pytest

from harp.base.runtime import Counters, SystemClock, Tasks
from harp.base.sockets import short_name
from harp.proxy import model
from harp.proxy.appapi import ControlApi
from harp.proxy.deploy import port as deploy_port
from harp.proxy.deploy.docker.backend import DockerBackend
from harp.proxy.deploy.docker.call import Surroundings
from harp.proxy.deploy.docker.pull import Pulls
from harp.proxy.deploy.kubernetes import NoKubernetes
from harp.proxy.deploy.steps import Journal
from harp.proxy.edge import spop
from harp.proxy.edge.agent import Agent, question_from, variables_for
from harp.proxy.edge.matcher import ProcessMatcher
from harp.proxy.judge import Caller, Granted, Question, Refused, Ruling
from harp.proxy.model import Allowed, AppId, Credentials, Level, NextcloudUnsure, Refusal, Upstream
from harp.proxy.nextcloud import NextcloudClient, SystemResolver
from harp.proxy.registry import Registry
from tests.fakes.appplane import FakeNames, FakeNextcloud
from tests.fakes.nextcloud import Nextcloud
from tests.fakes.served import Served

KEY = "a-key"

# --- SPOP -------------------------------------------------------------------------------------------------------------


class Haproxy:
    """As much of HAProxy as the protocol needs."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def frame(self) -> spop.Frame:
        length = spop.frame_length(await self._reader.readexactly(4))
        return spop.decode_frame(await self._reader.readexactly(length))

    async def hello(self, **more: spop.Value) -> Mapping[str, spop.Value]:
        said = {"supported-versions": "2.0", "max-frame-size": 16380, "capabilities": "pipelining", **more}
        self._writer.write(spop.encode_frame(spop.Kind.HAPROXY_HELLO, 0, 0, spop.encode_pairs(said)))
        frame = await self.frame()
        assert frame.kind == spop.Kind.AGENT_HELLO
        return spop.decode_pairs(frame.payload)

    def ask(self, number: int, **arguments: spop.Value) -> None:
        payload = spop.encode_messages([("ask", arguments)])
        self._writer.write(spop.encode_frame(spop.Kind.NOTIFY, number, 1, payload))

    async def is_closed(self) -> bool:
        return await asyncio.wait_for(self._reader.read(), 5) == b""

    def send(self, raw: bytes) -> None:
        self._writer.write(raw)


async def rule(question: Question) -> Ruling:
    if question.spelled == "slow":
        await asyncio.sleep(60)
    if question.spelled == "soon":
        await asyncio.sleep(0.2)
    return Refused(Refusal.NO_ROUTE, True)


@pytest.fixture
async def haproxy(tmp_path: Path) -> AsyncIterator[Haproxy]:
    async with Tasks("test") as tasks:
        agent = Agent(rule, tasks, Counters())
        await agent.start(f"unix@{tmp_path}/agent.sock")
        reader, writer = await asyncio.open_unix_connection(f"{tmp_path}/agent.sock")
        yield Haproxy(reader, writer)
        writer.close()
        agent.close()


async def test_a_greeting(haproxy: Haproxy) -> None:
    assert await haproxy.hello() == {"version": "2.0", "max-frame-size": 16380, "capabilities": "pipelining"}


async def test_a_health_check_ends_after_the_greeting(haproxy: Haproxy) -> None:
    await haproxy.hello(healthcheck=True)
    assert await haproxy.is_closed()


async def test_answers_come_in_the_order_in_which_they_are_found(haproxy: Haproxy) -> None:
    await haproxy.hello()
    haproxy.ask(1, app="soon", target="/")
    haproxy.ask(2, app="now", target="/")

    first, second = await haproxy.frame(), await haproxy.frame()

    assert [frame.stream for frame in (first, second)] == [2, 1]
    assert {frame.kind for frame in (first, second)} == {spop.Kind.ACK}


async def test_who_would_wait_too_long_is_told_to_ask_again(haproxy: Haproxy) -> None:
    await haproxy.hello()
    haproxy.ask(1, app="slow", target="/")
    began = time.monotonic()

    frame = await haproxy.frame()

    assert frame.payload == spop.encode_set_vars({"wait": True})
    assert 1.4 < time.monotonic() - began < 2.0


@pytest.mark.parametrize("raw", [b"\xff\xff\xff\xff", b"GET / HTTP/1.1\r\n\r\n", bytes(9)])
async def test_whoever_speaks_something_else_is_let_go(haproxy: Haproxy, raw: bytes) -> None:
    haproxy.send(raw)
    assert await haproxy.is_closed()


async def test_a_farewell_is_answered(haproxy: Haproxy) -> None:
    await haproxy.hello()
    payload = spop.encode_pairs({"status-code": 0, "message": "normal"})
    haproxy.send(spop.encode_frame(spop.Kind.HAPROXY_DISCONNECT, 0, 0, payload))
    assert (await haproxy.frame()).kind == spop.Kind.AGENT_DISCONNECT
    assert await haproxy.is_closed()


def test_what_haproxy_sends_is_a_question() -> None:
    question = question_from(
        {
            "app": "A",
            "target": "/x",
            "ip": b"\x7f\x00\x00\x01",
            "key": True,
            "signed": None,
            "cred": "k",
            "cookie": "c",
        }
    )

    assert (question.spelled, question.target, question.has_key, question.is_signed) == ("A", "/x", True, False)
    assert question.key == "k"
    assert question.credentials == Credentials("c", "", client="127.0.0.1")


def test_what_haproxy_is_told() -> None:
    caller = Caller(9, "name:", 1_000.5)
    granted = Granted(Upstream("::1", 5), "1", "dGV4dA==", Allowed(Level.USER, (401,)), False, caller)

    assert variables_for(granted) == {
        "wait": False,
        "uid": 9,
        "user": "name:",
        "text": "dGV4dA==",
        "until": 1_000_500,
        "st": 200,
        "address": "::1",
        "port": 5,
        "version": "1",
        "strip": False,
        "route": "1:401",
    }
    assert variables_for(Refused(Refusal.FORBIDDEN, True)) == {
        "wait": False,
        "st": 403,
        "why": "forbidden",
        "count": True,
    }
    assert "text" not in variables_for(Granted(Upstream("::1", 5), "1")), "what Nextcloud signed stays"


# --- the control API --------------------------------------------------------------------------------------------------


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[tuple[aiohttp.ClientSession, Registry]]:
    docker = DockerBackend((), Surroundings((), deploy_port.NoTunnels()))
    async with listening(tmp_path / "control.sock", docker, FakeNextcloud()) as pair:
        yield pair


@contextlib.asynccontextmanager
async def listening(
    path: Path, docker: deploy_port.Backend, nextcloud: FakeNextcloud
) -> AsyncIterator[tuple[aiohttp.ClientSession, Registry]]:
    async with Tasks("test") as tasks:
        registry = Registry(nextcloud, FakeNames(), SystemClock(), tasks, Counters())
        pulls = Pulls(lambda _port: deploy_port.Outcome(503), Journal(time.time, lambda _steps: None, []))
        api = ControlApi(KEY, registry, docker, NoKubernetes(), pulls)
        await api.start(path)
        with short_name(path) as name:
            connector = aiohttp.UnixConnector(name)
            async with aiohttp.ClientSession("http://c", connector=connector, headers={"harp-shared-key": KEY}) as who:
                yield who, registry
        await api.close()


class Maker:
    """Implements the backend: each create is answered so."""

    def __init__(self, status: int) -> None:
        self.status = status

    def is_available(self) -> bool:
        return True

    async def call(self, verb: str, engine_port: str | None, body: bytes) -> deploy_port.Outcome:
        return deploy_port.Outcome(self.status)


@pytest.mark.parametrize(("status", "asked"), [(201, ["app mail"]), (409, []), (503, [])])
async def test_whose_container_is_made_is_asked_about_meanwhile(tmp_path: Path, status: int, asked: list[str]) -> None:
    nextcloud = FakeNextcloud()
    async with listening(tmp_path / "control.sock", Maker(status), nextcloud) as (who, _registry):
        for body in ({"name": "Mail", "image_id": "i"}, {"name": "Mail"}):
            assert (await who.post("/docker/exapp/create", json=body)).status == status

    assert nextcloud.asked == asked


async def test_a_record_comes_and_goes(control: tuple[aiohttp.ClientSession, Registry]) -> None:
    who, registry = control
    record = {"exapp_token": "t", "exapp_version": "1", "host": "127.0.0.1", "port": 5}
    assert (await who.post("/exapp_storage/Foo", json=record)).status == 204
    assert registry.known()[AppId("foo")][1] == Upstream("127.0.0.1", 5)
    assert (await who.post("/exapp_storage/foo", json=record | {"port": None})).status == 400
    assert (await who.post("/exapp_storage/foo", data=b"{")).status == 500
    assert (await who.delete("/exapp_storage/FOO")).status == 204
    assert (await who.delete("/exapp_storage/foo")).status == 404


@pytest.mark.parametrize(("body", "why"), [(b"{", "is no JSON"), (b"[" * 1000, "is no JSON"), (b"[]", "is not as")])
async def test_a_record_that_is_none_is_one_line(
    control: tuple[aiohttp.ClientSession, Registry], caplog: pytest.LogCaptureFixture, body: bytes, why: str
) -> None:
    who, _registry = control
    answer = await who.post("/exapp_storage/foo%0A%1b", data=body)

    assert len((await answer.text()).splitlines()) == 1
    [line] = [message for message in caplog.messages if "foo" in message]
    assert why in line
    assert line.isprintable()


async def test_without_the_key_nothing_but_a_sign_of_life(control: tuple[aiohttp.ClientSession, Registry]) -> None:
    who, _registry = control
    for key in ("", "a-keY", "ä"):
        assert (await who.get("/info", headers={"harp-shared-key": key})).status == 401
    assert (await who.get("/alive", headers={"harp-shared-key": ""})).status == 200
    assert (await (await who.get("/info")).json())["docker"] is False


async def called(backend: deploy_port.Backend, verb: str, port: str | None, said: Any) -> tuple[int, str]:
    outcome = await backend.call(verb, port, json.dumps(said).encode() if said is not None else b"{")
    return outcome.status, outcome.text


async def test_kubernetes_is_disabled() -> None:
    assert (await called(NoKubernetes(), "create", None, {"name": "x"}))[0] == 503
    assert (await called(NoKubernetes(), "install_certificates", None, {"name": "x"}))[0] == 204


# --- Nextcloud --------------------------------------------------------------------------------------------------------


@pytest.fixture
def cloud() -> Iterator[tuple[Nextcloud, Served]]:
    nextcloud = Nextcloud(key=KEY)
    served = Served(nextcloud.answer).start()
    yield nextcloud, served
    served.stop()


async def test_what_nextcloud_is_asked_and_what_it_says(cloud: tuple[Nextcloud, Served]) -> None:
    nextcloud, served = cloud
    record = {"exapp_token": "t", "exapp_version": "1", "host": "h", "port": 5}
    nextcloud.apps.update({"app": record, "broken": 500, "odd": "[]"})
    nextcloud.people.update({"alice": ("alice", 1), "weird": '{"user_id": "x", "access_level": 7}'})
    async with NextcloudClient(served.url, KEY, "", Counters()) as client:
        found = await client.exapp(AppId("app"))
        assert found is not None
        assert found.token == "t"
        assert await client.exapp(AppId("unknown")) is None
        for app in ("broken", "odd"):
            with pytest.raises(NextcloudUnsure):
                await client.exapp(AppId(app))

        said = await client.identify(
            AppId("app"), Credentials("oc_sessionPassphrase=alice", "", "A", "de", "192.0.2.1")
        )
        assert said == model.Identity("alice", Level.USER)
        call = nextcloud.calls[-1]
        assert call.values("x-forwarded-for") == ["192.0.2.1"]
        assert call.values("user-agent") == ["A"]
        assert not call.values("content-length")
        assert await client.identify(AppId("app"), Credentials("", "Bearer who\udcff")) == model.NOBODY
        with pytest.raises(NextcloudUnsure):
            await client.identify(AppId("app"), Credentials("oc_sessionPassphrase=weird", ""))
        with served.down(), pytest.raises(NextcloudUnsure):
            await client.identify(AppId("app"), Credentials("oc_sessionPassphrase=alice", ""))


async def test_credentials_follow_a_redirect_within_the_host_only() -> None:
    reached: list[str] = []

    async def answer(request: aiohttp.web.BaseRequest) -> aiohttp.web.StreamResponse:
        reached.append(request.host)
        where = "http://localhost:1/x" if request.query.get("appId") == "away" else "/other"
        if request.path == "/other":
            return aiohttp.web.json_response({"user_id": "alice", "access_level": 1})
        return aiohttp.web.Response(status=302, headers={"location": where})

    served = Served(answer).start()
    try:
        async with NextcloudClient(served.url, KEY, "", Counters()) as client:
            identity = await client.identify(AppId("app"), Credentials("c", ""))
            assert identity is not None
            assert identity.user == "alice"
            with pytest.raises(NextcloudUnsure, match="another host"):
                await client.identify(AppId("away"), Credentials("c", ""))
    finally:
        served.stop()


async def test_names() -> None:
    assert await SystemResolver().address("localhost") in ("127.0.0.1", "::1")
    assert await SystemResolver().address("no-such-host.invalid") is None


# --- the matcher ------------------------------------------------------------------------------------------------------


async def test_an_expression_that_takes_for_ever_is_given_up_and_the_next_one_is_matched() -> None:
    matcher = ProcessMatcher()
    try:
        assert await matcher.first(("^/b", r"^/(\w|-)+$"), "/a-b") == 1
        assert await matcher.first(("^/b", "("), "/a") is None
        with pytest.raises(TimeoutError):
            await matcher.first(("^/(a+)+$",), "/" + "a" * 60 + "!")
        assert await matcher.first(("^/a",), "/a") == 0
    finally:
        await matcher.close()


async def test_not_everybody_may_wait_for_it() -> None:
    matcher = ProcessMatcher()
    try:
        slow = [asyncio.ensure_future(matcher.first(("^/(a+)+$",), "/" + "a" * 60 + "!")) for _ in range(33)]
        done, _ = await asyncio.wait(slow, timeout=0.2)
        assert len(done) == 1
        assert isinstance(next(iter(done)).exception(), TimeoutError)
        for each in slow:
            each.cancel()
        await asyncio.wait(slow)
    finally:
        await matcher.close()


@pytest.mark.parametrize("patience_s", [0.001, 0.01, 0.03, 0.06, 0.1, 0.15])
async def test_who_gives_up_while_the_process_starts_leaves_the_next_one_its_own_answer(patience_s: float) -> None:
    matcher = ProcessMatcher()
    try:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(matcher.first(("^/first",), "/first"), patience_s)

        assert await matcher.first(("^/first", "^/second"), "/second") == 1
        assert await matcher.first(("^/first",), "/second") is None
    finally:
        await matcher.close()


async def test_an_agent_that_ends_while_haproxy_is_connected_writes_no_error(
    haproxy: Haproxy, caplog: pytest.LogCaptureFixture
) -> None:
    await haproxy.hello()
    serving = [task for task in asyncio.all_tasks() if "Agent._connected" in repr(task.get_coro())]
    assert serving
    for task in serving:
        task.cancel()
    await asyncio.wait(serving)
    await asyncio.sleep(0)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
