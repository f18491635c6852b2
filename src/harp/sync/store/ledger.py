# SPDX-License-Identifier: AGPL-3.0-or-later
"""The history of one folder: chains, batches, entries and what was said about members; for one thread."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cbor2

from harp.base.errors import CorruptStore
from harp.identity.device import DeviceId
from harp.sync.model import (
    ID_BYTES,
    NO_ENTRY,
    Batch,
    ChainId,
    Entry,
    EntryId,
    FolderId,
    FolderKeys,
    Hlc,
    Incarnation,
    Kind,
    Metadata,
    RootId,
    Vector,
)
from harp.sync.model import Path as FolderPath
from harp.sync.protocol import batchform
from harp.sync.store.database import Database

_ENTRY_COLUMNS = (
    "entry.id, path.path, chain.author, chain.incarnation, entry.sequence, entry.kind, entry.size, entry.mtime_ns,"
    " entry.executable, entry.root, entry.target, entry.hlc, entry.replaces, entry.prev"
)
_ENTRY_JOIN = "entry JOIN path USING (path_no) JOIN chain USING (chain_no)"


MAX_RECENT = 8192
"""Entries kept in memory after they were added."""


@dataclass(frozen=True, slots=True)
class Chain:
    """One chain as it stands here: what is merged of it, and where a fork stopped it."""

    number: int
    id: ChainId
    merged: int
    merged_id: EntryId
    stopped_at: int | None

    @property
    def upheld(self) -> int:
        """The last sequence that is merged and not beyond a fork."""
        return self.merged if self.stopped_at is None else min(self.merged, self.stopped_at)


@dataclass(frozen=True, slots=True)
class EntryRow:
    """A merged entry on its way into the ledger."""

    entry: Entry
    path_no: int
    chain_no: int
    counts: bool


class Ledger:
    """What was said, by whom, and in which order it was merged. Callers wrap changes in ``db.transaction()``."""

    def __init__(self, path: Path) -> None:
        self.db = Database(path, "ledger")
        self._folder: FolderId | None = None
        self._chains: dict[ChainId, Chain] = {}
        self._merge_no = 0
        self._has_superseded = False
        self._recent: dict[EntryId, Entry] = {}
        self.refresh()

    def close(self) -> None:
        self.db.close()

    # --- single facts ---

    def fact(self, name: str) -> bytes | None:
        row = self.db.execute("SELECT value FROM fact WHERE name = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def set_fact(self, name: str, value: bytes) -> None:
        self.db.execute("INSERT OR REPLACE INTO fact (name, value) VALUES (?, ?)", (name, value))

    def drop_fact(self, name: str) -> None:
        self.db.execute("DELETE FROM fact WHERE name = ?", (name,))

    @property
    def folder(self) -> FolderId:
        if self._folder is None:
            value = self.fact("folder")
            if value is None:
                raise CorruptStore(f"the database {self.db.path} names no folder", hint="restore a backup")
            self._folder = FolderId(value)
        return self._folder

    @property
    def incarnation(self) -> Incarnation:
        value = self.fact("incarnation")
        if value is None:
            raise CorruptStore(f"the database {self.db.path} names no chain of this device", hint="restore a backup")
        return Incarnation(value)

    def keys(self) -> FolderKeys:
        """The folder's secrets."""
        value = self.fact("keys")
        if value is None:
            raise CorruptStore(f"the database {self.db.path} has lost its folder's secrets", hint="restore a backup")
        content, *epochs = cbor2.loads(value)
        return FolderKeys(content, tuple(epochs))

    def set_keys(self, keys: FolderKeys) -> None:
        self.set_fact("keys", cbor2.dumps([keys.content, *keys.epochs]))

    def renew(self, incarnation: Incarnation) -> None:
        """A new chain for this device, which says nothing on it before it has what its peers have."""
        with self.db.transaction():
            self.set_fact("incarnation", incarnation)
            self.set_fact("is_new", b"1")

    def begin(self) -> bool:
        """To be called once after opening: whether the ledger was closed cleanly the last time."""
        was_clean = self.fact("unclean") is None
        with self.db.transaction():
            self.set_fact("unclean", b"1")
        return was_clean

    def set_clean(self) -> None:
        """Nothing is being written any more."""
        with self.db.transaction():
            self.drop_fact("unclean")

    # --- chains ---

    def chain(self, chain: ChainId) -> Chain:
        """The chain as it stands; one that was never heard of is made, with nothing merged."""
        known = self._chains.get(chain)
        if known is None:
            cursor = self.db.execute(
                "INSERT INTO chain (author, incarnation, merged_id) VALUES (?, ?, ?)",
                (chain.author, chain.incarnation, NO_ENTRY),
            )
            known = Chain(cursor.lastrowid or 0, chain, 0, NO_ENTRY, None)
            self._chains[chain] = known
        return known

    def chains(self) -> Sequence[Chain]:
        return tuple(self._chains.values())

    def vector(self) -> Vector:
        """What is merged here: the last sequence of each chain that has any; of a stopped one, up to its fork."""
        return {chain.id: chain.upheld for chain in self._chains.values() if chain.upheld}

    def stop_chain(self, chain: ChainId, sequence: int | None) -> None:
        """Notes (or, with None, lifts) that a fork stops this chain after ``sequence``."""
        known = self.chain(chain)
        self.db.execute("UPDATE chain SET stopped_at = ? WHERE chain_no = ?", (sequence, known.number))
        self._chains[chain] = Chain(known.number, chain, known.merged, known.merged_id, sequence)

    def refresh(self) -> None:
        """Reads what is kept in memory again: after opening, and after a transaction was rolled back."""
        self._chains = {}
        self._recent = {}
        for row in self.db.execute("SELECT chain_no, author, incarnation, merged, merged_id, stopped_at FROM chain"):
            chain = Chain(row[0], ChainId(DeviceId(row[1]), Incarnation(row[2])), row[3], EntryId(row[4]), row[5])
            self._chains[chain.id] = chain
        self._merge_no = int(self.db.execute("SELECT coalesce(max(merge_no), 0) FROM batch").fetchone()[0])
        self._has_superseded = self.db.execute("SELECT 1 FROM superseded LIMIT 1").fetchone() is not None

    # --- batches ---

    def add_batch(self, batch: Batch, data: bytes | None = None) -> int:
        """Stores a checked batch as waiting; its number. The batch must not be stored already."""
        chain = self.chain(batch.chain)
        cursor = self.db.execute(
            "INSERT INTO batch (chain_no, first_sequence, last_sequence, data) VALUES (?, ?, ?, ?)",
            (chain.number, batch.first_sequence, batch.last_sequence, data or batchform.encode_batch(batch)),
        )
        return cursor.lastrowid or 0

    def mark_merged(self, batch_no: int, batch: Batch) -> int:
        """The batch's place in the order of merging."""
        self._merge_no += 1
        known = self.chain(batch.chain)
        last = batch.entries[-1]
        self.db.execute("UPDATE batch SET merge_no = ? WHERE batch_no = ?", (self._merge_no, batch_no))
        self.db.execute(
            "UPDATE chain SET merged = ?, merged_id = ? WHERE chain_no = ?",
            (last.meta.sequence, last.id, known.number),
        )
        self._chains[batch.chain] = Chain(known.number, known.id, last.meta.sequence, last.id, known.stopped_at)
        return self._merge_no

    def waiting(self) -> list[tuple[int, Batch]]:
        """Batches that are stored and not yet merged, with their numbers, in order of arrival."""
        rows = self.db.execute("SELECT batch_no, data FROM batch WHERE merge_no IS NULL ORDER BY batch_no")
        return [(row[0], batchform.decode_batch(row[1])) for row in rows.fetchall()]

    def waiting_bytes(self) -> dict[DeviceId, int]:
        """How much of each author is stored and not yet merged."""
        rows = self.db.execute(
            "SELECT author, sum(length(data)) FROM batch JOIN chain USING (chain_no) WHERE merge_no IS NULL"
            " GROUP BY author"
        )
        return {DeviceId(author): size for author, size in rows.fetchall()}

    def drop_waiting(self, batch_no: int) -> int:
        """How many bytes that gave back."""
        gone = "DELETE FROM batch WHERE batch_no = ? AND merge_no IS NULL RETURNING length(data)"
        return sum(row[0] for row in self.db.execute(gone, (batch_no,)).fetchall())

    def holds_batch(self, batch: Batch) -> bool:
        """Whether a batch of that chain with that first sequence is stored, merged or waiting."""
        chain = self._chains.get(batch.chain)
        if chain is None:
            return False
        found = self.db.execute(
            "SELECT 1 FROM batch WHERE chain_no = ? AND first_sequence = ?", (chain.number, batch.first_sequence)
        )
        return found.fetchone() is not None

    def batches_beyond(self, vector: Vector) -> Iterator[bytes]:
        """Encoded batches that whoever has merged ``vector`` lacks, causes first."""
        lacking = [chain for chain in self._chains.values() if chain.upheld > vector.get(chain.id, 0)]
        numbers: list[tuple[int, int]] = []
        for chain in lacking:
            numbers += self.db.execute(
                "SELECT merge_no, batch_no FROM batch"
                " WHERE chain_no = ? AND last_sequence > ? AND merge_no IS NOT NULL",
                (chain.number, vector.get(chain.id, 0)),
            ).fetchall()
        for _, batch_no in sorted(numbers):
            yield self.db.execute("SELECT data FROM batch WHERE batch_no = ?", (batch_no,)).fetchone()[0]

    def batch_with(self, chain: ChainId, sequence: int) -> Batch | None:
        """The merged batch that holds the chain's entry of that sequence."""
        known = self._chains.get(chain)
        if known is None:
            return None
        row = self.db.execute(
            "SELECT data FROM batch WHERE chain_no = ? AND first_sequence <= ? AND last_sequence >= ?"
            " AND merge_no IS NOT NULL",
            (known.number, sequence, sequence),
        ).fetchone()
        return None if row is None else batchform.decode_batch(row[0])

    def entry_id_at(self, chain: ChainId, sequence: int) -> EntryId | None:
        """The id of a chain's merged entry; None where it is not merged here."""
        known = self._chains.get(chain)
        if known is not None and known.merged == sequence:
            return known.merged_id
        batch = self.batch_with(chain, sequence)
        return None if batch is None else batch.entries[sequence - batch.first_sequence].id

    def merged_batches(self) -> Iterator[Batch]:
        """All merged batches in the order of merging."""
        numbers = self.db.execute("SELECT batch_no FROM batch WHERE merge_no IS NOT NULL ORDER BY merge_no").fetchall()
        for (batch_no,) in numbers:
            row = self.db.execute("SELECT data FROM batch WHERE batch_no = ?", (batch_no,)).fetchone()
            yield batchform.decode_batch(row[0])

    def newest_batches(self) -> Iterator[Batch]:
        """All merged batches, the one merged last first."""
        before = self._merge_no + 1
        while True:
            row = self.db.execute(
                "SELECT merge_no, data FROM batch WHERE merge_no < ? ORDER BY merge_no DESC LIMIT 1", (before,)
            ).fetchone()
            if row is None:
                return
            before = row[0]
            yield batchform.decode_batch(row[1])

    @property
    def merged(self) -> int:
        """How many batches have been merged: another number, another history. For any thread."""
        return self._merge_no

    # --- entries about paths ---

    def add_entries(self, rows: Sequence[EntryRow]) -> None:
        self._remember(rows)
        self.db.executemany(
            "INSERT OR IGNORE INTO entry (id, path_no, chain_no, sequence, kind, size, mtime_ns, executable, root,"
            " target, hlc, replaces, prev, counts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    row.entry.id,
                    row.path_no,
                    row.chain_no,
                    row.entry.meta.sequence,
                    int(row.entry.meta.kind),
                    row.entry.meta.size,
                    row.entry.meta.mtime_ns,
                    row.entry.meta.executable,
                    row.entry.meta.root,
                    row.entry.meta.target,
                    row.entry.meta.hlc,
                    b"".join(row.entry.meta.replaces),
                    row.entry.prev,
                    row.counts,
                )
                for row in rows
            ),
        )

    def _remember(self, rows: Sequence[EntryRow]) -> None:
        """What was just merged is what is planned next: it is kept as it is for a while."""
        if len(self._recent) + len(rows) > MAX_RECENT:
            self._recent.clear()
        self._recent.update((row.entry.id, row.entry) for row in rows[:MAX_RECENT])

    def entry(self, entry_id: EntryId) -> Entry | None:
        recent = self._recent.get(entry_id)
        if recent is not None:
            return recent
        row = self.db.execute(f"SELECT {_ENTRY_COLUMNS} FROM {_ENTRY_JOIN} WHERE id = ?", (entry_id,)).fetchone()
        return None if row is None else self._entry(row)

    def entries(self, entry_ids: Iterable[EntryId]) -> list[Entry]:
        """Those of the ids that are known, in their order."""
        found = (self.entry(entry_id) for entry_id in entry_ids)
        return [entry for entry in found if entry is not None]

    def entries_at(self, path_no: int, *, counted_only: bool = True) -> list[Entry]:
        """All entries of one path, the oldest clock first."""
        rows = self.db.execute(
            f"SELECT {_ENTRY_COLUMNS} FROM {_ENTRY_JOIN} WHERE entry.path_no = ? AND entry.counts >= ?"
            " ORDER BY entry.hlc, entry.id",
            (path_no, int(counted_only)),
        )
        return [self._entry(row) for row in rows.fetchall()]

    def counts(self, entry_id: EntryId) -> bool:
        row = self.db.execute("SELECT counts FROM entry WHERE id = ?", (entry_id,)).fetchone()
        return row is not None and bool(row[0])

    def set_counts(self, entry_ids: Iterable[EntryId], counts: bool) -> None:
        self.db.executemany("UPDATE entry SET counts = ? WHERE id = ?", ((counts, id_) for id_ in entry_ids))

    def entries_of(self, chain: Chain, beyond: int) -> list[tuple[EntryId, int, bool]]:
        """(id, path number, counts) of a chain's entries after a sequence."""
        rows = self.db.execute(
            "SELECT id, path_no, counts FROM entry WHERE chain_no = ? AND sequence > ?", (chain.number, beyond)
        )
        return [(EntryId(row[0]), row[1], bool(row[2])) for row in rows.fetchall()]

    def note_superseded(self, path_no: int, entry_ids: Iterable[EntryId]) -> None:
        """Remembers ids that an entry at that path replaces and that are not here yet."""
        rows = [(id_, path_no) for id_ in entry_ids]
        self.db.executemany("INSERT OR IGNORE INTO superseded (id, path_no) VALUES (?, ?)", rows)
        self._has_superseded = self._has_superseded or bool(rows)

    def is_superseded(self, entry_id: EntryId, path_no: int) -> bool:
        """Whether a counted entry at that path replaced the id before it arrived."""
        if not self._has_superseded:
            return False
        found = self.db.execute("SELECT 1 FROM superseded WHERE id = ? AND path_no = ?", (entry_id, path_no))
        return found.fetchone() is not None

    def knows_entry(self, entry_id: EntryId) -> bool:
        return self.db.execute("SELECT 1 FROM entry WHERE id = ?", (entry_id,)).fetchone() is not None

    def _entry(self, row: tuple) -> Entry:  # type: ignore[type-arg]
        meta = Metadata(
            folder=self.folder,
            author=DeviceId(row[2]),
            incarnation=Incarnation(row[3]),
            sequence=row[4],
            kind=Kind(row[5]),
            path=FolderPath(row[1]),
            target=row[10],
            size=row[6],
            mtime_ns=row[7],
            executable=bool(row[8]),
            root=RootId(row[9]),
            hlc=Hlc(row[11]),
            replaces=split_ids(row[12]),
        )
        return Entry(EntryId(row[0]), EntryId(row[13]), meta)

    # --- members ---

    def add_governance(self, entry_id: EntryId, merge_no: int, batch_no: int) -> None:
        self.db.execute("INSERT OR IGNORE INTO governance VALUES (?, ?, ?)", (entry_id, merge_no, batch_no))

    def governance(self) -> list[tuple[Entry, Batch]]:
        """Grants, cuts, approvals and leaves with the batches they came in, in the order of merging.

        What an author said beyond a fork of its chain is not among them.
        """
        rows = self.db.execute(
            "SELECT governance.id, batch.data FROM governance JOIN batch USING (batch_no) ORDER BY governance.merge_no"
        )
        found = []
        for entry_id, data in rows.fetchall():
            batch = batchform.decode_batch(data)
            upheld = self._chains[batch.chain].upheld
            found += [(one, batch) for one in batch.entries if one.id == entry_id and one.meta.sequence <= upheld]
        return found

    # --- forks ---

    def add_fork(self, chain: ChainId, sequence: int, batch_a: Batch, batch_b: Batch) -> None:
        self.db.execute(
            "INSERT OR IGNORE INTO fork (chain_no, sequence, batch_a, batch_b) VALUES (?, ?, ?, ?)",
            (
                self.chain(chain).number,
                sequence,
                batchform.encode_batch(batch_a),
                batchform.encode_batch(batch_b),
            ),
        )

    def forks(self) -> list[tuple[Batch, Batch]]:
        rows = self.db.execute("SELECT batch_a, batch_b FROM fork ORDER BY chain_no, sequence").fetchall()
        return [(batchform.decode_batch(a), batchform.decode_batch(b)) for a, b in rows]


def split_ids(joined: bytes) -> tuple[EntryId, ...]:
    """Ids of 32 bytes each, as they are stored one after the other."""
    return tuple(EntryId(joined[i : i + ID_BYTES]) for i in range(0, len(joined), ID_BYTES))
