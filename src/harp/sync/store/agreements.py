# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where a folder and the account that it mirrors last agreed: one SQLite file a mirror, one transaction a change."""

import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from harp.sync.store.database import Database

MOST_PAST = 200_000
"""So many earlier etags of folders are kept."""


class Row(NamedTuple):
    """One path. The first four are this disk's, then the account's."""

    is_directory: bool
    inode: int
    size: int
    mtime_ns: int
    fileid: str
    etag: str
    sha256: str
    permissions: str


class Begun(NamedTuple):
    """An upload in chunks. The first three say of which version on this disk; ``sha256`` is empty until all is sent."""

    inode: int
    size: int
    mtime_ns: int
    place: str
    sent: int
    sha256: str


class Agreements:
    """For any thread. Raises :class:`StoreError` as :class:`Database` does."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        self._db = Database(path, "agreements")
        self._lock = threading.Lock()

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def rows(self) -> dict[str, Row]:
        with self._lock:
            found = self._db.execute(
                "SELECT path, is_directory, inode, size, mtime_ns, fileid, etag, sha256, permissions FROM agreed"
            ).fetchall()
        return {row[0]: Row(bool(row[1]), *row[2:]) for row in found}

    def marks(self) -> dict[str, str]:
        with self._lock:
            return dict(self._db.execute("SELECT path, etag FROM mark").fetchall())

    def note(self, changed: Mapping[str, Row | None]) -> None:
        """Keeps what was agreed; None forgets a path."""
        gone = [(path,) for path, row in changed.items() if row is None]
        kept = [(path, *row) for path, row in changed.items() if row is not None]
        with self._lock, self._db.transaction():
            self._db.executemany("DELETE FROM agreed WHERE path = ?", gone)
            self._db.executemany("INSERT OR REPLACE INTO agreed VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", kept)

    def mark(self, marks: Mapping[str, str]) -> None:
        """Takes the place of all marks."""
        with self._lock, self._db.transaction():
            self._db.execute("DELETE FROM mark")
            self._db.executemany("INSERT INTO mark VALUES (?, ?)", marks.items())

    def uploads(self) -> dict[str, Begun]:
        with self._lock:
            found = self._db.execute("SELECT path, inode, size, mtime_ns, place, sent, sha256 FROM upload").fetchall()
        return {row[0]: Begun(*row[1:]) for row in found}

    def note_upload(self, path: str, begun: Begun | None) -> None:
        """None: it is done, or given up."""
        with self._lock, self._db.transaction():
            if begun is None:
                self._db.execute("DELETE FROM upload WHERE path = ?", (path,))
            else:
                self._db.execute("INSERT OR REPLACE INTO upload VALUES (?, ?, ?, ?, ?, ?, ?)", (path, *begun))

    def came_again(self, folders: Mapping[str, str]) -> list[str]:
        """The numbers of those folders that have another etag than last, and one that they had at an earlier time."""
        with self._lock:
            return [
                fileid
                for fileid, etag in self._changed(folders)
                if self._db.execute("SELECT 1 FROM past WHERE fileid = ? AND etag = ?", (fileid, etag)).fetchone()
            ]

    def saw(self, folders: Mapping[str, str]) -> None:
        """Keeps the etags of folders, by their numbers."""
        with self._lock:
            changed = self._changed(folders)
            if not changed:
                return
            with self._db.transaction():
                numbers = [(fileid,) for fileid, _ in changed]
                self._db.executemany(
                    "INSERT INTO past (fileid, etag) SELECT fileid, etag FROM folder WHERE fileid = ?", numbers
                )
                self._db.executemany("INSERT OR REPLACE INTO folder VALUES (?, ?)", changed)
                self._db.execute("DELETE FROM past WHERE id <= (SELECT max(id) FROM past) - ?", (MOST_PAST,))

    def _changed(self, folders: Mapping[str, str]) -> list[tuple[str, str]]:
        last = dict(self._db.execute("SELECT fileid, etag FROM folder").fetchall())
        return [(fileid, etag) for fileid, etag in folders.items() if last.get(fileid) != etag]

    def fact(self, name: str) -> str:
        """Empty where there is none."""
        with self._lock:
            row = self._db.execute("SELECT value FROM fact WHERE name = ?", (name,)).fetchone()
        return "" if row is None else str(row[0])

    def set_facts(self, facts: Iterable[tuple[str, str]]) -> None:
        with self._lock, self._db.transaction():
            self._db.executemany("INSERT OR REPLACE INTO fact VALUES (?, ?)", list(facts))

    def clear(self) -> None:
        """Forgets all but the facts: what comes next is put together by content, and nothing is removed."""
        with self._lock, self._db.transaction():
            self._db.execute("DELETE FROM agreed")
            self._db.execute("DELETE FROM mark")
