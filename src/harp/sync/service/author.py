# SPDX-License-Identifier: AGPL-3.0-or-later
"""Says what changed here: drafts become signed batches, and nothing leaves before it is durable."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from harp.sync.engine import chain
from harp.sync.engine.chain import Draft
from harp.sync.model import Batch, Entry, FileKind, Kind, NodeId, OnDisk, Path
from harp.sync.protocol import batchform
from harp.sync.service import catalog
from harp.sync.service.record import Record
from harp.sync.service.replica import Replica
from harp.sync.store.places import PENDING, Place, with_disk


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found at a path, to be noted with the drafts about it; ``on_disk.applied`` follows from them."""

    on_disk: OnDisk | None
    is_racy: bool = False
    nodes: Sequence[tuple[NodeId, bytes]] = ()
    is_recovered: bool = False
    """Found after a crash at a path of the journal: what should lie there is still to be planned."""


@dataclass(frozen=True, slots=True)
class Written:
    """A batch that is durable in the ledger, with the form in which it travels."""

    batch: Batch
    data: bytes


class Author:
    """This device's own chain."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    def write(
        self,
        changes: Sequence[Sequence[Draft]],
        seen: Mapping[Path, Seen],
        known: Mapping[Path, Place] | None = None,
    ) -> tuple[list[Written], list[Place]]:
        """Signs the drafts (each change in one batch) and notes what lies on the disk, in one transaction.

        ``known`` are rows of these paths that were read just now. All is durable when it returns the batches, and the
        rows of the paths whose view may have changed.
        """
        replica = self._replica
        ledger = replica.ledger
        record = Record(ledger, replica.places, known)
        written: list[Written] = []
        try:
            with ledger.db.transaction():
                for group in chain.split(changes):
                    entries, item = self._sealed(group)
                    written.append(item)
                    self._note(record, entries, item)
                replica.places.add_nodes(node for found in seen.values() for node in found.nodes)
                self._show(record, written, seen)
                changed = record.flush()
        except BaseException:
            ledger.refresh()
            raise
        if written:
            replica.witness.note(replica.incarnation, written[-1].batch.last_sequence)
        return written, [place for place in changed if place.path in record.touched]

    def _sealed(self, group: Sequence[Draft]) -> tuple[Sequence[Entry], Written]:
        replica = self._replica
        own = replica.ledger.chain(replica.own_chain)
        entries = chain.extended(
            own.merged_id, replica.folder, replica.device, replica.incarnation, own.merged + 1, group
        )
        batch = chain.sealed(replica.key, replica.folder, replica.incarnation, replica.ledger.vector(), entries)
        return entries, Written(batch, batchform.encode_batch(batch))

    def _note(self, record: Record, entries: Iterable[Entry], item: Written) -> None:
        ledger = self._replica.ledger
        chain_no = ledger.chain(item.batch.chain).number
        batch_no = ledger.add_batch(item.batch, item.data)
        merge_no = ledger.mark_merged(batch_no, item.batch)
        for entry in entries:
            if entry.meta.kind.is_about_path:
                record.add(entry, chain_no, counts=True)
            else:
                ledger.add_governance(entry.id, merge_no, batch_no)

    def _show(self, record: Record, written: Iterable[Written], seen: Mapping[Path, Seen]) -> None:
        """What lies on the disk after what was seen and said: an entry of ours lies at its path, by definition."""
        said = {entry.meta.path: entry for item in written for entry in item.batch.entries}
        for path, found in seen.items():
            entry = said.pop(path, None)
            on_disk = found.on_disk
            if on_disk is not None and entry is not None and entry.meta.kind is not Kind.TOMBSTONE:
                on_disk = _authored(on_disk, entry)
            self._index(record.place(path), on_disk)
            record.show(path, on_disk, is_racy=found.is_racy)
            if found.is_recovered:
                record.put(replace(record.place(path), pending=PENDING))
                record.touched.add(path)
            elif entry is not None:
                self._settle(record, path, entry)
        for path, entry in said.items():
            on_disk = record.place(path).on_disk
            if on_disk is not None and _lies(entry, on_disk):
                record.show(path, _authored(on_disk, entry))

    def _index(self, place: Place, on_disk: OnDisk | None) -> None:
        places, before = self._replica.places, place.on_disk
        if before is not None and (on_disk is None or before.root != on_disk.root):
            catalog.unindex(places, place.number, before.root, before.stat.size)
        if on_disk is not None and on_disk.root and (before is None or before.root != on_disk.root):
            catalog.index(places, place.number, on_disk.root, on_disk.stat.size)

    def _settle(self, record: Record, path: Path, entry: Entry) -> None:
        """A file that has one head, the entry just made of it, need not be planned: it lies there."""
        place = record.place(path)
        is_alone = place.heads == (entry.id,) and entry.meta.kind in (Kind.FILE, Kind.SYMLINK)
        if is_alone and not self._replica.places.lives_below(path):
            record.put(with_disk(place, place.on_disk, problem=place.problem, is_racy=place.is_racy))
            record.touched.discard(path)


def _authored(on_disk: OnDisk, entry: Entry) -> OnDisk:
    """What lies there is what ``entry`` says, and no copy of something else any more."""
    return OnDisk(
        on_disk.stat, (entry.id,), on_disk.root, on_disk.target, on_disk.wanted_mtime_ns, on_disk.wanted_executable
    )


def _lies(entry: Entry, on_disk: OnDisk) -> bool:
    """Whether an entry's content is what lies there: so for a conflict copy that got an entry of its own."""
    meta = entry.meta
    match meta.kind:
        case Kind.FILE:
            return on_disk.stat.kind is FileKind.FILE and on_disk.root == meta.root and on_disk.stat.size == meta.size
        case Kind.SYMLINK:
            return on_disk.stat.kind is FileKind.SYMLINK and on_disk.target == meta.target
        case _:
            return False
