# SPDX-License-Identifier: AGPL-3.0-or-later
"""The larder: small contents that are there or awaited take a bounded room between them."""

import pytest

from harp.sync.model import RootId
from harp.sync.service import larder
from harp.sync.service.larder import Larder

ONE, TWO, THREE = (RootId(bytes([number]) * 32) for number in (1, 2, 3))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Larder:
    """Has room for ten bytes."""
    monkeypatch.setattr(larder, "MAX_BYTES", 10)
    return Larder()


def test_what_is_awaited_is_asked_for_with_its_size(small: Larder) -> None:
    assert small.expect(ONE, 6)
    assert small.expect(TWO, 4)
    assert [(bytes(id_), size) for id_, size in small.awaited] == [(bytes(ONE), 6), (bytes(TWO), 4)]
    assert small.awaited_bytes == 10
    assert small.awaits(ONE)
    assert not small.awaits(THREE)


def test_what_is_awaited_counts_as_if_it_were_there(small: Larder) -> None:
    assert small.expect(ONE, 6)
    assert small.expect(TWO, 4), "just fits"
    assert not small.is_crowded
    small.forget(TWO)
    assert not small.expect(TWO, 5)
    assert (small.is_crowded, small.awaits(TWO)) == (True, False)


def test_awaiting_the_same_twice_takes_no_more_room(small: Larder) -> None:
    assert small.expect(ONE, 6)
    assert small.expect(ONE, 6)
    assert small.awaited_bytes == 6
    assert small.has_room(4)
    assert not small.has_room(5)


def test_what_came_is_awaited_no_more_and_takes_its_room_once(small: Larder) -> None:
    small.expect(ONE, 6)
    small.put(ONE, b"sixsix")
    small.put(ONE, b"sixsix")
    assert small.get(ONE) == b"sixsix"
    assert not small.awaits(ONE)
    assert len(small) == 1
    assert small.has_room(4)
    assert not small.has_room(5)


def test_room_is_given_back_once(small: Larder) -> None:
    small.put(ONE, b"sixsix")
    small.expect(TWO, 4)
    small.spend(ONE)
    small.spend(ONE)
    assert small.get(ONE) is None
    assert small.has_room(6)
    assert not small.has_room(7)
    assert small.forget(TWO)
    assert not small.forget(TWO), "it was not awaited any more"
    assert small.has_room(10)
    assert not small.has_room(11)


def test_content_of_another_length_than_was_awaited_counts_as_what_it_is(small: Larder) -> None:
    small.expect(ONE, 8)
    small.put(ONE, b"two")
    assert small.has_room(7)
    assert not small.has_room(8)


def test_nothing_is_unwanted_that_somebody_waits_for(small: Larder) -> None:
    small.expect(ONE, 1)
    small.put(TWO, b"x")
    small.put(THREE, b"y")
    assert small.unwanted({ONE, TWO, THREE}.__contains__) == ([], [])
    assert small.unwanted({TWO}.__contains__) == ([ONE], [THREE])
