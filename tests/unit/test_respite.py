# SPDX-License-Identifier: AGPL-3.0-or-later
"""A ledger that refuses for a while, as on a full disk: people are answered, and afterwards nothing is missing."""

import logging
import time
from concurrent.futures import Future
from pathlib import Path as FilePath
from typing import Any, cast

import pytest

from harp.base.errors import CorruptStore, StoreError
from harp.sync.model import NodeId, Role
from harp.sync.protocol.foldermessages import Forked
from harp.sync.service.inbox import Call, Said, SegmentsRead
from harp.sync.service.respite import AGAIN_AFTER_S, MAX_FORKS, Respite
from tests.fakes.replicas import Device, deliver, office, settle


def full(*_: object) -> Any:
    raise StoreError("no room left on the disk")


def asked(device: Device) -> int:
    """What a person asks of the folder's thread; it has to be answered in the next turn."""
    answer: Future[int] = Future()
    device.loop.post(Call(lambda: len(device.loop.respite.problem), answer))
    device.turn()
    return answer.result(timeout=0)


def test_people_are_answered_at_once_and_nothing_is_lost(
    tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    anna, ben = office(tmp_path, Role.READ_WRITE)
    caplog.set_level(logging.WARNING)
    node = NodeId(b"n" * 32)
    with monkeypatch.context() as patch:
        patch.setattr(ben.replica.ledger.db, "transaction", full)
        began = time.monotonic()
        ben.put("of ben", b"b")
        ben.loop.post(SegmentsRead(((node, b"segment"),)))
        for number in range(20):
            anna.put(f"{number}", b"a%d" % number)
            anna.looks()
            deliver(anna, ben)
            assert asked(ben) == len("no room left on the disk")
        assert time.monotonic() - began < 20 * AGAIN_AFTER_S / 2
    assert [record.message for record in caplog.records] == ["folder Photos: no room left on the disk"]
    time.sleep(AGAIN_AFTER_S)
    ben.looks()
    settle(anna, ben)
    assert anna.tree() == ben.tree()
    assert len(ben.tree()) == 21
    assert ben.replica.places.node(node) == b"segment"
    assert ben.loop.respite.problem == ""


def test_what_is_done_from_time_to_time_may_be_refused_too(tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch) -> None:
    (anna,) = office(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(anna.loop._rounds, "go", full)
        assert 0 < anna.turn() <= AGAIN_AFTER_S
    anna.put("a", b"1")
    time.sleep(AGAIN_AFTER_S)
    anna.looks()
    assert anna.place("a").lives


def test_what_is_put_off_again_and_again_takes_no_room(tmp_path: FilePath) -> None:
    (anna,) = office(tmp_path)
    pause = Respite("Photos")
    pause.begin(StoreError("full"), now=0.0)
    forked = Said(cast(Any, None), Forked(anna.replica.folder, b"one", b"other"))
    for _ in range(100):
        assert pause.puts_off(SegmentsRead(((NodeId(b"n" * 32), b"segment"),)))
        assert pause.puts_off(forked)
    assert pause.taken() == [SegmentsRead(((NodeId(b"n" * 32), b"segment"),)), *[forked] * MAX_FORKS]
    assert pause.taken() == []


def test_where_time_does_not_help_the_folder_stands_still() -> None:
    with pytest.raises(CorruptStore):
        Respite("Photos").begin(CorruptStore("the database is damaged"), now=0.0)
