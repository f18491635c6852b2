# SPDX-License-Identifier: AGPL-3.0-or-later
"""Three real daemons, one of which writes more within an hour than another takes without asking a person."""

from typing import Any

import pytest

from tests.integration.office import NAME, Desk, Office, until

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(180)]

LIMIT = 100
FLOOD = 120


def _flooded(office: Office) -> tuple[Desk, Desk, Desk, dict[str, Any]]:
    """Ada asks before she takes more than 100 entries an hour of Ben; Cleo, a third, writes as people do."""
    ada = office.founder(guard_entries=str(LIMIT))
    ben, cleo = office.newcomer(ada, "ben"), office.newcomer(ada, "cleo")
    office.linked(ada, ben, cleo)
    # A batch is not taken in parts: half of it is there when the rest comes.
    for numbers in (range(FLOOD // 2), range(FLOOD // 2, FLOOD)):
        office.agreed(ada, ben, cleo)
        for number in numbers:
            ben.write(f"flood/{number}", b"%d" % number)
    until(ada.held, "Ben is held at Ada")
    (held,) = ada.ask("held", NAME)["held"]
    assert (held["kind"], held["can_be_approved"]) == ("rate", True)
    assert "ben wrote more than 100 entries within an hour" in held["what"]
    assert ada.status().held == 1
    assert held["id"] in ada.refuses("wait", NAME, "--timeout", "60").err
    return ada, ben, cleo, held


def test_a_device_that_writes_too_much_waits_and_nobody_else_does(office: Office) -> None:
    ada, ben, cleo, held = _flooded(office)
    assert f"harp approve {NAME} {held['id']}" in ada.do("held", NAME)
    ada.write("of ada", b"a")
    until(lambda: cleo.at("of ada").exists() and ben.at("of ada").exists(), "what Ada writes travels")
    ada.stop()
    ada.start()
    assert ada.ask("held", NAME)["held"] == [held], "a restart lets nobody go on"

    office.linked(ada, ben, cleo)
    ada.do("approve", NAME, held["id"])
    assert len(office.agreed(ada, ben, cleo)) == FLOOD + 2
    assert ada.ask("held", NAME)["held"] == []


def test_work_upon_what_is_held_comes_in_with_it(office: Office) -> None:
    ada, _, cleo, _ = _flooded(office)
    until(lambda: cleo.at(f"flood/{FLOOD - 1}").exists(), "Cleo, who takes more, has all of it")
    cleo.write("of cleo", b"c")
    until(lambda: ada.at("of cleo").exists(), "what Cleo writes upon it travels")


def test_an_owner_rejects_and_the_device_is_out(office: Office) -> None:
    ada, ben, cleo, held = _flooded(office)
    before = sum(path.startswith(b"flood/") for path in ada.tree())
    assert FLOOD // 2 <= before < LIMIT
    ada.do("reject", NAME, held["id"])
    shared = office.agreed(ada, cleo)
    assert sum(path.startswith(b"flood/") for path in shared) == before
    assert "ben" not in {peer.name for peer in ada.peers() if peer.folders}
    assert ben.at(f"flood/{FLOOD - 1}").exists(), "what lies on its own disk stays"
