# SPDX-License-Identifier: AGPL-3.0-or-later
"""One SQLite file: opened durably, checked, migrated; its errors in Harp's words."""

import contextlib
import itertools
import sqlite3
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from harp.base.errors import CorruptStore, StoreError

_BUSY_TIMEOUT_S = 30.0


@contextlib.contextmanager
def mapping(path: Path) -> Iterator[None]:
    """Lets no sqlite3 error out: :class:`CorruptStore` for a damaged file, :class:`StoreError` for the rest."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise _mapped(path, error) from error


def _mapped(path: Path, error: sqlite3.DatabaseError) -> StoreError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return damaged(path, error)
    if code == sqlite3.SQLITE_FULL:
        return StoreError(f"no room left on the disk of {path}", hint="free some space; nothing is lost")
    return StoreError(f"the database {path} cannot be used: {error}")


def damaged(path: Path, why: object) -> CorruptStore:
    """The error for a database that cannot be read, to be raised."""
    return CorruptStore(
        f"the database {path} is damaged: {why}",
        hint="stop the daemon and bring it back with `harp restore-backup FILE`, or move it away and join again",
    )


class _Cursor(sqlite3.Cursor):
    """One whose errors are Harp's, also those that SQLite meets at a later row. By hand: :func:`mapping` takes 1 µs."""

    connection: "_Connection"

    def fetchone(self) -> Any:
        try:
            return super().fetchone()
        except sqlite3.DatabaseError as error:
            raise _mapped(self.connection.path, error) from error

    def fetchall(self) -> list[Any]:
        try:
            return super().fetchall()
        except sqlite3.DatabaseError as error:
            raise _mapped(self.connection.path, error) from error

    def __next__(self) -> Any:
        try:
            return super().__next__()
        except sqlite3.DatabaseError as error:
            raise _mapped(self.connection.path, error) from error


class _Connection(sqlite3.Connection):
    path: Path


class Database:
    """One connection, for one thread. Every change goes through :meth:`transaction`, durable when it returns."""

    def __init__(self, path: Path, schema: str, *, read_only: bool = False) -> None:
        """Opens ``path``; what its schema lacks of today's is made, the whole where the file is missing.

        Raises :class:`CorruptStore` where SQLite finds damage, :class:`StoreError` for a newer format or no access.
        """
        self.path = path
        with mapping(path):
            self._connection = sqlite3.connect(
                f"file:{_quoted(path)}?mode={'ro' if read_only else 'rwc'}",
                uri=True,
                timeout=_BUSY_TIMEOUT_S,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=256,
                factory=_Connection,
            )
            self._connection.path = path
            self.executemany = self._connection.executemany
            if not read_only:
                self._prepare(schema)

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> sqlite3.Cursor:
        """One statement; raises as :func:`mapping` does, also outside a transaction."""
        try:
            return self._connection.cursor(_Cursor).execute(sql, parameters)
        except sqlite3.DatabaseError as error:
            raise _mapped(self.path, error) from error
        except UnicodeDecodeError as error:
            # Of a schema that is damaged SQLite says so in the damaged bytes.
            raise damaged(self.path, "its schema cannot be read") from error

    def _prepare(self, schema: str) -> None:
        self.execute("PRAGMA journal_mode = WAL")
        self.execute("PRAGMA synchronous = FULL")
        self.execute("PRAGMA cache_size = -16000")
        self.execute("PRAGMA wal_autocheckpoint = 4000")
        version = int(self.execute("PRAGMA user_version").fetchone()[0])
        steps = _steps(schema)
        if version > len(steps):
            raise StoreError(
                f"the database {self.path} was written by a newer Harp",
                hint="install that version, or restore a backup",
            )
        for number, script in enumerate(steps[version:], version + 1):
            self._connection.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;")
        if version == 0:
            self.path.chmod(0o600)

    def check(self) -> None:
        """Raises :class:`CorruptStore` where SQLite's own check finds damage. Reads the whole file."""
        with mapping(self.path):
            found = self.execute("PRAGMA quick_check(1)").fetchone()
            if found is None or found[0] != "ok":
                raise CorruptStore(
                    f"the database {self.path} is damaged: {found[0] if found else 'no answer'}",
                    hint="stop the daemon and bring it back with `harp restore-backup FILE`",
                )

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; on the disk (WAL, synchronous=FULL) when the block ends. Not reentrant."""
        with mapping(self.path):
            self.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.execute("COMMIT")
            except BaseException:
                # A full disk has undone it already; a commit that was refused has not.
                if self._connection.in_transaction:
                    self.execute("ROLLBACK")
                raise

    @property
    def changes(self) -> int:
        """How many rows this connection has changed: as long as that is the same, so is what it alone writes."""
        return self._connection.total_changes

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    def copy_to(self, target: Path) -> None:
        """A consistent copy while the database is in use."""
        with mapping(self.path), contextlib.closing(sqlite3.connect(target)) as copy:
            self._connection.backup(copy)

    def close(self) -> None:
        self._connection.close()


def _steps(schema: str) -> list[str]:
    """What makes each version out of the one before: ``<schema>.sql`` the first, ``<schema>-2.sql`` the second …"""
    folder = resources.files("harp.sync.store.schema")
    later = (folder.joinpath(f"{schema}-{version}.sql") for version in itertools.count(2))
    files = itertools.chain([folder.joinpath(f"{schema}.sql")], itertools.takewhile(lambda file: file.is_file(), later))
    return [file.read_text("utf-8") for file in files]


def _quoted(path: Path) -> str:
    return str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
