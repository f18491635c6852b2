# SPDX-License-Identifier: AGPL-3.0-or-later
"""What Harp promises beyond the contract: nobody gets in too long, nothing leaks, and what is known goes on."""

import asyncio
import contextlib
import http.client
import itertools
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import pytest

from tests.contract import instance
from tests.contract.conftest import KEY, Cloud, Launch
from tests.contract.instance import CONTROL, Harp, Program
from tests.contract.talk import CLOSED, Caller, Reply, basic, caller_token, cookie, next_name
from tests.fakes.exapp import Answer, ExApp, route
from tests.fakes.nextcloud import ADMIN, ORDINARY, USER

Known = Callable[..., str]
Person = Callable[..., str]

pytestmark = pytest.mark.skipif(instance.IS_REFERENCE, reason="the reference promises nothing of this")
LIFETIME_S = 3.0
OWN_KEY = ("harp-shared-key", KEY)


@pytest.fixture
def app(known: Known) -> str:
    return known(route("^/public"), route("^/user", ORDINARY), route("^/admin", ADMIN))


# --- for how long somebody gets in ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("now", [("alice", 0), ("", 0), 401], ids=["disabled", "logged out", "refused"])
def test_who_is_nobody_any_more_is_refused_after_a_lifetime_however_often_he_asks(
    nextcloud: Cloud, app: str, person: Person, someone: Caller, now: tuple[str, int] | int
) -> None:
    credential = person("alice")
    assert someone.get(f"/exapps/{app}/user", [cookie(credential)]).status == 200
    nextcloud.people[credential] = now
    disabled = time.monotonic()

    last = disabled
    while (reply := someone.get(f"/exapps/{app}/user", [cookie(credential)])).status == 200:
        last = time.monotonic()
        assert last - disabled < 2 * LIFETIME_S
        time.sleep(0.02)

    assert reply.status == 403
    assert last - disabled < LIFETIME_S + 0.3


def test_an_app_that_nextcloud_forgot_makes_nobody_a_stranger_elsewhere(
    nextcloud: Cloud, exapp: ExApp, app: str, known: Known, person: Person, someone: Caller
) -> None:
    forgotten, session = known(route("^/public"), route("^/user", ORDINARY)), [cookie(person("alice"))]
    assert someone.get(f"/exapps/{forgotten}/public").status == 200
    del nextcloud.apps[forgotten]

    assert someone.get(f"/exapps/{forgotten}/user", session).status == 403
    assert someone.get(f"/exapps/{app}/user", session).status == 200
    assert exapp.last.only("authorization-app-api") == caller_token("alice")


@pytest.mark.slow
async def test_an_open_websocket_does_not_prolong_a_session(
    harp: Harp, nextcloud: Cloud, app: str, person: Person, someone: Caller
) -> None:
    credential = person("alice")
    name, value = cookie(credential)
    async with (
        aiohttp.ClientSession() as browser,
        browser.ws_connect(f"http://{harp.host}:{harp.port}/exapps/{app}/user/ws", headers={name: value}) as socket,
    ):
        nextcloud.people[credential] = 401
        began = time.monotonic()
        while time.monotonic() < began + LIFETIME_S + 0.3:
            await socket.send_str("x")
            assert await socket.receive_str(timeout=5) == "x"
            await asyncio.sleep(0.1)

        reply = await asyncio.to_thread(someone.get, f"/exapps/{app}/user", [(name, value)])
        assert reply.status == 403


def hammered(callers: Callable[[], Caller], targets: dict[str, int], stop: threading.Event) -> list[tuple[str, int]]:
    """Ask for all targets until told to stop; what was answered otherwise than said."""
    wrong = []
    while not stop.is_set():
        for target, status in targets.items():
            reply = callers().get(target)
            if reply.status != status:
                wrong.append((target, reply.status))
    return wrong


def test_while_routes_change_there_is_no_moment_of_wrong_access(harp: Harp, exapp: ExApp) -> None:
    app = next_name("changing")
    records = [
        exapp.record(route("^/secret", ADMIN), route("^/.*")),
        exapp.record(route("^/open"), route("^/.*", ADMIN)),
        exapp.record(route(r"^/secret(\w|-|/)*$", ADMIN), route("^/other"), route("^/.*")),
        exapp.record(*(route(f"^/{number}$", ADMIN) for number in range(30)), route("^/open"), route("^/", ADMIN)),
    ]
    harp.store(app, records[0])
    targets = {f"/exapps/{app}/secret/x": 403, f"/exapps/{app}/open/x": 200}
    stop = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        watching = [pool.submit(hammered, harp.caller, targets, stop) for _ in range(2)]
        try:
            for number in range(40):
                assert harp.store(app, records[number % len(records)]).status == 204
        finally:
            stop.set()
        assert [wrong for each in watching for wrong in each.result()] == []


def test_who_asked_before_on_the_same_connection_changes_nothing(
    launch: Launch, exapp: ExApp, known: Known, person: Person
) -> None:
    routes = (
        route("^/public"),
        route("^/user", ORDINARY),
        route("^/admin", ADMIN),
        route(r"^/(\w|-)*/asked$", ORDINARY),
    )
    apps = [known(*routes), known(*routes)]
    alice, root, password = (
        cookie(person("alice")),
        cookie(person("root", ADMIN), "theme=dark"),
        basic("alice", "pass-kept"),
    )
    person("alice", credential=password[1])
    askers: list[list[tuple[str, str]]] = [
        [], [alice], [root], [password], [cookie("nobody")], [("Cookie", "theme=dark")], [root, password],
        [("Authorization", "Bearer of-the-app"), alice], [OWN_KEY], [alice, OWN_KEY],
        [("harp-shared-key", "wrong"), alice],
        [("Cookie", f"{alice[1]}; theme=light")], [("Cookie", alice[1].upper())], [(root[0], root[1][:-1])],
    ]  # fmt: skip
    usual = [f"/exapps/{app}/{path}" for app in apps for path in ("public", "user", "admin")]
    odd = ["/a-b/asked", "/nowhere", "/init", "/..", "/public%2e%2e", "", "//user"]
    targets = [f"/exapps/{app}{path}" for app in (apps[0], apps[0].upper(), "unknown-app") for path in odd]
    rng = random.Random(4)
    asked = [
        (rng.choice(of), asker)
        for pair in itertools.product(askers, repeat=2)
        for asker, of in zip((*pair, pair[0]), (usual, usual, targets), strict=True)
    ]

    statuses = set()
    with launch(HP_BLACKLIST_COUNT="100000") as own, contextlib.closing(own.caller().connect()) as kept:

        def reached(connection: http.client.HTTPConnection) -> tuple[int, list[tuple[str, list[tuple[str, str]]]]]:
            exapp.seen.clear()
            own.caller().send(connection, "GET", target, headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status, [(request.target, sorted(request.headers)) for request in exapp.seen]

        for target, headers in asked:
            with contextlib.closing(own.caller().connect()) as fresh:
                alone = reached(fresh)
            assert reached(kept) == alone, (target, headers)
            statuses.add(alone[0])
    assert statuses == {200, 403, 404}


# --- how often Nextcloud is asked -------------------------------------------------------------------------------------


def test_however_many_wait_for_one_credential_it_is_asked_about_once(
    harp: Harp, nextcloud: Cloud, exapp: ExApp, app: str, person: Person
) -> None:
    credential = person("alice")
    nextcloud.slow[credential] = 2.0
    assert harp.caller().get(f"/exapps/{app}/public").status == 200
    with ThreadPoolExecutor(64) as pool:
        waiting = [pool.submit(harp.caller().get, f"/exapps/{app}/user", [cookie(credential)]) for _ in range(64)]
        replies = [each.result() for each in waiting]

    assert {reply.status for reply in replies} == {200}
    assert len(nextcloud.asked(USER, app)) == 1


def test_the_clients_address_goes_along_so_that_the_right_one_is_throttled(
    harp: Harp, nextcloud: Cloud, app: str, person: Person, someone: Caller, another: Caller
) -> None:
    first, second = person("alice"), person("alice")
    nextcloud.throttled.add(someone.address)

    assert someone.get(f"/exapps/{app}/user", [cookie(first)]).status == 403
    assert another.get(f"/exapps/{app}/user", [cookie(second)]).status == 200
    assert nextcloud.asked(USER, app, second)[0].values("x-forwarded-for") == [another.address]


def test_an_address_that_a_client_makes_up_does_not_go_along(
    nextcloud: Cloud, app: str, person: Person, someone: Caller
) -> None:
    credential = person("alice")
    assert someone.get(f"/exapps/{app}/user", [cookie(credential), ("X-Forwarded-For", "192.0.2.1")]).status == 200

    [call] = nextcloud.asked(USER, app)
    assert call.values("x-forwarded-for")[-1].split(",")[-1].strip() == someone.address


def test_a_flood_of_random_credentials_is_held_off_and_nobody_else_is(
    harp: Harp, nextcloud: Cloud, app: str, person: Person, someone: Caller, another: Caller
) -> None:
    assert another.get(f"/exapps/{app}/public").status == 200
    nextcloud.delay_s = 1.0
    try:
        with ThreadPoolExecutor(80) as pool:
            flood = [
                pool.submit(someone.get, f"/exapps/{app}/user", [cookie(f"random-{number}")]) for number in range(80)
            ]
            time.sleep(0.3)
            theirs = another.get(f"/exapps/{app}/user", [cookie(person("alice"))])
            public = another.get(f"/exapps/{app}/public")
            statuses = [each.result().status for each in flood]
    finally:
        nextcloud.delay_s = 0.0

    # At once it would be 64; on a busy machine the flood comes in waves of as many as may ask at once.
    assert statuses.count(429) > 10
    assert set(statuses) <= {403, 429}
    assert (theirs.status, public.status) == (200, 200)
    assert theirs.took_s < 2.5
    assert public.took_s < 0.5


# --- when the agent hangs or dies -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_while_the_agent_hangs_what_is_known_goes_on(launch: Launch, app: str, person: Person) -> None:
    session = [cookie(person("alice"))]
    password = [basic("alice", "app-password-hang")]
    person("alice", credential=password[0][1])
    with launch(HP_SESSION_LIFETIME="10") as own:
        someone = own.caller()
        for path, headers in (("/public", []), ("/user", session), ("/user", password)):
            assert someone.get(f"/exapps/{app}{path}", headers).status == 200

        with own.hung():
            for path, headers in (("/public", []), ("/user", session), ("/user", password)):
                reply = someone.get(f"/exapps/{app}{path}", headers)
                assert reply.status == 200, (path, headers)
                assert reply.took_s < 0.5
            assert someone.get(f"/exapps/{app}/user").status == 403
            unknown = someone.get(f"/exapps/{app}/user", [cookie(person("bob"))])
            assert unknown.status == 503
            assert unknown.took_s < 3

        assert someone.get(f"/exapps/{app}/user", [cookie(person("bob"))]).status == 200


@pytest.mark.slow
def test_who_dies_is_brought_back(launch: Launch, exapp: ExApp, app: str, person: Person) -> None:
    stored = next_name("stored")
    with launch() as own:
        assert own.program is not None
        assert own.store(stored, exapp.record(route("^/mine"))).status == 204
        assert own.caller().get(f"/exapps/{app}/public").status == 200
        supervisor = own.program.process.pid
        for victim in [pid for pid in own.program.family() if pid != supervisor]:
            os.kill(victim, signal.SIGKILL)

        assert eventually(lambda: own.caller().get(f"/exapps/{app}/user", [cookie(person("alice"))], patience_s=3), 200)
        assert own.caller().get(f"/exapps/{app}/public").status == 200
        assert own.caller().get(f"/exapps/{stored}/mine").status == 200, "and what AppAPI said is not forgotten"
        assert own.program.process.poll() is None


def eventually(ask: Callable[[], Reply], status: int, deadline_s: float = 20.0) -> bool:
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        if ask().status == status:
            return True
        time.sleep(0.2)
    return False


@pytest.mark.slow
async def test_hup_cuts_no_websocket_and_forgets_no_ban(launch: Launch, app: str) -> None:
    with launch() as own:
        assert own.program is not None
        banned = own.caller()
        for _ in range(10):
            banned.get(f"/exapps/{app}/nowhere")
        assert banned.get(f"/exapps/{app}/public").status == 429
        async with (
            aiohttp.ClientSession() as browser,
            browser.ws_connect(f"http://{own.host}:{own.port}/exapps/{app}/public/ws") as socket,
        ):
            own.program.process.send_signal(signal.SIGHUP)
            for _ in range(40):
                reply = await asyncio.to_thread(own.caller().get, f"/exapps/{app}/public")
                assert reply.status == 200
                await socket.send_str("still here")
                assert await socket.receive_str(timeout=5) == "still here"
                await asyncio.sleep(0.1)

        assert await asyncio.to_thread(eventually, lambda: banned.get(f"/exapps/{app}/public"), 429, 5.0)


def test_term_lets_a_request_under_way_end_and_takes_no_other(launch: Launch, exapp: ExApp, app: str) -> None:
    exapp.answers["/public/slow"] = Answer(body=b"in the end", delay_s=3.0)
    with launch() as own, ThreadPoolExecutor(2) as pool:
        assert own.program is not None
        under_way = pool.submit(own.caller().get, f"/exapps/{app}/public/slow")
        while not exapp.seen:
            assert not under_way.done()
            time.sleep(0.02)

        ended = pool.submit(own.program.end)

        assert eventually(lambda: own.caller().get(f"/exapps/{app}/public"), CLOSED, 2.5)
        assert not under_way.done()
        reply = under_way.result()
        assert (reply.status, reply.body) == (200, b"in the end")
        assert ended.result() == 0


def test_a_second_one_on_the_same_address_says_so_and_ends(harp: Harp, start: Callable[..., Program]) -> None:
    # HAProxy by itself shares the port (SO_REUSEPORT): each of both would get half of the requests.
    program = start(HP_EXAPPS_ADDRESS=f"{harp.host}:{harp.port}")

    assert program.wait(20) not in (0, None)
    assert f"{harp.host}:{harp.port}" in program.output
    assert "Traceback" not in program.output


# --- keys and credentials ---------------------------------------------------------------------------------------------


def test_the_control_plane_is_closed_to_who_comes_through_a_trusted_proxy(launch: Launch) -> None:
    proxy = "127.0.9.77"
    client = "198.51.100.1"
    with launch(HP_TRUSTED_PROXY_IPS=proxy) as own:
        for name, value in (("X-Forwarded-For", client), ("X-Real-IP", client), ("Forwarded", f"for={client}")):
            reply = own.control("GET", "/info", caller=own.caller(proxy), headers=[(name, value)])
            assert reply.status == 403
            assert "HP_CONTROL_VIA_PROXY=true" in reply.text
        assert own.control("GET", "/info").status == 200
        assert own.control("GET", "/info", caller=own.caller(proxy)).status == 200, "the proxy's machine by itself"
        assert own.program is not None
        assert own.program.output.count("HP_CONTROL_VIA_PROXY=true") == 1, "said once, not for each request"

    with launch(HP_TRUSTED_PROXY_IPS=proxy, HP_CONTROL_VIA_PROXY="true") as own:
        through = own.control("GET", "/info", caller=own.caller(proxy), headers=[("X-Forwarded-For", client)])
        assert through.status == 200


def test_no_output_has_a_secret(launch: Launch, nextcloud: Cloud, exapp: ExApp, known: Known) -> None:
    kinds = ("key", "passphrase", "session", "token", "password", "bearer", "said")
    secrets = [f"secret-{kind}-7f3a9c" for kind in kinds]
    key, passphrase, session, token, password, bearer, said = secrets
    app = known(route("^/public"), route("^/user", ORDINARY), exapp_token=token)
    nextcloud.people[passphrase] = ("alice", ORDINARY)
    nextcloud.people[basic("alice", password)[1]] = ("alice", ORDINARY)
    before, nextcloud.key = nextcloud.key, key
    try:
        with launch(HP_SHARED_KEY=key, key=key, HP_LOG_LEVEL="debug", HP_VERBOSE_START="1") as own:
            someone = own.caller()
            for headers in (
                [],
                [cookie(passphrase, f"nc_session_id={session}")],
                [basic("alice", password)],
                [("Authorization", f"Bearer {bearer}")],
            ):
                for path in ("/public", "/user", "/nowhere", f"/heartbeat?x={said}"):
                    someone.get(f"/exapps/{app}{path}", headers, patience_s=2)
            own.control("GET", "/info", key=said)
            own.control("POST", "/exapp_storage/x", {"exapp_token": token})
            own.control("POST", "/exapp_storage/x", body=b"{" + token.encode())
            assert own.caller().get(f"/exapps/{app}/x", own.signed(app, 1)).status == 200
            nextcloud.people[passphrase] = 500
            own.caller().get(f"/exapps/{app}/user", [cookie(passphrase, "other=1")])
            program = own.program
        assert program is not None
    finally:
        nextcloud.key = before

    encoded = [basic("alice", password)[1].split()[1], caller_token("alice", token), caller_token("", token)]
    output = program.output
    assert len(output) > 100, "at this level something is said"
    # What stands in a query is the app's own affair, but no log's.
    assert [secret for secret in (*secrets, *encoded) if secret in output] == []


def test_what_is_wrong_about_a_key_is_not_told(harp: Harp) -> None:
    replies = [harp.caller().get(CONTROL + "/info", [("harp-shared-key", key)]) for key in ("", "x", harp.key[:-1])]

    assert len({(reply.status, reply.body, frozenset(reply.headers)) for reply in replies}) == 1
