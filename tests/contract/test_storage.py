# SPDX-License-Identifier: AGPL-3.0-or-later
"""AppAPI tells HaRP of an ExApp, and takes it back (contract, section 3.1 and 2.5; numbers 13 to 26)."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.conftest import Cloud
from tests.contract.instance import CONTROL, Harp
from tests.contract.talk import CLOSED, SILENCE, Caller, next_name
from tests.fakes.exapp import ExApp, route
from tests.fakes.nextcloud import META, USER


@pytest.fixture
def app() -> str:
    return next_name("stored")


@pytest.mark.contract(13)
def test_013_a_record_is_taken(harp: Harp, exapp: ExApp, app: str) -> None:
    reply = harp.store(app, exapp.record(route("^/")))

    assert (reply.status, reply.body) == (204, b"")


@pytest.mark.contract(13)
@pytest.mark.deviates("while the agent hangs AppAPI gets 503 within 3 s; the reference makes it wait")
def test_013_while_the_agent_hangs(launch: Callable[..., Any], exapp: ExApp, app: str) -> None:
    with launch() as own, own.hung():
        reply = own.store(app, exapp.record(route("^/")))

    if own.is_reference:
        assert reply.status in (SILENCE, CLOSED)
    else:
        assert reply.status == 503
        assert reply.took_s < 3.5


@pytest.mark.contract(14)
def test_014_what_was_stored_is_served_without_asking_nextcloud(
    harp: Harp, exapp: ExApp, nextcloud: Cloud, app: str, someone: Caller
) -> None:
    harp.store(app, exapp.record(route("^/pub")))

    assert someone.get(f"/exapps/{app}/pub/x").json["target"] == "/pub/x"
    assert not nextcloud.asked(META, app)
    assert not nextcloud.asked(USER, app)


@pytest.mark.contract(15)
def test_015_ids_have_no_case(harp: Harp, exapp: ExApp, nextcloud: Cloud, app: str, someone: Caller) -> None:
    harp.store(app.upper(), exapp.record(route("^/")))

    assert someone.get(f"/exapps/{app}/x").status == 200
    assert someone.get(f"/exapps/{app.title()}/x").status == 200
    assert not nextcloud.asked(META, app)


@pytest.mark.contract(16)
def test_016_a_second_record_replaces_the_first_at_once(harp: Harp, exapp: ExApp, app: str, someone: Caller) -> None:
    harp.store(app, exapp.record(route("^/old")))
    assert someone.get(f"/exapps/{app}/old").status == 200

    for number in range(5):
        harp.store(app, exapp.record(route(f"^/new{number}")))
        assert someone.get(f"/exapps/{app}/new{number}").status == 200
    assert someone.get(f"/exapps/{app}/old").status == 404


@pytest.mark.contract(16)
def test_a_second_record_withdraws_what_was_public(harp: Harp, exapp: ExApp, app: str, someone: Caller) -> None:
    harp.store(app, exapp.record(route("^/page")))
    assert someone.get(f"/exapps/{app}/page").status == 200

    harp.store(app, exapp.record(route("^/page", 1)))

    assert someone.get(f"/exapps/{app}/page").status == 403


def refused(harp: Harp, app: str, record: object) -> None:
    """Refused as a whole: the app is not known afterwards."""
    reply = harp.store(app, record)
    assert (reply.status, reply.text) == (400, "400: Bad Request")
    assert harp.control("DELETE", f"/exapp_storage/{app}").status == 404


@pytest.mark.contract(17)
def test_017_without_a_token(harp: Harp, exapp: ExApp, app: str) -> None:
    record = exapp.record(route("^/"))
    del record["exapp_token"]

    refused(harp, app, record)


@pytest.mark.contract(18)
def test_018_an_access_level_that_there_is_not(harp: Harp, exapp: ExApp, app: str) -> None:
    for level in (3, -1):
        refused(harp, app, exapp.record(route("^/", level)))


@pytest.mark.contract(18)
def test_an_access_level_may_be_a_numeric_string(harp: Harp, exapp: ExApp, app: str, someone: Caller) -> None:
    assert harp.store(app, exapp.record(route("^/pub", "0"), route("^/own", "1"))).status == 204

    assert someone.get(f"/exapps/{app}/pub").status == 200
    assert someone.get(f"/exapps/{app}/own").status == 403


@pytest.mark.contract(19)
def test_019_an_access_level_by_name(harp: Harp, exapp: ExApp, app: str) -> None:
    refused(harp, app, exapp.record(route("^/", "PUBLIC")))


@pytest.mark.contract(20)
def test_020_routes_may_be_absent_but_not_null(harp: Harp, exapp: ExApp, app: str, someone: Caller) -> None:
    refused(harp, app, exapp.record(routes=None))

    record = exapp.record()
    del record["routes"]
    assert harp.store(app, record).status == 204
    assert someone.get(f"/exapps/{app}/x").status == 404


@pytest.mark.contract(21)
def test_021_bruteforce_protection_may_be_absent_but_not_null(harp: Harp, exapp: ExApp, app: str) -> None:
    refused(harp, app, exapp.record({"url": "^/", "access_level": 0, "bruteforce_protection": None}))

    assert harp.store(app, exapp.record({"url": "^/", "access_level": 0})).status == 204


@pytest.mark.contract(22)
def test_022_a_port_as_a_string(harp: Harp, exapp: ExApp, app: str, someone: Caller) -> None:
    assert harp.store(app, exapp.record(route("^/"), port=str(exapp.port))).status == 204
    assert someone.get(f"/exapps/{app}/x").status == 200


@pytest.mark.contract(23)
def test_023_unknown_keys(harp: Harp, exapp: ExApp, app: str, someone: Caller) -> None:
    new = {**route("^/"), "verb": "GET", "headers_to_exclude": ["cookie"]}

    assert harp.store(app, exapp.record(new, colour="blue", nested={"a": [1]})).status == 204
    assert someone.get(f"/exapps/{app}/x").status == 200


@pytest.mark.contract(17)
@pytest.mark.parametrize("body", [b"", b"{", b"no json", b'"text"', b"[]", b"null"])
def test_a_body_that_is_no_record(harp: Harp, app: str, body: bytes) -> None:
    status = harp.control("POST", f"/exapp_storage/{app}", body=body).status

    assert status in (400, 500)
    assert harp.control("DELETE", f"/exapp_storage/{app}").status == 404


@pytest.mark.contract(24)
@pytest.mark.contract(25)
def test_024_and_025_taking_it_back(harp: Harp, exapp: ExApp, app: str) -> None:
    harp.store(app, exapp.record(route("^/")))

    assert harp.control("DELETE", f"/exapp_storage/{app.upper()}").status == 204

    again = harp.control("DELETE", f"/exapp_storage/{app}")
    assert (again.status, again.text) == (404, "404: Not Found")


@pytest.mark.contract(26)
def test_026_after_that_nextcloud_is_asked_again(
    harp: Harp, exapp: ExApp, nextcloud: Cloud, app: str, someone: Caller
) -> None:
    harp.store(app, exapp.record(route("^/old")))
    assert someone.get(f"/exapps/{app}/old").status == 200
    harp.control("DELETE", f"/exapp_storage/{app}")

    nextcloud.apps[app] = exapp.record(route("^/new"))

    assert someone.get(f"/exapps/{app}/new").status == 200
    assert someone.get(f"/exapps/{app}/old").status == 404
    assert len(nextcloud.asked(META, app)) == 1


@pytest.mark.contract(26)
def test_after_that_an_app_that_nextcloud_does_not_know_is_gone(
    harp: Harp, exapp: ExApp, app: str, someone: Caller
) -> None:
    harp.store(app, exapp.record(route("^/")))
    assert someone.get(f"/exapps/{app}/x").status == 200

    harp.control("DELETE", f"/exapp_storage/{app}")

    assert someone.get(f"/exapps/{app}/x").status == 404


@pytest.mark.contract(13)
def test_a_control_path_is_not_decoded_into_another(harp: Harp) -> None:
    reply = harp.caller().get(CONTROL + "/%2e%2e/heartbeat", [("harp-shared-key", harp.key)], patience_s=2)

    assert reply.status in (SILENCE, 400, 403, 404)
