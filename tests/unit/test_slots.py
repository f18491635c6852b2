# SPDX-License-Identifier: AGPL-3.0-or-later
"""Places for large files: what nobody can serve does not hold up what somebody can."""

import random
import time
from pathlib import Path as FilePath

import pytest

from harp.sync.model import Role, RootId
from harp.sync.service import folderloop
from harp.sync.service.slots import MOST, PARKED_S, STUCK_S, Slots
from tests.fakes.replicas import Device, connect, deliver, disconnect, office, settle

ONE, TWO = RootId(b"1" * 32), RootId(b"2" * 32)


def test_a_file_keeps_its_place_while_it_gets_on() -> None:
    slots = Slots()
    assert not slots.is_stuck(ONE, 0, now=0.0)
    assert not slots.is_stuck(ONE, 0, now=STUCK_S - 0.1)
    assert not slots.is_stuck(ONE, 1, now=STUCK_S)
    assert slots.is_stuck(ONE, 1, now=2 * STUCK_S)


def test_one_that_made_way_comes_back_later_each_time() -> None:
    slots = Slots()
    slots.park(ONE, now=0.0)
    assert not slots.admits(ONE, 0, now=PARKED_S - 0.1)
    assert slots.has_returning(now=PARKED_S)
    assert not slots.has_returning(now=PARKED_S), "it is said once"
    assert slots.admits(ONE, 0, now=PARKED_S)
    slots.park(ONE, now=PARKED_S)
    assert not slots.admits(ONE, 0, now=2.5 * PARKED_S)
    assert slots.admits(ONE, 0, now=3 * PARKED_S)


def test_those_that_made_way_share_one_place() -> None:
    slots = Slots()
    slots.park(ONE, now=0.0)
    slots.park(TWO, now=0.0)
    slots.hopeful()
    assert slots.admits(ONE, 0, now=1.0)
    assert not slots.admits(TWO, 1, now=1.0)
    assert slots.admits(RootId(b"3" * 32), 1, now=1.0)
    slots.forget(ONE)
    assert slots.admits(TWO, 0, now=1.0)


def test_who_is_turned_away_is_noted() -> None:
    slots = Slots()
    assert slots.admits(ONE, MOST - 1, now=0.0)
    assert not slots.others_wait
    assert not slots.admits(TWO, MOST, now=0.0)
    assert slots.others_wait


def _content(seed: int) -> bytes:
    return random.Random(seed).randbytes(300_000)


class Clock:
    """The loops' clock, which a test can put forward."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead_s

    sleep = staticmethod(time.sleep)


def turns(*devices: Device, rounds: int = 60) -> None:
    """A while in which not everything can come to rest."""
    for _ in range(rounds):
        for device in devices:
            device.turn()
        for one in devices:
            for other in devices:
                if one is not other:
                    deliver(one, other)


def test_large_files_of_one_who_is_away_do_not_hold_up_those_of_one_who_is_there(
    tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, ben, cleo = office(tmp_path, Role.READ_WRITE, Role.READ_WRITE)
    monkeypatch.setattr(folderloop, "time", clock := Clock())
    disconnect(anna, cleo)
    for number in range(MOST + 1):
        anna.put(f"anna {number}", _content(number))
    anna.looks()
    # Ben hears of Anna's files and tells Cleo of them, and has nothing of their content when Anna goes.
    monkeypatch.setattr(ben.loop.courier, "_ask_around", lambda now: None)
    turns(anna, ben, cleo)
    disconnect(anna, ben)
    ben.put("ben", _content(100))
    ben.looks()
    turns(ben, cleo)
    assert "ben" not in cleo.tree(), "all places are taken"
    for _ in range(10):
        clock.ahead_s += STUCK_S / 4
        turns(ben, cleo, rounds=5)
    assert cleo.tree()["ben"] == _content(100)
    monkeypatch.undo()
    connect(anna, ben)
    connect(anna, cleo)
    settle(anna, ben, cleo)
    assert cleo.tree() == anna.tree()
    assert not cleo.loop.courier.is_busy


def test_a_path_that_needs_two_large_contents_gets_both(tmp_path: FilePath) -> None:
    anna, ben, cleo = office(tmp_path, Role.READ_WRITE, Role.READ_WRITE)
    for one, other in ((anna, ben), (anna, cleo), (ben, cleo)):
        disconnect(one, other)
    anna.put("both", _content(1))
    ben.put("both", _content(2))
    anna.looks()
    ben.looks()
    for one, other in ((anna, ben), (anna, cleo), (ben, cleo)):
        connect(one, other)
    settle(anna, ben, cleo)
    assert set(cleo.tree().values()) == {_content(1), _content(2)}
    assert len(cleo.tree()) == 2
    assert anna.tree() == ben.tree() == cleo.tree()
