# SPDX-License-Identifier: AGPL-3.0-or-later
"""What waits for a person's decision, and what was lost within the guard's window."""

from collections.abc import Iterable
from dataclasses import dataclass

import cbor2

from harp.sync.model import EntryId, Path
from harp.sync.store.database import Database


@dataclass(frozen=True, slots=True)
class Holding:
    """Changes that are neither authored (``origin`` local) nor applied (remote) until a person decides.

    ``entries`` are those whose effect a remote one is; empty for a local one.
    """

    id: str
    origin: str
    reason: str
    paths: tuple[Path, ...]
    entries: tuple[EntryId, ...]
    since_s: float


class Holdings:
    """Rows of the ``held``, ``approved`` and ``loss`` tables. Callers wrap changes in ``db.transaction()``."""

    def __init__(self, db: Database) -> None:
        self.db = db

    def all(self) -> list[Holding]:
        rows = self.db.execute("SELECT held_id, origin, reason, paths, entries, since_s FROM held ORDER BY since_s")
        return [
            Holding(id_, origin, reason, tuple(cbor2.loads(paths)), tuple(cbor2.loads(entries)), since_s)
            for id_, origin, reason, paths, entries, since_s in rows.fetchall()
        ]

    def put(self, holding: Holding) -> None:
        self.db.execute(
            "INSERT OR REPLACE INTO held (held_id, origin, reason, paths, entries, since_s) VALUES (?, ?, ?, ?, ?, ?)",
            (
                holding.id,
                holding.origin,
                holding.reason,
                cbor2.dumps(list(holding.paths)),
                cbor2.dumps(list(holding.entries)),
                holding.since_s,
            ),
        )

    def drop(self, held_id: str) -> None:
        self.db.execute("DELETE FROM held WHERE held_id = ?", (held_id,))

    def approve(self, entries: Iterable[EntryId]) -> None:
        self.db.executemany("INSERT OR IGNORE INTO approved (id) VALUES (?)", ((id_,) for id_ in entries))

    def is_approved(self, entry: EntryId) -> bool:
        return self.db.execute("SELECT 1 FROM approved WHERE id = ?", (entry,)).fetchone() is not None

    def losses(self, *, since_s: float) -> list[tuple[float, int]]:
        """When how many were let pass."""
        self.db.execute("DELETE FROM loss WHERE at_s <= ?", (since_s,))
        return [(row[0], row[1]) for row in self.db.execute("SELECT at_s, count FROM loss ORDER BY at_s").fetchall()]

    def add_loss(self, count: int, *, now: float) -> None:
        self.db.execute("INSERT INTO loss (at_s, count) VALUES (?, ?)", (now, count))
