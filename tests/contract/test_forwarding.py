# SPDX-License-Identifier: AGPL-3.0-or-later
"""What reaches the app, and what comes back (contract, sections 2.1 and 2.9; numbers 73 to 83)."""

import asyncio
import hashlib
from collections.abc import Callable, Iterator

import aiohttp
import pytest

from tests.contract.conftest import Launch
from tests.contract.instance import Harp
from tests.contract.talk import Caller, basic, caller_token, cookie
from tests.fakes.exapp import Answer, ExApp, route
from tests.fakes.nextcloud import ORDINARY

Known = Callable[..., str]
Person = Callable[..., str]


@pytest.fixture
def app(known: Known) -> str:
    return known(route("^/user", ORDINARY), route("^/"))


@pytest.mark.contract(73)
def test_073_the_id_is_spelled_as_in_the_address(exapp: ExApp, app: str, someone: Caller) -> None:
    for spelling in (app, app.upper(), app.title()):
        assert someone.get(f"/exapps/{spelling}/x").status == 200
        assert exapp.last.values("ex-app-id") == [spelling]


@pytest.mark.contract(74)
def test_074_the_version_is_the_records(harp: Harp, exapp: ExApp, app: str, someone: Caller) -> None:
    assert someone.get(f"/exapps/{app}/x").status == 200
    assert exapp.last.values("ex-app-version") == ["1.2.3"]

    harp.store(app, exapp.record(route("^/"), exapp_version='2.0 "beta" %[src] #1'))

    assert someone.get(f"/exapps/{app}/x").status == 200
    assert exapp.last.values("ex-app-version") == ['2.0 "beta" %[src] #1']


@pytest.mark.contract(75)
@pytest.mark.parametrize("user", ["alice", "bob@example.org", "Jörg Ölçü", "a:b", "x" * 64, "O'Neil & co"])
def test_075_a_person_is_named_with_the_token(
    exapp: ExApp, app: str, person: Person, someone: Caller, user: str
) -> None:
    assert someone.get(f"/exapps/{app}/user", [cookie(person(user))]).status == 200
    assert exapp.last.values("authorization-app-api") == [caller_token(user)]


def test_a_new_token_of_the_app_is_used_at_once_for_who_is_known_too(
    harp: Harp, exapp: ExApp, app: str, person: Person, someone: Caller
) -> None:
    session = [cookie(person("alice"))]
    assert someone.get(f"/exapps/{app}/user", session).status == 200
    harp.store(app, exapp.record(route("^/user", 1), exapp_token="another-token"))

    assert someone.get(f"/exapps/{app}/user", session).status == 200
    assert exapp.last.values("authorization-app-api") == [caller_token("alice", "another-token")]


@pytest.mark.contract(76)
def test_076_nobody_is_named_with_the_token(exapp: ExApp, app: str, someone: Caller) -> None:
    assert someone.get(f"/exapps/{app}/x").status == 200
    assert exapp.last.values("authorization-app-api") == [caller_token("")]


@pytest.mark.contract(77)
def test_077_the_version_of_the_interface(exapp: ExApp, app: str, someone: Caller) -> None:
    assert someone.get(f"/exapps/{app}/x").status == 200
    assert exapp.last.values("aa-version") == ["32"]


FORGED = [
    ("EX-APP-ID", "another"),
    ("ex-app-id", "twice"),
    ("EX-APP-VERSION", "0.0.1"),
    ("AUTHORIZATION-APP-API", caller_token("root")),
    ("Authorization-App-Api", caller_token("root")),
    ("AA-VERSION", "1"),
]


@pytest.mark.contract(78)
def test_078_what_a_client_says_of_these_does_not_count(
    exapp: ExApp, app: str, person: Person, someone: Caller
) -> None:
    for headers, user in (([], ""), ([cookie(person("alice"))], "alice")):
        assert someone.get(f"/exapps/{app}/user" if user else f"/exapps/{app}/x", [*FORGED, *headers]).status == 200

        seen = exapp.last
        assert seen.values("ex-app-id") == [app]
        assert seen.values("ex-app-version") == ["1.2.3"]
        assert seen.values("authorization-app-api") == [caller_token(user)]
        assert seen.values("aa-version") == ["32"]


def sent_cookies(exapp: ExApp) -> list[str]:
    return [part.strip() for line in exapp.last.values("cookie") for part in line.split(";") if part.strip()]


OWN_COOKIES = ["theme=dark", "appsession=a=b", "oc_other=1"]
NEXTCLOUDS = [
    "nc_session_id=s",
    "nc_token=t",
    "nc_username=alice",
    "__Host-nc_sameSiteCookielax=true",
    "__Host-nc_sameSiteCookiestrict=true",
    "oc1a2b3c4d5e=instance",
]


@pytest.mark.contract(79)
@pytest.mark.deviates(
    "credentials of the person do not reach the app: Nextcloud's cookies, an Authorization of its own"
)
def test_079_what_else_a_client_sends(harp: Harp, exapp: ExApp, app: str, person: Person, someone: Caller) -> None:
    password = basic("alice", "app-password-79")
    session = person("alice")
    headers = [
        cookie(session, *OWN_COOKIES, *NEXTCLOUDS),
        password,
        ("Host", "cloud.example.org:8443"),
        ("X-Forwarded-For", "198.51.100.1, 203.0.113.2"),
        ("X-Forwarded-Proto", "https"),
        ("X-Real-IP", "198.51.100.1"),
        ("Accept-Language", "de"),
        ("AA-REQUEST-ID", "abc"),
    ]
    assert someone.get(f"/exapps/{app}/user", headers).status == 200

    seen = exapp.last
    for name, value in headers[2:]:
        assert seen.values(name) == [value]
    if harp.is_reference:
        assert sent_cookies(exapp) == [f"oc_sessionPassphrase={session}", *OWN_COOKIES, *NEXTCLOUDS]
        assert seen.values("authorization") == [password[1]]
    else:
        assert sent_cookies(exapp) == OWN_COOKIES
        assert seen.values("authorization") == []


@pytest.mark.contract(79)
@pytest.mark.deviates(
    "credentials of the person do not reach the app: Nextcloud's cookies, an Authorization of its own"
)
def test_079_on_a_public_route_too(harp: Harp, exapp: ExApp, app: str, person: Person, someone: Caller) -> None:
    session = person("alice")
    assert someone.get(f"/exapps/{app}/x", [cookie(session, *NEXTCLOUDS)]).status == 200

    assert sent_cookies(exapp) == ([f"oc_sessionPassphrase={session}", *NEXTCLOUDS] if harp.is_reference else [])
    assert harp.is_reference or not exapp.last.values("cookie"), "an empty header is none"


@pytest.mark.contract(79)
def test_an_authorization_that_identifies_nobody_at_nextcloud_is_the_apps(
    exapp: ExApp, app: str, person: Person, someone: Caller
) -> None:
    token = ("Authorization", "Bearer of-the-app-itself")
    person(credential=token[1], said=401)

    assert someone.get(f"/exapps/{app}/x", [token]).status == 200
    assert exapp.last.values("authorization") == [token[1]]


@pytest.mark.contract(79)
def test_with_hp_forward_credentials_all_reach_the_app(launch: Launch, exapp: ExApp, app: str, person: Person) -> None:
    session, password = person("alice"), basic("alice", "app-password-79b")
    with launch(HP_FORWARD_CREDENTIALS="true") as own:
        sent = [cookie(session, *NEXTCLOUDS), password]
        assert own.caller().get(f"/exapps/{app}/user", sent).status == 200

    assert sent_cookies(exapp) == [f"oc_sessionPassphrase={session}", *NEXTCLOUDS]
    assert exapp.last.values("authorization") == [password[1]]


@pytest.mark.contract(80)
@pytest.mark.parametrize("status", [200, 201, 204, 206, 301, 400, 401, 403, 404, 418, 429, 500, 501, 503])
def test_080_an_answer_comes_back_as_it_is(exapp: ExApp, app: str, someone: Caller, status: int) -> None:
    body = b"" if status == 204 else f"a {status} with \0 bytes \xff".encode("latin-1")
    headers = [
        ("Content-Type", "text/x-own; charset=x"),
        ("Set-Cookie", "a=1; Path=/"),
        ("Set-Cookie", "b=2; HttpOnly"),
        ("X-Own", "yes"),
        ("Cache-Control", "max-age=5"),
        ("Location", "/elsewhere"),
    ]
    exapp.answers["/own"] = Answer(status=status, headers=headers, body=body)

    reply = someone.get(f"/exapps/{app}/own")

    assert (reply.status, reply.body) == (status, body)
    for name in {name for name, _value in headers}:
        assert reply.values(name) == [value for key, value in headers if key == name]


@pytest.mark.contract(80)
def test_a_large_answer_comes_back_whole(exapp: ExApp, app: str, someone: Caller) -> None:
    body = bytes(range(256)) * 40_000
    exapp.answers["/large"] = Answer(body=body)

    assert hashlib.sha256(someone.get(f"/exapps/{app}/large").body).digest() == hashlib.sha256(body).digest()


@pytest.mark.contract(81)
@pytest.mark.parametrize("path", ["/sse", "/chunks"])
def test_081_a_stream_arrives_piece_by_piece(exapp: ExApp, app: str, someone: Caller, path: str) -> None:
    connection = someone.connect()
    try:
        someone.send(connection, "GET", f"/exapps/{app}{path}")
        exapp.next_event(b"data: first\n\n")
        answer = connection.getresponse()
        # The next piece is sent only when this one is here: whoever gathers waits for ever.
        for piece in (b"first", b"second", b"third"):
            assert answer.read1(100) == b"data: " + piece + b"\n\n"
            following = {b"first": b"second", b"second": b"third"}.get(piece)
            exapp.next_event(following and b"data: " + following + b"\n\n")
        assert answer.read() == b""
    finally:
        connection.close()


@pytest.mark.contract(82)
@pytest.mark.parametrize("path", ["/ws", "/user/ws"])
async def test_082_a_websocket(harp: Harp, exapp: ExApp, app: str, person: Person, someone: Caller, path: str) -> None:
    session = cookie(person("alice"))
    connector = aiohttp.TCPConnector(local_addr=None if someone.is_forwarded else (someone.address, 0))
    async with (
        aiohttp.ClientSession(connector=connector) as browser,
        browser.ws_connect(
            f"http://{harp.host}:{harp.port}/exapps/{app}{path}", headers=dict([session]), protocols=["chat"]
        ) as socket,
    ):
        await socket.send_str("hello")
        assert await socket.receive_str(timeout=5) == "hello"
        await socket.send_bytes(b"\0" * 200_000)
        assert await socket.receive_bytes(timeout=5) == b"\0" * 200_000
        await asyncio.sleep(0)

    assert exapp.last.only("authorization-app-api") == caller_token("alice")
    assert exapp.last.values("sec-websocket-protocol") == ["chat"]


@pytest.mark.contract(82)
async def test_a_websocket_of_nobody_at_a_route_for_people(harp: Harp, exapp: ExApp, app: str) -> None:
    async with aiohttp.ClientSession() as browser:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await browser.ws_connect(f"http://{harp.host}:{harp.port}/exapps/{app}/user/ws")

    assert refused.value.status == 403
    assert not exapp.seen


@pytest.mark.contract(82)
@pytest.mark.slow
async def test_an_idle_websocket_is_no_idle_client(launch: Launch, exapp: ExApp, app: str) -> None:
    with launch(HP_TIMEOUT_CLIENT="2s", HP_TIMEOUT_SERVER="2s", HP_TIMEOUT_TUNNEL="1h") as own:
        async with (
            aiohttp.ClientSession() as browser,
            browser.ws_connect(f"http://{own.host}:{own.port}/exapps/{app}/ws") as socket,
        ):
            await asyncio.sleep(6)
            await socket.send_str("still here")
            assert await socket.receive_str(timeout=5) == "still here"


@pytest.mark.contract(83)
@pytest.mark.slow
def test_083_an_upload_of_more_than_a_gib(exapp: ExApp, app: str, someone: Caller) -> None:
    piece = bytes(1 << 20)
    held: list[int] = []

    def pieces() -> Iterator[bytes]:
        for number in range(1100):
            if number == 64:
                held.append(exapp.received_bytes)
            yield piece

    reply = someone.ask("PUT", f"/exapps/{app}/upload", body=pieces(), patience_s=50)

    assert reply.status == 200
    assert exapp.last.body_size == 1100 << 20
    assert held[0] > 0, "the app had got nothing of it after 64 MiB: it is gathered, not streamed"


@pytest.mark.contract(83)
def test_an_upload_with_a_length_keeps_it(exapp: ExApp, app: str, someone: Caller) -> None:
    assert someone.ask("PUT", f"/exapps/{app}/upload", body=b"x" * (3 << 20)).status == 200
    assert exapp.last.values("content-length") == [str(3 << 20)]
