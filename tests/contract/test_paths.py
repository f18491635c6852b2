# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which path belongs to which app, and what of it the app gets (contract, section 2.3; numbers 39 to 49)."""

import hashlib
from collections.abc import Callable

import pytest

from tests.contract.instance import Harp
from tests.contract.talk import SILENCE, Caller
from tests.fakes.exapp import ExApp, route

Known = Callable[..., str]


@pytest.fixture
def app(known: Known) -> str:
    return known(route("^/"))


@pytest.mark.contract(39)
@pytest.mark.parametrize("path", ["/", "/status.php", "/index.php/apps/files", "/exapps", "/exapps/", "/xexapps/a/b"])
def test_039_a_path_of_no_app(someone: Caller, path: str) -> None:
    reply = someone.get(path)

    assert (reply.status, reply.text) == (404, "404 Not Found")


@pytest.mark.deviates("an answer at once, in place of silence")
@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/../b", marks=pytest.mark.contract(40)),
        pytest.param("/x/..", marks=pytest.mark.contract(40)),
        pytest.param("/%2e%2E/b", marks=pytest.mark.contract(41)),
        pytest.param("/x/.%2e/b", marks=pytest.mark.contract(41)),
        pytest.param("/x%2f..%2fy", marks=pytest.mark.contract(42)),
        pytest.param("/x%2F%2e%2E%2fy", marks=pytest.mark.contract(42)),
    ],
)
def test_040_to_042_the_parent_folder(harp: Harp, exapp: ExApp, app: str, someone: Caller, path: str) -> None:
    reply = someone.get(f"/exapps/{app}{path}", patience_s=2)

    assert not exapp.seen
    if harp.is_reference:
        assert reply.status == SILENCE
    else:
        assert reply.status in (400, 403, 404)
        assert reply.took_s < 1


@pytest.mark.contract(40)
@pytest.mark.parametrize("path", ["/...", "/..x/y", "/x../y", "/x..%2fy", "/a..b", "/.%2ex", "/?up=/../x"])
def test_two_dots_that_are_no_folder(exapp: ExApp, app: str, someone: Caller, path: str) -> None:
    assert someone.get(f"/exapps/{app}{path}").status == 200
    assert exapp.last.target == path


@pytest.mark.contract(43)
@pytest.mark.parametrize(
    "path",
    [
        "/x%20y",
        "/x%2Fy",
        "/x%2fy",
        "/%C3%A4",
        "/a%3Fb",
        "/a%23b",
        "/%25",
        "/a//b",
        "/./a",
        "/a;b=c,d",
        "/a+b'(c)*",
        "/~@:",
    ],
)
def test_043_a_path_arrives_as_it_was_sent(exapp: ExApp, app: str, someone: Caller, path: str) -> None:
    assert someone.get(f"/exapps/{app}{path}").status == 200
    assert exapp.last.target == path


@pytest.mark.contract(44)
@pytest.mark.parametrize("rest", ["/x?q=1&r=%2F..%2F&s=a+b%20c", "/?q=1", "/x?", "/x?a=?&b=/exapps/y/../z"])
def test_044_the_query_arrives_as_it_was_sent(exapp: ExApp, app: str, someone: Caller, rest: str) -> None:
    assert someone.get(f"/exapps/{app}{rest}").status == 200
    assert exapp.last.target == rest


@pytest.mark.contract(45)
def test_045_the_root_of_an_app(exapp: ExApp, app: str, someone: Caller) -> None:
    assert someone.get(f"/exapps/{app}/").status == 200
    assert exapp.last.target == "/"


@pytest.mark.contract(45)
def test_an_app_without_a_slash_is_its_root_or_an_error(exapp: ExApp, known: Known, someone: Caller) -> None:
    app = known(route(""), route("^/"))

    reply = someone.get(f"/exapps/{app}")

    assert reply.status in (200, 400)
    assert [seen.target for seen in exapp.seen] in ([], ["/"])


@pytest.mark.contract(46)
def test_046_what_a_route_is_matched_against(exapp: ExApp, known: Known, someone: Caller) -> None:
    app = known(route("^/a%20b$"), route("^/c d$"), route("^/plain$"), route("^no-slash"), route(r"^/q.*\?x=1$"))

    assert someone.get(f"/exapps/{app}/a%20b").status == 200
    assert someone.get(f"/exapps/{app}/c%20d").status == 404
    assert someone.get(f"/exapps/{app}/plain?with=query").status == 200
    assert someone.get(f"/exapps/{app}/no-slash").status == 404
    assert someone.get(f"/exapps/{app}/q?x=1").status == 404


@pytest.mark.contract(47)
def test_047_an_encoded_letter_is_not_that_letter(known: Known, someone: Caller) -> None:
    app = known(route("^/user"))

    assert someone.get(f"/exapps/{app}/%75ser").status == 404
    assert someone.get(f"/exapps/{app}/user").status == 200


@pytest.mark.contract(48)
@pytest.mark.parametrize("prefix", ["/nextcloud", "/", "/a/b"])
def test_048_a_prefix_before_exapps(app: str, known: Known, exapp: ExApp, someone: Caller, prefix: str) -> None:
    narrow = known(route("^/x$"))

    assert someone.get(f"{prefix}/exapps/{narrow}/x").status == 404
    assert not exapp.seen


@pytest.mark.contract(49)
@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "MKCOL", "REPORT", "SEARCH"]
)
def test_049_every_method_is_forwarded(exapp: ExApp, app: str, someone: Caller, method: str) -> None:
    body = b"a body" if method in ("POST", "PUT", "PATCH", "PROPFIND", "REPORT", "SEARCH") else None

    assert someone.ask(method, f"/exapps/{app}/x", body=body).status == 200

    assert exapp.last.method == method
    assert exapp.last.body_sha256 == hashlib.sha256(body or b"").hexdigest()
