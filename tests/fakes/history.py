# SPDX-License-Identifier: AGPL-3.0-or-later
"""A replica of one folder's history in memory: it stores what arrives, and merges by the engine's functions alone."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from harp.base.errors import RemoteProtocolError
from harp.identity.device import DeviceId, DeviceKey
from harp.sync.engine import chain, dag, details, facts, members
from harp.sync.engine.chain import Draft
from harp.sync.model import (
    NO_ENTRY,
    Batch,
    ChainId,
    Entry,
    EntryId,
    FolderId,
    Hlc,
    Incarnation,
    Kind,
    Path,
    Role,
    RootId,
)

_FIRST_INCARNATION = Incarnation(bytes(16))


def device_key(number: int) -> DeviceKey:
    """The same key for the same number, so that a failing example can be read."""
    return DeviceKey.from_seed(number.to_bytes(32, "big"))


def incarnation(number: int) -> Incarnation:
    return Incarnation(number.to_bytes(16, "big"))


def file_draft(path: bytes, content: int = 1, hlc: int = 0, replaces: Sequence[EntryId] = ()) -> Draft:
    """A file of which only the content's number matters; 0 is the empty file."""
    root = RootId(content.to_bytes(32, "big") if content else b"")
    return Draft(kind=Kind.FILE, path=Path(path), size=content, root=root, hlc=Hlc(hlc), replaces=tuple(replaces))


@dataclass
class Replica:
    """One device's view: ``receive`` is the only door for what others made, ``write`` for what this one makes."""

    key: DeviceKey
    incarnation: Incarnation = _FIRST_INCARNATION
    folder: FolderId | None = None
    vector: dict[ChainId, int] = field(default_factory=dict)
    merged: list[Batch] = field(default_factory=list)
    waiting: list[Batch] = field(default_factory=list)
    entries: dict[EntryId, tuple[Entry, Mapping[ChainId, int]]] = field(default_factory=dict)
    ids: dict[ChainId, dict[int, EntryId]] = field(default_factory=dict)
    forks: dict[ChainId, int] = field(default_factory=dict)
    genesis: Entry | None = None

    @property
    def device(self) -> DeviceId:
        return self.key.device_id

    @property
    def chain(self) -> ChainId:
        return ChainId(self.device, self.incarnation)

    # --- writing ---

    def found(self, name: str = "founder", hlc: int = 1) -> Batch:
        """Founds a new folder; the nonce follows from the key, so that examples can be repeated."""
        batch = chain.genesis(self.key, self.incarnation, self.key.seed[::-1], name, Hlc(hlc))
        self.folder = batch.folder
        self.receive(batch)
        return batch

    def write(self, *drafts: Draft) -> Batch:
        """One batch upon all that is merged here, merged here at once."""
        assert self.folder is not None
        last = self.vector.get(self.chain, 0)
        prev = self.ids[self.chain][last] if last else NO_ENTRY
        entries = chain.extended(prev, self.folder, self.device, self.incarnation, last + 1, drafts)
        batch = chain.sealed(self.key, self.folder, self.incarnation, dict(self.vector), entries)
        self.receive(batch)
        return batch

    def grant(self, device: DeviceId, role: Role, hlc: int = 0) -> Batch:
        return self.write(Draft(kind=Kind.GRANT, hlc=Hlc(hlc), detail=details.grant_detail(device, role, "member")))

    def cut(self, device: DeviceId, last: Mapping[Incarnation, int] | None = None) -> Batch:
        """Accepts what is merged here of ``device``, unless ``last`` says otherwise."""
        held = {chain_id.incarnation: number for chain_id, number in self.vector.items() if chain_id.author == device}
        return self.write(Draft(kind=Kind.CUT, detail=details.cut_detail(device, held if last is None else last, {})))

    def leave(self) -> Batch:
        return self.write(Draft(kind=Kind.LEAVE, detail=details.leave_detail()))

    # --- receiving ---

    def receive(self, batch: Batch) -> None:
        """Stores and merges; what does not check is dropped without a trace, as a daemon would after the link's end."""
        try:
            chain.check(batch)
        except RemoteProtocolError:
            return
        if batch.folder != self.folder:
            return
        self.waiting.append(batch)
        self._merge()

    def receive_all(self, batches: Iterable[Batch]) -> None:
        for batch in batches:
            self.receive(batch)

    def join(self, other: "Replica") -> None:
        """Takes over the folder and all that ``other`` has merged."""
        self.folder = other.folder
        self.pull(other)

    def pull(self, other: "Replica") -> None:
        """Fetches what ``other`` has merged and this one lacks, causes first."""
        lacking = dag.missing(other.vector, self.vector)
        self.receive_all([batch for batch in other.merged if batch.chain in lacking])

    def _merge(self) -> None:
        while True:
            going_on = [batch for batch in self.waiting if batch.chain not in self.forks]
            ready = dag.mergeable(self.vector, going_on)
            # A branch that comes to light leaves what was made upon it without its cause: look again without it.
            if all(self._merge_one(batch) for batch in ready):
                break
        self.waiting = [batch for batch in self.waiting if self._is_worth_keeping(batch)]

    def _merge_one(self, batch: Batch) -> bool:
        known = self.ids.setdefault(batch.chain, {})
        position = dag.position(known, self.vector.get(batch.chain, 0), batch)
        if isinstance(position, dag.Fork):
            self.forks[batch.chain] = position.sequence
            return False
        assert isinstance(position, dag.Extends), "mergeable gives only what extends its chain"
        for entry in position.new:
            known[entry.meta.sequence] = entry.id
            self.entries[entry.id] = (entry, batch.vector)
            if chain.is_genesis(entry):
                self.genesis = entry
        self.vector[batch.chain] = batch.last_sequence
        self.merged.append(batch)
        return True

    def _is_worth_keeping(self, batch: Batch) -> bool:
        """A duplicate is not; neither is a branch, once it is known for one."""
        position = dag.position(self.ids.get(batch.chain, {}), self.vector.get(batch.chain, 0), batch)
        if isinstance(position, dag.Fork):
            self.forks.setdefault(batch.chain, position.sequence)
        return isinstance(position, dag.Extends | dag.Gap) and batch.chain not in self.forks

    # --- looking ---

    def membership(self) -> members.Membership:
        assert self.genesis is not None
        found = [facts.fact(entry, vector) for entry, vector in self.entries.values()]
        return members.evaluate(
            self.genesis,
            [fact for fact in found if isinstance(fact, facts.GrantFact)],
            [fact for fact in found if isinstance(fact, facts.CutFact)],
            [fact for fact in found if isinstance(fact, facts.LeaveFact)],
        )

    def counted(self) -> set[EntryId]:
        """The ids of the merged entries that count."""
        membership = self.membership()
        return {entry.id for entry, vector in self.entries.values() if membership.counts(entry.meta, vector)}
