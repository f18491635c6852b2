# SPDX-License-Identifier: AGPL-3.0-or-later
"""What takes long, all at once and beside the other tests (contract, numbers 33, 70, 82 and 84)."""

import pytest

from tests.contract.talk import caller_token
from tests.contract.waiting import Waits

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.mark.contract(33)
def test_033_that_an_app_is_unknown_is_forgotten_after_15_s(waits: Waits) -> None:
    assert waits.forgetting.result() == [(404, 1), (404, 1), (404, 2)]


@pytest.mark.contract(70)
def test_070_a_person_waits_for_nextcloud(waits: Waits) -> None:
    reply = waits.slow_person.result()

    assert reply.status == 200
    assert dict(reply.json["headers"])["authorization-app-api"] == caller_token("alice")
    assert 20 <= reply.took_s < 24


@pytest.mark.contract(70)
def test_070_but_no_longer_than_25_s(waits: Waits) -> None:
    reply = waits.slower_person.result()

    assert (reply.status, reply.text) == (401, "401 Unauthorized")
    assert 24 <= reply.took_s < 29


@pytest.mark.contract(82)
def test_082_an_idle_websocket_lives_for_two_minutes(waits: Waits) -> None:
    assert waits.idle_socket.result() == "still here"


@pytest.mark.contract(84)
def test_084_an_answer_that_takes_a_minute(waits: Waits) -> None:
    reply = waits.slow_answer.result()

    assert (reply.status, reply.body) == (200, b"at last")
    assert reply.took_s >= 60
