# SPDX-License-Identifier: AGPL-3.0-or-later
"""The exchange with peers in memory: who is told what, once, and what is asked for, once."""

from pathlib import Path as FilePath

import pytest

from harp.base.errors import RemoteProtocolError
from harp.identity.device import DeviceId
from harp.sync.engine.fetcher import Reach
from harp.sync.model import ChainId, Incarnation, Role
from harp.sync.protocol.foldermessages import Batches, Content, Forked, Get, State
from harp.sync.service import exchange
from harp.sync.service.correspondent import Correspondent
from harp.sync.service.exchange import Exchange
from tests.fakes.history import file_draft
from tests.fakes.peers import FakePeer
from tests.fakes.replicas import Device, branch, encoded, office, unlink_all

NOW = 1000.0


@pytest.fixture
def device(tmp_path: FilePath) -> Device:
    anna, ben = office(tmp_path, Role.READ_WRITE)
    unlink_all([anna, ben])
    anna.rests()
    return anna


@pytest.fixture
def known(device: Device) -> Exchange:
    return Exchange(device.replica.folder, device.replica.ledger, lambda chain: False)


def linked(device: Device, known: Exchange, number: int = 7, reach: Reach = Reach.LAN) -> FakePeer:
    """A peer that has said that it has all we have."""
    peer = FakePeer(DeviceId(bytes([number]) * 32), reach)
    known.came(peer.as_peer)
    known.heard(peer.as_peer, state(device))
    return peer


def state(device: Device, **said: object) -> State:
    fields = {"vector": device.replica.ledger.vector(), "settled": True, "waiting": 0, "held": 0, **said}
    return State(device.replica.folder, **fields)  # type: ignore[arg-type]


def beyond(device: Device, more: int = 1) -> dict[ChainId, int]:
    stranger = ChainId(device.key.device_id, Incarnation(b"s" * 16))
    return {**device.replica.ledger.vector(), stranger: more}


# --- what is said -----------------------------------------------------------------------------------------------------


def test_small_content_goes_before_its_entries_on_the_lan_and_not_over_the_wan(device: Device, known: Exchange) -> None:
    near, far = linked(device, known, 7), linked(device, known, 8, Reach.WAN)
    written = device.says(file_draft(b"a", 1))
    root = written[0].batch.entries[0].meta.root
    known.publish(written, {root: b"x"})
    assert [type(message) for message in near.sent] == [Content, Batches]
    assert [type(message) for message in far.sent] == [Batches]


def test_a_peer_that_lacks_causes_or_is_slow_or_has_not_spoken_is_not_pushed_to(
    device: Device, known: Exchange
) -> None:
    behind, slow = linked(device, known, 7), linked(device, known, 8)
    silent = FakePeer(DeviceId(b"\x09" * 32))
    known.came(silent.as_peer)
    slow.link.backlog_bytes = exchange.BACKLOG_BYTES + 1
    device.says(file_draft(b"not told", 1))
    written = device.says(file_draft(b"a", 1))
    known.publish(written, {})
    assert not behind.told(Batches)
    assert not slow.told(Batches)
    assert not silent.told(Batches)


def test_a_state_is_said_when_something_changed_and_gathered_while_there_is_work(
    device: Device, known: Exchange
) -> None:
    peer = linked(device, known)

    def say(now: float, *, is_settled: bool = True) -> float | None:
        return known.state(is_settled=is_settled, waiting=0, held=0, now=now)

    assert say(NOW) is None
    assert say(NOW) is None
    assert len(peer.told(State)) == 1
    say(NOW + 1, is_settled=False)
    device.says(file_draft(b"a", 1))
    assert say(NOW + 1, is_settled=False) == pytest.approx(NOW + 1 + exchange.STATE_EVERY_S)
    assert len(peer.told(State)) == 2
    assert say(NOW + 1, is_settled=True) is None
    assert len(peer.told(State)) == 3
    later = FakePeer(DeviceId(b"\x08" * 32))
    known.came(later.as_peer)
    assert later.told(State) == peer.told(State)[-1:]


def test_who_asks_gets_all_it_lacks_and_then_the_end_as_its_link_takes_it(device: Device, known: Exchange) -> None:
    peer = linked(device, known)
    for number in range(5):
        device.says(file_draft(b"%d" % number, 1))
    known.wanted(peer.as_peer, Get(device.replica.folder, {}))
    peer.link.backlog_bytes = exchange.BACKLOG_BYTES + 1
    assert known.pump()
    assert not peer.told(Batches)
    peer.link.backlog_bytes = 0
    while known.pump():
        pass
    *some, last = peer.told(Batches)
    assert [data for message in some for data in message.batches] == device.written()
    assert last.batches == ()


# --- what is asked ----------------------------------------------------------------------------------------------------


def test_a_peer_that_has_more_is_asked_once(device: Device, known: Exchange) -> None:
    peer = linked(device, known)
    assert not peer.told(Get)
    for _ in range(3):
        known.heard(peer.as_peer, state(device, vector=beyond(device)))
        known.ask_all()
    assert [message.vector for message in peer.told(Get)] == [device.replica.ledger.vector()]


def test_an_answer_that_brought_nothing_is_not_asked_for_again_and_again(device: Device, known: Exchange) -> None:
    peer = linked(device, known)
    known.heard(peer.as_peer, state(device, vector=beyond(device)))
    for _ in range(3):
        known.got(peer.as_peer, Batches(device.replica.folder, ()))
        known.ask_all()
    assert len(peer.told(Get)) == 1, "a peer that claims what nobody has would keep us busy"
    known.heard(peer.as_peer, state(device, vector=beyond(device, 2)))
    assert len(peer.told(Get)) == 2


def test_a_chain_that_seems_forked_is_asked_for_from_its_beginning(device: Device, known: Exchange) -> None:
    peer = linked(device, known)
    [written] = device.says(file_draft(b"a", 1))
    known.suspects.add(written.batch.chain)
    known.heard(peer.as_peer, state(device, vector=beyond(device)))
    [get] = peer.told(Get)
    assert written.batch.chain not in get.vector


def test_everyone_is_told_of_a_fork_at_once_and_whoever_comes_later_too(device: Device, known: Exchange) -> None:
    peer = linked(device, known)
    other = branch(device, file_draft(b"a", 2))
    [written] = device.says(file_draft(b"a", 1))
    merged = device.loop.merger.take(encoded([other]))
    known.pass_on(merged.forked)
    assert [(one.one, one.other) for one in peer.told(Forked)] == [tuple(encoded([written.batch, other]))]
    later = linked(device, known, 8)
    assert later.told(Forked) == peer.told(Forked)


# --- agreement --------------------------------------------------------------------------------------------------------


def test_agreement_is_when_all_have_durably_the_same(device: Device, known: Exchange) -> None:
    vector = device.replica.ledger.vector()
    peer = linked(device, known)
    assert known.is_agreed(vector)
    assert known.describe_disagreement(vector) == ""
    known.heard(peer.as_peer, state(device, settled=False, waiting=3))
    assert not known.is_agreed(vector)
    assert "3 to go" in known.describe_disagreement(vector)
    known.heard(peer.as_peer, state(device, settled=False, held=1))
    assert "until a person decides" in known.describe_disagreement(vector)
    assert known.went(peer.as_peer)
    assert not known.went(peer.as_peer)
    assert known.correspondents() == ()


def test_a_newer_link_stays_when_the_older_one_ends(device: Device, known: Exchange) -> None:
    old, new = FakePeer(DeviceId(b"\x07" * 32)), FakePeer(DeviceId(b"\x07" * 32))
    known.came(old.as_peer)
    known.came(new.as_peer)
    assert not known.went(old.as_peer)
    found = known.get(new.device)
    assert found is not None
    assert found.peer is new.as_peer


def test_what_a_replaced_link_still_says_does_not_undo_what_the_newer_one_said(device: Device, known: Exchange) -> None:
    old, new = linked(device, known), linked(device, known)
    vector = device.replica.ledger.vector()
    assert known.heard(old.as_peer, state(device, vector={}, settled=False)) is None
    known.wanted(old.as_peer, Get(device.replica.folder, {}))
    assert known.is_agreed(vector)
    assert not known.pump()
    known.heard(new.as_peer, state(device, vector=beyond(device)))
    known.got(old.as_peer, Batches(device.replica.folder, ()))
    [found] = known.correspondents()
    assert found.is_getting
    assert "has another history" in known.describe_disagreement(vector)


def test_a_correspondent_has_what_it_wrote_and_what_it_settled(device: Device) -> None:
    [written] = device.says(file_draft(b"a", 1))
    [entry] = written.batch.entries
    author = Correspondent(FakePeer(device.key.device_id).as_peer, device.replica.folder)
    other = Correspondent(FakePeer(DeviceId(b"\x07" * 32)).as_peer, device.replica.folder)
    assert author.has(entry)
    assert not other.may_have(entry)
    other.said = device.replica.ledger.vector()
    assert (other.may_have(entry), other.has(entry)) == (True, False)
    other.is_settled = True
    assert other.has(entry)
    assert not other.can_serve
    other.has_spoken = True
    assert other.can_serve


def test_who_is_held_and_claims_chains_without_end_is_asked_all_the_same(device: Device) -> None:
    suspicious = Exchange(device.replica.folder, device.replica.ledger, lambda chain: chain.author == b"h" * 32)
    peer = FakePeer(DeviceId(b"\x07" * 32))
    suspicious.came(peer.as_peer)
    claimed = {ChainId(DeviceId(b"h" * 32), Incarnation(number.to_bytes(16, "big"))): 1 for number in range(4095)}
    stranger = ChainId(DeviceId(b"s" * 32), Incarnation(b"s" * 16))
    suspicious.heard(peer.as_peer, state(device, vector={**claimed, stranger: 1}))
    (question,) = [message for message in peer.sent if isinstance(message, Get)]
    assert stranger not in question.vector
    assert len(question.vector) == 4096


@pytest.mark.parametrize("asks", [False, True])
def test_a_peer_that_names_ever_other_chains_breaks_the_protocol(device: Device, known: Exchange, asks: bool) -> None:
    """Each such message is sound by itself; what is kept of all of them would fill the memory."""
    peer = linked(device, known)

    def says(begin: int) -> None:
        numbers = range(begin, begin + 4000)
        vector = {ChainId(peer.device, Incarnation(number.to_bytes(16, "big"))): 1 for number in numbers}
        if asks:
            known.wanted(peer.as_peer, Get(device.replica.folder, vector))
        else:
            known.heard(peer.as_peer, state(device, vector=vector))

    says(1)
    says(1)
    with pytest.raises(RemoteProtocolError, match="ever other chains"):
        says(4001)
