# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who is asking: HaRP asks Nextcloud, and remembers for a moment (contract, section 2.7; numbers 60 to 71)."""

import itertools
from collections.abc import Callable

import pytest

from tests.contract.conftest import Cloud, Launch
from tests.contract.instance import Harp, Program
from tests.contract.talk import Caller, basic, caller_token, cookie
from tests.fakes.exapp import ExApp, route
from tests.fakes.nextcloud import ADMIN, ORDINARY, USER

Known = Callable[..., str]
Person = Callable[..., str]


@pytest.fixture
def app(known: Known) -> str:
    return known(route("^/public"), route("^/user", ORDINARY), route("^/admin", ADMIN))


@pytest.mark.contract(60)
def test_060_what_it_asks(harp: Harp, nextcloud: Cloud, app: str, person: Person, someone: Caller) -> None:
    credential = person("alice")
    jar = cookie(credential, "nc_session_id=1", "nc_token=2", "nc_username=alice")
    sent = [jar, basic("alice", "app-password"), ("User-Agent", "a browser"), ("X-Requested-With", "x")]
    assert someone.get(f"/exapps/{app}/user", sent).status == 200

    [call] = nextcloud.asked(USER, app)
    assert call.method == "GET"
    assert call.target == f"/index.php/apps/app_api/harp/user-info?appId={app}"
    assert call.values("harp-shared-key") == [harp.key]
    assert call.values("authorization") == [basic("alice", "app-password")[1]]
    assert {part.strip() for line in call.values("cookie") for part in line.split(";")} >= {
        f"oc_sessionPassphrase={credential}",
        "nc_session_id=1",
        "nc_token=2",
        "nc_username=alice",
    }


@pytest.mark.contract(60)
def test_a_body_and_its_framing_stay_where_they_are(
    nextcloud: Cloud, exapp: ExApp, app: str, person: Person, someone: Caller
) -> None:
    credential = person("alice")

    assert someone.ask("POST", f"/exapps/{app}/user", [cookie(credential)], b"x" * 100_000).status == 200

    [call] = nextcloud.asked(USER, app)
    assert call.method == "GET"
    assert not call.values("content-length")
    assert exapp.last.body_size == 100_000


@pytest.mark.contract(61)
def test_061_a_clients_own_key_does_not_reach_nextcloud(
    harp: Harp, nextcloud: Cloud, app: str, person: Person, someone: Caller
) -> None:
    headers = [cookie(person("alice")), ("harp-shared-key", "a guess"), ("HARP-Shared-Key", "another")]
    assert someone.get(f"/exapps/{app}/user", headers).status == 200

    [call] = nextcloud.asked(USER, app)
    assert call.values("harp-shared-key") == [harp.key]


@pytest.mark.contract(62)
def test_062_the_host_is_nextclouds_own(nextcloud: Cloud, app: str, person: Person, someone: Caller) -> None:
    headers = [cookie(person("alice")), ("Host", "cloud.example.org")]
    assert someone.get(f"/exapps/{app}/user", headers).status == 200

    [call] = nextcloud.asked(USER, app)
    assert call.values("host") == [f"127.0.0.1:{nextcloud.served.port}"]


@pytest.mark.contract(63)
def test_063_other_cookies_identify_nobody(nextcloud: Cloud, exapp: ExApp, app: str, someone: Caller) -> None:
    headers = [("Cookie", "theme=dark; my_oc_sessionPassphrase=x; oc_sessionPassphras=y")]

    assert someone.get(f"/exapps/{app}/public", headers).status == 200
    assert exapp.last.only("authorization-app-api") == caller_token("")
    assert someone.get(f"/exapps/{app}/user", headers).status == 403
    assert not nextcloud.asked(USER, app)


@pytest.mark.contract(63)
def test_an_empty_passphrase_identifies_nobody(nextcloud: Cloud, app: str, someone: Caller) -> None:
    assert someone.get(f"/exapps/{app}/user", [cookie("")]).status == 403
    assert not nextcloud.asked(USER, app)


@pytest.mark.contract(64)
def test_064_an_app_password(nextcloud: Cloud, exapp: ExApp, app: str, person: Person, someone: Caller) -> None:
    headers = [basic("alice", "app-password-64")]
    person("alice", credential=headers[0][1])

    assert someone.get(f"/exapps/{app}/user", headers).status == 200
    assert exapp.last.only("authorization-app-api") == caller_token("alice")
    assert someone.get(f"/exapps/{app}/admin", headers).status == 403
    assert someone.get(f"/exapps/{app}/user", [basic("alice", "wrong")]).status == 403


@pytest.mark.contract(65)
@pytest.mark.deviates("what is remembered is the whole credential: cookies of Nextcloud and Authorization")
def test_065_a_session_is_asked_about_once_in_its_lifetime(
    harp: Harp, nextcloud: Cloud, exapp: ExApp, app: str, person: Person, someone: Caller
) -> None:
    session = cookie(person("alice"))
    for path in ("/user", "/public", "/user/2"):
        assert someone.get(f"/exapps/{app}{path}", [session]).status == 200
        assert exapp.last.only("authorization-app-api") == caller_token("alice")
    assert len(nextcloud.asked(USER, app)) == 1

    # Another credential beside the same cookie: the reference does not look at it.
    assert someone.get(f"/exapps/{app}/user", [session, basic("bob", "x")]).status == 200
    assert len(nextcloud.asked(USER, app)) == (1 if harp.is_reference else 2)


@pytest.mark.contract(65)
@pytest.mark.parametrize("name", ["alice", "Zoë Núñez", "a+b%41?c&d", "o'neil\"\\x", "日本:語", "%[src] #;|"])
def test_one_answer_is_for_all_apps_and_each_is_told_with_its_own_token(
    nextcloud: Cloud, exapp: ExApp, known: Known, person: Person, someone: Caller, name: str
) -> None:
    credential = person(name)
    tokens = ["a-token", "another token|+%41:\0", "", "x" * 128]
    apps = [known(route("^/user", ORDINARY), exapp_token=token) for token in tokens]

    for app, token in [*zip(apps, tokens, strict=True)] * 2:
        assert someone.get(f"/exapps/{app}/user", [cookie(credential)]).status == 200
        assert exapp.last.only("authorization-app-api") == caller_token(name, token)

    asked = [call.at for call in nextcloud.asked(USER, credential=credential)]
    assert all(later - earlier > 2.9 for earlier, later in itertools.pairwise(asked)), "a lifetime has 3 s"


@pytest.mark.contract(65)
def test_two_sessions_are_two_people(exapp: ExApp, app: str, person: Person, someone: Caller) -> None:
    alice, bob = cookie(person("alice")), cookie(person("bob"))

    for user, session in (("alice", alice), ("bob", bob), ("alice", alice), ("bob", bob)):
        assert someone.get(f"/exapps/{app}/user", [session]).status == 200
        assert exapp.last.only("authorization-app-api") == caller_token(user)


@pytest.mark.contract(66)
def test_066_with_a_lifetime_of_zero_nextcloud_is_asked_each_time(
    nextcloud: Cloud, exapp: ExApp, app: str, person: Person, launch: Launch
) -> None:
    credential = person("alice")
    with launch(HP_SESSION_LIFETIME="0") as own:
        someone = own.caller()
        for _ in range(3):
            assert someone.get(f"/exapps/{app}/user", [cookie(credential)]).status == 200
        nextcloud.people[credential] = ("", 0)
        assert someone.get(f"/exapps/{app}/user", [cookie(credential)]).status == 403

    assert len(nextcloud.asked(USER, app)) == 4


@pytest.mark.contract(67)
@pytest.mark.parametrize("lifetime", ["11", "-1", "10.5", "soon"])
def test_067_a_lifetime_that_is_out_of_bounds(start: Callable[..., Program], lifetime: str) -> None:
    program = start(HP_SESSION_LIFETIME=lifetime, HP_WAIT_AGENT_HTTP="2")

    assert program.wait(20) not in (0, None)


@pytest.mark.contract(68)
@pytest.mark.deviates("app passwords are remembered for HP_SESSION_LIFETIME too")
def test_068_an_app_password_within_a_lifetime(
    harp: Harp, nextcloud: Cloud, app: str, person: Person, someone: Caller
) -> None:
    password = basic("alice", "app-password-68")
    person("alice", credential=password[1])
    for _ in range(3):
        assert someone.get(f"/exapps/{app}/user", [password]).status == 200

    assert len(nextcloud.asked(USER, app)) == (3 if harp.is_reference else 1)


@pytest.mark.contract(69)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 429])
def test_069_whom_nextcloud_refuses_is_nobody(
    exapp: ExApp, app: str, person: Person, someone: Caller, status: int
) -> None:
    session = [cookie(person(said=status))]

    assert someone.get(f"/exapps/{app}/user", session).status == 403
    assert someone.get(f"/exapps/{app}/public", session).status == 200
    assert exapp.last.only("authorization-app-api") == caller_token("")


TROUBLES = [500, 502, 503, "{", "[]", '{"user_id": "x"}', '{"user_id": "x", "access_level": 7}']


@pytest.mark.contract(70)
@pytest.mark.parametrize("trouble", TROUBLES)
def test_070_trouble_at_nextcloud_is_a_401(
    exapp: ExApp, app: str, person: Person, someone: Caller, trouble: int | str
) -> None:
    reply = someone.get(f"/exapps/{app}/user", [cookie(person(said=trouble))])

    assert (reply.status, reply.text) == (401, "401 Unauthorized")
    assert not exapp.seen


@pytest.mark.contract(70)
def test_070_while_nextcloud_is_down(nextcloud: Cloud, app: str, person: Person, someone: Caller) -> None:
    assert someone.get(f"/exapps/{app}/public").status == 200

    with nextcloud.down():
        assert someone.get(f"/exapps/{app}/user", [cookie(person("alice"))]).status == 401
        assert someone.get(f"/exapps/{app}/user").status == 403


@pytest.mark.contract(70)
def test_trouble_is_over_when_nextcloud_answers(nextcloud: Cloud, app: str, person: Person, someone: Caller) -> None:
    credential = person(said=503)
    assert someone.get(f"/exapps/{app}/user", [cookie(credential)]).status == 401

    nextcloud.people[credential] = ("alice", ORDINARY)

    assert someone.get(f"/exapps/{app}/user", [cookie(credential)]).status == 200


@pytest.mark.contract(71)
@pytest.mark.deviates("public routes go on, for nobody in particular")
@pytest.mark.parametrize("headers", [[cookie("who-knows")], [basic("who", "knows")]], ids=["session", "password"])
def test_071_a_public_route_while_nextcloud_is_down(
    harp: Harp, nextcloud: Cloud, exapp: ExApp, app: str, someone: Caller, headers: list[tuple[str, str]]
) -> None:
    assert someone.get(f"/exapps/{app}/public").status == 200

    with nextcloud.down():
        reply = someone.get(f"/exapps/{app}/public", headers)

    if harp.is_reference:
        assert reply.status == 401
    else:
        assert reply.status == 200
        assert exapp.last.only("authorization-app-api") == caller_token("")
