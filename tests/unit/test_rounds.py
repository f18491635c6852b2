# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is done from time to time: each thing when it is due, not before, and whatever becomes of the others."""

import logging
import time
from collections.abc import Iterable
from pathlib import Path as FilePath
from typing import Any, cast

import pytest

from harp.base.errors import FolderError
from harp.sync.folder import age
from harp.sync.folder.apply import Ready
from harp.sync.model import Applied, Path, RemoveFile
from harp.sync.service.observer import Observer
from harp.sync.service.rounds import MARKER_EVERY_S, RACY_AFTER_S, TRASH_EVERY_S, Rounds
from harp.sync.service.settings import FolderSettings
from harp.sync.service.traces import Traces
from harp.sync.store.places import with_disk
from tests.fakes.folder import Running
from tests.fakes.replicas import Device

SETTINGS = FolderSettings(scan_interval_s=12.0, trash_days=30.0)
DAY_S = 24 * 3600


class Onlooker:
    """An observer that only notes what it is asked to do."""

    def __init__(self) -> None:
        self.scans = 0
        self.looked: list[list[Path]] = []

    def scan(self) -> None:
        self.scans += 1

    def look(self, paths: Iterable[Path]) -> None:
        self.looked.append(list(paths))


class Round:
    """Rounds of a real folder; times are seconds since they began."""

    def __init__(self, device: Device) -> None:
        self.observer, self.marker_looks = Onlooker(), 0
        self.rounds = Rounds(device.replica, SETTINGS, cast(Observer, self.observer), self._look)
        self._began = self.rounds.next_deadline()

    def _look(self) -> None:
        self.marker_looks += 1

    def go(self, at: float) -> None:
        self.rounds.go(self._began + at)

    @property
    def next(self) -> float:
        return self.rounds.next_deadline() - self._began


@pytest.fixture
def anna(tmp_path: FilePath) -> Device:
    return Device(tmp_path / "anna", 1).found().rests()


def in_trash(device: Device, name: str) -> Path:
    """A file that is removed now; where it lies."""
    device.put(name, name.encode())
    device.looks()
    place, replica = device.place(name), device.replica
    assert place.on_disk is not None
    [outcome] = replica.disk.commit([Ready(RemoveFile(place.path, place.on_disk), None)], now=time.time())
    assert isinstance(outcome, Applied)
    assert outcome.trashed is not None
    with replica.ledger.db.transaction():
        replica.places.put([Traces(replica).after(place, outcome, [])])
    return outcome.trashed


def test_the_marker_is_looked_for_at_once_and_every_few_seconds(anna: Device) -> None:
    its = Round(anna)
    for at, looks in ((0.0, 1), (MARKER_EVERY_S - 0.1, 1), (MARKER_EVERY_S, 2), (MARKER_EVERY_S + 0.1, 2)):
        its.go(at)
        assert its.marker_looks == looks


def test_a_full_scan_comes_after_each_interval(anna: Device) -> None:
    its = Round(anna)
    for at, scans in ((0.0, 0), (11.9, 0), (12.0, 1), (23.9, 1), (24.0, 2)):
        its.go(at)
        assert its.observer.scans == scans


def test_the_thread_sleeps_until_the_next_of_them_is_due(anna: Device) -> None:
    its = Round(anna)
    assert its.next == 0.0
    its.go(0.0)
    assert its.next == pytest.approx(RACY_AFTER_S)
    its.go(RACY_AFTER_S)
    assert its.next == pytest.approx(MARKER_EVERY_S)


def test_a_file_that_was_hashed_too_soon_is_looked_at_again_and_sooner_than_if_there_were_none(anna: Device) -> None:
    anna.put("racy", b"x")
    anna.put("calm", b"y")
    anna.looks()
    place, calm = anna.place("racy"), anna.place("calm")
    with anna.replica.ledger.db.transaction():
        anna.replica.places.put([with_disk(place, place.on_disk, is_racy=True), with_disk(calm, calm.on_disk)])
    its = Round(anna)
    its.go(RACY_AFTER_S - 0.1)
    assert its.observer.looked == []
    its.go(RACY_AFTER_S)
    assert its.observer.looked == [[b"racy"]]
    with anna.replica.ledger.db.transaction():
        anna.replica.places.put([with_disk(place, place.on_disk)])
    for at, looks in ((2 * RACY_AFTER_S, 2), (3 * RACY_AFTER_S, 2), (2 * RACY_AFTER_S + MARKER_EVERY_S, 3)):
        its.go(at)
        assert len(its.observer.looked) == looks
    assert its.observer.looked[1:] == [[], []]


def test_what_lay_in_the_trash_for_too_long_is_forgotten_and_the_rest_is_kept(
    anna: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = Running()
    monkeypatch.setattr(anna.replica.trash, "_awake", running)
    old = in_trash(anna, "old")
    running.goes_on(2 * DAY_S)
    young = in_trash(anna, "young")
    running.goes_on(29 * DAY_S)
    its = Round(anna)
    its.go(0.0)
    assert [item.place for item in anna.replica.trash.list()] == [young]
    assert [path for _, path in anna.replica.places.trashed()] == [young]
    assert anna.replica.places.get(old) is None
    running.goes_on(2 * DAY_S)
    its.go(TRASH_EVERY_S - 0.1)
    assert (anna.files / young.decode()).exists(), "it is looked at once an hour"
    its.go(TRASH_EVERY_S)
    assert not (anna.files / young.decode()).exists()


def test_a_trash_that_cannot_be_read_is_said_and_the_rounds_go_on(
    anna: Device, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[None] = []

    def fails(*_: Any, **__: Any) -> None:
        tries.append(None)
        raise FolderError("the disk reports a read or write error")

    monkeypatch.setattr(type(anna.replica.trash), "expire", fails)
    its = Round(anna)
    with caplog.at_level(logging.WARNING):
        its.go(0.0)
    assert "Photos: the disk reports a read or write error" in caplog.text
    its.go(12.0)
    assert (len(tries), its.observer.scans, its.marker_looks) == (1, 1, 2)
    its.go(TRASH_EVERY_S)
    assert len(tries) == 2


def test_a_folder_that_is_stopped_notes_for_how_long_the_computer_ran(anna: Device) -> None:
    anna.loop.start()
    anna.loop.call(lambda: None).result(10)
    running = Running()
    running.starts_again()
    anna.loop.call(lambda: setattr(anna.replica.trash, "_awake", running)).result(10)
    anna.loop.call(anna.replica.trash.keep_age).result(10)
    running.goes_on(500.0)
    anna.loop.stop()
    kept = age.read((anna.files / ".harp/trash/age").read_bytes())
    assert kept is not None
    assert kept.until == running()
    assert kept.total_s == pytest.approx(500.0, abs=60.0)
