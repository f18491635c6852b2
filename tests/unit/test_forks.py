# SPDX-License-Identifier: AGPL-3.0-or-later
"""A copied identity: stopped everywhere, shown to a person, and let go on anew by an owner with nothing lost."""

from pathlib import Path as FilePath

import pytest

from harp.base.errors import TrustError, UsageError
from harp.sync.model import Role
from harp.sync.service.forks import Forks
from tests.fakes.history import file_draft
from tests.fakes.replicas import Device, branch, disconnect, encoded, office, settle


@pytest.fixture
def three(tmp_path: FilePath) -> list[Device]:
    """Ben said one thing, and his double another; all have met by now."""
    anna, ben, cleo = office(tmp_path, Role.READ_WRITE, Role.OWNER)
    double = branch(ben, file_draft(b"double.txt", 0))
    ben.put("mine.txt", b"said by ben")
    ben.looks()
    settle(anna, ben, cleo)
    anna.loop.take(encoded([double]))
    settle(anna, ben, cleo)
    return [anna, ben, cleo]


def test_the_double_is_known_to_all_and_shown_under_one_id(three: list[Device]) -> None:
    found = [Forks(device.replica).open() for device in three]
    assert [len(one) for one in found] == [1, 1, 1]
    assert len({one.id for [one] in found}) == 1
    assert found[0][0].author == three[1].key.device_id
    assert [Forks(device.replica).own_is_stopped for device in three] == [False, True, False]
    assert all(not device.loop.is_settled for device in three), "it waits for a person"


def test_who_is_stopped_says_nothing_more(three: list[Device]) -> None:
    anna, ben, _ = three
    before = ben.replica.ledger.vector()
    ben.put("later.txt", b"x")
    ben.looks()
    settle(*three)
    assert ben.replica.ledger.vector() == before
    assert "later.txt" not in anna.tree()
    assert "later.txt" in ben.tree()


def test_an_owner_lets_it_go_on_anew_and_nothing_is_lost(three: list[Device]) -> None:
    anna, ben, cleo = three
    [fork] = Forks(anna.replica).open()
    before = ben.replica.incarnation
    anna.decisions.approve(fork.id)
    settle(*three)
    ben.looks()
    settle(*three)
    assert ben.replica.incarnation != before
    assert anna.tree() == ben.tree() == cleo.tree()
    assert anna.tree()["mine.txt"] == b"said by ben"
    assert all(not Forks(device.replica).open() for device in three)
    assert all(device.loop.is_settled for device in three)


def test_a_device_does_not_vouch_for_its_own_double(tmp_path: FilePath, three: list[Device]) -> None:
    _, ben, _ = three
    [fork] = Forks(ben.replica).open()
    with pytest.raises((UsageError, TrustError)):
        ben.decisions.approve(fork.id)


def test_a_fork_is_remembered_over_a_restart(three: list[Device]) -> None:
    anna, ben, cleo = three
    [fork] = Forks(anna.replica).open()
    disconnect(anna, ben)
    disconnect(anna, cleo)
    anna.reopen()
    assert Forks(anna.replica).open() == [fork]
    assert Forks(anna.replica).find(fork.id) == fork
    assert Forks(anna.replica).find("other") is None
