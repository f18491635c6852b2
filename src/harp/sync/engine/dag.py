# SPDX-License-Identifier: AGPL-3.0-or-later
"""How chains are tied by cause: what a vector covers, where a batch belongs, which waiting batches may be merged.

A batch is stored when it arrives and merged when everything that its author had merged is merged here. So what is
merged is closed under causes on every device, and two devices with equal vectors hold the same entries, unless a chain
has forked: then it stops at the last common entry, and :class:`ForkProof` shows anybody why.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from harp.base.errors import RemoteProtocolError
from harp.sync.engine import chain
from harp.sync.model import Batch, ChainId, Entry, EntryId, Vector

Known = Mapping[int, EntryId] | Callable[[int], EntryId | None]
"""Of one chain: the id at a sequence, or None where no entry is known (not yet, or no longer)."""


# --- vectors ----------------------------------------------------------------------------------------------------------


def covers(vector: Vector, other: Vector) -> bool:
    """Whether whoever has merged ``vector`` has merged all of ``other``."""
    return all(vector.get(chain_id, 0) >= sequence for chain_id, sequence in other.items())


def joined(a: Vector, b: Vector) -> Vector:
    """The smallest vector that covers both; without zeros."""
    greatest = {chain_id: sequence for chain_id, sequence in a.items() if sequence}
    for chain_id, sequence in b.items():
        if sequence > greatest.get(chain_id, 0):
            greatest[chain_id] = sequence
    return greatest


def missing(theirs: Vector, ours: Vector) -> dict[ChainId, tuple[int, int]]:
    """For each chain of which ``theirs`` has more: the first and the last sequence that ``ours`` lacks."""
    return {
        chain_id: (ours.get(chain_id, 0) + 1, sequence)
        for chain_id, sequence in theirs.items()
        if sequence > ours.get(chain_id, 0)
    }


# --- one chain --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Extends:
    """The batch goes on where the chain ends; ``new`` are its entries that are not known (all, or a suffix)."""

    new: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Every entry of the batch is known."""


@dataclass(frozen=True, slots=True)
class Gap:
    """The batch lies beyond the chain's end: the sequences ``first`` to ``last`` come before it."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Fork:
    """The author signed two histories: at ``sequence``, or before it where older ids are not known."""

    sequence: int


Position = Extends | Duplicate | Gap | Fork


def position(known: Known, last_sequence: int, batch: Batch) -> Position:
    """Where ``batch`` lies in its own chain, of which ``last_sequence`` entries are ``known`` (0: none).

    Sequences for which ``known`` has no id (compacted away) are taken as equal. A batch that waited is looked at again
    when it is merged: only then is its predecessor known.
    """
    id_at = known if callable(known) else known.get
    first, last = batch.first_sequence, batch.last_sequence
    if first > last_sequence + 1:
        return Gap(last_sequence + 1, first - 1)
    newest = min(last, last_sequence)
    # Each id is a hash over all before it, so the newest common sequence speaks for the whole past.
    if newest >= first - 1 and not _agree(id_at, batch, newest):
        return Fork(_first_difference(id_at, batch, newest))
    if last <= last_sequence:
        return Duplicate()
    return Extends(batch.entries[last_sequence + 1 - first :])


def _id_in(batch: Batch, sequence: int) -> EntryId:
    """The id that ``batch`` gives to one of its entries, or to the predecessor of the first."""
    offset = sequence - batch.first_sequence
    return batch.entries[0].prev if offset < 0 else batch.entries[offset].id


def _agree(id_at: Callable[[int], EntryId | None], batch: Batch, sequence: int) -> bool:
    ours = id_at(sequence) if sequence else None
    return ours is None or ours == _id_in(batch, sequence)


def _first_difference(id_at: Callable[[int], EntryId | None], batch: Batch, newest: int) -> int:
    first = max(batch.first_sequence - 1, 1)
    return next(sequence for sequence in range(first, newest + 1) if not _agree(id_at, batch, sequence))


# --- merging ----------------------------------------------------------------------------------------------------------


def mergeable(
    merged: Vector, waiting: Sequence[Batch], *, tips: Mapping[ChainId, EntryId] | None = None
) -> list[Batch]:
    """The ``waiting`` batches that can be merged upon ``merged``, each after all its causes.

    ``tips`` are the ids of the last merged entries: a batch that stands on another is a branch, and left out. Where
    the caller has none, it asks :func:`position` of each batch returned.

    Repeats to a fixed point: what a returned batch brings counts as merged for the next. Left out are also batches
    whose vector is not covered, that leave a gap in their own chain, or that are merged already; those of stopped
    chains the caller leaves out, and asks again without it where it finds a branch among those returned, since what was
    made upon it has lost its cause. A returned batch may begin with entries that are merged already. Each vector is
    walked once, however many wait.
    """
    reached = dict(merged)
    newest = dict(tips or {})
    parked: dict[ChainId, list[tuple[int, int]]] = {}
    needs = [_needs(batch) for batch in waiting]
    in_order: list[Batch] = []
    looked_at = deque(range(len(waiting)))
    while looked_at:
        number = looked_at.popleft()
        batch = waiting[number]
        unmet = _next_unmet(needs[number], reached)
        if unmet is not None:
            heappush(parked.setdefault(unmet[0], []), (unmet[1], number))
        elif _goes_on(batch, reached, newest):
            in_order.append(batch)
            reached[batch.chain] = batch.last_sequence
            newest[batch.chain] = batch.entries[-1].id
            looked_at.extend(_woken(parked.get(batch.chain), batch.last_sequence))
    return in_order


def _needs(batch: Batch) -> list[tuple[ChainId, int]]:
    """The own chain last, so that it is looked at first: it is what a batch of a burst mostly waits for."""
    return [*batch.vector.items(), (batch.chain, batch.first_sequence - 1)]


def _next_unmet(needs: list[tuple[ChainId, int]], reached: dict[ChainId, int]) -> tuple[ChainId, int] | None:
    """Drops what is met from the end of ``needs``; what ``reached`` never falls back, so none is looked at again."""
    while needs:
        chain_id, sequence = needs[-1]
        if reached.get(chain_id, 0) < sequence:
            return chain_id, sequence
        needs.pop()
    return None


def _goes_on(batch: Batch, reached: dict[ChainId, int], tips: dict[ChainId, EntryId]) -> bool:
    """Whether it brings something new, and stands on the last entry of its chain where that is known."""
    last = reached.get(batch.chain, 0)
    if batch.last_sequence <= last:
        return False
    tip = tips.get(batch.chain)
    return tip is None or _id_in(batch, last) == tip


def _woken(parked: list[tuple[int, int]] | None, reached: int) -> list[int]:
    woken = []
    while parked and parked[0][0] <= reached:
        woken.append(heappop(parked)[1])
    return woken


# --- forks ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ForkProof:
    """Two batches of one chain that cannot both be true. Worth nothing before :func:`is_proof` says so."""

    batch_a: Batch
    batch_b: Batch


def fork_sequence(proof: ForkProof) -> int | None:
    """The first sequence at which the two batches contradict each other; None where they do not.

    They do where one predecessor has two successors, and where one entry is said to be made upon two different vectors
    (ids do not cover the vector, but rights hang on it). The chain stops before that sequence, on every device, whoever
    shows the proof. Signatures are not looked at.
    """
    a, b = proof.batch_a, proof.batch_b
    if a.folder != b.folder or a.chain != b.chain:
        return None
    first = max(a.first_sequence, b.first_sequence)
    last = min(a.last_sequence, b.last_sequence)
    if first > last or _id_in(a, first - 1) != _id_in(b, first - 1):
        return None
    if _causes(a) != _causes(b):
        return first
    return next((sequence for sequence in range(first, last + 1) if _id_in(a, sequence) != _id_in(b, sequence)), None)


def _causes(batch: Batch) -> dict[ChainId, int]:
    return {chain_id: sequence for chain_id, sequence in batch.vector.items() if chain_id != batch.chain}


def is_proof(proof: ForkProof) -> bool:
    """Whether both batches are their author's own and show that its chain forked."""
    if not proof.batch_a.entries or not proof.batch_b.entries or fork_sequence(proof) is None:
        return False
    try:
        chain.check(proof.batch_a)
        chain.check(proof.batch_b)
    except RemoteProtocolError:
        return False
    return True
