# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which route a path falls under, and whom it lets in (contract, section 2.8; numbers 50 to 59 and 72)."""

from collections.abc import Callable

import pytest

from tests.contract.conftest import Cloud
from tests.contract.instance import Harp
from tests.contract.talk import SILENCE, Caller, caller_token, cookie
from tests.fakes.exapp import ExApp, route
from tests.fakes.nextcloud import ADMIN, ANONYMOUS, META, ORDINARY, USER

Known = Callable[..., str]
Person = Callable[..., str]


@pytest.fixture
def app(known: Known) -> str:
    return known(route("^/public"), route("^/user", ORDINARY), route("^/admin", ADMIN))


@pytest.mark.contract(50)
def test_050_a_public_route(nextcloud: Cloud, exapp: ExApp, app: str, someone: Caller) -> None:
    assert someone.get(f"/exapps/{app}/public").status == 200

    assert exapp.last.only("authorization-app-api") == caller_token("")
    assert not nextcloud.asked(USER, app)


@pytest.mark.contract(51)
def test_051_nobody_at_a_route_for_people(exapp: ExApp, app: str, someone: Caller) -> None:
    reply = someone.get(f"/exapps/{app}/user")

    assert (reply.status, reply.text) == (403, "403 Forbidden")
    assert reply.values("content-type") == ["text/plain"]
    assert not exapp.seen


@pytest.mark.contract(52)
@pytest.mark.parametrize("user", ["", "alice"])
def test_052_no_admin_at_a_route_for_admins(exapp: ExApp, app: str, person: Person, someone: Caller, user: str) -> None:
    credential = person(user, ORDINARY if user else ANONYMOUS)

    assert someone.get(f"/exapps/{app}/admin", [cookie(credential)]).status == 403
    assert not exapp.seen


@pytest.mark.contract(53)
@pytest.mark.contract(54)
def test_053_and_054_an_admin(exapp: ExApp, app: str, person: Person, someone: Caller) -> None:
    root = [cookie(person("root", ADMIN))]

    for path in ("/admin", "/user", "/public"):
        assert someone.get(f"/exapps/{app}{path}", root).status == 200
        assert exapp.last.only("authorization-app-api") == caller_token("root")


@pytest.mark.contract(54)
def test_a_person_at_a_route_for_people(exapp: ExApp, app: str, person: Person, someone: Caller) -> None:
    assert someone.get(f"/exapps/{app}/user", [cookie(person("alice"))]).status == 200
    assert exapp.last.only("authorization-app-api") == caller_token("alice")


@pytest.mark.contract(52)
def test_a_disabled_person_is_named_and_let_in_nowhere(app: str, person: Person, someone: Caller) -> None:
    gone = [cookie(person("carol", ANONYMOUS))]

    assert someone.get(f"/exapps/{app}/user", gone).status == 403
    assert someone.get(f"/exapps/{app}/public", gone).status == 200


@pytest.mark.contract(55)
def test_055_no_route(exapp: ExApp, app: str, person: Person, someone: Caller) -> None:
    for headers in ([], [cookie(person("root", ADMIN))]):
        reply = someone.get(f"/exapps/{app}/elsewhere", headers)
        assert (reply.status, reply.text) == (404, "404 Not Found")
    assert not exapp.seen


@pytest.mark.contract(56)
def test_056_the_first_route_decides(known: Known, person: Person, someone: Caller) -> None:
    app = known(route("^/a/admin", ADMIN), route("^/a/", 0), route("^/b", 0), route("^/b/admin", ADMIN))
    alice = [cookie(person("alice"))]

    assert someone.get(f"/exapps/{app}/a/admin", alice).status == 403
    assert someone.get(f"/exapps/{app}/a/x").status == 200
    assert someone.get(f"/exapps/{app}/b/admin").status == 200


@pytest.mark.contract(56)
@pytest.mark.parametrize(
    "guard",
    [r"^/admin/(\w|-)*$", r"^/admin/[\w-]*$", r"^/admin(/.*)?$", r"^/(?:x|admin)/", r"^/admin/\S+$", r"(?i)^/ADMIN/"],
)
def test_a_guarded_route_before_a_public_one_holds_for_long_paths(
    known: Known, exapp: ExApp, someone: Caller, guard: str
) -> None:
    app = known(route(guard, ADMIN), route("^/.*"))

    for length in (1, 100, 2000, 8000):
        assert someone.get(f"/exapps/{app}/admin/{'a' * length}").status in (403, 414, 503)
    assert not exapp.seen


@pytest.mark.contract(57)
@pytest.mark.parametrize("wrong", ["^/[", "^/(", "^/*+?{", "(?P<n>", "\\", "^/a{2,1}"])
def test_057_a_route_that_is_no_regex_is_skipped(known: Known, someone: Caller, wrong: str) -> None:
    app = known(route(wrong), route("^/ok"))

    assert someone.get(f"/exapps/{app}/ok").status == 200
    assert someone.get(f"/exapps/{app}/other").status == 404


@pytest.mark.contract(58)
def test_058_a_route_begins_at_the_start_and_may_end_anywhere(known: Known, someone: Caller) -> None:
    app = known(route("^/pub"), route("/free"), route("^/exact$"))

    for found in ("/pub", "/pubXXX", "/pub/a/b", "/free", "/freedom", "/exact"):
        assert someone.get(f"/exapps/{app}{found}").status == 200, found
    for absent in ("/xpub", "/a/pub", "/a/free", "/exactly", "/PUB"):
        assert someone.get(f"/exapps/{app}{absent}").status == 404, absent


@pytest.mark.contract(58)
@pytest.mark.parametrize(
    ("regex", "matches", "misses"),
    [
        ("", ["/", "/x"], []),
        ("^$", [], ["/", "/x"]),
        (".*", ["/", "/x/y"], []),
        (r"^\/?hello$", ["/hello"], ["/hello2"]),
        (r"^/(echo|sse|ws)$", ["/echo", "/ws"], ["/ech", "/echoes"]),
        (r"^/v\d+/", ["/v1/", "/v22/x"], ["/v/", "/vx/"]),
        (r"^/[a-c]{2,3}$", ["/ab", "/abc"], ["/a", "/abca"]),
        (r"^/a{,2}$", ["/aa"], ["/aaa"]),
        (r"^/(?!secret)", ["/open"], ["/secret"]),
        (r"^/(a)\1$", ["/aa"], ["/a"]),
        (r"^/x#y", [], ["/x"]),
        ("^/a|^/b", ["/a", "/b"], ["/c"]),
        (r"^/\w+\.(js|css)$", ["/main.js"], ["/main-js", "/m.html"]),
    ],
)
def test_a_route_means_what_pythons_re_says(
    known: Known, someone: Caller, regex: str, matches: list[str], misses: list[str]
) -> None:
    app = known(route(regex))

    for path in matches:
        assert someone.get(f"/exapps/{app}{path}").status == 200, path
    for path in misses:
        assert someone.get(f"/exapps/{app}{path}").status == 404, path


@pytest.mark.contract(59)
def test_059_the_verb_of_a_route_does_not_count(known: Known, someone: Caller) -> None:
    app = known({**route("^/x"), "verb": "GET"})

    assert someone.ask("DELETE", f"/exapps/{app}/x").status == 200


@pytest.mark.contract(72)
@pytest.mark.deviates("an answer at once, in place of silence")
@pytest.mark.parametrize("path", ["/heartbeat", "/init", "/enabled"])
def test_072_what_only_nextcloud_may_ask(
    harp: Harp, nextcloud: Cloud, exapp: ExApp, known: Known, person: Person, path: str
) -> None:
    app = known(route("^/.*"))
    root = cookie(person("root", ADMIN))
    assert harp.caller().get(f"/exapps/{app}/x").status == 200

    for method, target in (("GET", path), ("PUT", path + "?enabled=0"), ("POST", path)):
        reply = harp.caller().ask(method, f"/exapps/{app}{target}", [root], patience_s=1.5)
        if harp.is_reference:
            assert reply.status == SILENCE
        else:
            assert reply.status in (400, 403, 404)
            assert reply.took_s < 1

    assert [seen.target for seen in exapp.seen] == ["/x"]
    assert len(nextcloud.asked(META, app)) == 1


@pytest.mark.contract(72)
def test_a_page_that_only_begins_like_that(exapp: ExApp, known: Known, someone: Caller) -> None:
    app = known(route("^/.*"))

    for path in ("/heartbeat/", "/init/x", "/enabledness", "/a/heartbeat"):
        assert someone.get(f"/exapps/{app}{path}").status == 200
        assert exapp.last.target == path
