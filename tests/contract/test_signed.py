# SPDX-License-Identifier: AGPL-3.0-or-later
"""Nextcloud itself asks an app, and signs with six headers (contract, section 2.6; numbers 85 to 95)."""

import json
from collections.abc import Callable

import pytest

from tests.contract.conftest import Cloud
from tests.contract.instance import Harp, signed_token
from tests.contract.talk import SILENCE, Caller, cookie, next_name
from tests.fakes.exapp import Answer, ExApp, route
from tests.fakes.nextcloud import ADMIN, META, ORDINARY, USER

Known = Callable[..., str]


@pytest.fixture
def app(known: Known) -> str:
    return known(route("^/user", ORDINARY))


@pytest.mark.contract(85)
def test_085_a_signed_request_needs_no_route(harp: Harp, exapp: ExApp, app: str, someone: Caller) -> None:
    for path in ("/heartbeat", "/user/x", "/no/route"):
        assert someone.get(f"/exapps/{app}{path}", harp.signed(app, 1)).status == 200
        assert exapp.last.target == path
        assert exapp.last.values("aa-version") == ["32"]
        assert exapp.last.values("ex-app-version") == ["1.2.3"]


@pytest.mark.contract(86)
@pytest.mark.deviates("refused at once with a status, in place of silence")
@pytest.mark.parametrize("path", ["/heartbeat", "/user/x"])
def test_086_a_wrong_key(harp: Harp, exapp: ExApp, app: str, someone: Caller, path: str) -> None:
    for wrong in ("wrong", harp.key[:-1], harp.key + "x"):
        headers = [*harp.signed(app, exapp.port)[:-1], ("harp-shared-key", wrong)]
        reply = someone.get(f"/exapps/{app}{path}", headers, patience_s=1.5)

        if harp.is_reference:
            assert reply.status == SILENCE
        else:
            assert reply.status in (401, 403)
            assert reply.took_s < 1
    assert not exapp.seen


@pytest.mark.contract(86)
def test_a_wrong_key_among_right_headers_does_not_open_an_unknown_app(
    harp: Harp, exapp: ExApp, someone: Caller
) -> None:
    headers = [*harp.signed("x", exapp.port)[:-1], ("harp-shared-key", "wrong")]

    assert someone.get(f"/exapps/{next_name('unknown')}/x", headers, patience_s=1.5).status in (SILENCE, 401, 403, 404)
    assert not exapp.seen


@pytest.mark.contract(87)
def test_087_with_five_of_six_headers_it_is_a_browser(harp: Harp, exapp: ExApp, app: str, someone: Caller) -> None:
    six = harp.signed(app, exapp.port)
    for missing in range(6):
        five = six[:missing] + six[missing + 1 :]
        assert someone.get(f"/exapps/{app}/user/x", five).status == 403, six[missing][0]
    assert not exapp.seen


@pytest.mark.contract(88)
def test_088_an_app_that_nextcloud_does_not_know_yet(harp: Harp, exapp: ExApp, someone: Caller) -> None:
    app = next_name("new")

    assert someone.get(f"/exapps/{app}/heartbeat", harp.signed(app, exapp.port)).status == 200
    assert exapp.last.target == "/heartbeat"
    assert exapp.last.values("ex-app-version") == ["9.9.9"]
    assert exapp.last.values("ex-app-id") == [app]
    assert exapp.last.values("aa-version") == ["32"]


@pytest.mark.contract(89)
def test_089_while_nextcloud_is_down(harp: Harp, nextcloud: Cloud, exapp: ExApp, someone: Caller) -> None:
    app = next_name("new")
    with nextcloud.down():
        assert someone.get(f"/exapps/{app}/heartbeat", harp.signed(app, exapp.port)).status == 200

    assert exapp.last.target == "/heartbeat"


@pytest.mark.contract(90)
def test_090_with_a_record_the_address_of_the_headers_does_not_count(
    harp: Harp, exapp: ExApp, app: str, someone: Caller
) -> None:
    headers = harp.signed(app, 9, host="192.0.2.1")

    assert someone.get(f"/exapps/{app}/init", headers).status == 200
    assert exapp.last.values("ex-app-version") == ["1.2.3"]


@pytest.mark.contract(91)
def test_091_what_the_headers_say_is_not_remembered(
    harp: Harp, exapp: ExApp, nextcloud: Cloud, someone: Caller
) -> None:
    app = next_name("new")
    assert someone.get(f"/exapps/{app}/heartbeat", harp.signed(app, exapp.port)).status == 200
    assert someone.get(f"/exapps/{app}/heartbeat", harp.signed(app, 9)).status == 503

    assert someone.get(f"/exapps/{app}/x").status == 404
    assert harp.control("DELETE", f"/exapp_storage/{app}").status == 404


@pytest.mark.contract(91)
def test_a_port_in_the_headers_that_is_none(harp: Harp, someone: Caller) -> None:
    headers = [(name, "many" if name == "EX-APP-PORT" else value) for name, value in harp.signed("x", 1)]

    assert someone.get(f"/exapps/{next_name('new')}/heartbeat", headers).status in (400, 503)


@pytest.mark.contract(92)
@pytest.mark.parametrize("user", ["alice", ""])
def test_092_the_users_name_is_as_nextcloud_wrote_it(
    harp: Harp, exapp: ExApp, app: str, someone: Caller, user: str
) -> None:
    assert someone.get(f"/exapps/{app}/x", harp.signed(app, 1, user=user)).status == 200
    assert exapp.last.values("authorization-app-api") == [signed_token(user)]


@pytest.mark.contract(93)
def test_093_the_number_of_the_request(harp: Harp, exapp: ExApp, app: str, someone: Caller) -> None:
    assert someone.get(f"/exapps/{app}/x", [*harp.signed(app, 1), ("AA-REQUEST-ID", "r-1")]).status == 200
    assert exapp.last.values("aa-request-id") == ["r-1"]


@pytest.mark.contract(93)
@pytest.mark.deviates("the shared key and the address headers never reach an app")
def test_the_key_does_not_reach_the_app(harp: Harp, exapp: ExApp, app: str, someone: Caller) -> None:
    assert someone.get(f"/exapps/{app}/x", harp.signed(app, 1)).status == 200
    assert (harp.key in str(exapp.last)) is harp.is_reference
    assert bool(exapp.last.values("ex-app-port") or exapp.last.values("ex-app-host")) is harp.is_reference

    harp.store(app, exapp.record(route("^/")))
    assert someone.get(f"/exapps/{app}/x", [("harp-shared-key", harp.key)]).status == 200
    assert (harp.key in str(exapp.last)) is harp.is_reference


@pytest.mark.contract(94)
def test_094_nobody_is_looked_up(harp: Harp, nextcloud: Cloud, exapp: ExApp, app: str, someone: Caller) -> None:
    nextcloud.people["a-session"] = ("root", ADMIN)

    assert someone.get(f"/exapps/{app}/user", [*harp.signed(app, 1), cookie("a-session")]).status == 200
    assert not nextcloud.asked(USER, app)
    assert len(nextcloud.asked(META, app)) == 1


@pytest.mark.contract(95)
def test_095_the_life_of_an_app(harp: Harp, exapp: ExApp, app: str, someone: Caller) -> None:
    six = harp.signed(app, 1)

    assert someone.ask("POST", f"/exapps/{app}/init", six).status == 200
    assert (exapp.last.method, exapp.last.target) == ("POST", "/init")
    assert someone.ask("PUT", f"/exapps/{app}/enabled?enabled=1", six).status == 200
    assert (exapp.last.method, exapp.last.target) == ("PUT", "/enabled?enabled=1")


@pytest.mark.contract(95)
@pytest.mark.parametrize("status", [404, 501, 500])
def test_an_apps_own_status_reaches_nextcloud(harp: Harp, exapp: ExApp, app: str, someone: Caller, status: int) -> None:
    exapp.answers["/init"] = Answer(status=status, body=json.dumps({"error": "own"}).encode())

    reply = someone.ask("POST", f"/exapps/{app}/init", harp.signed(app, 1))

    assert (reply.status, reply.json) == (status, {"error": "own"})
