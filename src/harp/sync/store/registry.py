# SPDX-License-Identifier: AGPL-3.0-or-later
"""What this device knows beside its ledgers: folders, tickets, where and when devices are met; for any thread."""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harp.base.errors import UsageError
from harp.identity.device import DeviceId
from harp.sync.model import FolderId, Role
from harp.sync.store.database import Database

MAX_ADDRESSES = 16
"""Kept for each device: those that worked most recently."""


@dataclass(frozen=True, slots=True)
class SharedFolder:
    """One folder of this device. ``ledger`` is a file name under HOME/folders."""

    id: FolderId
    name: str
    path: Path
    ledger: str
    is_paused: bool = False


@dataclass(frozen=True, slots=True)
class OpenTicket:
    """A ticket that may still be redeemed."""

    secret_hash: bytes = field(repr=False)
    knock_key: bytes = field(repr=False)
    folder: FolderId
    role: Role
    expires_s: float


class Registry:
    """HOME/registry.db. Every method is one transaction under a lock."""

    def __init__(self, path: Path) -> None:
        self._db = Database(path, "registry")
        self._lock = threading.Lock()

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def check(self) -> None:
        with self._lock:
            self._db.check()

    def copy_to(self, target: Path) -> None:
        with self._lock:
            self._db.copy_to(target)

    # --- folders ---

    def folders(self) -> list[SharedFolder]:
        with self._lock:
            rows = self._db.execute("SELECT folder_id, name, path, ledger, paused FROM folder ORDER BY name").fetchall()
        return [SharedFolder(FolderId(row[0]), row[1], Path(row[2]), row[3], bool(row[4])) for row in rows]

    def add_folder(self, folder: SharedFolder) -> None:
        """Raises :class:`UsageError` where the name or the path is taken already."""
        with self._lock, self._db.transaction():
            if self._db.execute("SELECT 1 FROM folder WHERE name = ?", (folder.name,)).fetchone():
                raise UsageError(f"there is a folder named {folder.name!r} already", hint="choose another with --name")
            self._db.execute(
                "INSERT INTO folder (folder_id, name, path, ledger, paused) VALUES (?, ?, ?, ?, ?)",
                (folder.id, folder.name, str(folder.path), folder.ledger, folder.is_paused),
            )

    def move_folder(self, folder: FolderId, path: Path) -> None:
        with self._lock, self._db.transaction():
            self._db.execute("UPDATE folder SET path = ? WHERE folder_id = ?", (str(path), folder))

    def set_paused(self, folder: FolderId, paused: bool) -> None:
        with self._lock, self._db.transaction():
            self._db.execute("UPDATE folder SET paused = ? WHERE folder_id = ?", (paused, folder))

    def remove_folder(self, folder: FolderId) -> None:
        with self._lock, self._db.transaction():
            self._db.execute("DELETE FROM folder WHERE folder_id = ?", (folder,))
            self._db.execute("DELETE FROM ticket WHERE folder_id = ?", (folder,))

    # --- tickets ---

    def add_ticket(self, ticket: OpenTicket) -> None:
        with self._lock, self._db.transaction():
            self._db.execute(
                "INSERT INTO ticket (secret_hash, knock_key, folder_id, role, expires_s) VALUES (?, ?, ?, ?, ?)",
                (ticket.secret_hash, ticket.knock_key, ticket.folder, int(ticket.role), ticket.expires_s),
            )

    def open_tickets(self, *, now: float, grace_s: float = 86_400.0) -> list[OpenTicket]:
        """Tickets that still open the door: used and expired ones too for a while, so that they can be told why not."""
        with self._lock:
            rows = self._db.execute(
                "SELECT secret_hash, knock_key, folder_id, role, expires_s FROM ticket WHERE expires_s > ?",
                (now - grace_s,),
            ).fetchall()
        return [OpenTicket(row[0], row[1], FolderId(row[2]), Role(row[3]), row[4]) for row in rows]

    def redeem(self, secret_hash: bytes, device: DeviceId, *, now: float) -> OpenTicket | str:
        """The ticket, now spent on ``device``; else why not: "unknown", "used" or "expired".

        One UPDATE decides, so of two who come at once exactly one gets it. The device that spent a ticket may come
        again with it (its answer may have been lost on the way).
        """
        with self._lock, self._db.transaction():
            changed = self._db.execute(
                "UPDATE ticket SET redeemed_by = ? WHERE secret_hash = ? AND expires_s > ?"
                " AND (redeemed_by IS NULL OR redeemed_by = ?)",
                (device, secret_hash, now, device),
            ).rowcount
            row = self._db.execute(
                "SELECT secret_hash, knock_key, folder_id, role, expires_s, redeemed_by FROM ticket"
                " WHERE secret_hash = ?",
                (secret_hash,),
            ).fetchone()
        if row is None:
            return "unknown"
        if changed:
            return OpenTicket(row[0], row[1], FolderId(row[2]), Role(row[3]), row[4])
        return "used" if row[5] is not None and row[5] != device else "expired"

    # --- addresses ---

    def add_addresses(self, device: DeviceId, addresses: Sequence[str], *, worked_s: float | None = None) -> None:
        """Notes where a device may be found; the list for a device stays bounded, proven addresses first."""
        with self._lock, self._db.transaction():
            for address in addresses[:MAX_ADDRESSES]:
                self._db.execute(
                    "INSERT INTO address (device, address, worked_s) VALUES (?, ?, ?) ON CONFLICT (device, address)"
                    " DO UPDATE SET worked_s = coalesce(excluded.worked_s, worked_s)",
                    (device, address, worked_s),
                )
            self._db.execute(
                "DELETE FROM address WHERE device = ?1 AND address NOT IN (SELECT address FROM address"
                " WHERE device = ?1 ORDER BY worked_s IS NULL, worked_s DESC, address LIMIT ?2)",
                (device, MAX_ADDRESSES),
            )

    def addresses(self, device: DeviceId) -> list[str]:
        """Where it may be found: what worked last first."""
        with self._lock:
            rows = self._db.execute(
                "SELECT address FROM address WHERE device = ? ORDER BY worked_s IS NULL, worked_s DESC, address",
                (device,),
            ).fetchall()
        return [row[0] for row in rows]

    # --- seen ---

    def saw(self, devices: Iterable[DeviceId], *, now: float) -> None:
        with self._lock, self._db.transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO seen (device, at_s) VALUES (?, ?)", [(device, now) for device in devices]
            )

    def seen_s(self, device: DeviceId) -> float | None:
        """When it was linked last, before this start too; None: never."""
        with self._lock:
            row = self._db.execute("SELECT at_s FROM seen WHERE device = ?", (device,)).fetchone()
        return None if row is None else float(row[0])

    # --- forgotten devices ---

    def forget(self, device: DeviceId, *, now: float) -> None:
        with self._lock, self._db.transaction():
            self._db.execute("INSERT OR REPLACE INTO forgotten (device, at_s) VALUES (?, ?)", (device, now))
            self._db.execute("DELETE FROM address WHERE device = ?", (device,))

    def readmit(self, device: DeviceId) -> None:
        """A new ticket was redeemed by a device that had been forgotten."""
        with self._lock, self._db.transaction():
            self._db.execute("DELETE FROM forgotten WHERE device = ?", (device,))

    def forgotten(self) -> set[DeviceId]:
        with self._lock:
            return {DeviceId(row[0]) for row in self._db.execute("SELECT device FROM forgotten").fetchall()}
