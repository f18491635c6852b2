# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real Nextcloud with its app notify_push ("Client Push"): a daemon anywhere is told of what is saved there."""

import asyncio
import base64
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

import aiohttp
import pytest

from harp.base.errors import CloudError
from harp.bridge import accountview, model
from harp.cli.client import at
from harp.sync.cloud import pushline
from harp.sync.cloud.dav import Login
from tests.e2e import pushing
from tests.e2e.cloud import Cloud, Person
from tests.e2e.pushing import Pushing
from tests.integration.office import Desk, until
from tests.integration.office import opened as office_opened

pytestmark = pytest.mark.skipif(bool(pushing.why_not()), reason=pushing.why_not())

ROUNDS = 10
LOOKS = 5
REST_S = 4.0
"""After which a mirror looks again only when it is told to: what it wrote itself has been looked at."""
POLL_S = 15.0
"""``account_poll_s``, where nobody has set it."""


@pytest.fixture(scope="module")
def push(nextcloud: Cloud) -> Iterator[Pushing]:
    with pushing.opened(nextcloud) as opened:
        yield opened


@pytest.fixture(scope="module")
def petra(nextcloud: Cloud) -> Person:
    found = nextcloud.person("petra")
    nextcloud.dav(found, "MKCOL", "files/petra/Documents")
    return found


@contextmanager
def _hub(cloud: Cloud, person: Person, poll_s: float) -> Iterator[Desk]:
    with tempfile.TemporaryDirectory(prefix="harp-push-") as place, office_opened(Path(place)) as office:
        desk = office.desk("hub", account_poll_s=f"{poll_s:g}").start()
        desk.do("account", "add", "work", cloud.url, "--user", person.name, typed=f"{person.app_password}\n")
        desk.do("share", "work:/Documents")
        yield desk


@pytest.fixture
def hub(nextcloud: Cloud, push: Pushing, petra: Person) -> Iterator[Desk]:
    """Without the push it would notice anything ten minutes later."""
    with _hub(nextcloud, petra, 600) as desk:
        until(lambda: _account(desk).is_pushed, "the hub listens")
        yield desk


def _account(hub: Desk) -> accountview.AccountStatus:
    [found] = hub.client.get(at("accounts"), accountview.AccountList).accounts
    return found


def _place(hub: Desk) -> Path:
    [folder] = hub.client.get(at("status"), model.Status).folders
    return Path(folder.location)


def _saved(cloud: Cloud, person: Person, hub: Desk, name: str) -> float:
    """How long (s) after Nextcloud's answer the hub has the file."""
    path = _place(hub) / name
    cloud.dav(person, "PUT", f"files/{person.name}/Documents/{name}", b"saved")
    answered = time.monotonic()
    until(lambda: path.exists() and path.read_bytes() == b"saved", f"the hub has {name}", 60)
    return time.monotonic() - answered


def _rests(cloud: Cloud) -> bool:
    """Whether nobody has asked anything for so long that nobody will by themselves."""
    log = cloud.scratch / "nginx-access.log"
    before = log.stat().st_size
    time.sleep(REST_S)
    return log.stat().st_size == before


def _shown(how: str, took: list[float]) -> None:
    least, most = min(took), max(took)
    print(f"a file saved in Nextcloud, {how}: median {statistics.median(took):.2f} s, {least:.2f} to {most:.2f} s")


def test_what_is_saved_in_nextcloud_is_here_by_its_push(nextcloud: Cloud, petra: Person, hub: Desk) -> None:
    took = []
    for number in range(ROUNDS):
        time.sleep(REST_S + number / ROUNDS)
        took.append(_saved(nextcloud, petra, hub, f"pushed-{number}"))
    _shown("with its push", took)
    assert max(took) < POLL_S / 2
    assert "ok, changes are pushed" in hub.do("account", "list")
    for text in (hub.log.read_text(), hub.do("account", "list", "--json")):
        assert petra.app_password not in text


def test_without_its_push_the_same_comes_with_the_next_look(nextcloud: Cloud, petra: Person, push: Pushing) -> None:
    took = []
    with push.down(), _hub(nextcloud, petra, POLL_S) as hub:
        until((_place(hub) / "pushed-0").exists, "the hub has what was there", 60)
        for number in range(LOOKS):
            time.sleep(REST_S + number * POLL_S / LOOKS)
            took.append(_saved(nextcloud, petra, hub, f"polled-{number}"))
    _shown(f"looked for every {POLL_S:g} s", took)
    assert max(took) < POLL_S + 5.0


def test_what_is_saved_while_its_server_is_down_is_here_once_it_is_back(
    nextcloud: Cloud, petra: Person, hub: Desk, push: Pushing
) -> None:
    until(lambda: _rests(nextcloud), "the hub has nothing left to do", 60)
    with push.down():
        until(lambda: not _account(hub).is_pushed, "the hub knows that nobody says anything")
        nextcloud.dav(petra, "PUT", "files/petra/Documents/meanwhile", b"saved")
        time.sleep(REST_S)
        assert not (_place(hub) / "meanwhile").exists()
        until(lambda: "is no WebSocket: 502" in _account(hub).push_error, "it is said", 30)
    until((_place(hub) / "meanwhile").exists, "the hub has it", 60)
    assert _saved(nextcloud, petra, hub, "afterwards") < POLL_S / 2


def test_a_deleted_file_and_a_new_name_are_pushed_too(nextcloud: Cloud, petra: Person, hub: Desk) -> None:
    for name in ("gone", "old"):
        _saved(nextcloud, petra, hub, name)
    time.sleep(REST_S)
    nextcloud.dav(petra, "DELETE", "files/petra/Documents/gone")
    until(lambda: not (_place(hub) / "gone").exists(), "it is gone here", 30)
    time.sleep(REST_S)
    nextcloud.dav(petra, "MOVE", "files/petra/Documents/old", to="files/petra/Documents/new")
    until((_place(hub) / "new").exists, "it has its new name here", 30)


async def test_a_token_is_good_once_and_a_wrong_one_is_no_attempt_to_log_in(
    nextcloud: Cloud, petra: Person, push: Pushing, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = Login(nextcloud.url, petra.name, petra.app_password)
    token = nextcloud.request(petra, "POST", "/index.php/apps/notify_push/pre_auth").decode()
    assert len(base64.b64decode(token)) == 24

    async def same(session: aiohttp.ClientSession, login: Login) -> str:
        return token

    monkeypatch.setattr(pushline, "_token", same)
    async with aclosing(pushline.news(login, "")) as line:
        await anext(line)
    with pytest.raises(CloudError, match="lets nobody listen: err: Invalid credentials"):
        await anext(pushline.news(login, ""))
    # By this it would ask Nextcloud whether name and password are good.
    assert "/apps/notify_push/uid" not in (nextcloud.scratch / "nginx-access.log").read_text()


async def test_its_own_pings_and_ours_are_answered_on_a_quiet_line(
    nextcloud: Cloud, petra: Person, push: Pushing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushline, "HEARTBEAT_S", 2.0)
    async with aclosing(pushline.news(Login(nextcloud.url, petra.name, petra.app_password), "")) as line:
        await anext(line)
        hearing = asyncio.ensure_future(anext(line))
        # It pings after thirty quiet seconds, and hangs up with the next ping on whoever did not answer.
        await asyncio.sleep(75.0)
        assert not hearing.done()
        await asyncio.to_thread(nextcloud.dav, petra, "PUT", "files/petra/Documents/late", b"saved")
        async with asyncio.timeout(30):
            await hearing
