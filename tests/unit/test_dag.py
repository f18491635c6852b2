# SPDX-License-Identifier: AGPL-3.0-or-later
"""Causes: what a vector covers, where a batch belongs, what may be merged, what proves a fork."""

import random
from dataclasses import replace

import pytest

from harp.sync.engine import chain, dag
from harp.sync.model import NO_ENTRY, Batch, ChainId, EntryId, Role
from tests.fakes.history import Replica, device_key, file_draft, incarnation

A = ChainId(device_key(1).device_id, incarnation(1))
B = ChainId(device_key(2).device_id, incarnation(1))


def founded() -> tuple[Replica, Replica]:
    """A founder and a member that may write, on the same state."""
    founder, member = Replica(device_key(1)), Replica(device_key(2))
    founder.found()
    founder.grant(member.device, Role.READ_WRITE)
    member.join(founder)
    return founder, member


def batch_of(replica: Replica, prev: EntryId, first_sequence: int, *names: bytes, upon: Replica | None = None) -> Batch:
    """A batch that ``replica``'s device signs anywhere in its chain, whatever it signed before."""
    assert replica.folder is not None
    drafts = [file_draft(name) for name in names]
    entries = chain.extended(prev, replica.folder, replica.device, replica.incarnation, first_sequence, drafts)
    return chain.sealed(
        replica.key, replica.folder, replica.incarnation, upon.vector if upon else replica.vector, entries
    )


def test_a_vector_covers_what_it_has_at_least() -> None:
    assert dag.covers({A: 3, B: 1}, {A: 3})
    assert dag.covers({A: 3}, {B: 0})
    assert dag.covers({}, {})
    assert not dag.covers({A: 3}, {A: 4})
    assert not dag.covers({A: 3}, {B: 1})


def test_joined_is_the_smallest_vector_that_covers_both() -> None:
    assert dag.joined({A: 3}, {A: 2, B: 5}) == {A: 3, B: 5}
    assert dag.joined({A: 0}, {B: 0}) == {}


def test_missing_says_from_where_to_where() -> None:
    assert dag.missing({A: 7, B: 2}, {A: 4, B: 2}) == {A: (5, 7)}
    assert dag.missing({B: 2}, {A: 4}) == {B: (1, 2)}


# --- position ---


def chained(*names: bytes) -> Batch:
    founder, _ = founded()
    return batch_of(founder, EntryId(b"p" * 32), 5, *names)


def test_a_batch_extends_duplicates_overlaps_or_leaves_a_gap() -> None:
    batch = chained(b"a", b"b", b"c")
    known = {4: batch.entries[0].prev} | {entry.meta.sequence: entry.id for entry in batch.entries}

    assert dag.position(known, 4, batch) == dag.Extends(batch.entries)
    assert dag.position(known, 5, batch) == dag.Extends(batch.entries[1:])
    assert dag.position(known, 6, batch) == dag.Extends(batch.entries[2:])
    assert dag.position(known, 7, batch) == dag.Duplicate()
    assert dag.position(known, 99, batch) == dag.Duplicate()
    assert dag.position(known, 3, batch) == dag.Gap(4, 4)
    assert dag.position(known, 0, batch) == dag.Gap(1, 4)


def test_the_first_batch_of_a_chain_extends_nothing() -> None:
    founder = Replica(device_key(1))
    assert dag.position({}, 0, founder.found()) == dag.Extends(founder.merged[0].entries)


def test_another_entry_at_a_known_sequence_is_a_fork() -> None:
    batch, other = chained(b"a", b"b", b"c"), chained(b"a", b"X", b"c")
    known = {4: batch.entries[0].prev} | {entry.meta.sequence: entry.id for entry in batch.entries}

    for last in (6, 7, 9):
        assert dag.position(known, last, other) == dag.Fork(6)
    assert dag.position(known, 5, other) == dag.Extends(other.entries[1:])
    assert dag.position({4: EntryId(b"q" * 32)}, 4, batch) == dag.Fork(4)


def test_ids_may_be_looked_up_and_may_be_gone() -> None:
    batch = chained(b"a", b"b", b"c")
    asked: list[int] = []

    def only_the_last(sequence: int) -> EntryId | None:
        asked.append(sequence)
        return batch.entries[1].id if sequence == 6 else None

    assert dag.position(only_the_last, 6, batch) == dag.Extends(batch.entries[2:])
    assert asked == [6]
    assert dag.position(lambda _: None, 7, batch) == dag.Duplicate()
    assert dag.position(lambda _: None, 4, batch) == dag.Extends(batch.entries)


# --- mergeable ---


def test_nothing_is_merged_before_its_causes() -> None:
    founder, member = founded()
    first = member.write(file_draft(b"a"))
    founder.pull(member)
    second = founder.write(file_draft(b"b"))
    third = founder.write(file_draft(b"c"))
    before = {founder.chain: 2}

    assert dag.mergeable(before, [third, second, first]) == [first, second, third]
    assert dag.mergeable(before, [third, second]) == []
    assert dag.mergeable(before, [third, first]) == [first]
    assert dag.mergeable({}, [third, second, first]) == []
    assert dag.mergeable(before, [first, first]) == [first]
    assert dag.mergeable(founder.vector, [third, second, first]) == []


def test_a_gap_in_the_own_chain_is_never_jumped() -> None:
    founder, _ = founded()
    lone = replace(batch_of(founder, EntryId(b"p" * 32), 9, b"a"), vector={})

    assert dag.mergeable({founder.chain: 7}, [lone]) == []
    assert dag.mergeable({founder.chain: 8}, [lone]) == [lone]
    assert dag.mergeable({}, [lone]) == []


def test_a_batch_may_begin_with_what_is_merged() -> None:
    founder, _ = founded()
    batch = batch_of(founder, EntryId(b"p" * 32), 3, b"a", b"b")
    assert dag.mergeable({founder.chain: 3}, [batch]) == [batch]
    assert dag.mergeable({founder.chain: 4}, [batch]) == []


def test_a_batch_that_follows_another_branch_than_the_one_merged_now_is_left() -> None:
    founder, _ = founded()
    tip = founder.ids[founder.chain][2]
    left, right = batch_of(founder, tip, 3, b"left"), batch_of(founder, tip, 3, b"right")
    after_right = batch_of(founder, right.entries[0].id, 4, b"after")

    assert dag.mergeable(founder.vector, [left, after_right]) == [left]
    assert dag.mergeable(founder.vector, [right, after_right]) == [right, after_right]


def test_a_branch_that_waited_for_another_cause_is_left_where_the_tips_are_known() -> None:
    founder, member = founded()
    tip = founder.ids[founder.chain][2]
    left, right = batch_of(founder, tip, 3, b"left"), batch_of(founder, tip, 3, b"right")
    after_right = batch_of(founder, right.entries[0].id, 4, b"after")
    upon = {founder.chain: 3}

    assert dag.mergeable(upon, [after_right], tips={founder.chain: left.entries[0].id}) == []
    assert dag.mergeable(upon, [after_right], tips={founder.chain: right.entries[0].id}) == [after_right]
    assert dag.mergeable(upon, [after_right], tips={member.chain: tip}) == [after_right]


def test_thousands_that_wait_in_the_worst_order_are_walked_once() -> None:
    founder, _ = founded()
    assert founder.folder is not None
    batches, prev = [], founder.ids[founder.chain][2]
    for sequence in range(3, 3003):
        entries = chain.extended(
            prev, founder.folder, founder.device, founder.incarnation, sequence, [file_draft(b"f")]
        )
        own = {founder.chain: sequence - 1}
        batches.append(
            Batch(
                folder=founder.folder,
                author=founder.device,
                incarnation=founder.incarnation,
                vector=CountedVector(own),
                entries=entries,
                signature=b"",
            )
        )
        prev = entries[0].id
    CountedVector.walks = 0

    assert dag.mergeable({founder.chain: 2}, batches[::-1]) == batches
    assert CountedVector.walks == len(batches)
    shuffled = random.Random(1).sample(batches, len(batches))
    assert dag.mergeable({founder.chain: 2}, shuffled) == batches


class CountedVector(dict[ChainId, int]):
    """Counts how often any vector is walked."""

    walks = 0

    def items(self):  # type: ignore[no-untyped-def]
        CountedVector.walks += 1
        return super().items()


# --- forks ---


def branches() -> tuple[Batch, Batch, Batch]:
    founder, _ = founded()
    tip = founder.ids[founder.chain][2]
    left = batch_of(founder, tip, 3, b"same", b"left")
    right = batch_of(founder, tip, 3, b"same", b"right", b"more")
    return left, right, batch_of(founder, right.entries[1].id, 5, b"more", b"beyond")


def test_two_entries_upon_one_predecessor_prove_a_fork() -> None:
    left, right, _ = branches()
    proof = dag.ForkProof(left, right)

    assert dag.is_proof(proof)
    assert dag.fork_sequence(proof) == 4
    assert dag.is_proof(dag.ForkProof(right, left))


def test_one_entry_upon_two_vectors_proves_a_fork_too() -> None:
    founder, member = founded()
    tip = founder.ids[founder.chain][2]
    early = batch_of(founder, tip, 3, b"same")
    member.write(file_draft(b"a"))
    late = batch_of(founder, tip, 3, b"same", b"more", upon=member)

    assert early.entries[0] == late.entries[0]
    assert dag.fork_sequence(dag.ForkProof(early, late)) == 3
    assert dag.is_proof(dag.ForkProof(early, late))


def test_what_does_not_contradict_proves_nothing() -> None:
    left, right, beyond = branches()

    assert not dag.is_proof(dag.ForkProof(left, left))
    assert dag.fork_sequence(dag.ForkProof(right, beyond)) is None, "the same entry under two signatures"
    assert not dag.is_proof(dag.ForkProof(left, beyond)), "they do not overlap"
    forged = replace(right, signature=bytes(64))
    assert not dag.is_proof(dag.ForkProof(left, forged))
    assert not dag.is_proof(dag.ForkProof(forged, left))
    assert not dag.is_proof(dag.ForkProof(left, replace(right, entries=())))


@pytest.mark.parametrize("difference", ["folder", "author", "incarnation"])
def test_batches_of_two_chains_prove_nothing(difference: str) -> None:
    left, right, _ = branches()
    changed = {"folder": bytes(32), "author": device_key(3).device_id, "incarnation": incarnation(9)}[difference]
    other = replace(right, **{difference: changed})  # type: ignore[arg-type]
    assert dag.fork_sequence(dag.ForkProof(left, other)) is None


def test_two_first_entries_of_a_chain_prove_a_fork() -> None:
    founder, member = founded()
    left, right = batch_of(member, NO_ENTRY, 1, b"left"), batch_of(member, NO_ENTRY, 1, b"right")
    assert dag.fork_sequence(dag.ForkProof(left, right)) == 1
    assert founder.folder == left.folder


def test_a_replica_stops_a_forked_chain_and_what_hangs_on_it() -> None:
    founder, member = founded()
    tip = founder.ids[founder.chain][2]
    left, right = batch_of(founder, tip, 3, b"left"), batch_of(founder, tip, 3, b"right")
    member.receive(left)
    after_right = batch_of(founder, right.entries[0].id, 4, b"after")
    member.receive(after_right)

    assert member.forks == {founder.chain: 3}
    assert member.vector == {founder.chain: 3}
    assert member.waiting == []
