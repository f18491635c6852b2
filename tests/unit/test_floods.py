# SPDX-License-Identifier: AGPL-3.0-or-later
"""A member that writes more than anybody would waits for a person, and nobody else does."""

from collections.abc import Sequence
from pathlib import Path as FilePath

import pytest

from harp.base.errors import TrustError
from harp.sync.engine import chain, details
from harp.sync.engine.chain import Draft
from harp.sync.engine.quota import WINDOW_S, Quota
from harp.sync.model import NO_ENTRY, Batch, ChainId, Kind, Role
from harp.sync.service import floods as floods_module
from harp.sync.service import merger
from harp.sync.service.floods import Floods
from harp.sync.service.settings import FolderSettings
from tests.fakes.history import device_key, file_draft, incarnation
from tests.fakes.replicas import Device, connect, deliver, disconnect, encoded, office, settle, unlink_all

LIMIT = 20
ANNA = device_key(1).device_id
BEN = device_key(2).device_id
CLEO = device_key(3).device_id


@pytest.fixture
def three(tmp_path: FilePath) -> list[Device]:
    """An owner and two members who take at most 20 entries of each other within an hour; not linked any more."""
    devices = office(tmp_path, Role.READ_WRITE, Role.READ_WRITE, settings=FolderSettings(author_entries=LIMIT))
    unlink_all(devices)
    return devices


def floods(device: Device, entries: int, name: bytes = b"flood") -> list[Batch]:
    """That many batches of one entry each."""
    said = [device.says(file_draft(b"%s/%d" % (name, number), number)) for number in range(entries)]
    return [item.batch for written in said for item in written]


def take(device: Device, batches: Sequence[Batch]) -> None:
    device.loop.take(encoded(batches))


def merged(device: Device, of: Device) -> int:
    return device.replica.ledger.vector().get(of.replica.own_chain, 0)


# --- the count --------------------------------------------------------------------------------------------------------


def test_an_hour_holds_so_many_entries_and_then_there_is_room_again() -> None:
    quota = Quota(10)
    quota.charge(ANNA, 4, now=0.0)
    quota.charge(ANNA, 6, now=1800.0)
    assert quota.room(ANNA, now=1800.0) == 0
    assert quota.room(BEN, now=1800.0) == 10
    assert quota.room(ANNA, now=WINDOW_S - 61.0) == 0
    assert quota.room(ANNA, now=WINDOW_S + 61.0) == 4
    assert quota.room(ANNA, now=WINDOW_S + 1861.0) == 10


def test_what_is_counted_takes_no_room_with_its_number() -> None:
    quota = Quota(1_000_000)
    for second in range(20_000):
        quota.charge(ANNA, 1, now=float(second))
        quota.room(ANNA, now=float(second))
    assert len(quota._counts[ANNA]) <= 61
    assert 1_000_000 - quota.room(ANNA, now=19_999.0) == pytest.approx(WINDOW_S, abs=61)


def test_whoever_is_forgiven_begins_its_hour_anew() -> None:
    quota = Quota(10)
    quota.charge(ANNA, 10, now=0.0)
    quota.forgive(ANNA)
    assert quota.room(ANNA, now=1.0) == 10


# --- who waits --------------------------------------------------------------------------------------------------------


def test_above_the_limit_the_author_waits_and_others_do_not(three: list[Device]) -> None:
    anna, ben, cleo = three
    flood, letter = floods(ben, 30), floods(cleo, 3, b"letter")
    take(anna, [*flood, *letter])
    assert (merged(anna, ben), merged(anna, cleo)) == (LIMIT, 3)
    [held] = anna.loop.floods.held
    assert (held.author, anna.loop.held) == (ben.key.device_id, 1)
    assert not anna.loop.is_settled, "whoever waits for it is told"


def chains(device: Device, count: int, begin: int = 1) -> list[Batch]:
    """Batches that each begin another chain of the device."""
    replica, vector = device.replica, device.replica.ledger.vector()
    begun = []
    for number in range(begin, begin + count):
        own = incarnation(number)
        entries = chain.extended(NO_ENTRY, replica.folder, replica.device, own, 1, [file_draft(b"f", number)])
        begun.append(chain.sealed(replica.key, replica.folder, own, vector, entries))
    return begun


def test_whoever_begins_chains_without_end_waits_as_well(three: list[Device], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(floods_module, "MAX_AUTHOR_CHAINS", 5)
    anna, ben, cleo = three
    take(anna, chains(ben, 9))
    own = [known for known in anna.replica.ledger.vector() if known.author == BEN]
    assert len(own) == 5
    (held,) = anna.loop.floods.held
    assert held.author == BEN
    take(anna, floods(cleo, 2))
    assert merged(anna, cleo) == 2
    anna.decisions.approve(held.id)
    anna.rests()
    assert len([known for known in anna.replica.ledger.vector() if known.author == BEN]) == 9
    assert anna.loop.floods.held == []


def test_an_accomplice_lets_in_no_more_chains_than_a_vector_can_bear(
    three: list[Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(floods_module, "MAX_AUTHOR_CHAINS", 3)
    monkeypatch.setattr(floods_module, "MOST_AUTHOR_CHAINS", 6)
    anna, ben, cleo = three
    begun = chains(ben, 12)
    take(anna, begun)
    replica = cleo.replica
    vector = {batch.chain: 1 for batch in begun} | dict(replica.ledger.vector())
    entries = chain.extended(
        replica.ledger.chain(replica.own_chain).merged_id or NO_ENTRY,
        replica.folder,
        replica.device,
        replica.incarnation,
        1,
        [file_draft(b"accomplice", 1)],
    )
    take(anna, [chain.sealed(replica.key, replica.folder, replica.incarnation, vector, entries)])
    assert len([known for known in anna.replica.ledger.vector() if known.author == BEN]) == 6
    take(anna, [])


def test_what_is_said_of_members_counts_for_more_and_costs_nothing_without_the_right_to(three: list[Device]) -> None:
    anna, ben, _ = three
    anna.loop.floods = anna.loop.merger._floods = Floods(anna.replica, 5_000)
    grant = Draft(kind=Kind.GRANT, detail=details.grant_detail(CLEO, Role.READ_ONLY, "x"))
    said = [item.batch for item in (ben.says(grant)[0] for _ in range(501))]
    before = anna.replica.membership
    take(anna, said[:500])
    assert merged(anna, ben) == 500
    assert anna.replica.membership is before
    take(anna, said[500:])
    assert merged(anna, ben) == 500
    assert anna.loop.floods.is_barred(BEN)


def test_it_still_waits_after_a_restart(three: list[Device]) -> None:
    anna, ben, _ = three
    take(anna, floods(ben, 30))
    before = anna.loop.floods.held
    anna.reopen()
    assert Floods(anna.replica, 1_000_000).held == before
    take(anna, floods(ben, 1, b"more"))
    assert anna.loop.floods.held == before
    assert merged(anna, ben) == LIMIT


def test_a_batch_is_not_taken_in_parts(three: list[Device]) -> None:
    anna, ben, _ = three
    [item] = ben.says(*(file_draft(b"%d" % number, number) for number in range(LIMIT + 1)))
    take(anna, [item.batch])
    assert merged(anna, ben) == 0
    assert anna.loop.floods.held


def test_what_was_there_before_one_came_is_not_counted(tmp_path: FilePath, three: list[Device]) -> None:
    anna, _, _ = three
    floods(anna, 5 * LIMIT)
    dora = Device(tmp_path / "dora", 9, FolderSettings(author_entries=LIMIT)).join(anna)
    connect(dora, anna)
    settle(dora, anna)
    assert not dora.loop.floods.held
    assert merged(dora, anna) == anna.replica.ledger.vector()[anna.replica.own_chain]


def test_ones_own_work_is_never_held(three: list[Device]) -> None:
    anna, _, _ = three
    for number in range(3 * LIMIT):
        anna.put(f"{number}", b"%d" % number)
    anna.looks()
    assert not anna.loop.floods.held
    assert merged(anna, anna) > 3 * LIMIT


def test_what_waits_takes_no_room_from_others_and_is_not_asked_for(
    three: list[Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, ben, cleo = three
    flood = floods(ben, 60)
    size = len(encoded(flood)[0])
    monkeypatch.setattr(merger, "MAX_BARRED_BYTES", 5 * size)
    take(anna, flood)
    take(anna, flood)
    assert anna.replica.ledger.waiting_bytes()[ben.key.device_id] <= 5 * size
    assert not anna.loop.merger.waits
    connect(anna, ben)
    settle(anna, ben)
    asked = anna.loop.exchange.get(ben.key.device_id)
    assert asked is not None
    before = asked.asked
    ben.says(file_draft(b"one more", 1))
    cleo.says(file_draft(b"letter", 1))
    settle(anna, ben)
    assert asked.asked == before, "its chain is left out of what is asked for"


# --- nobody else is harmed --------------------------------------------------------------------------------------------


def test_what_others_wrote_upon_it_comes_in_with_its_causes(three: list[Device]) -> None:
    anna, ben, cleo = three
    flood = floods(ben, 30)
    take(anna, flood)
    # Cleo's hour began earlier: she has a little more of Ben than Anna has.
    cleo.loop.floods.release(ben.key.device_id)
    take(cleo, flood[:25])
    cleo.loop.floods.release(ben.key.device_id)
    take(cleo, flood[:25])
    assert merged(cleo, ben) == 25
    letter = floods(cleo, 1, b"letter")
    take(anna, letter)
    assert (merged(anna, ben), merged(anna, cleo)) == (25, 1)
    assert anna.loop.floods.held, "he still waits"


def test_its_causes_are_fetched_where_they_did_not_fit(three: list[Device], monkeypatch: pytest.MonkeyPatch) -> None:
    anna, ben, cleo = three
    flood = floods(ben, 34)
    monkeypatch.setattr(merger, "MAX_BARRED_BYTES", 0)
    take(anna, flood)
    take(cleo, flood[:20])
    cleo.loop.floods.release(ben.key.device_id)
    take(cleo, flood[20:])
    cleo.says(file_draft(b"letter", 1))
    monkeypatch.setattr(merger, "MAX_BARRED_BYTES", 1 << 20)
    connect(anna, cleo)
    settle(anna, cleo)
    assert (merged(anna, ben), merged(anna, cleo)) == (34, 1)


def test_two_who_work_together_get_no_further_than_each_alone(three: list[Device]) -> None:
    anna, ben, cleo = three
    cleo.settings = FolderSettings()
    cleo.reopen()
    upon = []
    flood = floods(ben, 20 * LIMIT)
    for number in range(0, len(flood), 10):
        take(cleo, flood[number : number + 10])
        upon += floods(cleo, 1, b"upon %d" % number)
    take(anna, [*flood, *upon])
    assert merged(anna, ben) + merged(anna, cleo) <= 2 * LIMIT + 10, "ten at once are not taken in parts"
    assert {held.author for held in anna.loop.floods.held} >= {ben.key.device_id}


# --- a person decides -------------------------------------------------------------------------------------------------


def test_approval_lets_in_all_that_is_known_however_much_it_is(three: list[Device]) -> None:
    anna, ben, _ = three
    flood = floods(ben, 5 * LIMIT)
    take(anna, flood)
    connect(anna, ben)
    settle(anna, ben)
    [held] = anna.loop.floods.held
    anna.decisions.approve(held.id)
    settle(anna, ben)
    assert merged(anna, ben) == 5 * LIMIT
    assert (anna.loop.held, anna.loop.floods.find(held.id)) == (0, None)
    floods(ben, LIMIT + 1, b"again")
    disconnect(anna, ben)
    connect(anna, ben)
    settle(anna, ben)
    assert merged(anna, ben) == 6 * LIMIT
    assert anna.loop.floods.held, "its hour began anew, and is used up"


def test_rejection_ends_the_membership_and_all_follow(three: list[Device]) -> None:
    anna, ben, cleo = three
    flood = floods(ben, LIMIT + 10)
    take(anna, flood)
    take(cleo, flood[:-5])
    assert anna.loop.floods.held
    assert cleo.loop.floods.held
    [held] = cleo.loop.floods.held
    with pytest.raises(TrustError, match="only an owner"):
        cleo.decisions.reject(held.id)
    anna.decisions.reject(anna.loop.floods.held[0].id)
    connect(anna, cleo)
    settle(anna, cleo)
    for device in (anna, cleo):
        assert device.replica.membership.role(ben.key.device_id) is None
        assert (device.loop.held, device.loop.merger.waits) == (0, False)
    assert anna.replica.ledger.vector() == cleo.replica.ledger.vector(), "they agree, and wait for nothing"
    assert anna.heads() == cleo.heads()
    assert len([path for path in anna.heads() if path.startswith(b"flood/")]) == LIMIT


def test_whoever_is_out_keeps_its_disk_as_it_is(three: list[Device]) -> None:
    anna, ben, _ = three
    for number in range(LIMIT + 10):
        ben.put(f"{number}", b"%d" % number)
        ben.looks()
    take(anna, [batch for batch in ben.replica.ledger.merged_batches() if batch.author == ben.key.device_id])
    anna.decisions.reject(anna.loop.floods.held[0].id)
    connect(anna, ben)
    settle(anna, ben)
    assert ben.replica.role is None
    assert len(ben.tree()) == LIMIT + 10
    assert len(anna.tree()) == LIMIT


def test_a_former_member_needs_no_further_decision(three: list[Device]) -> None:
    anna, ben, cleo = three
    before = floods(ben, 5)
    take(anna, before)
    cut = anna.loop.governor.cut(ben.key.device_id)
    anna.loop.published(cut)
    take(anna, floods(ben, 3 * LIMIT, b"late"))
    assert anna.loop.held == 0
    assert not anna.loop.merger.waits
    take(cleo, [*before, *(item.batch for item in cut)])
    assert cleo.replica.membership.role(ben.key.device_id) is None
    assert ChainId(ben.key.device_id, ben.replica.incarnation) in cleo.replica.ledger.vector()
    deliver(anna, cleo)
