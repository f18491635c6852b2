# SPDX-License-Identifier: AGPL-3.0-or-later
"""A burst of deletions is counted as a whole before any of it is said; a single one hardly waits."""

import time
from pathlib import Path as FilePath

import pytest

from harp.sync.engine.guard import Limits
from harp.sync.model import Path, Role
from harp.sync.service import departures
from harp.sync.service.departures import SETTLE_S, Departures
from harp.sync.service.settings import FolderSettings
from harp.sync.service.surroundings import Surroundings
from tests.fakes.replicas import Device, office

MANY = 40
STRICT = FolderSettings(guard=Limits(files=10, share=0.25, whole_folder_files=10))


@pytest.fixture
def anna(tmp_path: FilePath) -> Device:
    surroundings: Surroundings = Device(tmp_path / "anna", 1, STRICT)
    assert isinstance(surroundings, Device)
    device = surroundings.found()
    for number in range(MANY):
        device.put(f"d/{number:02}", b"content %d" % number)
    device.looks()
    return device


def path(number: int) -> Path:
    return Path(b"d/%02d" % number)


def go(device: Device, first: int, last: int) -> None:
    for number in range(first, last):
        device.remove(f"d/{number:02}")
        device.loop.observer.look([path(number)])


def said(device: Device) -> int:
    return device.replica.ledger.chain(device.replica.own_chain).merged


def test_a_burst_that_trickles_in_is_held_whole(anna: Device) -> None:
    anna.loop.departures.settle_s = SETTLE_S
    before = said(anna)
    for number in range(30):
        go(anna, number, number + 1)
        anna.turn()
    assert not anna.loop.is_idle, "whoever waits for the folder waits for it as well"
    time.sleep(SETTLE_S)
    anna.rests()
    [holding] = anna.loop.sentry.held
    assert holding.paths == tuple(path(number) for number in range(30))
    assert "30 of 40 files lost" in holding.reason
    assert said(anna) == before, "not one of them was said"


def test_without_the_wait_the_first_of_them_pass(anna: Device) -> None:
    before = said(anna)
    for number in range(30):
        go(anna, number, number + 1)
        anna.turn()
    assert said(anna) - before == 10
    assert len(anna.loop.sentry.held[0].paths) == 20


def test_a_single_deletion_is_said_when_it_has_settled(anna: Device) -> None:
    anna.loop.departures.settle_s = SETTLE_S
    before = said(anna)
    go(anna, 0, 1)
    assert 0.0 < anna.rests().turn() <= SETTLE_S, "it does not sleep longer than that"
    assert said(anna) == before
    time.sleep(SETTLE_S)
    anna.rests()
    assert said(anna) == before + 1


def test_a_burst_without_an_end_is_counted_after_a_while(anna: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(departures, "LONGEST_S", 0.05)
    anna.loop.departures.settle_s = 10.0
    before = said(anna)
    go(anna, 0, 2)
    anna.rests()
    time.sleep(0.05)
    anna.rests()
    assert said(anna) == before + 2


def test_the_tail_of_a_burst_joins_what_is_held(anna: Device) -> None:
    go(anna, 0, 30)
    anna.rests()
    go(anna, 30, 35)
    anna.rests()
    assert [len(holding.paths) for holding in anna.loop.sentry.held] == [35]


def test_what_was_moved_is_no_burst(anna: Device) -> None:
    (anna.files / "d").rename(anna.files / "e")
    anna.looks()
    assert not anna.loop.sentry.held
    assert anna.place("e/07").lives
    assert not anna.place("d/07").lives


def test_what_came_back_in_time_was_never_gone(anna: Device) -> None:
    anna.loop.departures.settle_s = SETTLE_S
    before = said(anna)
    go(anna, 0, 30)
    anna.rests()
    for number in range(30):
        anna.put(f"d/{number:02}", b"content %d" % number)
    time.sleep(SETTLE_S)
    anna.rests()
    anna.looks()
    assert not anna.loop.sentry.held
    assert said(anna) == before + 30, "they are new files of the same content"
    assert anna.place("d/07").lives


def test_without_the_marker_nothing_is_held_as_a_deletion(anna: Device) -> None:
    before = said(anna)
    go(anna, 0, 30)
    (anna.files / ".harp/folder").rename(anna.files / ".harp/away")
    anna.rests()
    assert not anna.loop.sentry.held
    assert "marker is gone" in anna.loop.trouble
    assert said(anna) == before


def test_what_is_ignored_now_is_no_loss(anna: Device) -> None:
    anna.put(".harpignore", b"d/\n")
    anna.loop.observer.scan()
    anna.rests()
    before = said(anna)
    go(anna, 0, 30)
    anna.rests()
    assert not anna.loop.sentry.held
    assert said(anna) == before


def test_whoever_may_only_read_deletes_for_itself_alone(tmp_path: FilePath) -> None:
    anna, ben = office(tmp_path, Role.READ_ONLY, settings=STRICT)
    del anna
    queue = Departures(ben.replica, ben.loop.sentry, lambda: True)
    for number in range(30):
        queue.add(path(number))
    assert len(queue) == 30
    assert queue.next() == path(0)
    assert not ben.loop.sentry.held
