# SPDX-License-Identifier: AGPL-3.0-or-later
"""The books of a link: numbers that are never in use twice, debts that are settled once."""

import pytest

from harp.base.errors import LocalProtocolError, RemoteProtocolError
from harp.sync.model import FolderId
from harp.sync.protocol.asks import Asked, Asks, Offers, Owed
from harp.sync.protocol.foldermessages import MAX_ASKS, MAX_REQUEST, Wanted, What

FOLDER, OTHER = FolderId(bytes(32)), FolderId(bytes([1] * 32))
CHUNK = (What.CHUNK, bytes(32))


def test_asks_are_numbered_and_closed_by_their_answer() -> None:
    asks = Asks()
    one, two = asks.made(FOLDER, [CHUNK, CHUNK], now=5.0)
    assert one == Asked(1, FOLDER, What.CHUNK, bytes(32), 5.0)
    assert two.request == 2
    assert asks.room == MAX_ASKS - 2
    assert asks.answered(1) == one
    assert asks.answered(1) is None
    assert asks.all() == (2,)


def test_numbers_go_round_and_pass_over_those_in_use() -> None:
    asks = Asks()
    asks.made(FOLDER, [CHUNK], now=0.0)
    asks._next = MAX_REQUEST
    assert [ask.request for ask in asks.made(FOLDER, [CHUNK, CHUNK, CHUNK], now=0.0)] == [MAX_REQUEST, 2, 3]


def test_no_more_is_asked_than_the_peer_has_to_keep_in_mind() -> None:
    asks = Asks()
    asks.made(FOLDER, [CHUNK] * MAX_ASKS, now=0.0)
    with pytest.raises(LocalProtocolError, match="takes 0 more"):
        asks.made(FOLDER, [CHUNK], now=0.0)
    assert len(asks.cancelled([1, 2, 2, 99_999])) == 2
    assert asks.room == 2


def test_asks_are_known_by_folder() -> None:
    asks = Asks()
    asks.made(FOLDER, [CHUNK], now=0.0)
    asks.made(OTHER, [CHUNK], now=0.0)
    assert asks.of_folder(OTHER) == (2,)


def test_what_is_owed_is_settled_once() -> None:
    owed = Owed()
    owed.owe(FOLDER, (Wanted(7, *CHUNK), Wanted(8, *CHUNK)))
    owed.owe(OTHER, (Wanted(9, *CHUNK),))
    assert owed.of_folder(FOLDER) == (7, 8)
    assert owed.settle(7)
    assert not owed.settle(7)
    assert owed.forget([7, 8, 9]) == (8, 9)
    assert len(owed) == 0


def test_a_number_that_is_owed_and_more_than_4096_are_refused_whole() -> None:
    owed = Owed()
    owed.owe(FOLDER, (Wanted(7, *CHUNK),))
    with pytest.raises(RemoteProtocolError, match="number"):
        owed.owe(FOLDER, (Wanted(1, *CHUNK), Wanted(7, *CHUNK)))
    with pytest.raises(RemoteProtocolError, match="4096"):
        owed.owe(FOLDER, tuple(Wanted(100 + n, *CHUNK) for n in range(MAX_ASKS)))
    assert len(owed) == 1


def test_an_offer_belongs_to_one_folder_until_it_ends() -> None:
    offers = Offers()
    offers.begin(FOLDER, 1)
    assert offers.is_sound(FOLDER, 1)
    assert not offers.is_sound(OTHER, 1)
    assert not offers.end(OTHER, 1)
    assert offers.end(FOLDER, 1)
    assert not offers.end(FOLDER, 1)
    offers.begin(OTHER, 2)
    offers.forget(OTHER)
    assert len(offers) == 0
