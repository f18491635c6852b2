# SPDX-License-Identifier: AGPL-3.0-or-later
"""Takes batches in from peers: checked, kept until their causes are there, then merged path by path."""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field

from harp.base.errors import RemoteProtocolError
from harp.identity.device import DeviceId
from harp.sync.engine import chain, dag, details
from harp.sync.folder import names
from harp.sync.model import Batch, ChainId, Entry
from harp.sync.protocol import batchform
from harp.sync.service.floods import Floods
from harp.sync.service.record import Record
from harp.sync.service.replica import Replica
from harp.sync.store.places import Place

MAX_WAITING_BYTES = 64 * 1024 * 1024
"""Batches whose causes are missing; what is beyond that is dropped and asked for again later."""
MAX_BARRED_BYTES = 4 * 1024 * 1024
"""The same for an author who waits for a person: enough for what its readers differ by, and out of others' way."""


@dataclass(slots=True)
class Merged:
    """What came of a delivery."""

    batches: list[Batch] = field(default_factory=list)
    """Newly merged, causes first."""
    places: list[Place] = field(default_factory=list)
    """Rows of the paths that must be planned anew."""
    members_changed: bool = False
    forked: list[tuple[Batch, Batch]] = field(default_factory=list)
    """Newly learnt proofs, to be passed on."""
    suspects: set[ChainId] = field(default_factory=set)
    """Chains that go on elsewhere from another entry than the one we have: the branch itself must be asked for."""
    own_chain_ran_ahead: bool = False
    """Somebody showed us our own signature above our ledger: this ledger went back in time."""


class Merger:
    """Batches that wait are in the ledger and here; a peer's lie is a RemoteProtocolError and changes nothing."""

    def __init__(self, replica: Replica, floods: Floods) -> None:
        self._replica = replica
        self._floods = floods
        self._vouched: Mapping[ChainId, tuple[int, DeviceId]] = {}
        self._waiting: dict[tuple[ChainId, int], tuple[int, Batch]] = {}
        self._waiting_bytes: dict[DeviceId, int] = {}
        for batch_no, batch in replica.ledger.waiting():
            self._waiting[batch.chain, batch.first_sequence] = (batch_no, batch)
        if self._waiting:
            self._waiting_bytes = replica.ledger.waiting_bytes()

    @property
    def waits(self) -> bool:
        return any(not self._floods.is_barred(batch.author) for _, batch in self._waiting.values())

    def is_unwanted(self, chain_id: ChainId) -> bool:
        """Whether more of a chain is not to be asked for: its author is held, and nobody's work stands on it."""
        return self._floods.is_barred(chain_id.author) and chain_id not in self._vouched

    def checked(self, data: bytes) -> Batch:
        """The batch that ``data`` writes; raises :class:`RemoteProtocolError` for any that is not wholly right."""
        batch = batchform.decode_batch(data)
        if batch.folder != self._replica.folder:
            raise RemoteProtocolError("a batch belongs to another folder")
        chain.check(batch)
        for entry in batch.entries:
            if entry.meta.kind.is_about_path:
                names.check(entry.meta.path)
        return batch

    def take(self, delivered: Iterable[bytes], *, is_catching_up: bool = False) -> Merged:
        """Merges what can be merged, of these and of what waited, in one transaction.

        What there was before this device came (``is_catching_up``) counts towards nobody's hour.
        """
        replica = self._replica
        checked = [(self.checked(data), data) for data in delivered]
        merged = Merged()
        record = Record(replica.ledger, replica.places)
        waiting, waiting_bytes = dict(self._waiting), dict(self._waiting_bytes)
        try:
            with replica.ledger.db.transaction():
                for batch, data in checked:
                    self._keep(batch, data, merged)
                self._merge_ready(record, merged, is_catching_up=is_catching_up)
                changed = record.flush()
        except BaseException:
            # Whatever it was, a peer's lie as well as a full disk: the ledger is as it was before, and so is this.
            self._waiting = waiting
            self._waiting_bytes = waiting_bytes
            replica.ledger.refresh()
            replica.learn_members()
            self._floods.refresh()
            raise
        merged.places = [place for place in changed if place.path in record.touched]
        return merged

    def _keep(self, batch: Batch, data: bytes, merged: Merged) -> None:
        """Stores a batch that is new; notices when it shows a fork, or our own future."""
        replica = self._replica
        known = replica.ledger.chain(batch.chain)
        if known.stopped_at is not None and batch.first_sequence > known.stopped_at:
            return
        if batch.last_sequence <= known.merged or (batch.chain, batch.first_sequence) in self._waiting:
            self._compare(batch, merged)
            return
        if batch.first_sequence <= known.merged:
            if self._compare(batch, merged):
                return
            raise RemoteProtocolError("a batch overlaps another of its chain without being it")
        if batch.chain == replica.own_chain:
            merged.own_chain_ran_ahead = True
        if not self._has_room(batch, len(data)):
            return
        if batch.first_sequence == known.merged + 1 and batch.entries[0].prev != known.merged_id:
            merged.suspects.add(batch.chain)
            return
        batch_no = replica.ledger.add_batch(batch, data)
        self._waiting[batch.chain, batch.first_sequence] = (batch_no, batch)
        self._waiting_bytes[batch.author] = self._waiting_bytes.get(batch.author, 0) + len(data)

    def _has_room(self, batch: Batch, size: int) -> bool:
        """Whether one more batch may wait."""
        if self._floods.is_barred(batch.author):
            return self._waiting_bytes.get(batch.author, 0) + size <= MAX_BARRED_BYTES
        waiting = sum(held for author, held in self._waiting_bytes.items() if not self._floods.is_barred(author))
        return waiting + size <= MAX_WAITING_BYTES or dag.covers(self._replica.ledger.vector(), batch.vector)

    def _compare(self, batch: Batch, merged: Merged) -> bool:
        """Whether a batch of sequences that we have proves a fork of its author's chain."""
        ledger = self._replica.ledger
        ours = ledger.batch_with(batch.chain, batch.first_sequence)
        if ours is None:
            kept = self._waiting.get((batch.chain, batch.first_sequence))
            ours = None if kept is None else kept[1]
        if ours is None:
            return False
        sequence = dag.fork_sequence(dag.ForkProof(ours, batch))
        if sequence is not None:
            self._note_fork(ours, batch, sequence - 1, merged)
        return sequence is not None

    def _note_fork(self, ours: Batch, theirs: Batch, last_common: int, merged: Merged) -> None:
        ledger = self._replica.ledger
        known = ledger.chain(ours.chain)
        if known.stopped_at is not None and known.stopped_at <= last_common:
            return
        ledger.add_fork(ours.chain, last_common + 1, ours, theirs)
        ledger.stop_chain(ours.chain, last_common)
        merged.forked.append((ours, theirs))

    def _merge_ready(self, record: Record, merged: Merged, *, is_catching_up: bool) -> None:
        ledger = self._replica.ledger
        self._drop_dead(merged)
        while ready := self._ready():
            for batch in ready:
                if not self._replica.membership.knows(batch.entries[0].meta, batch.vector):
                    # Whoever was never admitted says nothing, to nobody: what is ready without it is another list.
                    self._drop((batch.chain, batch.first_sequence))
                    break
                if not is_catching_up and not self._is_admitted(batch):
                    # Its author is barred now: what is ready without it is another list.
                    break
                batch_no, _ = self._waiting.pop((batch.chain, batch.first_sequence))
                self._merge(batch_no, batch, record, merged)
            self._drop_dead(merged)
        self._waiting_bytes = ledger.waiting_bytes() if self._waiting else {}
        self._trim()
        if merged.forked:
            before = self._replica.learn_members()
            changed = self._replica.membership.recounted(before)
            merged.members_changed = merged.members_changed or bool(changed)
            self._recount(record, changed | {ours.author for ours, _ in merged.forked})

    def _ready(self) -> list[Batch]:
        """Waiting batches whose causes are here; nobody can have, and nobody needs, what lies beyond a fork."""
        chains = self._replica.ledger.chains()
        tips = {known.id: known.merged_id for known in chains if known.merged}
        reached = dict(self._replica.ledger.vector())
        ended = [known.id for known in chains if known.stopped_at is not None and known.merged >= known.stopped_at]
        reached.update(dict.fromkeys(ended, details.MAX_NUMBER))
        self._vouched = self._floods.vouched((batch for _, batch in self._waiting.values()), reached)
        candidates = [batch for _, batch in self._waiting.values() if self._is_wanted(batch)]
        return dag.mergeable(reached, candidates, tips=tips)

    def _trim(self) -> None:
        """Of who is barred only the beginning of what waits is kept: others may stand on that."""
        of_barred = [key for key in self._waiting if self._floods.is_barred(key[0].author)]
        for key in sorted(of_barred, key=lambda key: key[1], reverse=True):
            author = key[0].author
            if self._waiting_bytes.get(author, 0) > MAX_BARRED_BYTES:
                self._waiting_bytes[author] -= self._drop(key)

    def _drop(self, key: tuple[ChainId, int]) -> int:
        """A waiting batch is not kept; how many bytes that gave back."""
        return self._replica.ledger.drop_waiting(self._waiting.pop(key)[0])

    def _is_wanted(self, batch: Batch) -> bool:
        """Whether it need not wait for a person: its author is not held, or another stands on it."""
        if not self._floods.is_barred(batch.author):
            return True
        return batch.first_sequence <= self._vouched.get(batch.chain, (0, None))[0]

    def _is_admitted(self, batch: Batch) -> bool:
        vouched = self._vouched.get(batch.chain)
        if not self._floods.is_barred(batch.author):
            return self._floods.admits(batch)
        return vouched is not None and self._floods.answers_for(vouched[1], batch)

    def _drop_dead(self, merged: Merged) -> None:
        """Waiting batches that never can be merged: beyond a fork, known by now, or on another branch than ours."""
        for key, (_, batch) in list(self._waiting.items()):
            known = self._replica.ledger.chain(batch.chain)
            is_beyond = known.stopped_at is not None and batch.first_sequence > known.stopped_at
            is_known = batch.first_sequence <= known.merged
            is_branch = batch.first_sequence == known.merged + 1 and batch.entries[0].prev != known.merged_id
            if not (is_beyond or is_known or is_branch):
                continue
            if is_known and not is_beyond:
                self._compare(batch, merged)
            elif is_branch and not is_beyond:
                merged.suspects.add(batch.chain)
            self._drop(key)

    def _merge(self, batch_no: int, batch: Batch, record: Record, merged: Merged) -> None:
        ledger = self._replica.ledger
        merge_no = ledger.mark_merged(batch_no, batch)
        known = ledger.chain(batch.chain)
        governs = False
        record.look_up(entry.meta.path for entry in batch.entries if entry.meta.kind.is_about_path)
        for entry in batch.entries:
            if entry.meta.kind.is_about_path:
                record.add(entry, known.number, counts=self._counts(entry, batch))
            else:
                ledger.add_governance(entry.id, merge_no, batch_no)
                governs = governs or self._replica.membership.may_matter(entry.meta, batch.vector)
        merged.batches.append(batch)
        if governs:
            merged.members_changed = True
            before = self._replica.learn_members()
            affected = self._replica.membership.recounted(before)
            for author in affected:
                if self._floods.is_barred(author) and self._replica.membership.role(author) is None:
                    self._floods.release(author)
            if affected:
                self._recount(record, affected)

    def _counts(self, entry: Entry, batch: Batch) -> bool:
        stopped_at = self._replica.ledger.chain(batch.chain).stopped_at
        if stopped_at is not None and entry.meta.sequence > stopped_at:
            return False
        return self._replica.membership.counts(entry.meta, batch.vector)

    def _recount(self, record: Record, authors: Container[DeviceId]) -> None:
        """After a cut, a grant or a fork: which of these authors' entries count may have changed, and so have heads."""
        record.flush()
        replica = self._replica
        affected: set[int] = set()
        for batch in replica.ledger.merged_batches():
            if batch.author not in authors:
                continue
            for entry in batch.entries:
                if not entry.meta.kind.is_about_path:
                    continue
                counts = self._counts(entry, batch)
                if counts != replica.ledger.counts(entry.id):
                    replica.ledger.set_counts([entry.id], counts)
                    affected.add(record.place(entry.meta.path).number)
        for path_no in affected:
            place = replica.places.numbered(path_no)
            if place is not None:
                record.recount(place.path, replica.ledger.entries_at(path_no))
