# SPDX-License-Identifier: AGPL-3.0-or-later
"""harp.proxy.judge: the whole decision where HAProxy has to ask (contract, 2.4 to 2.10)."""

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest

from harp.base.runtime import Counters, Tasks
from harp.proxy.callers import Callers, Numbers
from harp.proxy.judge import Granted, Judge, Question, Refused
from harp.proxy.model import CredentialKey, Credentials, ExApp, Identity, Level, Refusal, Route, Upstream
from harp.proxy.registry import Registry
from tests.fakes.appplane import UNSURE, FakeNames, FakeNextcloud, InlineMatcher, SetClock
from tests.fakes.haproxy import app

ROUTES = (
    Route("^/pub", Level.PUBLIC, (404,)),
    Route("^/user", Level.USER),
    Route("^/admin", Level.ADMIN),
    Route(r"^/(\w|-)+$", Level.USER),
)
KEY = CredentialKey("k")


@dataclass(slots=True)
class Court:
    nextcloud: FakeNextcloud
    registry: Registry
    matcher: InlineMatcher
    judge: Judge


@pytest.fixture
async def court() -> AsyncIterator[Court]:
    nextcloud, clock, counters, matcher = FakeNextcloud(), SetClock(), Counters(), InlineMatcher()
    nextcloud.apps["app"] = app(23000, *ROUTES).app
    async with Tasks("test") as tasks:
        registry = Registry(nextcloud, FakeNames(), clock, tasks, counters)
        callers = Callers(nextcloud, 3.0, clock, tasks, counters)
        yield Court(nextcloud, registry, matcher, Judge(registry, callers, Numbers(first=1), matcher))


def ask(target: str, **changed: object) -> Question:
    return replace(Question("App", target), **changed)  # type: ignore[arg-type]


def alice(target: str, **changed: object) -> Question:
    return ask(target, key=KEY, has_passphrase=True, credentials=Credentials("alice", ""), **changed)


async def test_a_public_route_asks_nobody_who_comes(court: Court) -> None:
    said = await court.judge.rule(ask("/pub"))

    assert isinstance(said, Granted)
    assert said.upstream == Upstream("127.0.0.1", 23000)
    assert said.header == base64.b64encode(b":token").decode()
    assert said.route is not None
    assert said.route.statuses == (404,)
    assert said.caller is None
    assert court.nextcloud.asked == ["app app"]


async def test_a_person_is_remembered_by_a_number_with_its_level(court: Court) -> None:
    court.nextcloud.people["alice"] = Identity("alice", Level.ADMIN)

    said = await court.judge.rule(alice("/admin"))

    assert isinstance(said, Granted)
    assert said.caller is not None
    assert said.caller.number % 4 == Level.ADMIN
    assert said.caller.until == 1003.0
    assert said.caller.text == "alice:"
    assert said.header == base64.b64encode(b"alice:token").decode()


async def test_whom_nextcloud_says_nothing_of_is_nobody_and_haproxy_does_not_remember_it(court: Court) -> None:
    court.nextcloud.strangers.add("app")

    public = await court.judge.rule(alice("/pub"))

    assert isinstance(public, Granted)
    assert public.header == base64.b64encode(b":token").decode()
    assert public.caller is None
    assert await court.judge.rule(alice("/user")) == Refused(Refusal.FORBIDDEN, True)


async def test_who_is_refused_is_remembered_too(court: Court) -> None:
    court.nextcloud.people["alice"] = Identity("alice", Level.USER)

    said = await court.judge.rule(alice("/admin"))

    assert isinstance(said, Refused)
    assert (said.why, said.counts) == (Refusal.FORBIDDEN, True)
    assert said.caller is not None


@pytest.mark.parametrize(
    ("question", "why", "counts"),
    [
        (ask("/nowhere/x"), Refusal.NO_ROUTE, True),
        (ask("/init"), Refusal.INTERNAL, True),
        (replace(ask("/x"), spelled="other"), Refusal.UNKNOWN_APP, True),
        (replace(ask("/x"), spelled="other", has_key=True), Refusal.UNKNOWN_APP, False),
        (ask("/user"), Refusal.FORBIDDEN, True),
    ],
)
async def test_refusals(court: Court, question: Question, why: Refusal, counts: bool) -> None:
    assert await court.judge.rule(question) == Refused(why, counts)


async def test_when_nextcloud_is_down_public_routes_go_on_without_the_person(court: Court) -> None:
    await court.judge.rule(ask("/pub"))
    court.nextcloud.people["alice"] = UNSURE

    public, other = await court.judge.rule(alice("/pub")), await court.judge.rule(alice("/user"))

    assert isinstance(public, Granted)
    assert public.strip_authorization
    assert public.caller is None
    assert other == Refused(Refusal.IDENTITY_UNKNOWN, False)


async def test_when_the_app_cannot_be_looked_up_it_is_nobodys_failure(court: Court) -> None:
    court.nextcloud.apps["app"] = UNSURE

    assert await court.judge.rule(ask("/pub")) == Refused(Refusal.LOOKUP_FAILED, False)


async def test_a_route_that_takes_too_long_is_refused_not_passed_over(court: Court) -> None:
    court.matcher.is_slow = True

    assert await court.judge.rule(ask("/zzz")) == Refused(Refusal.ROUTE_TOO_SLOW, False)
    assert isinstance(await court.judge.rule(ask("/pub")), Granted), "one before it needs no matching elsewhere"


@pytest.mark.parametrize(
    ("authorization", "with_cookie", "strips"),
    [("Basic x", False, True), ("Bearer x", False, True), ("Basic x", True, True), ("Bearer x", True, False)],
)
async def test_what_identified_the_person_does_not_go_on(
    court: Court, authorization: str, with_cookie: bool, strips: bool
) -> None:
    cookie = "alice" if with_cookie else ""
    court.nextcloud.people[cookie or authorization] = Identity("alice", Level.USER)
    question = ask("/user", key=KEY, has_passphrase=with_cookie, credentials=Credentials(cookie, authorization))

    said = await court.judge.rule(question)

    assert isinstance(said, Granted)
    assert said.strip_authorization is strips
    assert said.caller is not None
    assert bool(said.caller.number // 4 % 2) is strips


async def test_a_token_that_says_nothing_to_nextcloud_is_the_apps(court: Court) -> None:
    said = await court.judge.rule(ask("/pub", key=KEY, credentials=Credentials("", "Bearer of-the-app")))

    assert isinstance(said, Granted)
    assert not said.strip_authorization


# --- Nextcloud itself asks --------------------------------------------------------------------------------------------


def signed(**changed: object) -> Question:
    return ask("/init", is_signed=True, has_key=True, host="10.0.0.9", port="23009", version="9", **changed)


async def test_a_signed_request_goes_where_the_record_says(court: Court) -> None:
    assert await court.judge.rule(signed()) == Granted(Upstream("127.0.0.1", 23000), "1")


async def test_nextclouds_first_request_waits_for_the_app_and_no_browsers_does(court: Court) -> None:
    listens = asyncio.Event()

    async def listening(_app: ExApp) -> None:
        await listens.wait()

    court.registry.listening = listening
    waiting = asyncio.create_task(court.judge.rule(signed()))
    assert isinstance(await court.judge.rule(ask("/pub")), Granted)
    assert not waiting.done()

    listens.set()

    assert await waiting == Granted(Upstream("127.0.0.1", 23000), "1")


@pytest.mark.parametrize("trouble", [None, UNSURE])
async def test_without_a_record_its_own_headers_say_where_and_nothing_is_kept(
    court: Court, trouble: ExApp | Exception | None
) -> None:
    court.nextcloud.apps.pop("app")
    if trouble is not None:
        court.nextcloud.apps["app"] = trouble

    assert await court.judge.rule(signed()) == Granted(Upstream("10.0.0.9", 23009), "9")
    assert court.registry.known() == {}


@pytest.mark.parametrize("port", ["", "x", "0", "70000", "8 0"])
async def test_a_port_that_is_none(court: Court, port: str) -> None:
    court.nextcloud.apps.clear()

    assert await court.judge.rule(replace(signed(), port=port)) == Refused(Refusal.BAD_UPSTREAM, False)


async def test_a_host_that_is_none(court: Court) -> None:
    court.nextcloud.apps["app"] = replace(app(1, *ROUTES).app, host="no-such-host")

    assert await court.judge.rule(signed()) == Refused(Refusal.UNRESOLVABLE, False)
    assert await court.judge.rule(ask("/pub")) == Refused(Refusal.UNRESOLVABLE, False)
