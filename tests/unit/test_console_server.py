# SPDX-License-Identifier: AGPL-3.0-or-later
"""The console's server on a real socket, before a fake daemon on a real one: who is let in, and what the pages do.

The parts: harp.console.door, harp.console.client, harp.console.stream, harp.console.page, harp.console.render, and the
pages harp.console.pages.home, harp.console.pages.guide, harp.console.pages.folder, harp.console.pages.conflicts,
harp.console.pages.preview, harp.console.pages.devices, harp.console.pages.apps, harp.console.pages.health and
harp.console.pages.settings.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from harp.base.config import Address
from harp.base.errors import ConfigError, FolderError
from harp.base.runtime import Tasks
from harp.bridge import model
from harp.console import pages, password, sessions
from harp.console.checks import Checks
from harp.console.pages import home
from harp.console.server import Console, ConsoleSettings
from harp.sync.folder import fs
from tests.fakes.control import served
from tests.fakes.daemon import BOB, ENTRY, PHOTOS, FakeDaemon

PATH_KEY = "YS50eHQ"
LOCAL = Address("127.0.0.1", 0)


class Browser:
    """Someone at the console: cookies are kept, redirects are looked at and not followed."""

    def __init__(self, console: Console, client: aiohttp.ClientSession, host: str = "") -> None:
        self.console = console
        self.url = URL(console.address) if not console.front.origin else URL(f"http://127.0.0.1:{console._bound.port}/")
        self.client = client
        self.host = host or f"127.0.0.1:{self.url.port}"
        self.origin = f"http://{self.host}"

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, str, aiohttp.ClientResponse]:
        headers = {"Host": self.host, **options.pop("headers", {})}
        async with self.client.request(
            method, self.url.join(URL(path, encoded=True)), headers=headers, allow_redirects=False, **options
        ) as response:
            return response.status, (await response.read()).decode("utf-8", "replace"), response

    async def get(self, path: str, **options: Any) -> tuple[int, str, aiohttp.ClientResponse]:
        return await self.ask("GET", path, **options)

    async def enters(self) -> None:
        status, _, response = await self.get("/in/" + self.console.link().url.rpartition("/")[2])
        assert status == 200
        # aiohttp's jar knows the address, browsers know the name: here both are the same.
        self.client.cookie_jar.update_cookies(response.cookies, self.url)

    async def sends(self, path: str, /, **form: str) -> tuple[int, str, aiohttp.ClientResponse]:
        """A form as the page makes it."""
        return await self.ask(
            "POST", path, data={"csrf": self.csrf(), "back": "/", **form}, headers={"Origin": self.origin}
        )

    def csrf(self) -> str:
        cookies = self.client.cookie_jar.filter_cookies(self.url)
        return sessions.csrf(cookies[self.console.sessions.cookie].value)


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[FakeDaemon]:
    with served(tmp_path / "home") as fake:
        yield fake


async def opened(home: Path, settings: ConsoleSettings) -> AsyncIterator[Browser]:
    async with Tasks("test") as tasks:
        console = Console(home, settings, Checks(tasks))
        await console.start()
        jar = aiohttp.CookieJar(unsafe=True)
        try:
            async with aiohttp.ClientSession(cookie_jar=jar) as client:
                yield Browser(console, client)
        finally:
            await console.close()


@pytest.fixture
async def browser(daemon: FakeDaemon, tmp_path: Path) -> AsyncIterator[Browser]:
    async for one in opened(tmp_path / "home", ConsoleSettings(LOCAL)):
        yield one


# --- who is let in ----------------------------------------------------------------------------------------------------


async def test_nobody_sees_a_page_without_being_let_in(browser: Browser, daemon: FakeDaemon) -> None:
    for path in [*pages.SHOWN, "/events"]:
        status, text, _ = await browser.get(path.format(folder=PHOTOS))
        assert status == 401, path
        assert "Photos" not in text
    for path in pages.DONE:
        status, _, _ = await browser.ask(
            "POST", path.format(folder=PHOTOS), data={"csrf": "x"}, headers={"Origin": browser.origin}
        )
        assert status == 401, path
    assert daemon.calls == []


async def test_a_link_opens_one_browser_once(browser: Browser) -> None:
    link = "/in/" + browser.console.link().url.rpartition("/")[2]
    status, text, response = await browser.get(link)
    assert (status, "You are in" in text) == (200, True)
    cookie = response.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    browser.client.cookie_jar.clear()
    status, text, response = await browser.get(link)
    assert (status, "used already" in text) == (403, True)
    assert "Set-Cookie" not in response.headers


async def test_a_browser_that_looks_ahead_does_not_use_the_link_up(browser: Browser) -> None:
    link = "/in/" + browser.console.link().url.rpartition("/")[2]
    assert (await browser.get(link, headers={"Sec-Purpose": "prefetch;prerender"}))[0] == 403
    assert (await browser.ask("HEAD", link))[0] == 405
    assert (await browser.get(link))[0] == 200


async def test_a_rebound_name_is_not_answered_even_with_the_cookie(browser: Browser, daemon: FakeDaemon) -> None:
    await browser.enters()
    status, text, response = await browser.get("/", headers={"Host": "evil.example:8785"})
    assert status == 421
    assert "Photos" not in text
    assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert daemon.calls == []


async def test_a_foreign_page_cannot_send_anything(browser: Browser, daemon: FakeDaemon) -> None:
    await browser.enters()
    form = {"csrf": browser.csrf(), "back": "/"}
    for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "same-site"}, {}):
        status, _, _ = await browser.ask("POST", f"/folders/{PHOTOS}/pause", data=form, headers=headers)
        assert status == 403
    assert daemon.calls == []


async def test_a_form_without_the_sessions_token_counts_for_nothing(browser: Browser, daemon: FakeDaemon) -> None:
    await browser.enters()
    for token in ("", "0" * 64):
        assert (await browser.sends(f"/folders/{PHOTOS}/pause", csrf=token))[0] == 403
    assert daemon.calls == []
    assert (await browser.sends(f"/folders/{PHOTOS}/pause"))[0] == 303
    assert daemon.calls == [("pause", PHOTOS)]


async def test_who_logs_out_is_out(browser: Browser) -> None:
    await browser.enters()
    kept = browser.client.cookie_jar.filter_cookies(browser.url)[browser.console.sessions.cookie].value
    assert (await browser.sends("/logout"))[0] == 303
    again = {"Cookie": f"{browser.console.sessions.cookie}={kept}"}
    assert (await browser.get("/", headers=again))[0] == 401


async def test_everyone_can_be_logged_out(browser: Browser) -> None:
    await browser.enters()
    first = browser.client.cookie_jar.filter_cookies(browser.url)[browser.console.sessions.cookie].value
    await browser.enters()
    assert (await browser.sends("/logout", everyone="1"))[0] == 303
    assert (await browser.get("/", headers={"Cookie": f"{browser.console.sessions.cookie}={first}"}))[0] == 401


async def test_a_stranger_cannot_have_a_form_read(browser: Browser) -> None:
    big = {"Content-Type": "application/x-www-form-urlencoded", "Origin": browser.origin, "Content-Length": "1000000"}
    reader, writer = await asyncio.open_connection("127.0.0.1", browser.url.port)
    head = "".join(f"{name}: {value}\r\n" for name, value in {"Host": browser.host, **big}.items())
    writer.write(f"POST /settings HTTP/1.1\r\n{head}\r\n".encode())
    # It is answered before any of the million bytes is there.
    assert (await asyncio.wait_for(reader.readline(), 10)).split()[1] == b"401"
    writer.close()


async def test_every_answer_has_the_strict_policy(browser: Browser) -> None:
    await browser.enters()
    for path in ("/", "/nowhere", "/settings", f"/folders/{'00' * 32}"):
        _, text, response = await browser.get(path)
        assert "script-src 'self'" in response.headers["Content-Security-Policy"]
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Server"] == "harp"
        assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=|javascript:", text), path
        assert not re.search(r'(?:src|href|action)="(?:https?:)?//', text), "nothing comes from elsewhere"


# --- beyond this machine ----------------------------------------------------------------------------------------------


async def test_beyond_this_machine_it_demands_tls_and_a_password(tmp_path: Path) -> None:
    async with Tasks("test") as tasks:
        for settings, lacks in (
            (ConsoleSettings(Address("0.0.0.0", 0)), "without TLS"),
            (ConsoleSettings(Address("0.0.0.0", 0), certificate=str(tmp_path / "x.pem")), "without a password"),
            (ConsoleSettings(LOCAL, url="https://nas.example/harp"), "without a password"),
        ):
            with pytest.raises(ConfigError, match=lacks):
                await Console(tmp_path, settings, Checks(tasks)).start()
        password.store(tmp_path, "correct horse battery")
        with pytest.raises(ConfigError, match="cannot be used"):
            await Console(tmp_path, ConsoleSettings(LOCAL, certificate=str(tmp_path / "x.pem")), Checks(tasks)).start()


async def test_a_port_that_is_taken_is_an_error_unless_nobody_asked_for_it(tmp_path: Path) -> None:
    async with Tasks("test") as tasks:
        first = Console(tmp_path, ConsoleSettings(LOCAL), Checks(tasks))
        await first.start()
        taken = Address("127.0.0.1", URL(first.address).port or 0)
        with pytest.raises(ConfigError, match="in use"):
            await Console(tmp_path, ConsoleSettings(taken), Checks(tasks)).start()
        second = Console(tmp_path, ConsoleSettings(taken, may_move=True), Checks(tasks))
        await second.start()
        assert first.address != second.address
        await second.close()
        await first.close()


async def test_behind_a_reverse_proxy_it_lies_under_a_path(daemon: FakeDaemon, tmp_path: Path) -> None:
    password.store(tmp_path / "home", "correct horse battery")
    settings = ConsoleSettings(LOCAL, url="https://nas.example/harp")
    async for browser in opened(tmp_path / "home", settings):
        assert browser.console.link().url.startswith("https://nas.example/harp/in/")
        browser.host, browser.origin = "nas.example", "https://nas.example"
        for base in ("/harp", ""):  # proxies pass the path on whole, or without its beginning
            token = browser.console.link().url.rpartition("/")[2]
            _, _, response = await browser.get(f"{base}/in/{token}")
            assert "Path=/harp/" in response.headers["Set-Cookie"]
            assert "Secure" in response.headers["Set-Cookie"]
            cookie = {"Cookie": response.headers["Set-Cookie"].partition(";")[0]}
            status, text, _ = await browser.get(f"{base}/", headers=cookie)
            assert status == 200
            links = re.findall(r'(?:href|src|action|data-events)="(/[^"]*)"', text)
            assert links
            assert all(link.startswith("/harp/") for link in links), links


# --- the pages --------------------------------------------------------------------------------------------------------


async def test_every_page_is_there_and_names_are_text_on_it(browser: Browser, daemon: FakeDaemon) -> None:
    daemon.names[PHOTOS] = "<script>alert(1)</script>"
    await browser.enters()
    for path in pages.SHOWN:
        if path in ("/folders/{folder}/picture", "/devices/invitation"):
            continue
        status, text, _ = await browser.get(
            path.format(folder=PHOTOS) + f"?p={PATH_KEY}&name=a&find=a&in=&container=nc_app_x"
        )
        assert status == 200, (path, text)
        assert "<script>alert" not in text
        assert len(text) < 100_000, "a page is small"


@pytest.mark.parametrize(
    ("path", "form", "call"),
    [
        (f"/folders/{PHOTOS}/resume", {}, ("resume", PHOTOS)),
        (f"/folders/{PHOTOS}/rescan", {}, ("rescan", PHOTOS)),
        (f"/folders/{PHOTOS}/leave", {}, ("leave", PHOTOS, False)),
        (f"/folders/{PHOTOS}/leave", {"for_all": "yes"}, ("leave", PHOTOS, True)),
        (f"/folders/{PHOTOS}/ignore", {"shared": "a\r\nb\r\n"}, ("leave_out", PHOTOS, "a\nb\n", "")),
        (f"/folders/{PHOTOS}/restore", {"p": PATH_KEY, "entry": ENTRY}, ("restore", PHOTOS, b"a.txt", ENTRY)),
        (f"/folders/{PHOTOS}/held", {"held": "h1", "decision": "approve"}, ("approve", PHOTOS, "h1")),
        (f"/folders/{PHOTOS}/held", {"held": "h1", "decision": "reject"}, ("reject", PHOTOS, "h1")),
        (f"/folders/{PHOTOS}/held", {"held": "h1", "decision": "anything"}, ("reject", PHOTOS, "h1")),
        (f"/folders/{PHOTOS}/resolve", {"p": PATH_KEY, "keep": "both"}, ("resolve", PHOTOS, b"a.txt", "both")),
        ("/folders", {"path": "/nowhere/new", "name": ""}, ("share", Path("/nowhere/new"), None, True)),
        ("/devices/join", {"ticket": " harp1\nabc ", "path": "/x"}, ("join", "harp1abc", Path("/x"), False)),
        ("/devices/forget", {"device": BOB}, ("forget", BOB)),
        ("/guide/name", {"name": "laptop"}, ("config_set", "device_name", "laptop")),
        ("/health/backup", {"path": "/nowhere/b"}, ("backup", Path("/nowhere/b"))),
        ("/apps/lift", {"client": "10.0.0.9"}, ("lift", "10.0.0.9")),
    ],
)
async def test_each_form_asks_the_daemon_for_what_it_says(
    browser: Browser, daemon: FakeDaemon, path: str, form: dict[str, str], call: tuple[object, ...]
) -> None:
    daemon.fails = FolderError("not on this disk") if call[0] == "share" else None
    await browser.enters()
    status, _, _ = await browser.sends(path, **form)
    assert status == 303
    assert call in daemon.calls


async def test_what_the_daemon_refuses_is_said_on_the_page_that_it_came_from(
    browser: Browser, daemon: FakeDaemon
) -> None:
    await browser.enters()
    daemon.fails = FolderError("no <room> left", hint="free some space")
    status, _, response = await browser.sends(f"/folders/{PHOTOS}/rescan", back="/health")
    assert (status, response.headers["Location"]) == (303, "/health")
    kept_live = {"Sec-Fetch-Dest": "empty"}
    assert "no &lt;room&gt;" not in (await browser.get("/health", headers=kept_live))[1], "no person sees this one"
    _, text, _ = await browser.get("/health", headers={"Sec-Fetch-Dest": "document"})
    assert "no &lt;room&gt; left" in text
    assert "free some space" in text
    assert "no &lt;room&gt;" not in (await browser.get("/health"))[1], "it is said once"


@pytest.mark.parametrize(
    "back", ["//evil.example", "https://evil.example", "/\\evil.example", "x", "/\r\nSet-Cookie: a=b"]
)
async def test_a_form_leads_nowhere_else(browser: Browser, daemon: FakeDaemon, back: str) -> None:
    await browser.enters()
    daemon.fails = FolderError("no")
    _, _, response = await browser.sends(f"/folders/{PHOTOS}/rescan", back=back)
    assert response.headers["Location"] == "/"


def held_set(kind: str, *, can_be_approved: bool = True) -> model.HeldSet:
    return model.HeldSet(id="h", kind=kind, what="x", can_be_approved=can_be_approved, remedy="see to it")


@pytest.mark.parametrize(
    ("held", "offered"),
    [
        (held_set("deletions"), ["Put the files back", "Let it happen"]),
        (held_set("account"), ["Put both sides together", "Do here what happened there"]),
        (held_set("account", can_be_approved=False), ["Put both sides together"]),
        (held_set("rate"), ["End its membership", "Let it write on"]),
        (held_set("fork"), ["One copy is stopped: go on"]),
        (held_set("fork", can_be_approved=False), []),
        (held_set("marker", can_be_approved=False), []),
    ],
)
async def test_what_is_held_is_decided_as_the_daemon_takes_it(
    browser: Browser, daemon: FakeDaemon, held: model.HeldSet, offered: list[str]
) -> None:
    daemon.held_sets = [held]
    await browser.enters()
    text = (await browser.get(f"/folders/{PHOTOS}"))[1]
    assert re.findall(r'name="decision" value="\w+">([^<]*)<', text) == offered
    assert ("see to it" in text) == (not held.can_be_approved)


async def test_home_says_what_a_person_has_to_see_to_first(browser: Browser, daemon: FakeDaemon) -> None:
    await browser.enters()
    assert "12 files wait" in (await browser.get("/"))[1], "on the folder's tile"
    daemon.error = "its marker is gone: the disk is not mounted, or the folder was moved"
    for why in (*home.SHORTAGES, "staging: the disk is full"):
        daemon.waits_because = why
        needs = (await browser.get("/", headers={"Accept-Language": "de"}))[1].partition("Braucht dich")[2]
        needs = needs.partition("</section>")[0]
        assert "12 Dateien warten: die " in needs or "12 Dateien warten: der " in needs, why
        assert "sein Kennzeichen ist weg" in needs
    daemon.waits_because = "permission denied"
    assert "files wait:" not in (await browser.get("/"))[1]
    assert set(home.SHORTAGES) < set(fs._SENTENCES.values())


async def test_only_settings_that_differ_are_changed(browser: Browser, daemon: FakeDaemon) -> None:
    await browser.enters()
    await browser.sends("/settings", guard_files="9", discovery="true")
    assert [call for call in daemon.calls if call[0] == "config_set"] == [("config_set", "guard_files", "9")]
    assert "Saved" in (await browser.get("/settings"))[1]


async def test_a_ticket_is_shown_to_the_session_that_made_it_alone(browser: Browser, daemon: FakeDaemon) -> None:
    await browser.enters()
    await browser.sends("/devices/invite", folder=PHOTOS, role="read-only", expires="600")
    assert ("invite", PHOTOS, True, 600.0) in daemon.calls
    _, text, _ = await browser.get("/devices/invitation")
    assert "harp1abc" in text
    assert "<svg" in text
    await browser.enters()
    assert (await browser.get("/devices/invitation"))[0] == 303


async def test_a_file_that_is_no_picture_is_not_shown_as_one(browser: Browser) -> None:
    await browser.enters()
    status, _, _ = await browser.get(f"/folders/{PHOTOS}/picture?p={PATH_KEY}&e={ENTRY}")
    assert status == 415


async def test_a_copy_is_saved_and_never_shown(browser: Browser) -> None:
    await browser.enters()
    status, _, response = await browser.get(f"/folders/{PHOTOS}/download?p={PATH_KEY}&e={ENTRY}&name=a%22%0d%0ab.html")
    assert status == 200
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert response.headers["Content-Disposition"] == "attachment; filename*=UTF-8''a%22%0D%0Ab.html"


async def test_whether_changes_of_an_account_are_pushed_is_said(browser: Browser) -> None:
    await browser.enters()
    page = (await browser.get("/accounts", headers={"Accept-Language": "de"}))[1]
    assert page.count("Die Nextcloud sagt sofort, dass sich eine Datei geändert hat.") == 1
    assert page.count("Änderungen werden etwas später gesehen: der Server legt auf") == 1


async def test_the_language_is_what_the_browser_wants_or_the_person_chose(browser: Browser) -> None:
    await browser.enters()
    assert "Settings" in (await browser.get("/settings"))[1]
    german = {"Accept-Language": "fr, de-AT;q=0.8, en;q=0.5"}
    assert 'lang="de"' in (await browser.get("/settings", headers=german))[1]
    _, _, response = await browser.sends("/language", language="de")
    assert "harp-language=de" in response.headers["Set-Cookie"]


async def test_a_folder_is_checked_while_the_page_says_how_far_it_is(browser: Browser, daemon: FakeDaemon) -> None:
    await browser.enters()
    assert (await browser.sends(f"/folders/{PHOTOS}/verify"))[0] == 303
    for _ in range(200):
        if "all is as it should be" in (await browser.get(f"/folders/{PHOTOS}"))[1]:
            return
        await asyncio.sleep(0.01)
    pytest.fail("the check has not come to an end")


async def test_events_reach_the_page_as_they_come(browser: Browser, daemon: FakeDaemon) -> None:
    await browser.enters()
    status, text, response = await browser.get("/events")
    assert status == 200
    assert response.content_type == "text/event-stream"
    assert text.count("data: {") == 3
    assert PHOTOS in text


async def test_without_a_daemon_the_page_says_so(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    async for browser in opened(tmp_path / "home", ConsoleSettings(LOCAL)):
        await browser.enters()
        status, text, _ = await browser.get("/")
        assert (status, "does not answer" in text) == (502, True)


async def test_style_and_script_are_named_by_what_is_in_them(browser: Browser) -> None:
    _, text, _ = await browser.get("/login")
    path = re.findall(r'href="(/static/[^"]*\.css)"', text)[0]
    status, _, response = await browser.get(path)
    assert status == 200
    assert "immutable" in response.headers["Cache-Control"]
    for wrong in ("/static/0000/console.css", path.replace("console.css", "..%2fdoor.py"), path + "x"):
        assert (await browser.get(wrong))[0] == 404
