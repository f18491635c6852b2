# SPDX-License-Identifier: AGPL-3.0-or-later
"""The merger, with the author and the record it writes by: what arrives in whatever order gives the same heads."""

import itertools
import random
from collections.abc import Sequence
from pathlib import Path as FilePath

import pytest

from harp.base.errors import RemoteProtocolError, StoreError
from harp.sync.engine import chain, dag
from harp.sync.engine.chain import Draft
from harp.sync.model import NO_ENTRY, Batch, ChainId, EntryId, Kind, Path, Role, Vector
from harp.sync.protocol import batchform
from harp.sync.protocol.foldermessages import State
from harp.sync.service import merger
from harp.sync.service.merger import Merger
from tests.fakes.history import device_key, file_draft, incarnation
from tests.fakes.replicas import Device, branch, connect, encoded, office, settle, unlink_all


@pytest.fixture
def three(tmp_path: FilePath) -> list[Device]:
    """Three members who know of each other, and are not linked any more."""
    devices = office(tmp_path, Role.READ_WRITE, Role.READ_WRITE)
    unlink_all(devices)
    return devices


def tombstone(path: bytes, *replaces: EntryId) -> Draft:
    return Draft(kind=Kind.TOMBSTONE, path=Path(path), replaces=replaces)


def said(device: Device, *drafts: Draft) -> Batch:
    [item] = device.says(*drafts)
    return item.batch


def take(device: Device, *batches: Batch) -> merger.Merged:
    merged = device.loop.merger.take(encoded(batches))
    device.loop.note_merged(merged)
    return merged


def chain_of(device: Device) -> ChainId:
    return device.replica.own_chain


# --- heads ------------------------------------------------------------------------------------------------------------


def test_an_entry_becomes_the_head_of_its_path(three: list[Device]) -> None:
    anna, ben, _ = three
    batch = said(anna, file_draft(b"list", 1))
    merged = take(ben, batch)
    assert [place.path for place in merged.places] == [b"list"]
    assert ben.place("list").heads == (batch.entries[0].id,)
    assert ben.place("list").lives


def test_what_replaces_a_head_takes_its_place(three: list[Device]) -> None:
    anna, ben, _ = three
    first = said(anna, file_draft(b"list", 1))
    second = said(anna, file_draft(b"list", 2, replaces=[first.entries[0].id]))
    take(ben, first, second)
    assert ben.place("list").heads == (second.entries[0].id,)


def test_concurrent_entries_are_both_heads_and_a_tombstone_of_one_leaves_the_other(three: list[Device]) -> None:
    anna, ben, cleo = three
    of_anna, of_ben = said(anna, file_draft(b"list", 1)), said(ben, file_draft(b"list", 2))
    gone = said(anna, tombstone(b"list", of_anna.entries[0].id))
    take(cleo, of_ben, of_anna)
    assert set(cleo.place("list").heads) == {of_anna.entries[0].id, of_ben.entries[0].id}
    take(cleo, gone)
    assert set(cleo.place("list").heads) == {gone.entries[0].id, of_ben.entries[0].id}
    assert cleo.place("list").lives


def test_what_was_superseded_before_it_arrived_never_is_a_head(three: list[Device]) -> None:
    anna, ben, cleo = three
    # Ben's first batch has not come to Cleo, yet something that replaces its entry has: an author may lie about causes.
    of_ben = said(ben, file_draft(b"list", 1))
    over_it = said(anna, file_draft(b"list", 2, replaces=[of_ben.entries[0].id]))
    take(cleo, over_it)
    take(cleo, of_ben)
    assert cleo.place("list").heads == (over_it.entries[0].id,)


def test_a_batch_waits_for_its_causes_also_over_a_restart(three: list[Device]) -> None:
    anna, ben, cleo = three
    first = said(anna, file_draft(b"a", 1))
    take(ben, first)
    upon_it = said(ben, file_draft(b"b", 2))
    assert take(cleo, upon_it).batches == []
    assert len(cleo.replica.ledger.waiting()) == 1
    assert cleo.replica.places.get(Path(b"b")) is None
    cleo.reopen()
    assert [batch.chain for batch in take(cleo, first).batches] == [chain_of(anna), chain_of(ben)]
    assert not cleo.loop.merger.waits
    assert cleo.place("b").lives


def test_a_duplicate_changes_nothing(three: list[Device]) -> None:
    anna, ben, _ = three
    batch = said(anna, file_draft(b"a", 1))
    take(ben, batch)
    before = ben.heads(), ben.replica.ledger.vector()
    again = take(ben, batch, batch)
    assert (again.batches, again.places, again.forked) == ([], [], [])
    assert (ben.heads(), ben.replica.ledger.vector()) == before


def test_any_order_of_delivery_gives_the_same_heads(tmp_path: FilePath, three: list[Device]) -> None:
    anna, ben, cleo = three
    one = said(anna, file_draft(b"d/x", 1), file_draft(b"y", 2))
    other = said(ben, file_draft(b"d/x", 3))
    take(ben, one)
    joined = said(ben, file_draft(b"d/x", 4, replaces=[one.entries[0].id, other.entries[0].id]), tombstone(b"y"))
    late = said(anna, tombstone(b"y", one.entries[1].id))
    batches = [one, other, joined, late]
    take(anna, *batches)
    take(ben, *batches)
    assert anna.heads() == ben.heads()
    for number, order in enumerate(itertools.permutations(batches)):
        if number % 6 == 0:
            reader = Device(tmp_path / f"reader-{number}", 10 + number).join(anna)
            reader.loop.take(data for data in anna.written() if batchform.decode_batch(data) not in batches)
            for batch in order:
                take(reader, batch)
            assert reader.heads() == anna.heads()
            reader.close()
    assert cleo.heads() == {}


def test_a_batch_of_another_folder_or_with_a_path_that_leads_outside_is_a_peers_lie(
    tmp_path: FilePath, three: list[Device]
) -> None:
    anna, ben, _ = three
    stranger = Device(tmp_path / "stranger", 9).found()
    before = ben.replica.ledger.vector()
    for hostile in (
        said(stranger, file_draft(b"list", 1)),
        branch(anna, file_draft(b"../outside", 1)),
        branch(anna, file_draft(b".harp/folder", 1)),
        branch(anna, file_draft(b".HARP-x", 1)),
    ):
        with pytest.raises(RemoteProtocolError):
            ben.loop.merger.take(encoded([said(anna, file_draft(b"good", 1)), hostile]))
    assert ben.replica.ledger.vector() == before, "nothing of a delivery that holds a lie is taken"


def test_batches_that_wait_are_bounded(three: list[Device], monkeypatch: pytest.MonkeyPatch) -> None:
    anna, ben, cleo = three
    first = said(anna, file_draft(b"0", 1))
    take(ben, first)
    later = [said(ben, file_draft(b"%d" % number, number)) for number in range(1, 20)]
    monkeypatch.setattr(merger, "MAX_WAITING_BYTES", 5 * len(encoded(later)[0]))
    take(cleo, *later)
    assert 0 < sum(cleo.replica.ledger.waiting_bytes().values()) <= merger.MAX_WAITING_BYTES
    cleo.reopen()
    take(cleo, *later)
    assert sum(cleo.replica.ledger.waiting_bytes().values()) <= merger.MAX_WAITING_BYTES, (
        "what waited before a restart counts as well"
    )
    assert take(cleo, first).batches[0] == first, "a cause is taken in also where no more may wait"
    for _ in later:
        take(cleo, *later)
    assert dag.covers(cleo.replica.ledger.vector(), {chain_of(ben): 19})


# --- members ----------------------------------------------------------------------------------------------------------


def test_a_cut_takes_back_what_lies_beyond_it(three: list[Device]) -> None:
    anna, ben, cleo = three
    kept = said(ben, file_draft(b"list", 1))
    take(anna, kept)
    [cut] = anna.loop.governor.cut(ben.key.device_id)
    beyond = said(ben, file_draft(b"list", 2, replaces=[kept.entries[0].id]), file_draft(b"new", 3))
    take(cleo, kept, beyond)
    assert cleo.place("list").heads == (beyond.entries[0].id,)
    merged = take(cleo, cut.batch)
    assert merged.members_changed
    assert {place.path for place in merged.places} == {b"list", b"new"}
    assert cleo.place("list").heads == (kept.entries[0].id,)
    assert (cleo.place("new").heads, cleo.place("new").lives) == ((), False)


def test_a_cut_that_comes_first_gives_the_same(three: list[Device]) -> None:
    anna, ben, cleo = three
    kept = said(ben, file_draft(b"list", 1))
    take(anna, kept)
    [cut] = anna.loop.governor.cut(ben.key.device_id)
    beyond = said(ben, file_draft(b"list", 2, replaces=[kept.entries[0].id]))
    take(cleo, kept, cut.batch, beyond)
    assert cleo.place("list").heads == (kept.entries[0].id,)
    take(anna, beyond)
    assert cleo.heads() == anna.heads()


def test_a_read_only_members_words_count_for_nobody(tmp_path: FilePath) -> None:
    anna, ben = office(tmp_path, Role.READ_ONLY)
    unlink_all([anna, ben])
    take(anna, said(ben, file_draft(b"list", 1)))
    assert anna.place("list").heads == ()


def strangers(device: Device, number: int, vector: Vector) -> Batch:
    """What somebody whom nobody admitted says of the folder of ``device``, which it knows of."""
    key, folder, own = device_key(1000 + number), device.replica.folder, incarnation(number)
    entries = chain.extended(NO_ENTRY, folder, key.device_id, own, 1, [file_draft(b"x", number)])
    return chain.sealed(key, folder, own, vector, entries)


def test_whoever_was_never_admitted_leaves_no_trace(three: list[Device]) -> None:
    anna, ben, _ = three
    before = anna.replica.ledger.vector()
    upon = said(ben, file_draft(b"list", 1))
    # The folder would end with 4,096 chains: no vector names more.
    take(anna, *(strangers(anna, number, before) for number in range(1, 9)), strangers(anna, 9, {}))
    assert anna.replica.ledger.vector() == before
    assert not anna.loop.merger.waits
    made_upon_it = strangers(anna, 10, {chain_of(ben): upon.last_sequence})
    assert take(anna, made_upon_it).batches == []
    assert take(anna, upon).batches == [upon]
    assert not anna.loop.merger.waits
    assert anna.place("list").lives


def test_whoever_was_cut_still_is_known_for_what_it_was(three: list[Device]) -> None:
    anna, ben, cleo = three
    beyond = said(ben, file_draft(b"list", 1))
    [cut] = anna.loop.governor.cut(ben.key.device_id)
    # Whether the cut or what lies beyond it comes first: all have the same history in the end.
    take(cleo, beyond, cut.batch)
    take(anna, beyond)
    assert cleo.replica.ledger.vector() == anna.replica.ledger.vector()
    assert cleo.heads() == anna.heads()


# --- forks ------------------------------------------------------------------------------------------------------------


def forked(device: Device) -> tuple[Batch, Batch]:
    """Two histories that a device, or a copy of it, signed."""
    other = branch(device, file_draft(b"list", 7))
    return said(device, file_draft(b"list", 1)), other


def test_a_fork_stops_the_chain_with_proof_whichever_branch_came_first(three: list[Device]) -> None:
    anna, ben, cleo = three
    common = said(ben, file_draft(b"before", 1))
    take(anna, common)
    take(cleo, common)
    one, other = forked(ben)
    take(anna, one)
    found = take(anna, other)
    take(cleo, other)
    take(cleo, one)
    assert [len(pair) for pair in found.forked] == [2]
    assert dag.is_proof(dag.ForkProof(*found.forked[0]))
    for device in (anna, cleo):
        assert device.replica.ledger.chain(chain_of(ben)).stopped_at == common.last_sequence
        assert device.place("list").heads == ()
        assert device.place("before").lives
        assert len(device.replica.ledger.forks()) == 1


def test_what_comes_of_a_stopped_chain_counts_no_more_and_keeps_nobody_waiting(three: list[Device]) -> None:
    anna, ben, _ = three
    one, other = forked(ben)
    take(anna, one, other)
    again = take(anna, said(ben, file_draft(b"later", 1)), branch(ben, file_draft(b"later", 2)))
    assert again.forked == []
    assert b"later" not in anna.heads()
    assert not anna.loop.merger.waits, "a folder with a stopped chain comes to rest"
    assert not again.suspects, "a known fork is not asked for again"


def test_a_branch_that_waited_for_its_beginning_is_noticed_when_the_other_one_is_merged(three: list[Device]) -> None:
    anna, ben, _ = three
    one, other = forked(ben)
    beyond = branch(ben, file_draft(b"more", 2), after=other)
    take(anna, beyond)
    merged = take(anna, one)
    assert merged.suspects == {chain_of(ben)}, "the other branch's beginning is to be asked for"
    assert not anna.loop.merger.waits
    assert take(anna, other).forked


def test_two_devices_with_different_branches_of_a_third_come_to_rest(three: list[Device]) -> None:
    anna, ben, cleo = three
    one, other = forked(ben)
    take(anna, one, said(ben, file_draft(b"more", 2)))
    take(cleo, other)
    connect(anna, cleo)
    settle(anna, cleo)
    for device in (anna, cleo):
        assert device.replica.ledger.chain(chain_of(ben)).stopped_at is not None
    assert anna.heads() == cleo.heads()
    assert [dict(known.said) for known in anna.loop.exchange.correspondents()] == [anna.replica.ledger.vector()]
    anna.put("after", b"life goes on")
    anna.looks()
    settle(anna, cleo)
    assert cleo.tree()["after"] == b"life goes on"


def test_what_was_made_upon_a_dead_branch_reaches_those_who_knew_of_the_fork_first(three: list[Device]) -> None:
    anna, ben, cleo = three
    one, other = forked(ben)
    take(anna, one)
    upon_it = said(anna, file_draft(b"letter", 5))
    take(cleo, other, one)
    take(cleo, upon_it)
    assert cleo.place("letter").lives
    take(anna, other)
    assert anna.heads() == cleo.heads()


def test_a_stopped_chain_is_still_learnt_up_to_its_fork(tmp_path: FilePath, three: list[Device]) -> None:
    anna, ben, cleo = three
    common = said(ben, file_draft(b"before", 1))
    one, other = forked(ben)
    take(anna, common, one, other)
    take(cleo, one, other)
    assert cleo.replica.ledger.chain(chain_of(ben)).stopped_at == common.last_sequence
    take(cleo, common)
    assert cleo.place("before").lives
    take(cleo, said(anna, file_draft(b"letter", 5)))
    assert cleo.heads() == anna.heads()


def test_our_own_signature_above_our_ledger_tells_that_it_went_back(three: list[Device]) -> None:
    anna, ben, _ = three
    future = branch(ben, file_draft(b"future", 1))
    merged = take(ben, future)
    assert merged.own_chain_ran_ahead
    assert ben.place("future").lives
    goes_on = said(ben, file_draft(b"more", 2))
    assert goes_on.first_sequence == future.last_sequence + 1
    assert not take(anna, future, goes_on).forked


def test_a_peer_that_claims_more_of_our_chain_than_there_is_does_not_silence_us(three: list[Device]) -> None:
    anna, ben, _ = three
    there, here = connect(anna, ben)
    settle(anna, ben)
    vector = {**anna.replica.ledger.vector(), chain_of(anna): 1_000_000}
    anna.loop.received(there.as_peer, State(anna.replica.folder, vector, True, 0, 0))
    anna.put("a.txt", b"still heard")
    anna.loop.observer.scan()
    settle(anna, ben)
    assert ben.tree() == {"a.txt": b"still heard"}
    assert not here.closed


# --- when the ledger fails --------------------------------------------------------------------------------------------


def test_a_delivery_that_cannot_be_stored_is_as_if_it_had_not_come(
    three: list[Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, ben, _ = three
    batch = said(anna, file_draft(b"list", 1))
    with monkeypatch.context() as patch:

        def full(*_: object) -> None:
            raise StoreError("no room left")

        patch.setattr(type(ben.replica.places), "put", full)
        with pytest.raises(StoreError):
            ben.loop.merger.take(encoded([batch]))
    assert ben.replica.ledger.vector().get(chain_of(anna), 0) < batch.last_sequence
    assert take(ben, batch).batches == [batch]


def test_a_delivery_that_holds_a_lie_is_as_if_it_had_not_come(three: list[Device]) -> None:
    anna, ben, cleo = three
    first = said(anna, file_draft(b"one", 1))
    second = branch(anna, file_draft(b"two", 2), after=first)
    # The same entries cut otherwise: no fork, and nothing that an honest author ever signs.
    overlapping = (*first.entries, *second.entries)
    again = chain.sealed(anna.key, first.folder, first.incarnation, first.vector, overlapping)
    take(ben, first)
    of_cleo = said(cleo, file_draft(b"three", 3))
    with pytest.raises(RemoteProtocolError, match="overlaps"):
        ben.loop.merger.take(encoded([of_cleo, again]))
    assert chain_of(cleo) not in ben.replica.ledger.vector()
    assert take(ben, of_cleo).batches == [of_cleo]
    assert encoded([of_cleo])[0] in ben.written()
    ben.reopen()
    assert ben.replica.ledger.vector()[chain_of(cleo)] == of_cleo.last_sequence


def test_a_new_merger_knows_what_waits(three: list[Device]) -> None:
    anna, ben, cleo = three
    take(ben, said(anna, file_draft(b"a", 1)))
    take(cleo, said(ben, file_draft(b"b", 1)))
    assert Merger(cleo.replica, cleo.loop.floods).waits


def test_shuffled_and_repeated_words_of_three_authors_give_the_same_heads(three: list[Device]) -> None:
    chance = random.Random(7)
    batches: list[Batch] = []
    for number in range(30):
        author = chance.choice(three)
        place = author.replica.places.get(Path(b"p%d" % (number % 5)))
        heads: Sequence[EntryId] = (
            () if place is None else chance.sample(place.heads, chance.randint(0, len(place.heads)))
        )
        batches.append(said(author, file_draft(b"p%d" % (number % 5), number, replaces=heads)))
        for reader in three:
            if chance.random() < 0.3:
                take(reader, *chance.sample(batches, chance.randint(1, len(batches))))
    for reader in three:
        chance.shuffle(batches)
        take(reader, *batches)
    assert three[0].heads() == three[1].heads() == three[2].heads()
