# SPDX-License-Identifier: AGPL-3.0-or-later
"""harp.proxy.policy.decide: paths, levels, the first route that matches (contract, 2.3 to 2.8)."""

import pytest

from harp.proxy.model import NOBODY, Allowed, Identity, Level, Refusal, Route
from harp.proxy.policy import decide

ALICE = Identity("alice", Level.USER)
ROOT = Identity("root", Level.ADMIN)
DISABLED = Identity("alice", Level.PUBLIC)
ROUTES = (
    Route("^/admin", Level.ADMIN),
    Route("^/user", Level.USER, (401,)),
    Route("^/pub", Level.PUBLIC),
)


@pytest.mark.parametrize(
    "path", ["/exapps/a/../b", "/exapps/a/%2e%2E/b", "/exapps/a/x%2f..%2Fy", "/..", "/exapps/a/.."]
)
def test_a_parent_directory_is_found_however_it_is_written(path: str) -> None:
    assert decide.climbs(path)
    assert decide.before_routes(path) is Refusal.CLIMBS


@pytest.mark.parametrize("path", ["/exapps/a/..b", "/exapps/a/b..", "/exapps/a/.", "/exapps/a/%252e%252e/", "/a/..."])
def test_what_is_none(path: str) -> None:
    assert not decide.climbs(path)


@pytest.mark.parametrize(
    ("path", "spelled", "target"),
    [
        ("/exapps/a/", "a", "/"),
        ("/exapps/a", "a", "/"),
        ("/exapps/Foo/b//c", "Foo", "/b//c"),
        ("/exapps/a//x", "a", "//x"),
        ("/exapps/a/%75ser", "a", "/%75ser"),
    ],
)
def test_app_and_target(path: str, spelled: str, target: str) -> None:
    assert decide.before_routes(path) is None
    assert decide.spelled_id(path) == spelled
    assert decide.target_of(path) == target


@pytest.mark.parametrize("path", ["/", "/exapps", "/exapps/", "/exapps//x", "/nextcloud/exapps/a/x", "//exapps/a"])
def test_no_app(path: str) -> None:
    assert decide.before_routes(path) is Refusal.NO_APP_ID


def test_control_is_case_sensitive_and_apps_are_not() -> None:
    assert decide.is_control("app_api")
    assert not decide.is_control("APP_API")
    assert decide.app_id("Foo") == "foo"


@pytest.mark.parametrize(
    ("target", "who", "said"),
    [
        ("/public", NOBODY, Allowed(Level.PUBLIC, ())),
        ("/user", NOBODY, Refusal.FORBIDDEN),
        ("/user", DISABLED, Refusal.FORBIDDEN),
        ("/user", ALICE, Allowed(Level.USER, (401,))),
        ("/user", ROOT, Allowed(Level.USER, (401,))),
        ("/admin", ALICE, Refusal.FORBIDDEN),
        ("/admin", ROOT, Allowed(Level.ADMIN, ())),
        ("/nowhere", ROOT, Refusal.NO_ROUTE),
        ("/heartbeat", ROOT, Refusal.INTERNAL),
        ("/x/user", ROOT, Refusal.NO_ROUTE),
    ],
)
def test_who_may_what(target: str, who: Identity, said: object) -> None:
    assert decide.decide(ROUTES, target, who) == said


def test_the_first_that_matches_decides_even_if_a_later_one_would_allow() -> None:
    routes = (Route("^/a/admin", Level.ADMIN), Route("^/a", Level.PUBLIC))

    assert decide.decide(routes, "/a/admin/x", NOBODY) is Refusal.FORBIDDEN
    assert isinstance(decide.decide(routes, "/a/other", NOBODY), Allowed)


def test_a_level_without_a_user_is_worth_nothing() -> None:
    assert decide.decide(ROUTES, "/admin", Identity("", Level.ADMIN)) is Refusal.FORBIDDEN
