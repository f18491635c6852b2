# SPDX-License-Identifier: AGPL-3.0-or-later
"""The inbox: events in their order, batches of one peer in one go, and no caller left without an answer."""

from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from typing import Any

import pytest

from harp.base.errors import LocalProtocolError
from harp.sync.model import FolderId
from harp.sync.protocol.foldermessages import Batches, Get
from harp.sync.service.inbox import GATHERED_BYTES, MAX_EVENTS, Call, Event, Inbox, PeerWent, Said, Stop, Woken, perform
from harp.sync.service.peer import Peer
from tests.fakes.history import device_key
from tests.fakes.peers import FakePeer

FOLDER = FolderId(b"f" * 32)
ANNA, BEN = (FakePeer(device_key(number).device_id).as_peer for number in (1, 2))


def batches(*content: bytes, of: Peer = ANNA) -> Said:
    return Said(of, Batches(FOLDER, content))


def taken(*events: Event) -> list[Event]:
    inbox = Inbox()
    for event in events:
        inbox.put(event)
    return inbox.taken(0)


def told(events: Sequence[Event]) -> list[tuple[bytes, ...]]:
    """The batches of each message."""
    return [one.message.batches for one in events if isinstance(one, Said) and isinstance(one.message, Batches)]


def a_call(what: Any = None) -> Call:
    return Call(what or (lambda: "done"), Future())


def test_events_come_out_in_their_order() -> None:
    events: list[Event] = [Woken(), PeerWent(ANNA), Stop()]
    assert taken(*events) == events


def test_an_empty_inbox_is_not_waited_for_longer_than_is_said() -> None:
    assert Inbox().taken(0) == []
    assert Inbox().taken(0.01) == []


def test_what_is_there_is_taken_without_waiting_for_more() -> None:
    inbox = Inbox()
    inbox.put(Woken())
    assert inbox.taken(None) == [Woken()]


def test_one_turn_takes_in_no_more_than_its_share() -> None:
    inbox = Inbox()
    for _ in range(MAX_EVENTS + 1):
        inbox.put(Woken())
    assert len(inbox.taken(0)) == MAX_EVENTS
    assert len(inbox.taken(0)) == 1


def test_batches_that_follow_each_other_are_one_message() -> None:
    (one,) = taken(batches(b"1", b"2"), batches(b"3"), batches(b"4"))
    assert one == batches(b"1", b"2", b"3", b"4")


def test_batches_of_two_peers_stay_two_messages() -> None:
    assert taken(batches(b"1"), batches(b"2", of=BEN)) == [batches(b"1"), batches(b"2", of=BEN)]


def test_what_was_said_between_batches_stays_between_them() -> None:
    asked = Said(ANNA, Get(FOLDER, {}))
    events = [batches(b"1"), asked, batches(b"2")]
    assert taken(*events) == events


def test_a_message_without_batches_says_that_these_were_all_and_stays_itself() -> None:
    events = [batches(b"1"), batches(), batches(b"2")]
    assert told(taken(*events)) == [(b"1",), (), (b"2",)]


def test_no_more_is_gathered_than_a_message_holds() -> None:
    half = b"x" * (GATHERED_BYTES // 2)
    assert told(taken(batches(half), batches(half), batches(b"y"))) == [(half, half), (b"y",)]
    most = b"x" * GATHERED_BYTES
    assert told(taken(batches(most), batches(b"y"), batches(b"z"))) == [(most,), (b"y", b"z")]


def test_whoever_waits_for_an_answer_that_will_not_come_is_told() -> None:
    inbox, first, second = Inbox(), a_call(), a_call()
    for event in (first, Woken(), second):
        inbox.put(event)
    gone = LocalProtocolError("the folder is closed")
    inbox.refuse_calls(gone)
    assert first.answer.exception(0) is gone
    assert second.answer.exception(0) is gone
    assert inbox.taken(0) == []


def test_a_call_is_answered_with_what_it_gives_or_raises() -> None:
    good, error = a_call(), ValueError("no")

    def fails() -> None:
        raise error

    bad = a_call(fails)
    perform(good)
    perform(bad)
    assert good.answer.result(0) == "done"
    assert bad.answer.exception(0) is error


def test_a_call_that_was_called_off_is_not_done() -> None:
    done: list[str] = []
    call = a_call(lambda: done.append("done"))
    call.answer.cancel()
    perform(call)
    assert done == []
    with pytest.raises(CancelledError):
        call.answer.result(0)
