# SPDX-License-Identifier: AGPL-3.0-or-later
"""One SQLite file: made, refused when damaged or newer, and its errors in Harp's words."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from harp.base.errors import CorruptStore, StoreError
from harp.sync.store.database import Database
from harp.sync.store.ledger import Ledger


def made(path: Path) -> Path:
    database = Database(path, "ledger")
    with database.transaction():
        database.executemany(
            "INSERT INTO node (id, data) VALUES (?, ?)", ((b"%d" % number, bytes(2000)) for number in range(50))
        )
    database.close()
    return path


def test_a_new_database_is_its_owners_alone_and_holds_its_schema(tmp_path: Path) -> None:
    database = Database(tmp_path / "new.db", "ledger")
    assert database.execute("SELECT count(*) FROM entry").fetchone() == (0,)
    assert (tmp_path / "new.db").stat().st_mode & 0o777 == 0o600
    database.check()


def test_what_a_transaction_did_is_there_after_a_new_start(tmp_path: Path) -> None:
    path = made(tmp_path / "it is #1?.db")
    assert Database(path, "ledger").execute("SELECT count(*) FROM node").fetchone() == (50,)


def test_a_transaction_that_fails_did_nothing(tmp_path: Path) -> None:
    database = Database(tmp_path / "a.db", "ledger")
    with pytest.raises(ZeroDivisionError), database.transaction():
        database.execute("INSERT INTO node VALUES (x'01', x'02')")
        assert database.in_transaction
        raise ZeroDivisionError
    assert not database.in_transaction
    assert database.execute("SELECT count(*) FROM node").fetchone() == (0,)


def test_a_file_that_is_no_database_is_said_to_be_damaged_with_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "bad.db"
    path.write_bytes(b"this is no database at all" * 1000)
    with pytest.raises(CorruptStore, match="damaged") as caught:
        Database(path, "ledger")
    assert "restore-backup" in caught.value.hint
    assert path.read_bytes().startswith(b"this is no database"), "it is left as it was"


def overwritten(path: Path, begin: int, end: int) -> Path:
    data = bytearray(path.read_bytes())
    data[begin:end] = b"\xa5" * (end - begin)
    path.write_bytes(data)
    return path


def test_damage_inside_the_file_is_found_by_the_check(tmp_path: Path) -> None:
    path = made(tmp_path / "a.db")
    overwritten(path, path.stat().st_size // 2, path.stat().st_size)
    with pytest.raises(CorruptStore, match="damaged"):
        Database(path, "ledger").check()


def test_damage_that_is_met_while_reading_is_said_in_harps_words(tmp_path: Path) -> None:
    path = made(tmp_path / "a.db")
    overwritten(path, 4096, path.stat().st_size)
    with pytest.raises(CorruptStore, match="damaged"):
        Ledger(path)


def test_a_database_of_a_newer_harp_is_refused_and_not_touched(tmp_path: Path) -> None:
    path = made(tmp_path / "a.db")
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA user_version = 2")
    newer.close()
    with pytest.raises(StoreError, match="newer Harp") as caught:
        Database(path, "ledger")
    assert "install that version" in caught.value.hint
    assert sqlite3.connect(path).execute("PRAGMA user_version").fetchone() == (2,)


def test_a_place_that_cannot_be_opened_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be used"):
        Database(tmp_path / "missing" / "a.db", "ledger")


def test_a_full_disk_is_said_and_the_database_goes_on_when_there_is_room(tmp_path: Path) -> None:
    database = Database(tmp_path / "a.db", "ledger")
    pages = database.execute("PRAGMA page_count").fetchone()[0]
    database.execute(f"PRAGMA max_page_count = {pages + 4}")
    with pytest.raises(StoreError, match="no room left"), database.transaction():
        database.executemany(
            "INSERT INTO node (id, data) VALUES (?, ?)", ((b"%d" % number, bytes(4000)) for number in range(100))
        )
    database.execute(f"PRAGMA max_page_count = {pages + 4000}")
    with database.transaction():
        database.execute("INSERT INTO node VALUES (x'01', x'02')")
    assert database.execute("SELECT count(*) FROM node").fetchone() == (1,)


def test_a_commit_that_is_refused_leaves_no_transaction_open(tmp_path: Path) -> None:
    database = Database(tmp_path / "a.db", "ledger")
    database.execute("PRAGMA foreign_keys = ON")
    with pytest.raises(StoreError), database.transaction():
        database.execute("PRAGMA defer_foreign_keys = ON")
        database.execute("INSERT INTO batch (chain_no, first_sequence, last_sequence, data) VALUES (77, 1, 1, x'00')")
    assert not database.in_transaction
    with database.transaction():
        database.execute("INSERT INTO node VALUES (x'01', x'02')")


def test_a_reader_sees_the_last_transaction_and_cannot_write(tmp_path: Path) -> None:
    path = made(tmp_path / "a.db")
    reader = Database(path, "ledger", read_only=True)
    assert reader.execute("SELECT count(*) FROM node").fetchone() == (50,)
    with pytest.raises(StoreError), reader.transaction():
        reader.execute("DELETE FROM node")


def test_a_copy_is_whole_while_the_database_is_in_use(tmp_path: Path) -> None:
    database = Database(made(tmp_path / "a.db"), "ledger")
    database.copy_to(tmp_path / "copy.db")
    with database.transaction():
        database.execute("DELETE FROM node")
    copy = Database(tmp_path / "copy.db", "ledger")
    copy.check()
    assert copy.execute("SELECT count(*) FROM node").fetchone() == (50,)


def test_damage_that_comes_while_the_ledger_is_open_is_said_in_harps_words_too(tmp_path: Path) -> None:
    path = made(tmp_path / "a.db")
    reader = Database(path, "ledger", read_only=True)
    overwritten(path, 0, path.stat().st_size)
    with pytest.raises(CorruptStore, match="damaged"):
        reader.execute("SELECT data FROM node").fetchall()


def test_damage_at_any_row_is_said_in_harps_words(tmp_path: Path) -> None:
    """SQLite reads as it is asked for rows: what lies behind a good first page is met late."""
    good = made(tmp_path / "a.db")
    with closing(sqlite3.connect(good)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    met = 0
    for page in range(1, good.stat().st_size // 4096):
        path = tmp_path / f"{page}.db"
        path.write_bytes(good.read_bytes())
        try:
            database = Database(overwritten(path, page * 4096, (page + 1) * 4096), "ledger", read_only=True)
            for sql in ("SELECT * FROM node", "SELECT * FROM node ORDER BY id", "SELECT * FROM fact"):
                for _ in database.execute(sql):
                    pass
                rows = database.execute(sql)
                while rows.fetchone():
                    pass
                database.execute(sql).fetchall()
        except CorruptStore:
            met += 1
    assert met > 1


def test_a_schema_of_bytes_that_are_no_text_is_damage(tmp_path: Path) -> None:
    path = made(tmp_path / "a.db")
    data = path.read_bytes().replace(b"tablefactfact", b"table\xcc\xff\xfe\xfdfact", 1)
    path.write_bytes(data.replace(b"CREATE TABLE fact", b"CREATE ABLE  fact", 1))
    with pytest.raises(CorruptStore, match="damaged"):
        Database(path, "ledger")
