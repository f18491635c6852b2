# SPDX-License-Identifier: AGPL-3.0-or-later
"""The console inside Nextcloud, before a fake daemon on a real socket: whose word counts, and what each person sees.

The parts: harp.console.nextcloud, harp.console.guests, harp.console.entrance, harp.console.checks, and
harp.bridge.adopted under them.
"""

import asyncio
import base64
import json
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from harp.base.errors import UsageError
from harp.base.runtime import Tasks
from harp.bridge.adopted import Adopted
from harp.bridge.exapp import ExApp
from harp.console import guests, pages, sessions
from harp.console.checks import Checks
from harp.console.guests import Guests
from harp.console.server import inside_nextcloud
from tests.fakes.control import served
from tests.fakes.daemon import NOTES, PHOTOS, FakeDaemon

APP = ExApp("a:secret")
ENTRY = "/cloud/index.php/apps/harpbridge/console"
BASE = "/exapps/harp/console"
NOW = 1_000_000.0


def signed(user: str, secret: str = "a:secret", **other: str) -> dict[str, str]:
    """What HaRP says of a person."""
    said = base64.b64encode(f"{user}:{secret}".encode()).decode()
    return {"EX-APP-ID": "harp", "EX-APP-VERSION": "1.0.0", "AUTHORIZATION-APP-API": said, **other}


class Inside:
    """Nextcloud's proxy: each request comes on a connection of its own, whose head somebody else has read."""

    def __init__(self, adopted: Adopted, guests: Guests) -> None:
        self.adopted, self.guests = adopted, guests
        self.door = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.door.getsockname()[1]}"

    def welcome(self, user: str, *folders: str, is_admin: bool = False, at: float = NOW) -> None:
        self.guests.welcome(user, may_all=is_admin, folders=folders, entry=ENTRY, now=at)

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, str, aiohttp.ClientResponse]:
        async def receive() -> None:
            connection, _ = await asyncio.to_thread(self.door.accept)
            head = b""
            while b"\r\n\r\n" not in head:
                head += await asyncio.to_thread(connection.recv, 65536)
            self.adopted.take(connection, head)

        receiving = asyncio.get_running_loop().create_task(receive())
        async with (
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as client,
            client.request(method, self.url + "/console" + path, allow_redirects=False, **options) as response,
        ):
            await receiving
            return response.status, (await response.read()).decode("utf-8", "replace"), response

    async def get(self, path: str, user: str, **headers: str) -> tuple[int, str, aiohttp.ClientResponse]:
        return await self.ask("GET", path, headers=signed(user, **headers))

    async def send(self, path: str, user: str, **form: str) -> tuple[int, str, aiohttp.ClientResponse]:
        """A form as this person's page makes it."""
        made = {"csrf": sessions.csrf(APP.token(user)), "back": "/", **form}
        return await self.ask("POST", path, data=made, headers=signed(user, **{"Sec-Fetch-Site": "same-origin"}))


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[FakeDaemon]:
    with served(tmp_path / "home") as fake:
        yield fake


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which a test may change."""
    now = [NOW]
    monkeypatch.setattr("harp.console.nextcloud.time.time", lambda: now[0])
    return now


@pytest.fixture
async def inside(daemon: FakeDaemon, clock: list[float], tmp_path: Path) -> AsyncIterator[Inside]:
    home = tmp_path / "home"
    async with Tasks("test") as tasks:
        known = Guests(home)
        adopted = Adopted(inside_nextcloud(home, APP, known, Checks(tasks)), tasks=tasks)
        await adopted.start()
        made = Inside(adopted, known)
        try:
            yield made
        finally:
            made.door.close()
            await adopted.close()


# --- whose word counts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {},
        signed("ada", "another"),
        signed("ada", ""),
        {**signed("ada"), "EX-APP-ID": "other"},
        {**signed("ada"), "EX-APP-VERSION": ""},
        {**signed("ada"), "AUTHORIZATION-APP-API": "no base64!"},
        {**signed("ada"), "AUTHORIZATION-APP-API": base64.b64encode(b"\xff:a:secret").decode()},
    ],
)
async def test_what_did_not_come_through_the_proxy_is_not_looked_at(
    inside: Inside, daemon: FakeDaemon, headers: dict[str, str]
) -> None:
    inside.welcome("ada", is_admin=True)
    for path in ("/", "/events", "/settings", "/in?to=/", "/static/x/console.css", f"/folders/{PHOTOS}", "/nowhere"):
        status, text, _ = await inside.ask("GET", path, headers=headers)
        assert (status, "Photos" in text) == (403, False), path
    assert (await inside.ask("POST", f"/folders/{PHOTOS}/pause", headers=headers, data={}))[0] == 403
    assert daemon.calls == []


async def test_nobody_is_asked_to_log_in_to_nextcloud(inside: Inside, daemon: FakeDaemon) -> None:
    inside.welcome("ada", is_admin=True)
    status, text, _ = await inside.get("/", "")
    assert (status, "Log in to your Nextcloud" in text) == (401, True)
    assert daemon.calls == []


async def test_a_person_is_sent_to_nextcloud_to_be_vouched_for(inside: Inside, daemon: FakeDaemon) -> None:
    status, text, _ = await inside.get("/", "ada")
    assert (status, "from the menu of your Nextcloud" in text) == (401, True), "no Nextcloud has said where it is"
    inside.welcome("bob")
    for path, to in (("/health", "%2Fhealth"), ("/folders/ab?x=/&y", "%2Ffolders%2Fab%3Fx%3D%2F%26y"), ("/events", "")):
        status, _, response = await inside.get(path, "ada")
        assert (status, response.headers["Location"]) == (303, f"{ENTRY}?to={to or '%2Fevents'}")
    status, _, response = await inside.send(f"/folders/{PHOTOS}/pause", "ada")
    assert (status, "Location" in response.headers) == (401, False), "what a form held cannot be sent again"
    assert daemon.calls == []


async def test_a_pass_that_reached_another_daemon_makes_no_circle(inside: Inside) -> None:
    inside.welcome("bob")
    status, text, response = await inside.get("/in?to=/", "ada")
    assert (status, "told another daemon" in text, "Location" in response.headers) == (502, True, False)


@pytest.mark.parametrize("to", ["//evil.example", "https://evil.example/", "/\\evil.example", "", "x"])
async def test_the_way_back_leads_nowhere_else(inside: Inside, to: str) -> None:
    inside.welcome("ada")
    status, _, response = await inside.ask("GET", "/in", params={"to": to}, headers=signed("ada"))
    assert (status, response.headers["Location"]) == (303, f"{BASE}/")


async def test_a_pass_ends_and_is_renewed_before_that(inside: Inside, clock: list[float]) -> None:
    inside.welcome("ada", PHOTOS)
    clock[0] += guests.PASS_S - guests.RENEW_S - 1
    assert (await inside.get("/", "ada"))[0] == 200
    clock[0] += 2
    assert (await inside.get("/", "ada"))[0] == 303, "a page renews it while it is still good"
    assert (await inside.send(f"/folders/{PHOTOS}/rescan", "ada"))[0] == 303
    clock[0] += guests.RENEW_S
    assert (await inside.send(f"/folders/{PHOTOS}/rescan", "ada"))[0] == 401
    inside.welcome("ada", PHOTOS, at=clock[0])
    assert (await inside.get("/", "ada"))[0] == 200


async def test_a_right_that_is_taken_away_is_gone_with_the_next_word(inside: Inside) -> None:
    inside.welcome("ada", is_admin=True)
    assert (await inside.get("/settings", "ada"))[0] == 200
    inside.welcome("ada")
    assert (await inside.get("/settings", "ada"))[0] == 403


# --- an administrator -------------------------------------------------------------------------------------------------


async def test_an_administrator_sees_every_page_under_the_prefix(inside: Inside) -> None:
    inside.welcome("ada", is_admin=True)
    for path in pages.SHOWN:
        query = "?p=YS50eHQ&e=" + "e1" * 32 if "{folder}/" in path else "?container=nc_app_x"
        status, text, response = await inside.get(path.format(folder=PHOTOS) + query, "ada")
        assert status in (200, 303, 415), (path, text)
        assert "Set-Cookie" not in response.headers
        assert response.headers["Connection"] == "close", "the next request may be a WebSocket"
        if response.content_type == "text/html":
            assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
            addresses = re.findall(r'(?:href|action|src|data-events)="(/[^"]*)"', text)
            assert addresses
            assert {one for one in addresses if not one.startswith(f"{BASE}/")} <= {"/cloud/index.php/"}, path
            assert "/logout" not in text


async def test_an_administrators_form_is_done_and_leads_back(inside: Inside, daemon: FakeDaemon) -> None:
    inside.welcome("ada", is_admin=True)
    status, _, response = await inside.send(f"/folders/{PHOTOS}/pause", "ada")
    assert (status, response.headers["Location"]) == (303, f"{BASE}/folders/{PHOTOS}")
    assert ("pause", PHOTOS) in daemon.calls
    _, text, _ = await inside.get(f"/folders/{PHOTOS}", "ada")
    assert "Paused" in text
    assert f'name="back" value="/folders/{PHOTOS}"' in text


async def test_a_form_counts_for_whom_it_was_made(inside: Inside, daemon: FakeDaemon) -> None:
    inside.welcome("ada", is_admin=True)
    inside.welcome("eve", is_admin=True)
    path = f"/folders/{PHOTOS}/pause"
    assert (await inside.send(path, "ada", csrf=sessions.csrf(APP.token("eve"))))[0] == 403
    form = {"csrf": sessions.csrf(APP.token("ada")), "back": "/"}
    for foreign in (
        {},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "same-site", "Origin": inside.url},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        assert (await inside.ask("POST", path, data=form, headers=signed("ada", **foreign)))[0] == 403
    assert daemon.calls == []
    own = {"Host": "cloud.example", "Origin": "https://cloud.example:8443"}
    assert (await inside.ask("POST", path, data=form, headers=signed("ada", **own)))[0] == 303


# --- other people -----------------------------------------------------------------------------------------------------


async def test_a_person_sees_their_folders_and_no_others(inside: Inside) -> None:
    inside.welcome("carol", PHOTOS)
    _, text, _ = await inside.get("/", "carol")
    assert "Photos" in text
    assert "Notes" not in text
    assert "/home/" not in text, "where it lies on the server is nothing to them"
    for path in pages.FOR_EVERYBODY & set(pages.SHOWN):
        status, text, _ = await inside.get(path.format(folder=NOTES) + "?p=YS50eHQ&e=" + "e1" * 32, "carol")
        assert (status, "Notes" in text) == (200 if path == "/" else status, False), path
        assert status in ((200,) if path == "/" else (400, 404)), path


async def test_a_person_without_folders_is_told_how_to_get_one(inside: Inside, daemon: FakeDaemon) -> None:
    inside.welcome("carol")
    status, text, _ = await inside.get("/", "carol")
    assert (status, "No folder here is yours yet" in text) == (200, True)
    assert not {"Photos", "Notes", "Settings", "Devices"} & set(re.findall(r"\w+", re.sub("<p .*?</p>", "", text)))
    assert {call[0] for call in daemon.calls} <= {"status", "device"}


async def test_a_person_reaches_nothing_that_an_administrator_decides(inside: Inside, daemon: FakeDaemon) -> None:
    inside.welcome("carol", PHOTOS)
    for path in set(pages.SHOWN) - pages.FOR_EVERYBODY:
        assert (await inside.get(path.format(folder=PHOTOS), "carol"))[0] == 403, path
    for path in set(pages.DONE) - pages.FOR_EVERYBODY:
        status, _, response = await inside.send(path.format(folder=PHOTOS), "carol")
        assert (status, response.headers["Location"]) == (303, f"{BASE}/"), path
    assert [call for call in daemon.calls if call[0] != "status"] == []


async def test_a_person_works_with_their_folder(inside: Inside, daemon: FakeDaemon) -> None:
    inside.welcome("carol", PHOTOS)
    status, text, _ = await inside.get(f"/folders/{PHOTOS}", "carol")
    assert status == 200
    assert "/rescan" in text
    for decided in ("/pause", "/leave", "/ignore", "/held", "/devices"):
        assert decided not in text
    assert (await inside.send(f"/folders/{PHOTOS}/rescan", "carol"))[0] == 303
    assert (await inside.send(f"/folders/{NOTES}/rescan", "carol"))[0] == 303
    assert [call for call in daemon.calls if call[0] == "rescan"] == [("rescan", PHOTOS)]


async def test_a_person_is_told_what_is_wrong_with_their_folder_and_not_where_it_lies(
    inside: Inside, daemon: FakeDaemon
) -> None:
    inside.welcome("carol", PHOTOS)
    daemon.error = "/home/alice/x is not the folder Photos: its marker is missing"
    daemon.waits_because = "the disk is full"
    for path in ("/", f"/folders/{PHOTOS}"):
        _, text, _ = await inside.get(path, "carol")
        assert "Photos is not the folder Photos: its marker is missing" in text, path
        assert "the disk is full" in text, path
        assert "/home/alice" not in text, path


async def test_a_person_hears_of_their_folders_only(inside: Inside) -> None:
    inside.welcome("carol", PHOTOS)
    status, text, response = await inside.get("/events", "carol")
    assert (status, response.content_type) == (200, "text/event-stream")
    events = [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line]
    assert {folder for event in events for folder in event["folders"]} == {PHOTOS}


@pytest.mark.parametrize("user", ["<script>alert(1)</script>", "\u202eevil", "ö" * 100, "x\r\ny", "a b@c'd", "0"])
async def test_a_persons_id_is_text_of_any_kind(inside: Inside, user: str) -> None:
    inside.welcome(user, PHOTOS)
    status, text, _ = await inside.get("/", user)
    assert (status, "Photos" in text, "<script>alert" in text) == (200, True, False)


async def test_the_language_is_a_persons_choice_here_too(inside: Inside) -> None:
    inside.welcome("ada", is_admin=True)
    status, _, response = await inside.send("/language", "ada", language="de", back="/settings")
    assert (status, response.headers["Location"]) == (303, f"{BASE}/settings")
    cookie = response.cookies["harp-language"]
    assert (cookie["path"], cookie["samesite"]) == (f"{BASE}/", "Strict")


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_the_way_back_outlives_a_restart_and_passes_do_not(tmp_path: Path) -> None:
    first = Guests(tmp_path)
    first.welcome("ada", may_all=True, folders=[], entry=ENTRY, now=NOW)
    again = Guests(tmp_path)
    assert (again.entry, again.nextcloud, again.of("ada", now=NOW)) == (ENTRY, "/cloud/index.php/", None)
    (tmp_path / guests.FILE_NAME).write_text("https://evil.example/")
    assert Guests(tmp_path).entry == ""


@pytest.mark.parametrize(("user", "entry"), [("", ENTRY), ("x" * 256, ENTRY), ("ada", "https://e/"), ("ada", "")])
def test_what_no_nextcloud_says_is_refused(tmp_path: Path, user: str, entry: str) -> None:
    with pytest.raises(UsageError):
        Guests(tmp_path).welcome(user, may_all=True, folders=[], entry=entry, now=NOW)


def test_many_guests_take_no_more_room_than_they_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guests, "MOST_GUESTS", 3)
    known = Guests(tmp_path)
    for number in range(5):
        known.welcome(str(number), may_all=False, folders=[], entry=ENTRY, now=NOW + number)
    assert [str(n) for n in range(5) if known.of(str(n), now=NOW + 5)] == ["2", "3", "4"]
