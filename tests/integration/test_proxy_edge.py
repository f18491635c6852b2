# SPDX-License-Identifier: AGPL-3.0-or-later
"""HAProxy driven for real: its socket, its maps, its bans, reloads; the publisher that makes it follow."""

import asyncio
import csv
import http.client
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from harp.base.errors import ConfigError, UsageError
from harp.base.runtime import Counters, SystemClock, Tasks
from harp.proxy.edge import bans, files, process
from harp.proxy.edge.bans import Failures
from harp.proxy.edge.process import Child
from harp.proxy.edge.publisher import Publisher
from harp.proxy.edge.runtime import RuntimeSocket, RuntimeSocketError
from harp.proxy.model import AppId, Level, Route
from harp.proxy.policy import compile as policy
from harp.proxy.policy import configuration
from harp.proxy.policy.compile import DropEntry, PutEntry, SwitchMap
from harp.proxy.policy.shape import MODULUS, map_file
from tests.fakes.exapp import Answer, ExApp
from tests.fakes.haproxy import HAPROXY, RealHaproxy, app, needs_haproxy, shape
from tests.fakes.ports import free_port

pytestmark = needs_haproxy
APP = AppId("app")
OPEN, SHUT = Route("^/", Level.PUBLIC), Route("^/", Level.ADMIN)


@pytest.fixture
def upstream() -> Iterator[ExApp]:
    served = ExApp()
    served.start()
    yield served
    served.stop()


@pytest.fixture
def haproxy(tmp_path: Path, upstream: ExApp) -> Iterator[RealHaproxy]:
    state = policy.placed(None, shape(tmp_path, free_port(), ban_count=3), {APP: app(upstream.port, OPEN)})
    started = RealHaproxy(state)
    yield started
    started.close()


async def get(haproxy: RealHaproxy, path: str) -> int:
    return (await asyncio.to_thread(haproxy.get, path))[0]


async def test_a_map_is_switched_whole_however_long(haproxy: RealHaproxy) -> None:
    path = map_file(haproxy.state.shape, "slot0")
    lines = tuple(f"^/{number:05d}{'x' * 60} {number % 3}" for number in range(1000))

    await haproxy.socket.do(SwitchMap(path, lines))

    shown = await haproxy.socket.ask(f"show map {path}")
    assert [line.partition(" ")[2] for line in shown.splitlines()] == list(lines), "the order is the routes' order"
    await haproxy.socket.do(SwitchMap(path, ()))
    assert await haproxy.socket.ask(f"show map {path}") == ""


async def test_an_entry_comes_changes_and_goes(haproxy: RealHaproxy) -> None:
    path = map_file(haproxy.state.shape, "apps")
    for value in ("1|a", "2|b"):
        await haproxy.socket.do(PutEntry(path, "x", value))
        assert f"x {value}" in await haproxy.socket.ask(f"show map {path}")
    await haproxy.socket.do(DropEntry(path, "x"))
    await haproxy.socket.do(DropEntry(path, "x"))
    assert " x " not in await haproxy.socket.ask(f"show map {path}")


async def test_what_haproxy_refuses_is_told_without_the_value(haproxy: RealHaproxy) -> None:
    with pytest.raises(RuntimeSocketError) as told:
        await haproxy.socket.do(PutEntry("/no/such.map", "x", "a-secret"))
    assert "a-secret" not in str(told.value)


async def test_nobody_answers(tmp_path: Path) -> None:
    with pytest.raises(RuntimeSocketError, match="does not answer"):
        await RuntimeSocket(tmp_path / "haproxy.sock").info()


# --- bans -------------------------------------------------------------------------------------------------------------


async def test_failures_are_read_lifted_and_given_back(haproxy: RealHaproxy) -> None:
    for _ in range(2):
        assert await get(haproxy, "/exapps/app/../x") == 403
    assert await get(haproxy, "/exapps/app/x") == 200
    assert await get(haproxy, "/exapps/app/../x") == 403
    assert await get(haproxy, "/exapps/app/x") == 429

    [failures] = await bans.read(haproxy.socket)
    assert bans.shown(failures.client) == "127.0.0.1"
    assert failures.recent(time.time(), 300) == 3
    assert 290 < failures.remaining_s(time.time(), 300) <= 300

    assert await bans.lift(haproxy.socket, "127.0.0.1")
    assert not await bans.lift(haproxy.socket, "127.0.0.1")
    assert await get(haproxy, "/exapps/app/x") == 200

    bans.save(haproxy.run, [failures])
    await bans.give_back(haproxy.run, bans.saved(haproxy.run))
    assert await get(haproxy, "/exapps/app/x") == 429
    assert await bans.read(haproxy.socket) == [failures]


async def test_an_answer_counts_where_the_route_lists_its_status_and_no_other_does(
    tmp_path: Path, upstream: ExApp
) -> None:
    listed = (400, 402, *range(404, 464), 500, 999)
    known = {APP: app(upstream.port, Route("^/", Level.PUBLIC, listed))}
    haproxy = RealHaproxy(policy.placed(None, shape(tmp_path, free_port()), known))
    statuses = (200, 301, 400, 401, 402, 403, 404, 463, 464, 500, 999)
    try:
        upstream.answers |= {f"/{status}": Answer(status=status) for status in statuses}
        assert [await get(haproxy, f"/exapps/app/{status}") for status in statuses] == list(statuses)

        [failures] = await bans.read(haproxy.socket)
        assert failures.recent(time.time(), 300) == len({*statuses} & {*listed})
        assert (await asyncio.to_thread(haproxy.get, "/exapps/app/400", {"harp-shared-key": "key"}))[0] == 400
        assert await bans.read(haproxy.socket) == [failures], "nothing counts that comes with the key"
    finally:
        haproxy.close()


@pytest.mark.parametrize(
    ("headers", "client"),
    [
        ({}, "127.0.0.1"),
        ({"X-Forwarded-For": "203.0.113.5"}, "203.0.113.5"),
        ({"X-Forwarded-For": "198.51.100.9, 203.0.113.5"}, "203.0.113.5"),
        ({"X-Forwarded-For": "198.51.100.9, 203.0.113.5, 10.1.1.1"}, "203.0.113.5"),
        ({"X-Forwarded-For": "198.51.100.9, unknown, 10.1.1.1"}, "10.1.1.1"),
        ({"X-Forwarded-For": "198.51.100.9, unknown"}, "127.0.0.1"),
        ({"X-Forwarded-For": "unknown", "X-Real-IP": "203.0.113.7"}, "203.0.113.7"),
        ({"X-Forwarded-For": "10.1.1.1, 10.1.1.2"}, "10.1.1.1"),
        ({"X-Forwarded-For": "198.51.100.9, unknown", "X-Real-IP": "10.1.1.1"}, "10.1.1.1"),
        ({"X-Forwarded-For": "198.51.100.9, 203.0.113.5" + ", 10.1.1.1" * 2}, "203.0.113.5"),
        ({"X-Forwarded-For": "198.51.100.9, 203.0.113.5" + ", 10.1.1.1" * 7}, "203.0.113.5"),
        ({"X-Forwarded-For": "203.0.113.5, 10.1.1.9" + ", 10.1.1.1" * 7}, "10.1.1.9"),
        ({"X-Forwarded-For": "203.0.113.5, unknown" + ", 10.1.1.1" * 3}, "10.1.1.1"),
        ({"X-Forwarded-For": "203.0.113.5, 198.51.100.9, 10.1.1.2, 198.51.100.7, 10.1.1.1"}, "198.51.100.7"),
        ({"X-Forwarded-For": "2001:db8:1:2:3::4"}, "2001:db8:1:2::/64"),
    ],
)
async def test_whose_failure_it_is_behind_proxies(tmp_path: Path, headers: dict[str, str], client: str) -> None:
    state = policy.placed(None, shape(tmp_path, free_port(), trusted=("127.0.0.0/8", "10.0.0.0/8")), {})
    haproxy = RealHaproxy(state)
    try:
        status, _body = await asyncio.to_thread(haproxy.get, "/no/app/at/all", headers)
        assert status == 404
        assert [bans.shown(failures.client) for failures in await bans.read(haproxy.socket)] == [client]
    finally:
        haproxy.close()


@pytest.mark.parametrize("proxies", [0, 1, 2, 7])
async def test_a_ban_is_that_clients_alone_however_many_proxies_are_between(
    tmp_path: Path, upstream: ExApp, proxies: int
) -> None:
    chosen = shape(tmp_path, free_port(), ban_count=3, trusted=("127.0.0.0/8", "10.0.0.0/8"))
    haproxy = RealHaproxy(policy.placed(None, chosen, {APP: app(upstream.port, OPEN)}))
    connection = http.client.HTTPConnection("127.0.0.1", haproxy.port, timeout=20)

    def of(client: str, path: str = "/exapps/app/x") -> int:
        """All on one connection, as proxies do it."""
        told = {"X-Forwarded-For": client + ", 10.1.1.1" * proxies} if client else {}
        connection.request("GET", path, headers=told)
        with connection.getresponse() as response:
            response.read()
            return response.status

    try:
        assert [of("203.0.113.5", "/no/app") for _ in range(3)] == [404] * 3
        assert [of(client) for client in ("203.0.113.5", "203.0.113.6", "")] == [429, 200, 200]
        assert [bans.shown(failures.client) for failures in await bans.read(haproxy.socket)] == ["203.0.113.5"]
    finally:
        connection.close()
        haproxy.close()


@pytest.mark.parametrize("count", [3, 150])
async def test_so_many_failures_are_a_ban_also_where_they_are_a_rate(tmp_path: Path, count: int) -> None:
    haproxy = RealHaproxy(policy.placed(None, shape(tmp_path, free_port(), ban_count=count, ban_window_s=60), {}))
    try:
        statuses = [await get(haproxy, "/no/app") for _ in range(count + 1)]
        assert statuses == [404] * count + [429]
        assert (await asyncio.to_thread(haproxy.get, "/no/app", {"harp-shared-key": "key"}))[0] == 404
    finally:
        haproxy.close()


@pytest.mark.parametrize("trusted", [(), ("10.0.0.0/8",)])
@pytest.mark.parametrize("count", [3, 150])
async def test_a_failure_elsewhere_counts_with_those_here(tmp_path: Path, trusted: tuple[str, ...], count: int) -> None:
    chosen = shape(tmp_path, free_port(), ban_count=count, ban_window_s=60, trusted=trusted)
    haproxy = RealHaproxy(policy.placed(None, chosen, {}))
    try:
        for client in ["127.0.0.1"] * (count - 1) + ["2001:db8:1:2:3::4"]:
            await bans.count(haproxy.run, client)
        assert [await get(haproxy, "/no/app") for _ in range(2)] == [404, 429]
        if count == 3:
            found = {bans.shown(one.client): one.recent(time.time(), 60) for one in await bans.read(haproxy.socket)}
            assert found == {"127.0.0.1": 3, "2001:db8:1:2::/64": 1}
    finally:
        haproxy.close()


def test_a_ban_ends_to_the_millisecond_also_where_the_clock_of_the_table_turns_over() -> None:
    now = (3 * MODULUS + 1000) / 1000
    failures = Failures("::1", (500, MODULUS - 100, MODULUS - 1500))

    assert failures.remaining_s(now, 3) == pytest.approx(0.5)
    assert failures.recent(now, 2) == 2
    assert Failures("::1", (500, 0, 0)).remaining_s(now, 300) == 0


def test_addresses_as_the_table_has_them() -> None:
    assert bans.client_key("10.0.0.1") == "::ffff:10.0.0.1"
    assert bans.client_key("[2001:db8:1:2:3::4]") == "2001:db8:1:2::"
    assert bans.shown("2001:db8:1:2::") == "2001:db8:1:2::/64"
    with pytest.raises(UsageError):
        bans.client_key("nobody")


def test_a_file_of_bans_that_is_not_good_is_none(tmp_path: Path) -> None:
    (tmp_path / bans.FILE).write_text("{")
    assert bans.saved(tmp_path) == []


# --- the publisher ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Follower:
    """A publisher, and the HAProxy that its files started, as master and worker."""

    publisher: Publisher
    apps: dict[AppId, policy.Known]
    port: int
    run: Path

    async def get(self, path: str) -> int:
        def asked() -> int:
            shown = subprocess.run(
                ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"http://127.0.0.1:{self.port}{path}"],
                capture_output=True,
                text=True,
                check=False,
            )
            return int(shown.stdout)

        return await asyncio.to_thread(asked)

    async def now(self, **apps: policy.Known) -> None:
        self.apps.clear()
        self.apps.update({AppId(name): known for name, known in apps.items()})
        self.publisher.wake()
        await self.publisher.published()


@pytest.fixture
async def follower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Follower]:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    monkeypatch.setattr("harp.proxy.edge.publisher.RELOADS_APART_S", 0.5)
    port, apps = free_port(), dict[AppId, policy.Known]()
    asked = replace(shape(tmp_path, port), run=".", agent="unix@./agent.sock", control="./control.sock", slots=2)
    publisher = Publisher(tmp_path, asked, lambda: apps, SystemClock(), Counters())
    publisher.write_files()
    child = Child(
        "HAProxy",
        [HAPROXY, "-W", "-db", "-S", "unix@./master.sock,mode,600", "-f", "haproxy.cfg"],
        SystemClock(),
        folder=tmp_path,
    )
    async with Tasks("test") as tasks:
        tasks.start("haproxy", child.run(lambda: None))
        await until(lambda: (tmp_path / "inside.sock").exists() and (tmp_path / "haproxy.sock").exists())
        tasks.start("publisher", publisher.follow())
        yield Follower(publisher, apps, port, tmp_path)
        await child.end(signal.SIGTERM, 2.0)


async def test_haproxy_follows_and_grows_and_forgets_no_ban(follower: Follower, upstream: ExApp) -> None:
    await follower.now(app=app(upstream.port, OPEN))
    assert await follower.get("/exapps/app/x") == 200
    await follower.now(app=app(upstream.port, SHUT))
    assert await follower.get("/exapps/app/x") == 403
    known = await bans.read(follower.publisher.socket)
    worker = (await follower.publisher.socket.info())["Pid"]

    await follower.now(**{f"app{n}": app(upstream.port, OPEN, name=f"app{n}") for n in range(9)})

    assert await eventually(lambda: follower.get("/exapps/app8/x"), 200)
    assert (await follower.publisher.socket.info())["Pid"] != worker
    assert await eventually(lambda: bans.read(follower.publisher.socket), known)
    await follower.now()
    assert await follower.get("/exapps/app8/x") == 503, "the agent would be asked, and there is none"


async def test_what_is_wrong_is_withdrawn_before_a_reload_and_not_after(
    follower: Follower, upstream: ExApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harp.proxy.edge.publisher.RELOADS_APART_S", 3600.0)
    follower.publisher._reloaded_at = time.monotonic()
    await follower.now(app=app(upstream.port, OPEN))
    assert await follower.get("/exapps/app/x") == 200

    many = {f"app{n}": app(upstream.port, OPEN, name=f"app{n}") for n in range(9)}
    await follower.now(app=app(upstream.port, SHUT), **many)

    assert await follower.get("/exapps/app/x") == 503


async def test_a_haproxy_of_whom_nothing_is_known_is_told_everything(follower: Follower, upstream: ExApp) -> None:
    await follower.now(app=app(upstream.port, OPEN))
    await follower.publisher.socket.ask("clear map ./apps.map")
    assert await follower.get("/exapps/app/x") == 503

    follower.publisher.seed()

    assert await eventually(lambda: follower.get("/exapps/app/x"), 200)


async def test_numbers_of_people_are_written_anew(follower: Follower) -> None:
    await follower.publisher.drop_numbers({9: "a%20name:"})

    assert (await follower.publisher.socket.ask("show map ./users.map")).endswith(" 9 a%20name:")


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - another process does it
            await asyncio.sleep(0.02)


async def eventually(ask: Callable[[], Awaitable[object]], wanted: object) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if await ask() == wanted:
            return True
        await asyncio.sleep(0.1)
    return False


# --- processes and files ----------------------------------------------------------------------------------------------


async def test_a_process_is_brought_back_and_in_the_end_ended() -> None:
    child = Child("sleep", ["sleep", "1000"], SystemClock())
    async with Tasks("test") as tasks:
        tasks.start("sleep", child.run(lambda: None))
        await until(lambda: child.pid is not None)
        first = child.pid
        child.tell(signal.SIGKILL)
        await until(lambda: child.pid not in (None, first))
        assert child.starts == 2

        last = child.pid
        await child.end(signal.SIGTERM, 2.0)

    assert child.pid is None
    assert last is not None
    with pytest.raises(ProcessLookupError):
        os.kill(last, 0)


async def test_who_does_not_listen_is_killed() -> None:
    child = Child("deaf", ["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"], SystemClock())
    async with Tasks("test") as tasks:
        tasks.start("deaf", child.run(lambda: None))
        await asyncio.sleep(0.3)
        await child.end(signal.SIGTERM, 0.2)

    assert child.pid is None


def test_an_address_that_is_taken(upstream: ExApp) -> None:
    process.demand_free("HP_X", f"127.0.0.1:{free_port()}")
    with pytest.raises(ConfigError, match=f"HP_X 127.0.0.1:{upstream.port}"):
        process.demand_free("HP_X", f"127.0.0.1:{upstream.port}")


def test_haproxys_version_and_what_is_none(tmp_path: Path) -> None:
    found = process.find_haproxy(HAPROXY)
    version, _has_exporter = process.version_of(found)
    assert tuple(map(int, version.split("-")[0].split(".")[:2])) >= (2, 6)

    with pytest.raises(ConfigError, match="no such-haproxy"):
        process.find_haproxy("such-haproxy")
    with pytest.raises(ConfigError, match="version"):
        process.version_of("/bin/true")
    with pytest.raises(ConfigError, match=r"2\.4\.1"):
        process.version_of(says_it_is(tmp_path, "2.4.1-1"))
    with pytest.raises(ConfigError, match="without PCRE"):
        process.version_of(says_it_is(tmp_path, "3.0.11", "+OPENSSL -PCRE2"))


def says_it_is(folder: Path, version: str, features: str = "+OPENSSL +PCRE2") -> str:
    stand_in = folder / "haproxy"
    stand_in.write_text(f"#!/bin/sh\necho 'HAProxy version {version} 2025 {features}'\n")
    stand_in.chmod(0o700)
    return str(stand_in)


@pytest.mark.parametrize("version", ["3.2.0-e134140d2", "3.2.1"])
def test_a_haproxy_that_hangs_without_an_instance_is_not_run_with_instances(tmp_path: Path, version: str) -> None:
    haproxy = says_it_is(tmp_path, version)

    assert process.version_of(haproxy)[0] == version
    with pytest.raises(ConfigError, match="hangs when an instance of HP_EXAPP_UPSTREAMS ends") as refused:
        process.version_of(haproxy, with_instances=True)
    assert refused.value.hint == "install HAProxy 3.2.2 or newer"


@pytest.mark.parametrize("version", ["2.6.12-1+deb12u2", "3.0.11", "3.2.2", "3.2.26", "3.3.0"])
def test_other_haproxies_are_run_with_instances(tmp_path: Path, version: str) -> None:
    assert process.version_of(says_it_is(tmp_path, version), with_instances=True)[0] == version


def test_a_configuration_that_haproxy_refuses(tmp_path: Path) -> None:
    (tmp_path / "haproxy.cfg").write_text("global\n    nonsense\n")
    with pytest.raises(ConfigError, match="nonsense"):
        process.checked(HAPROXY, tmp_path)


def test_connections_follow_from_the_descriptors_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for hard, most in ((1024, 329), (1 << 20, process.MAXCONN_MOST), (resource.RLIM_INFINITY, 16_384)):
        monkeypatch.setattr(resource, "getrlimit", lambda _which, hard=hard: (hard, hard))
        assert process.maxconn() == most
        assert hard < 0 or 2 * (most + configuration.PIPES) + 50 < hard
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (64, 64))
    with pytest.raises(ConfigError, match="64 file descriptors"):
        process.maxconn()


def test_the_run_folder_is_its_owners_alone(tmp_path: Path) -> None:
    run = tmp_path / "a" / "run"
    files.make_run_folder(run)
    assert run.stat().st_mode & 0o777 == 0o700

    assert files.write(run / "x", "1")
    assert not files.write(run / "x", "1")
    assert (run / "x").stat().st_mode & 0o777 == 0o600
    assert files.read(run / "x") == "1"
    assert files.read(run / "y") is None
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be used"):
        files.make_run_folder(tmp_path / "file")


async def test_no_thread_takes_an_idle_connection_from_another(tmp_path: Path, upstream: ExApp) -> None:
    apps = {AppId(name): app(upstream.port, OPEN, name=name) for name in ("first", "second")}
    haproxy = RealHaproxy(policy.placed(None, shape(tmp_path, free_port(), threads=2), apps))
    clients = [haproxy.connect() for _ in range(20)]
    try:
        for client in clients:
            # What a client asks first always has a new connection (http-reuse safe).
            assert haproxy.ask(client, "/exapps/first/x", {})[0] == 200
        # One after the other, for whom a single connection would do, if it went from thread to thread.
        for client in clients * 2:
            assert haproxy.ask(client, "/exapps/second/x", {})[0] == 200
        lines = (await haproxy.socket.ask("show stat")).removeprefix("# ").splitlines()
        [server] = [row for row in csv.DictReader(lines) if (row["pxname"], row["svname"]) == ("slot1", "app")]
        assert int(server["connect"]) >= 2, "each thread has its own"
        assert int(server["connect"]) + int(server["reuse"]) == 40
    finally:
        for client in clients:
            client.close()
        haproxy.close()
