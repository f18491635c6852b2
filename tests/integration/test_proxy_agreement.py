# SPDX-License-Identifier: AGPL-3.0-or-later
"""What HAProxy decides from its maps, and what the decision function says, are the same on every input.

HAProxy runs without an agent: whatever it may not decide by itself gets 503, and nothing weaker.
"""

import asyncio
import base64
import contextlib
import functools
import re
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harp.proxy.model import NOBODY, Allowed, AppId, Identity, Level, Route
from harp.proxy.policy import compile as policy
from harp.proxy.policy import decide, patterns
from tests.fakes.exapp import ExApp
from tests.fakes.haproxy import RealHaproxy, app, needs_haproxy, shape
from tests.fakes.ports import free_port
from tests.fakes.routes import HOSTILE, route_lists, targets

pytestmark = needs_haproxy
APP = AppId("app")
KNOWN = {"alice": (8 + 1, Identity("alice", Level.USER)), "root": (16 + 2, Identity("root", Level.ADMIN))}
"""By name: the number that HAProxy has for a person, and who it is."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RealHaproxy, ExApp]]:
    upstream = ExApp()
    upstream.start()
    run = tmp_path_factory.mktemp("agree")
    asked = shape(run, free_port(), bufsize=200_000, ban_count=1_000_000_000)
    haproxy = RealHaproxy(policy.placed(None, asked, {APP: app(upstream.port)}))
    yield haproxy, upstream
    haproxy.close()
    upstream.stop()


@functools.cache
def compiled(pattern: str) -> re.Pattern[str]:
    """As the agent does it: Python's warnings of what will mean something else one day are not its concern."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return re.compile(pattern)


def expected(routes: tuple[Route, ...], target: str, identity: Identity = NOBODY) -> int:
    """The status: 503 from the first expression on that HAProxy is not given."""
    if decide.is_internal(target):
        return 403
    for index, route in enumerate(routes):
        if patterns.for_haproxy(route.pattern) is None:
            return 503
        if compiled(route.pattern).match(target):
            said = decide.decide(routes[: index + 1], target, identity)
            return 200 if isinstance(said, Allowed) else said.status
    said = decide.decide(routes, target, identity)
    assert not isinstance(said, Allowed)
    return said.status


def agree(haproxy: RealHaproxy, upstream: ExApp, routes: tuple[Route, ...], targets: list[str]) -> None:
    upstream.seen.clear()
    asyncio.run(haproxy.become({APP: app(upstream.port, *routes)}))
    for target in targets:
        wanted = expected(routes, target)
        status, _body = haproxy.get(f"/exapps/App{target}")
        assert status == wanted, (routes, target)
        assert len(upstream.seen) == (wanted == 200)
        if wanted == 200:
            assert upstream.seen[0].target == target
        upstream.seen.clear()


@settings(max_examples=60)
@given(route_lists, st.lists(targets, min_size=1, max_size=6))
@example((Route(r"^/admin/(\w|-)*$", Level.ADMIN), Route("^/.*", Level.PUBLIC)), ["/admin/x", "/other"])
@example((Route("^/a", Level.PUBLIC), Route("^/init", Level.PUBLIC)), ["/init", "/initial", "/heartbeat"])
def test_haproxy_and_the_decision_function_agree(
    running: tuple[RealHaproxy, ExApp], routes: tuple[Route, ...], targets: list[str]
) -> None:
    agree(*running, routes, targets)


@settings(max_examples=60)
@given(route_lists, st.lists(targets, min_size=1, max_size=6), st.sampled_from(sorted(KNOWN)))
@example(
    (Route("^/a$", Level.ADMIN), Route("^/a", Level.USER), Route("^/", Level.PUBLIC)), ["/a", "/ab", "/b"], "alice"
)
@example((Route("^/a$", Level.ADMIN), Route("^/a", Level.USER), Route("^/", Level.PUBLIC)), ["/a", "/ab", "/b"], "root")
def test_they_agree_about_whom_haproxy_knows_too(
    running: tuple[RealHaproxy, ExApp], routes: tuple[Route, ...], targets: list[str], name: str
) -> None:
    """First, a request passes all rules; from the second on, the connection remembers whose it is."""
    haproxy, upstream = running
    number, identity = KNOWN[name]
    cookie = f"oc_sessionPassphrase=of-{name}"
    asyncio.run(haproxy.become({APP: app(upstream.port, *routes, Route("^/remember-me", Level.PUBLIC))}))
    asyncio.run(haproxy.know(cookie, number, identity))
    upstream.seen.clear()
    for target in targets:
        wanted = expected(routes, target, identity)
        for before in ([], ["/remember-me"]):
            with contextlib.closing(haproxy.connect()) as connection:
                answers = [
                    haproxy.ask(connection, f"/exapps/app{path}", {"Cookie": f"{cookie}; theme=dark"})
                    for path in (*before, target)
                ]
            assert answers[-1][0] == wanted, (routes, target, before)
    for seen in upstream.seen:
        assert seen.only("authorization-app-api") == policy.header_for(identity, app(upstream.port).app)
        assert seen.values("cookie") == ["theme=dark"]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("pattern", [pattern for pattern in HOSTILE if patterns.is_valid(pattern)])
def test_on_paths_of_64_kib_a_strict_route_is_never_passed_over(
    running: tuple[RealHaproxy, ExApp], pattern: str
) -> None:
    routes = (Route(pattern, Level.ADMIN), Route("^/.*", Level.PUBLIC))
    long = 64 * 1024
    # Python itself would match (a+)+ for ever: what the agent is asked about is not matched here.
    agree(
        *running, routes, ["/" + "a" * long, "/admin/" + "a-" * (long // 2), "/x/" + "/" * long, "/" + "a/b." * 16384]
    )


def test_no_expression_that_haproxy_is_given_holds_up_the_others(running: tuple[RealHaproxy, ExApp]) -> None:
    haproxy, upstream = running
    given_to_it = tuple(Route(p, Level.ADMIN) for p in HOSTILE if patterns.for_haproxy(p) not in (None, "^"))
    routes = (*(route for route in given_to_it if not compiled(route.pattern).match("/" + "q" * 60_000)),)
    asyncio.run(haproxy.become({APP: app(upstream.port, *routes)}))
    assert len(routes) > 10

    began = time.monotonic()
    for _ in range(20):
        status, _body = haproxy.get("/exapps/app/" + "q" * 60_000)
        assert status == 404
    # Twenty times a dozen expressions over 60,000 characters; one that turned back would take minutes.
    assert time.monotonic() - began < 20


def test_hostile_texts_stay_what_they_are(running: tuple[RealHaproxy, ExApp], tmp_path: Path) -> None:
    haproxy, upstream = running
    version = "1 \"%[src]\" #\\ '$HOME' |x;y"
    asyncio.run(haproxy.become({APP: app(upstream.port, Route("^/", Level.PUBLIC), token="t:\n|# x", version=version)}))
    upstream.seen.clear()

    assert haproxy.get("/exapps/App/x")[0] == 200

    assert upstream.last.only("ex-app-version") == version
    assert upstream.last.only("authorization-app-api") == base64.b64encode(b":t:\n|# x").decode()
    assert upstream.last.only("ex-app-id") == "App"
