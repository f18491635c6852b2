# SPDX-License-Identifier: AGPL-3.0-or-later
"""Chains that forked: an identity that exists twice is stopped everywhere, until an owner lets it go on anew."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

from harp.base.errors import UsageError
from harp.identity.device import DeviceId
from harp.sync.engine import dag, details, guard
from harp.sync.engine.dag import ForkProof
from harp.sync.engine.details import ForkBranches
from harp.sync.model import INCARNATION_BYTES, Batch, ChainId, EntryId, FileKind, Incarnation, Kind, Path, RootId
from harp.sync.service.replica import Replica
from harp.sync.store.places import Place


@dataclass(frozen=True, slots=True)
class Fork:
    """One author's two histories. ``id`` is what a person approves it by."""

    id: str
    chain: ChainId
    sequence: int
    branches: tuple[EntryId, EntryId]

    @property
    def author(self) -> DeviceId:
        return self.chain.author


class Forks:
    """For the folder's thread."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    @property
    def own_is_stopped(self) -> bool:
        """Whether this device's own chain forked: somebody else speaks with its key, or with an old copy of it."""
        return self._replica.ledger.chain(self._replica.own_chain).stopped_at is not None

    def open(self) -> Sequence[Fork]:
        """Those that no owner has approved yet."""
        approved = {approval.chain for approval in self._approvals()}
        found = []
        for one, other in self._replica.ledger.forks():
            fork = _fork(ForkProof(one, other))
            if fork is not None and fork.chain not in approved:
                found.append(fork)
        return found

    def find(self, held_id: str) -> Fork | None:
        return next((fork for fork in self.open() if fork.id == held_id), None)

    def approval(self, fork: Fork) -> ForkBranches:
        """What an owner signs. Raises :class:`UsageError` for the device itself: it cannot vouch for its own double."""
        if fork.author == self._replica.device:
            raise UsageError(
                "a device cannot approve its own fork", hint="approve it on another device that owns the folder"
            )
        return ForkBranches(fork.chain, fork.branches)

    def go_on_anew(self) -> bool:
        """Where an owner has approved our own fork: a new chain, on which what lies on this disk is said again.

        Whatever was said beyond the fork counts nowhere; both copies of the identity do this, each with what it has, so
        nothing of either is lost. Whether it happened.
        """
        replica = self._replica
        if not self.own_is_stopped or replica.own_chain not in {found.chain for found in self._approvals()}:
            return False
        incarnation = Incarnation(secrets.token_bytes(INCARNATION_BYTES))
        with replica.ledger.db.transaction():
            replica.ledger.set_fact("incarnation", incarnation)
            replica.incarnation = incarnation
            replica.places.put([self._unsaid(place) for place in replica.places.below(Path(b""), on_disk_only=True)])
        return True

    def _unsaid(self, place: Place) -> Place:
        """What lies there, said by an entry that does not count: to be looked at, and said upon what it replaced."""
        ledger, on_disk = self._replica.ledger, place.on_disk
        if on_disk is None or any(ledger.counts(entry) for entry in on_disk.applied):
            return place
        if on_disk.stat.kind is FileKind.DIRECTORY:
            return replace(place, on_disk=None)
        below = {id_ for entry in ledger.entries(on_disk.applied) for id_ in entry.meta.replaces if ledger.counts(id_)}
        return replace(
            place, on_disk=replace(on_disk, applied=tuple(sorted(below)), root=RootId(b""), target=b""), is_racy=True
        )

    def _approvals(self) -> list[ForkBranches]:
        found = []
        for entry, batch in self._replica.ledger.governance():
            if entry.meta.kind is not Kind.APPROVE or not self._replica.membership.counts(entry.meta, batch.vector):
                continue
            approval = details.parse_approve(entry.meta.detail)
            if isinstance(approval, ForkBranches):
                found.append(approval)
        return found


def _fork(proof: ForkProof) -> Fork | None:
    sequence = dag.fork_sequence(proof)
    if sequence is None:
        return None
    a, b = sorted(_entry_at(batch, sequence) for batch in (proof.batch_a, proof.batch_b))
    return Fork(guard.held_id([a, b]), proof.batch_a.chain, sequence, (a, b))


def _entry_at(batch: Batch, sequence: int) -> EntryId:
    """The id at a sequence; the batch's last where two batches differ by their vectors alone."""
    index = min(max(sequence - batch.first_sequence, 0), len(batch.entries) - 1)
    return batch.entries[index].id
