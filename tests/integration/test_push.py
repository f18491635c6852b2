# SPDX-License-Identifier: AGPL-3.0-or-later
"""A Nextcloud that says itself that files have changed: the line to it, and a real daemon that is woken by it.

Names harp.sync.cloud.pushline and harp.daemon.pushes. tests/e2e/test_push.py has the real notify_push; what only the
stand-in does here, nobody should.
"""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from harp.base.errors import CloudError, StaleError
from harp.bridge import accountview, model
from harp.cli.client import at
from harp.sync.cloud import pushline
from harp.sync.cloud.dav import Login
from harp.sync.cloud.push import ElsewhereError
from harp.sync.cloud.refusals import LoginError
from harp.sync.service.mirrorloop import GATHER_S
from tests.fakes.certificates import certificate
from tests.fakes.clientpush import ClientPush
from tests.fakes.cloudserver import standing
from tests.fakes.webdav import PASSWORD, Account
from tests.integration.office import Desk, Office, until

PATIENCE_S = 20.0


@pytest.fixture
def push() -> ClientPush:
    return ClientPush()


@pytest.fixture
def account(push: ClientPush) -> Account:
    made = Account()
    made.push = push
    made.write("Documents/plan.txt", b"from the cloud")
    return made


def listening(url: str, password: str = PASSWORD, ca_file: str = "") -> AsyncGenerator[None]:
    return pushline.news(Login(url, "alice", password), ca_file)


@asynccontextmanager
async def let_in(url: str, ca_file: str = "") -> AsyncIterator[AsyncGenerator[None]]:
    async with asyncio.timeout(PATIENCE_S), aclosing(listening(url, ca_file=ca_file)) as line:
        await anext(line)
        yield line


async def refused(url: str, password: str = PASSWORD) -> CloudError:
    with pytest.raises(CloudError) as caught:
        async with asyncio.timeout(PATIENCE_S):
            await anext(listening(url, password))
    return caught.value


async def test_whoever_listens_hears_of_files_and_of_nothing_else_until_the_server_hangs_up(
    account: Account, push: ClientPush
) -> None:
    with standing(account) as url:
        async with let_in(url) as line:
            for text in (
                "notify_activity",
                "notify_file",
                "deck_board {}",
                'notify_file_id [1,"x"',
                "",
                "notify_filed",
            ):
                push.say(text)
            await anext(line)
            await anext(line)
            push.hang_up()
            assert [one async for one in line] == []


async def test_the_app_password_is_told_to_nobody_but_the_nextcloud(account: Account, push: ClientPush) -> None:
    with standing(account) as url:
        async with let_in(url):
            name, token = push.heard
            assert (name, len(token)) == ("", 32)


async def test_a_certificate_that_the_account_trusts_is_good_here_too(
    account: Account, push: ClientPush, tmp_path: Path
) -> None:
    pem = certificate(tmp_path, "127.0.0.1").path
    with standing(account, pem) as url:
        async with let_in(url, str(pem)) as line:
            push.say("notify_file")
            await anext(line)
        assert "is not trusted" in (await refused(url)).message
        assert push.came == 1


@pytest.mark.parametrize("address", ["ws://127.0.0.2:{port}/push/ws", "ws://cloud.example/push/ws", "nonsense"])
async def test_nobody_goes_to_another_place_than_the_server_itself(
    account: Account, push: ClientPush, address: str
) -> None:
    with standing(account) as url:
        push.address = address.format(port=url.rpartition(":")[2])
        error = await refused(url)
        assert isinstance(error, ElsewhereError)
        assert f"occ notify_push:setup {url}/push" in error.hint
        assert push.came == 0


async def test_a_line_without_tls_is_no_place_for_an_account_with_it(
    account: Account, push: ClientPush, tmp_path: Path
) -> None:
    pem = certificate(tmp_path, "127.0.0.1").path
    with standing(account, pem) as url:
        push.address = f"{url.replace('https', 'ws')}/push/ws"
        with pytest.raises(ElsewhereError):
            await anext(listening(url, ca_file=str(pem)))


async def test_nobody_follows_where_a_server_sends_on(account: Account, push: ClientPush) -> None:
    other = Account()
    other.push = ClientPush()
    with standing(account) as url, standing(other) as elsewhere:
        push.instead = lambda: web.Response(status=302, headers={"Location": f"{elsewhere}/push/ws"})
        assert f"sends on to {elsewhere}/push/ws" in (await refused(url)).message
        assert (push.came, other.push.came) == (1, 0)


async def test_a_web_server_that_leads_nowhere_is_said(account: Account, push: ClientPush) -> None:
    with standing(account) as url:
        push.instead = lambda: web.Response(status=404)
        error = await refused(url)
        assert error.message == f"{url.replace('http', 'ws')}/push/ws is no WebSocket: 404"
        assert "its web server has to lead" in error.hint


async def test_a_server_that_knows_nothing_of_the_token_is_said_and_not_told_more(
    account: Account, push: ClientPush, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push, "token", lambda: "a" * 32)
    with standing(account) as url:
        assert "lets nobody listen: err: Invalid credentials" in (await refused(url)).message
        assert push.heard == ["", "a" * 32]


@pytest.mark.parametrize("token", ["", "x" * 5000, "with space", "<html>"])
async def test_what_is_no_token_is_not_sent(
    account: Account, push: ClientPush, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setattr(push, "token", lambda: token)
    with standing(account) as url:
        assert "does not answer as notify_push does" in (await refused(url)).message


async def test_a_server_without_the_app_and_a_password_that_is_not_good(account: Account) -> None:
    with standing(account) as url:
        account.push = None
        assert isinstance(await refused(url), StaleError)
        account.push, account.passwords = ClientPush(), set()
        assert isinstance(await refused(url), LoginError)
        assert account.push.came == 0


async def test_a_message_without_end_ends_the_line(account: Account, push: ClientPush) -> None:
    with standing(account) as url:
        async with let_in(url) as line:
            push.say("notify_file " + "1," * pushline.MOST_BYTES)
            with pytest.raises(CloudError, match="the line broke"):
                await anext(line)


async def test_a_flood_is_heard_so_fast_and_no_faster(account: Account) -> None:
    said = 0

    async def flood(line: web.WebSocketResponse) -> None:
        nonlocal said
        while True:
            await line.send_str("notify_file")
            said += 1

    account.push = ClientPush(done=flood)
    with standing(account) as url:
        async with let_in(url) as line:
            began = time.monotonic()
            for _ in range(2 * pushline.MOST_A_SECOND + 1):
                await anext(line)
            assert time.monotonic() - began >= 1.9
            ended = time.monotonic()
    assert time.monotonic() - ended < 5.0, "who goes on to speak is not listened to for longer"
    assert said > 2 * pushline.MOST_A_SECOND


async def test_a_line_on_which_nobody_answers_is_given_up(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    async def silence(line: web.WebSocketResponse) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(pushline, "HEARTBEAT_S", 0.4)
    account.push = ClientPush(done=silence)
    with standing(account) as url:
        async with let_in(url) as line:
            with pytest.raises(CloudError, match="the line broke"):
                await anext(line)


async def test_a_quiet_line_stays_and_its_pings_are_answered(
    account: Account, push: ClientPush, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = asyncio.Event()
    here = asyncio.get_running_loop()

    async def ping(line: web.WebSocketResponse) -> None:
        await line.ping(b"1234")
        async for message in line:
            if message.type is web.WSMsgType.PONG and message.data == b"1234":
                here.call_soon_threadsafe(answered.set)
            if message.type is web.WSMsgType.PING:
                await line.pong(message.data)

    monkeypatch.setattr(pushline, "HEARTBEAT_S", 0.4)
    account.push = push = ClientPush(done=ping)
    with standing(account) as url:
        async with let_in(url) as line:
            hearing = asyncio.ensure_future(anext(line))
            await answered.wait()
            await asyncio.sleep(1.0)
            assert not hearing.done()
            push.say("notify_file")
            await hearing


# --- the daemon -------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(office: Office) -> Desk:
    """Without a push it would notice anything ten minutes later."""
    return office.desk("hub", account_poll_s="600").start()


def log_in(hub: Desk, url: str, password: str = PASSWORD) -> None:
    hub.do("account", "add", "work", url, "--user", "alice", typed=f"{password}\n")


def mirrors(hub: Desk, url: str, push: ClientPush) -> None:
    log_in(hub, url)
    hub.do("share", "work:/Documents")
    until(lambda: push.lines, "the hub listens", PATIENCE_S)


def work(hub: Desk) -> accountview.AccountStatus:
    [found] = hub.client.get(at("accounts"), accountview.AccountList).accounts
    return found


def rests(account: Account) -> bool:
    before = len(account.log)
    time.sleep(GATHER_S + 1.0)
    return len(account.log) == before


def reaches(hub: Desk, folder: str, name: str) -> None:
    places = {one.name: Path(one.location) for one in hub.client.get(at("status"), model.Status).folders}
    until((places[folder] / name).exists, f"the hub has {name}", PATIENCE_S)


def test_what_is_saved_in_nextcloud_is_here_at_once_over_one_line_for_all_folders(
    hub: Desk, account: Account, push: ClientPush
) -> None:
    account.write("Photos/sea.jpg", b"blue")
    with standing(account) as url:
        log_in(hub, url)
        hub.do("share", "work:/Documents")
        hub.do("share", "work:/Photos")
        until(lambda: work(hub).is_pushed, "the hub listens", PATIENCE_S)
        for folder, name in (("Documents", "new.txt"), ("Photos", "hill.jpg"), ("Documents", "newer.txt")):
            reaches(hub, folder, {"Documents": "plan.txt", "Photos": "sea.jpg"}[folder])
            account.write(f"{folder}/{name}", b"saved")
            push.say("notify_file")
            reaches(hub, folder, name)
        assert (push.came, len(push.lines)) == (1, 1)
        assert "ok, changes are pushed" in hub.do("account", "list")
        for folder in ("Documents", "Photos"):
            hub.do("leave", folder)
        until(lambda: push.lines == [], "nobody listens for an account that nothing mirrors", PATIENCE_S)


def test_a_line_that_breaks_comes_back_and_nothing_of_the_time_between_is_missed(
    hub: Desk, account: Account, push: ClientPush
) -> None:
    with standing(account) as url:
        mirrors(hub, url, push)
        reaches(hub, "Documents", "plan.txt")
        until(lambda: rests(account), "the hub looks at nothing any more", PATIENCE_S)
        push.hang_up()
        account.write("Documents/meanwhile.txt", b"saved while nobody heard")
        reaches(hub, "Documents", "meanwhile.txt")
        assert push.came == 2


def test_a_place_that_is_not_the_servers_own_is_said_once_and_the_account_is_mirrored_all_the_same(
    hub: Desk, account: Account, push: ClientPush
) -> None:
    push.address = "ws://127.0.0.2/push/ws"
    with standing(account) as url:
        log_in(hub, url)
        hub.do("share", "work:/Documents")
        reaches(hub, "Documents", "plan.txt")
        until(lambda: work(hub).push_error, "it is said", PATIENCE_S)
        assert not work(hub).is_pushed
        assert "tells of changed files at ws://127.0.0.2/push/ws" in hub.do("account", "list")
        assert hub.log.read_text().count("127.0.0.2") == 1


def test_a_password_that_is_refused_is_not_tried_again_and_a_new_one_at_once(
    hub: Desk, account: Account, push: ClientPush
) -> None:
    with standing(account) as url:
        mirrors(hub, url, push)
        account.passwords = {"another"}
        push.hang_up()
        until(lambda: "refused" in work(hub).push_error, "it is said", PATIENCE_S)
        log_in(hub, url, "another")
        until(lambda: work(hub).is_pushed, "the hub listens with the new one", PATIENCE_S)
        assert push.came == 2
        kept = json.dumps([push.heard, hub.log.read_text()])
        assert PASSWORD not in kept
        assert "another" not in push.heard
