# SPDX-License-Identifier: AGPL-3.0-or-later
"""The door at which frps asks: harp.proxy.edge.frp.door, over HTTP as frps speaks it (contract, 4.3)."""

import base64
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from harp.base.runtime import Counters
from harp.proxy.edge.frp.door import Door
from harp.proxy.edge.frp.opened import Tunnel, remembered
from harp.proxy.model import AppId, ExApp, NextcloudUnsure, Upstream
from harp.proxy.policy.tunnels import token_of

SECRET = b"a secret of thirty-two bytes and more"
KEY, PASSWORD = "the-shared-key", "what frps says"
APP = AppId("app")
OWN = token_of(SECRET, APP, 23_001)


@dataclass(slots=True)
class World:
    """What the door asks of, and whoever asks at it."""

    url: str = ""
    records: dict[AppId, ExApp] = field(default_factory=dict)
    upstreams: dict[AppId, Upstream] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    counters: Counters = field(default_factory=Counters)
    is_unsure: bool = False
    is_haproxy_away: bool = False

    async def find(self, app: AppId) -> ExApp | None:
        if self.is_unsure:
            raise NextcloudUnsure
        return self.records.get(app)

    def known(self) -> dict[AppId, tuple[ExApp, Upstream | None]]:
        return {name: (record, self.upstreams.get(name)) for name, record in self.records.items()}

    async def failed(self, client: str) -> None:
        if self.is_haproxy_away:
            raise ConnectionRefusedError
        self.failures.append(client)

    async def ask(
        self, operation: str, content: Any, *, password: str = PASSWORD, raw: bytes | None = None
    ) -> tuple[int, Any]:
        asked = {"version": "0.1.0", "op": operation, "content": content}
        said_as = base64.b64encode(f"harp:{password}".encode()).decode()
        said: dict[str, Any] = {"json": asked} if raw is None else {"data": raw}
        async with (
            aiohttp.ClientSession(headers={"Authorization": f"Basic {said_as}"}) as session,
            session.post(f"{self.url}?version=0.1.0&op={operation}", **said) as reply,
        ):
            return reply.status, await reply.json() if reply.status == 200 else None

    async def refused(self, operation: str, content: Any) -> str:
        """Why; empty where it was allowed."""
        status, said = await self.ask(operation, content)
        assert status == 200
        if not said["reject"]:
            assert said["unchange"] is True
            return ""
        return str(said["reject_reason"])

    async def login(self, token: str, client: str = "192.0.2.7:40000") -> str:
        content = {"version": "0.61.1", "run_id": "", "metas": {"token": token}, "client_address": client}
        return await self.refused("Login", content)

    async def opens(self, token: str, name: str, port: int, *, run: str = "one", kind: str = "tcp") -> str:
        user = {"user": "", "metas": {"token": token}, "run_id": run}
        return await self.refused(
            "NewProxy", {"user": user, "proxy_name": name, "proxy_type": kind, "remote_port": port}
        )


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    around = World()
    around.records[APP] = ExApp(APP, "its-token", "1.0", "127.0.0.1", 23_001)
    door = made(around, tmp_path)
    await door.start()
    yield around
    await door.close()


def made(around: World, run: Path) -> Door:
    listener = socket.create_server(("127.0.0.1", 0))
    around.url = f"http://127.0.0.1:{listener.getsockname()[1]}/frp_handler"
    return Door(
        run,
        (listener, PASSWORD),
        SECRET,
        KEY,
        find=around.find,
        known=around.known,
        failed=around.failed,
        engines=[24_000],
        counters=around.counters,
    )


async def test_who_has_a_right_token_is_let_in(world: World) -> None:
    assert await world.login(OWN) == ""
    assert await world.login(KEY) == ""
    assert world.failures == []


async def test_who_has_none_is_not(world: World, caplog: pytest.LogCaptureFixture) -> None:
    for token in ("", "guess", f"{KEY} "):
        assert "the token is wrong" in await world.login(token)
    wrong: list[dict[str, object]] = [{}, {"metas": None}, {"metas": {}}, {"client_address": "x"}]
    for content in wrong:
        assert "the token is wrong" in await world.refused("Login", content)

    assert world.failures == ["192.0.2.7"] * 3
    assert 'harp_proxy_frp_refused_total{reason="login"} 7' in world.counters.text()
    assert "guess" not in caplog.text


@pytest.mark.parametrize(
    ("client", "counted"),
    [
        ("192.0.2.7:1", "192.0.2.7"),
        ("[2001:db8::7]:40000", "2001:db8::7"),
        ("[fe80::1%eth0]:40000", "fe80::1"),
        ("nobody:1", None),
        ("", None),
    ],
)
async def test_whose_failure_a_guess_is(world: World, client: str, counted: str | None) -> None:
    await world.login("guess", client)

    assert world.failures == ([] if counted is None else [counted])


async def test_an_old_token_is_nobodys_failure(world: World) -> None:
    assert "make the app's container anew" in await world.login(f"{'0' * 64}.23001.app")

    assert world.failures == []


async def test_a_failure_that_cannot_be_counted_is_refused_all_the_same(world: World) -> None:
    world.is_haproxy_away = True

    assert "the token is wrong" in await world.login("guess")


async def test_an_app_opens_its_port_and_no_other(world: World, tmp_path: Path) -> None:
    assert await world.opens(OWN, "app", 23_001) == ""
    assert "for the port 23001 alone" in await world.opens(OWN, "app", 23_002)
    assert "for the name app alone" in await world.opens(OWN, "other", 23_001)
    assert "type tcp" in await world.opens(OWN, "app", 23_001, kind="xtcp")
    assert await world.opens("", "app", 23_001) == "the token is wrong"

    assert remembered(tmp_path) == [Tunnel("app", 23_001, "one")]
    assert 'harp_proxy_frp_refused_total{reason="claim"} 3' in world.counters.text()


async def test_a_login_does_not_stand_in_for_a_claim(world: World) -> None:
    """frps says at each claim with what token its client logged in: it is looked at again."""
    assert await world.login(OWN) == ""
    assert await world.refused("NewProxy", {"proxy_name": "app", "proxy_type": "tcp", "remote_port": 23_001})


async def test_nextcloud_is_asked_and_nothing_is_opened_without_its_word(world: World) -> None:
    del world.records[APP]
    assert await world.opens(OWN, "app", 23_001) == "Nextcloud knows no app of this name"
    world.is_unsure = True
    assert "cannot be asked" in await world.opens(OWN, "app", 23_001)
    assert await world.opens(KEY, "an-engine", 24_001) == "", "no app's record is needed for that"


async def test_two_apps_with_one_port(world: World) -> None:
    other = AppId("other")
    world.records[other] = ExApp(other, "t", "1", "127.0.0.1", 23_001)
    world.upstreams = {name: Upstream("127.0.0.1", 23_001) for name in (APP, other)}

    assert "the port is that of the app other too" in await world.opens(OWN, "app", 23_001)
    world.upstreams[other] = Upstream("172.17.0.2", 23_001)
    assert await world.opens(OWN, "app", 23_001) == "", "the other is looked for elsewhere"


async def test_an_app_with_the_shared_key_is_told_to_the_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    assert await world.opens(KEY, "app", 23_001) == ""

    assert "the app app comes with the shared key, as HaRP gave it: update it" in caplog.text
    assert KEY not in caplog.text


async def test_what_is_closed_is_forgotten_unless_it_was_opened_again(world: World, tmp_path: Path) -> None:
    await world.opens(OWN, "app", 23_001, run="one")
    await world.opens(OWN, "app", 23_001, run="two")

    for run, left in (("one", 1), ("two", 0), ("two", 0)):
        assert await world.refused("CloseProxy", {"proxy_name": "app", "user": {"run_id": run}}) == ""
        assert len(remembered(tmp_path)) == left


async def test_another_shared_key_leaves_the_apps_theirs(tmp_path: Path) -> None:
    around = World()
    door = made(around, tmp_path)
    await door.start()
    door.rekey("another-key")

    assert "wrong" in await around.login(KEY)
    assert [await around.login(token) for token in ("another-key", OWN)] == ["", ""]
    await door.close()


async def test_what_was_open_is_known_after_a_restart(tmp_path: Path) -> None:
    (tmp_path / "tunnels.json").write_text('[{"name": "app", "port": 23001, "run": "one"}]')
    around = World()
    door = made(around, tmp_path)
    await door.start()

    assert await around.refused("CloseProxy", {"proxy_name": "app", "user": {"run_id": "one"}}) == ""

    assert remembered(tmp_path) == []
    (tmp_path / "tunnels.json").write_text("rubbish")
    assert remembered(tmp_path) == []
    await door.close()


async def test_somebody_else_of_this_machine_learns_nothing(world: World) -> None:
    for password in ("", "wrong", PASSWORD + "x"):
        assert await world.ask("Login", {"metas": {"token": KEY}}, password=password) == (401, None)
    async with aiohttp.ClientSession() as session, session.post(world.url, json={}) as reply:
        assert reply.status == 401
    assert world.failures == []


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'{"op": 1}', b'{"op": "Login", "content": []}', b"\xff\xfe"])
async def test_what_is_not_understood_is_refused(world: World, raw: bytes) -> None:
    assert await world.ask("Login", None, raw=raw) == (
        200,
        {"reject": True, "reject_reason": "this is not understood"},
    )


async def test_numbers_that_are_none_and_texts_without_end(world: World) -> None:
    user = {"metas": {"token": OWN}}
    for claim in ({"remote_port": "23001"}, {"remote_port": 23_001.5}, {"proxy_name": "a" * 5000}):
        said = {"user": user, "proxy_name": "app", "proxy_type": "tcp", **claim}
        assert await world.refused("NewProxy", said) == "this is not understood"
    assert (await world.ask("Login", None, raw=b" " * 70_000))[0] == 413


async def test_what_frps_was_not_told_to_ask(world: World) -> None:
    assert await world.refused("NewWorkConn", {}) == "nothing of this kind is asked here"
