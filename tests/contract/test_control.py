# SPDX-License-Identifier: AGPL-3.0-or-later
"""AppAPI asks HaRP itself: who is let in, and what is answered (contract, section 3.1 and 3.2; numbers 1 to 12)."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.conftest import Cloud
from tests.contract.instance import CONTROL, Harp
from tests.contract.talk import SILENCE, Caller, basic
from tests.fakes.exapp import ExApp, route


@pytest.mark.contract(1)
def test_001_heartbeat_with_the_key(harp: Harp) -> None:
    reply = harp.control("GET", "/heartbeat")

    assert reply.status == 200
    assert reply.json == {"status": "ok"}
    assert reply.values("content-type")[0].startswith("application/json")


@pytest.mark.contract(2)
@pytest.mark.parametrize("path", ["/heartbeat", "/info", "/exapp_storage/x", "/no/such/page"])
def test_002_without_the_key(harp: Harp, path: str) -> None:
    reply = harp.control("GET", path, key="")

    assert (reply.status, reply.text) == (401, "401 Unauthorized")
    assert reply.values("content-type") == ["text/plain"]


@pytest.mark.contract(3)
def test_003_with_a_wrong_key(harp: Harp) -> None:
    for wrong in ("wrong", harp.key[:-1], harp.key + "x", harp.key.upper()):
        assert harp.control("GET", "/heartbeat", key=wrong).status == 401


@pytest.mark.contract(2)
@pytest.mark.contract(3)
def test_a_wrong_key_counts_as_a_failure_of_its_sender(harp: Harp, someone: Caller) -> None:
    for _ in range(10):
        assert harp.control("GET", "/heartbeat", key="wrong", caller=someone).status == 401

    banned = harp.control("GET", "/heartbeat", key="wrong", caller=someone, patience_s=2)

    assert banned.status == (SILENCE if harp.is_reference else 429)


@pytest.mark.contract(4)
def test_004_info_says_a_version_that_appapi_accepts(harp: Harp) -> None:
    reply = harp.control("GET", "/info")

    assert reply.status == 200
    version = reply.json["version"]
    assert isinstance(version, str)
    assert re.fullmatch(r"\d+(\.\d+){2,}", version)
    assert tuple(map(int, version.split("."))) >= (0, 3, 0)


@pytest.mark.contract(5)
def test_005_info_says_whether_kubernetes_is_there(harp: Harp) -> None:
    assert harp.control("GET", "/info").json["kubernetes"]["enabled"] is False


@pytest.mark.contract(6)
def test_006_info_says_whether_docker_is_managed(harp: Harp) -> None:
    said = harp.control("GET", "/info").json["docker"]
    without_port = harp.control("POST", "/docker/exapp/exists", {"name": "x"})

    assert isinstance(said, bool)
    # Where it is managed, the handlers are there, as number 109 knows them.
    assert without_port.status == 400 or not said


@pytest.mark.contract(7)
def test_007_appapis_own_basic_credentials_do_not_disturb(harp: Harp) -> None:
    for name, value in (basic("app_api_haproxy_user", harp.key), basic("app_api_haproxy_user", "another")):
        assert harp.control("GET", "/info", headers=[(name, value)]).status == 200


@pytest.mark.contract(7)
def test_basic_credentials_are_no_key(harp: Harp) -> None:
    assert harp.control("GET", "/info", key="", headers=[basic("app_api_haproxy_user", harp.key)]).status == 401


@pytest.mark.contract(8)
def test_008_an_unknown_page(harp: Harp) -> None:
    for path in ("/no/such/page", "/", "/exapp_storage", "/exapp_storage/a/b", "/heartbeat/"):
        reply = harp.control("GET", path)
        assert (reply.status, reply.text) == (404, "404: Not Found"), path


@pytest.mark.contract(9)
def test_009_a_wrong_method(harp: Harp) -> None:
    for method, path in (("POST", "/heartbeat"), ("DELETE", "/info"), ("GET", "/exapp_storage/x")):
        reply = harp.control(method, path)
        assert (reply.status, reply.text) == (405, "405: Method Not Allowed"), path


@pytest.mark.contract(10)
def test_010_the_control_plane_has_one_spelling(harp: Harp, nextcloud: Cloud) -> None:
    for spelling in ("APP_API", "App_Api", "app_apI"):
        reply = harp.caller().get(f"/exapps/{spelling}/info", [("harp-shared-key", harp.key)])
        assert reply.status == 404
    assert nextcloud.asked("exapp-meta", "app_api"), "it is an app like any other, that Nextcloud does not know"


@pytest.mark.contract(11)
@pytest.mark.deviates("the right key is looked at before the ban: AppAPI is answered from a banned address too")
def test_011_the_right_key_from_a_banned_address(harp: Harp, someone: Caller) -> None:
    for _ in range(10):
        someone.get("/no/such/path")

    with_key = harp.control("GET", "/heartbeat", caller=someone, patience_s=2)
    without = someone.get(CONTROL + "/heartbeat", patience_s=2)

    assert with_key.status == (SILENCE if harp.is_reference else 200)
    assert without.status == (SILENCE if harp.is_reference else 429)


@pytest.mark.contract(12)
def test_012_a_body_of_900_kib(harp: Harp, exapp: ExApp) -> None:
    record = exapp.record(route("^/"), something_new="x" * 900 * 1024)

    assert harp.store("large", record).status == 204
    assert harp.caller().get("/exapps/large/x").status == 200


@pytest.mark.contract(12)
def test_a_body_of_more_than_a_mib_is_refused(harp: Harp, known: Callable[..., Any], exapp: ExApp) -> None:
    record = exapp.record(something_new="x" * 1100 * 1024)

    assert harp.store("too-large", record).status == 413
