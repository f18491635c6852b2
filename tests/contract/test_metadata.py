# SPDX-License-Identifier: AGPL-3.0-or-later
"""HaRP asks Nextcloud about an ExApp (contract, section 2.5; numbers 27 to 38, without 33)."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.contract.conftest import Cloud, Launch
from tests.contract.instance import Harp
from tests.contract.talk import SILENCE, Caller, next_name
from tests.fakes.exapp import ExApp, route
from tests.fakes.nextcloud import META

Known = Callable[..., str]


@pytest.mark.contract(27)
def test_027_what_it_asks(nextcloud: Cloud, known: Known, someone: Caller) -> None:
    app = known(route("^/"))
    assert someone.get(f"/exapps/{app}/x", [("X-Mine", "1")]).status == 200

    [call] = nextcloud.asked(META, app)
    assert call.method == "GET"
    assert call.target == f"/index.php/apps/app_api/harp/exapp-meta?appId={app}"
    assert call.values("harp-shared-key") == [nextcloud.key]
    assert not call.values("x-mine")


@pytest.mark.contract(28)
@pytest.mark.parametrize("ending", ["/index.php/", "/index.php", "/"])
def test_028_the_address_of_nextcloud_may_end_with_index_php(
    nextcloud: Cloud, known: Known, launch: Launch, ending: str
) -> None:
    app = known(route("^/"))
    with launch(NC_INSTANCE_URL=nextcloud.served.url + ending) as own:
        assert own.caller().get(f"/exapps/{app}/x").status == 200

    [call] = nextcloud.asked(META, app)
    assert call.target.startswith("/index.php/apps/")


@pytest.mark.contract(29)
def test_029_the_id_is_asked_in_lower_case(nextcloud: Cloud, known: Known, someone: Caller) -> None:
    app = known(route("^/"))

    assert someone.get(f"/exapps/{app.upper()}/x").status == 200
    assert len(nextcloud.asked(META, app)) == 1
    assert not nextcloud.asked(META, app.upper())


@pytest.mark.contract(30)
@pytest.mark.contract(31)
@pytest.mark.contract(32)
@pytest.mark.parametrize("status", [401, 404])
def test_030_to_032_an_app_that_nextcloud_does_not_know(nextcloud: Cloud, someone: Caller, status: int) -> None:
    app = next_name("nowhere")
    nextcloud.apps[app] = status

    for _ in range(3):
        reply = someone.get(f"/exapps/{app}/x")
        assert (reply.status, reply.text) == (404, "404 Not Found")

    assert len(nextcloud.asked(META, app)) == 1, "that it is unknown is remembered for 15 s"


@pytest.mark.contract(34)
def test_034_a_record_ends_not_knowing(harp: Harp, nextcloud: Cloud, exapp: ExApp, someone: Caller) -> None:
    app = next_name("soon")
    assert someone.get(f"/exapps/{app}/x").status == 404

    harp.store(app, exapp.record(route("^/")))

    assert someone.get(f"/exapps/{app}/x").status == 200
    assert len(nextcloud.asked(META, app)) == 1


@pytest.mark.contract(35)
def test_035_a_failure_is_not_remembered(nextcloud: Cloud, exapp: ExApp, someone: Caller) -> None:
    app = next_name("failing")
    nextcloud.apps[app] = 500
    assert someone.get(f"/exapps/{app}/x").status == 404

    nextcloud.apps[app] = exapp.record(route("^/"))

    assert someone.get(f"/exapps/{app}/x").status == 200


@pytest.mark.contract(36)
def test_036_twenty_at_once_ask_once(nextcloud: Cloud, known: Known, harp: Harp) -> None:
    app = known(route("^/"))
    nextcloud.slow[app] = 0.7
    with ThreadPoolExecutor(20) as pool:
        replies = list(pool.map(lambda caller: caller.get(f"/exapps/{app}/x"), [harp.caller() for _ in range(20)]))

    # Behind the reference's agent one of twenty hangs now and then, for 30 s.
    assert {reply.status for reply in replies} - ({SILENCE} if harp.is_reference else set()) == {200}
    assert len(nextcloud.asked(META, app)) == 1


@pytest.mark.contract(37)
def test_037_what_is_known_stays_known_while_nextcloud_is_down(nextcloud: Cloud, known: Known, someone: Caller) -> None:
    app = known(route("^/"))
    assert someone.get(f"/exapps/{app}/x").status == 200

    with nextcloud.down():
        assert someone.get(f"/exapps/{app}/y").status == 200


@pytest.mark.contract(38)
@pytest.mark.parametrize("said", ["{", "[]", '{"exapp_token": "t"}', "null"])
def test_038_an_answer_that_is_no_record(nextcloud: Cloud, exapp: ExApp, someone: Caller, said: str) -> None:
    app = next_name("broken")
    nextcloud.apps[app] = said
    for _ in range(11):
        assert someone.get(f"/exapps/{app}/x").status == 404

    nextcloud.apps[app] = exapp.record(route("^/"))

    assert someone.get(f"/exapps/{app}/x").status == 200, "it was not counted against the client either"


@pytest.mark.contract(35)
def test_an_app_that_nobody_knows_while_nextcloud_is_down(nextcloud: Cloud, someone: Caller) -> None:
    app = next_name("unreachable")
    with nextcloud.down():
        for _ in range(11):
            assert someone.get(f"/exapps/{app}/x").status == 404, "and nothing is counted"
