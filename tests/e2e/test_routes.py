# SPDX-License-Identifier: AGPL-3.0-or-later
"""The routes of an app that was started by hand, behind nginx, Harp and a real Nextcloud: who may ask for what."""

import hashlib
import json
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.e2e.browser import Browser
from tests.e2e.cloud import ADMIN
from tests.e2e.exapp import Hello
from tests.e2e.hello import EVENTS, PAUSE_S
from tests.e2e.site import Site

GIB = 1 << 30


@pytest.fixture(scope="module")
def nobody(site: Site, hello: Hello) -> Browser:
    return site.browser()


@pytest.fixture(scope="module")
def alice(site: Site, hello: Hello) -> Browser:
    return site.browser("alice")


@pytest.fixture(scope="module")
def admin(site: Site, hello: Hello) -> Browser:
    return site.browser(ADMIN)


@pytest.mark.contract(150)
def test_each_level_for_nobody_a_person_and_an_admin(nobody: Browser, alice: Browser, admin: Browser) -> None:
    asked = {
        path: [browser.get(f"/exapps/hello{path}").status for browser in (nobody, alice, admin)]
        for path in ("/public", "/user", "/admin", "/nowhere")
    }

    assert asked == {
        "/public": [200, 200, 200],
        "/user": [403, 200, 200],
        "/admin": [403, 403, 200],
        "/nowhere": [404, 404, 404],
    }


def test_the_app_is_told_who_asks(nobody: Browser, alice: Browser) -> None:
    by_nobody, by_alice = nobody.get("/exapps/hello/public").json, alice.get("/exapps/hello/user?x=%20y").json

    assert (by_nobody["user"], by_alice["user"]) == ("", "alice")
    assert by_nobody["is_signed"]
    assert by_alice["is_signed"]
    assert by_alice["query"] == "x=%20y"


def test_neither_the_session_nor_the_key_reaches_the_app(alice: Browser, site: Site) -> None:
    by_session = alice.get("/exapps/hello/user").json["headers"]
    by_password = site.browser().get("/exapps/hello/user", site.cloud.people["alice"].basic).json["headers"]
    by_nextcloud = alice.get("/index.php/apps/app_api/proxy/hello/user").json["headers"]

    values = {cookie.value for cookie in alice.cookies if cookie.name in ("oc_sessionPassphrase", "nc_token")}
    assert len(values) == 2
    assert not any(value in json.dumps(by_session) for value in values if value)
    assert "authorization" not in by_password
    for headers in (by_session, by_password, by_nextcloud):
        assert not headers.keys() & {"harp-shared-key", "ex-app-host", "ex-app-port"}


def test_an_app_password_opens_what_its_owner_may_see(nobody: Browser, site: Site) -> None:
    alice, admin = site.cloud.people["alice"], site.cloud.people[ADMIN]

    assert nobody.get("/exapps/hello/user", alice.basic).json["user"] == "alice"
    assert nobody.get("/exapps/hello/admin", alice.basic).status == 403
    assert nobody.get("/exapps/hello/admin", admin.basic).json["user"] == ADMIN
    wrong = {"Authorization": "Basic YWxpY2U6d3Jvbmc="}
    assert nobody.get("/exapps/hello/user", wrong).status == 403


def test_a_person_who_was_logged_out_or_disabled_is_nobody_soon(site: Site, hello: Hello) -> None:
    site.cloud.person("bob")
    bob = site.browser("bob")
    assert bob.get("/exapps/hello/user").status == 200

    site.cloud.occ("user:disable", "bob")

    time.sleep(3.2)
    assert bob.get("/exapps/hello/user").status == 403


def test_the_apps_own_calls_are_nextclouds_alone(alice: Browser, admin: Browser) -> None:
    for path in ("/heartbeat", "/init", "/enabled"):
        assert [each.get(f"/exapps/hello{path}").status for each in (alice, admin)] == [403, 403]


def test_what_controls_harp_does_not_go_through_the_public_server(site: Site) -> None:
    key = {"harp-shared-key": site.harp.key}

    assert site.browser().get("/exapps/app_api/info", key).status == 403
    assert site.harp.control("GET", "/info").status == 200


async def test_a_websocket_with_a_session_and_none_without(alice: Browser, site: Site) -> None:
    url = f"{site.cloud.url}/exapps/hello/user-socket"
    async with aiohttp.ClientSession() as client:
        async with client.ws_connect(url, headers=alice.cookie_header) as socket:
            for text in ("hello", "x" * 1000, "y" * 100_000):
                await socket.send_str(text)
                assert await socket.receive_str(timeout=10) == text
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect(url)
        assert refused.value.status == 403


async def test_events_arrive_one_by_one(site: Site, hello: Hello) -> None:
    arrived: list[float] = []
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"{site.cloud.url}/exapps/hello/events") as reply,
    ):
        async for line in reply.content:
            if line.startswith(b"data:"):
                arrived.append(time.monotonic())

    assert len(arrived) == EVENTS
    # Had something on the way waited for the end, they would have come together.
    assert arrived[-1] - arrived[0] > PAUSE_S


async def test_an_upload_of_a_gibibyte_arrives_as_it_was_sent(site: Site, hello: Hello) -> None:
    piece, digest = b"0123456789abcdef" * (1 << 16), hashlib.sha256()

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(GIB // len(piece)):
            digest.update(piece)
            yield piece

    headers = {**site.cloud.people["alice"].basic, "Content-Length": str(GIB)}
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=300)) as client,
        client.put(f"{site.cloud.url}/exapps/hello/user-upload", data=pieces(), headers=headers) as reply,
    ):
        assert await reply.json() == {"size": GIB, "sha256": digest.hexdigest()}


async def test_an_upload_of_unknown_length_too(site: Site, hello: Hello) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(100):
            yield bytes([number]) * 10_000

    async with (
        aiohttp.ClientSession() as client,
        client.post(f"{site.cloud.url}/exapps/hello/upload", data=pieces()) as reply,
    ):
        assert (await reply.json())["size"] == 1_000_000


def test_nextclouds_own_proxy_leads_to_the_same_app(nobody: Browser, alice: Browser, admin: Browser) -> None:
    asked = {
        path: [each.get(f"/index.php/apps/app_api/proxy/hello{path}").status for each in (nobody, alice, admin)]
        for path in ("/public", "/user", "/admin")
    }

    assert asked == {"/public": [200, 200, 200], "/user": [404, 200, 200], "/admin": [404, 404, 200]}
    assert alice.get("/index.php/apps/app_api/proxy/hello/user").json["user"] == "alice"
