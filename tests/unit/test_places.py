# SPDX-License-Identifier: AGPL-3.0-or-later
"""The ledger's tables, the record that fills them and what is asked of them: rows come back as they went in."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path as FilePath

import pytest

from harp.sync.model import ChunkId, EntryId, FileKind, NodeId, OnDisk, Path, RootId, Stat
from harp.sync.service.record import Record
from harp.sync.store import places as rows
from harp.sync.store.holdings import Holding, Holdings
from harp.sync.store.ledger import Ledger, split_ids
from harp.sync.store.places import JOURNALLED, PENDING, SETTLED, Place, Places
from tests.fakes.tree import head, tombstone

STAT = Stat(FileKind.FILE, 5, -1, 2**62, 7, True)


@pytest.fixture
def ledger(tmp_path: FilePath) -> Ledger:
    ledger = Ledger(tmp_path / "ledger.db")
    with ledger.db.transaction():
        ledger.set_fact("folder", bytes(32))
    return ledger


@pytest.fixture
def places(ledger: Ledger) -> Places:
    return Places(ledger.db)


def put(places: Places, *some: Place) -> None:
    with places.db.transaction():
        places.put(some)


def lying(root: bytes = b"r", **fields: object) -> OnDisk:
    return OnDisk(STAT, (EntryId(b"e" * 32),), RootId(root.ljust(32)), **fields)  # type: ignore[arg-type]


# --- paths ------------------------------------------------------------------------------------------------------------


def plans(places: Places, monkeypatch: pytest.MonkeyPatch, ask: Callable[[], object]) -> list[str]:
    """How SQLite answers the questions that ``ask`` asks."""
    execute = places.db.execute
    asked: list[str] = []

    def noted(sql: str, parameters: Sequence[object] = ()) -> object:
        asked.extend(row[3] for row in execute(f"EXPLAIN QUERY PLAN {sql}", parameters).fetchall())
        return execute(sql, parameters)

    monkeypatch.setattr(places.db, "execute", noted)
    ask()
    return asked


@pytest.mark.parametrize(
    "ask",
    [
        lambda places: places.racy(),
        lambda places: places.pending(),
        lambda places: places.pending(PENDING, 10),
        lambda places: places.pending(JOURNALLED, 10),
        lambda places: places.count_pending(),
        lambda places: places.copies_of(Path(b"a")),
        lambda places: places.lives_below(Path(b"a")),
        lambda places: places.glance(Path(b"a")),
        lambda places: places.known([Path(b"a"), Path(b"b")]),
        lambda places: places.locate(ChunkId(bytes(32))),
        lambda places: places.with_root(RootId(bytes(32))),
    ],
    ids=[
        "racy", "pending", "to be planned", "cut", "how many", "copies", "alive below", "glance", "known", "chunk",
        "root",
    ],
)  # fmt: skip
def test_what_is_asked_again_and_again_never_walks_all_rows(
    places: Places, monkeypatch: pytest.MonkeyPatch, ask: Callable[[Places], object]
) -> None:
    put(places, Place(1, Path(b"a"), on_disk=lying(copy_of=Path(b"b"))))
    found = plans(places, monkeypatch, lambda: ask(places))
    assert found
    assert not [plan for plan in found if plan.startswith("SCAN")]


@pytest.mark.parametrize(
    "on_disk",
    [
        None,
        lying(),
        lying(wanted_mtime_ns=2**62, wanted_executable=False, copy_of=Path(b"\xff/x")),
        OnDisk(Stat(FileKind.SYMLINK, 3, 0, 0, 1, False), (), target=b"\xfe\xff"),
        OnDisk(Stat(FileKind.DIRECTORY, 0, 0, 0, 1, False), (EntryId(b"a" * 32), EntryId(b"b" * 32))),
    ],
)
def test_a_row_comes_back_as_it_went_in(places: Places, on_disk: OnDisk | None) -> None:
    place = Place(1, Path(b"d/\n\xff"), (EntryId(b"h" * 32),), True, JOURNALLED, "no room", on_disk, True)
    put(places, place)
    assert places.get(place.path) == place == places.numbered(1)
    assert places.known([place.path, Path(b"nothing")]) == {place.path: place}
    assert places.get(Path(b"other")) is None


def test_numbers_are_never_given_twice(tmp_path: FilePath, ledger: Ledger, places: Places) -> None:
    first, second = places.get_or_new(Path(b"a")), places.get_or_new(Path(b"b"))
    assert first.number != second.number
    put(places, first)
    assert places.get_or_new(Path(b"a")) == first
    assert Places(ledger.db).get_or_new(Path(b"c")).number not in (first.number,)


def test_what_lies_below_a_directory_is_that_and_nothing_beside_it(places: Places) -> None:
    paths = [b"d", b"d/a", b"d/b/c", b"d0", b"d.x", b"e", b".harp/trash/1"]
    put(places, *(Place(n, Path(p), lives=True, on_disk=lying()) for n, p in enumerate(paths, 1)))
    assert [place.path for place in places.below(Path(b"d"))] == [b"d/a", b"d/b/c"]
    assert [place.path for place in places.below(Path(b""))] == sorted(paths[:-1])
    assert {path for _, path in places.on_disk_below(Path(b"d"))} == {b"d/a", b"d/b/c"}
    assert places.lives_below(Path(b"d"))
    assert not places.lives_below(Path(b"e"))
    assert places.totals() == (6, 30), "the trash does not count"


def test_counts_are_taken_anew_only_when_a_row_has_changed(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    put(places, Place(1, Path(b"a"), on_disk=lying()))
    assert places.totals() == (1, 5)
    assert plans(places, monkeypatch, places.totals) == []
    monkeypatch.undo()
    put(places, Place(2, Path(b"b"), (EntryId(b"x" * 32), EntryId(b"y" * 32)), True, on_disk=lying()))
    assert places.totals() == (2, 10)
    assert places.conflicting() == [Path(b"b")]


def test_a_count_within_a_change_that_is_undone_is_not_kept(places: Places) -> None:
    put(places, Place(1, Path(b"a"), on_disk=lying()))
    with pytest.raises(ZeroDivisionError), places.db.transaction():
        places.put([Place(2, Path(b"b"), on_disk=lying())])
        assert places.totals() == (2, 10)
        raise ZeroDivisionError
    assert places.totals() == (1, 5)


def test_a_directory_is_listed_and_searched(places: Places) -> None:
    names = [b"d", b"d/a", b"d/b", b"d/b/Cat", b"d/gone", b"e", b".harp/trash/1"]
    head = (EntryId(b"h" * 32),)
    put(places, *(Place(n, Path(p), head if p[:1] != b"." else (), p != b"d/gone") for n, p in enumerate(names, 1)))

    def within(under: bytes, after: bytes = b"", limit: int = 9, *, deleted: bool = False) -> list[bytes]:
        return [place.path for place in places.within(Path(under), Path(after), limit, deleted=deleted)]

    assert within(b"") == [b"d", b"e"]
    assert within(b"d") == [b"d/a", b"d/b"]
    assert within(b"d", deleted=True) == [b"d/a", b"d/b", b"d/gone"]
    assert within(b"d", b"d/a", 1) == [b"d/b"]
    assert within(b"d/a") == []
    for text, found in ((b"CAT", [b"d/b/Cat"]), (b"gone", [b"d/gone"]), (b"harp", []), (b"%", []), (b"\xff", [])):
        assert [place.path for place in places.found(text, Path(b""), Path(b""), 9)] == found
    assert [place.path for place in places.found(b"d/", Path(b"d"), Path(b"d/a"), 1)] == [b"d/b"]


def test_a_name_of_the_greatest_bytes_lies_in_the_folder_too(places: Places) -> None:
    path = Path(b"\xff" * 255)
    put(places, Place(1, path, on_disk=lying()))
    assert [place.path for place in places.below(Path(b""))] == [path]
    assert [found for _, found in places.on_disk_below(Path(b""))] == [path]


def test_more_than_a_page_lies_below(places: Places) -> None:
    put(places, *(Place(n, Path(b"d/%05d" % n), on_disk=lying()) for n in range(1, 2501)))
    assert len(list(places.below(Path(b"d"), on_disk_only=True))) == 2500


def test_what_is_pending_journalled_racy_or_in_trouble_is_found(places: Places) -> None:
    put(
        places,
        Place(1, Path(b"settled"), on_disk=lying()),
        Place(2, Path(b"pending"), pending=PENDING, problem="no room"),
        Place(3, Path(b"racy"), on_disk=lying(), is_racy=True),
        Place(4, Path(b"copy"), on_disk=lying(copy_of=Path(b"settled"))),
        Place(5, Path(b"two"), (EntryId(b"a" * 32), EntryId(b"b" * 32)), lives=True),
    )
    with places.db.transaction():
        places.journal([1])
    assert [place.path for place in places.pending()] == [b"settled", b"pending"]
    assert [place.path for place in places.pending(JOURNALLED)] == [b"settled"]
    assert places.count_pending() == 2
    assert [place.path for place in places.racy()] == [b"racy"]
    assert [place.path for place in places.problems()] == [b"pending"]
    assert [place.path for place in places.copies_of(Path(b"settled"))] == [b"copy"]
    assert places.conflicting() == [b"two"]


def test_a_glance_shows_only_what_is_beyond_doubt(places: Places) -> None:
    put(
        places,
        Place(1, Path(b"sure"), on_disk=lying()),
        Place(2, Path(b"racy"), on_disk=lying(), is_racy=True),
        Place(3, Path(b"cut"), pending=JOURNALLED, on_disk=lying()),
    )
    shown = [
        glance is not None and glance.shows(STAT)
        for glance in map(places.glance, map(Path, (b"sure", b"racy", b"cut")))
    ]
    assert shown == [True, False, False]
    sure = places.glance(Path(b"sure"))
    assert sure is not None
    assert not sure.shows(STAT._replace(size=6))
    assert places.glance(Path(b"nothing")) is None


def test_a_change_of_the_disk_ends_a_problem() -> None:
    place = Place(1, Path(b"a"), pending=PENDING, problem="no room")
    assert rows.with_disk(place, lying()) == Place(1, Path(b"a"), pending=SETTLED, on_disk=lying())


# --- content ----------------------------------------------------------------------------------------------------------


def test_chunks_are_found_where_they_lie_and_only_while_something_lies_there(places: Places) -> None:
    chunk = ChunkId(b"c" * 32)
    put(places, Place(1, Path(b"a"), on_disk=lying(b"a")), Place(2, Path(b"b"), on_disk=lying(b"c" * 32)))
    with places.db.transaction():
        places.add_chunks(1, [(chunk, 0, 3), (chunk, 3, 2)])
    found = places.locate(chunk)
    assert sorted((one.path, one.offset, one.size) for one in found) == [(b"a", 0, 3), (b"a", 3, 2), (b"b", 0, 5)]
    assert all(one.stat == STAT for one in found)
    assert {one.path for one in places.locate(chunk, may_be_whole=False)} == {b"a"}
    with places.db.transaction():
        places.drop_chunks(1, [(chunk, 0)])
        places.put([Place(2, Path(b"b"))])
    assert [(one.path, one.offset) for one in places.locate(chunk)] == [(b"a", 3)]
    assert [place.path for place in places.with_root(RootId(b"a".ljust(32)))] == [b"a"]
    assert places.with_root(RootId(b"")) == []


def test_nodes_are_kept_once(places: Places) -> None:
    with places.db.transaction():
        places.add_nodes([(NodeId(b"n" * 32), b"data"), (NodeId(b"n" * 32), b"data")])
    assert places.node(NodeId(b"n" * 32)) == b"data"
    assert places.node(NodeId(b"m" * 32)) is None


# --- the record -------------------------------------------------------------------------------------------------------


def recorded(ledger: Ledger, places: Places, *entries: object) -> Record:
    record = Record(ledger, places)
    with ledger.db.transaction():
        number = ledger.chain(head(b"x").meta.chain).number
        for entry in entries:
            record.add(entry, number, counts=True)  # type: ignore[arg-type]
        record.flush()
    return record


def test_a_directorys_row_is_planned_anew_when_what_lives_below_it_changes(ledger: Ledger, places: Places) -> None:
    directory = head(b"d")
    recorded(ledger, places, directory)
    put(places, Place(places.get_or_new(Path(b"d")).number, Path(b"d"), (directory.id,), True))
    record = recorded(ledger, places, head(b"d/e/f", sequence=2))
    assert record.touched == {b"d", b"d/e/f"}
    found = places.get(Path(b"d"))
    assert found is not None
    assert found.pending == PENDING


def test_a_journalled_row_stays_so_whatever_is_said_of_its_path(ledger: Ledger, places: Places) -> None:
    first = head(b"a")
    recorded(ledger, places, first)
    with ledger.db.transaction():
        places.journal([places.get_or_new(Path(b"a")).number])
    recorded(ledger, places, head(b"a", bytes_=b"2", sequence=2, replaces=[first.id]))
    found = places.get(Path(b"a"))
    assert found is not None
    assert found.pending == JOURNALLED


def test_recounted_heads_are_those_that_nothing_counted_replaces(ledger: Ledger, places: Places) -> None:
    first = head(b"a")
    second = head(b"a", bytes_=b"2", sequence=2, replaces=[first.id])
    gone = tombstone(b"a", sequence=3, replaces=[second.id])
    recorded(ledger, places, first, second, gone)
    found = places.get(Path(b"a"))
    assert found is not None
    assert (found.heads, found.lives) == ((gone.id,), False)
    record = Record(ledger, places)
    with ledger.db.transaction():
        record.recount(Path(b"a"), [first])
        record.flush()
    found = places.get(Path(b"a"))
    assert found is not None
    assert (found.heads, found.lives) == ((first.id,), True)
    assert record.touched == {b"a"}


def test_entries_come_back_as_they_went_in_also_after_a_new_start(tmp_path: FilePath, ledger: Ledger) -> None:
    entry = head(b"d/\xff", bytes_=b"abc", hlc=9, mtime_ns=-5, executable=True, replaces=[EntryId(b"r" * 32)])
    recorded(ledger, Places(ledger.db), entry)
    assert ledger.entry(entry.id) == entry
    ledger.close()
    again = Ledger(tmp_path / "ledger.db")
    assert again.entry(entry.id) == entry
    assert again.entries([EntryId(b"?" * 32), entry.id]) == [entry]
    assert again.counts(entry.id)
    assert again.is_superseded(EntryId(b"r" * 32), 1)


def test_ids_are_split_as_they_were_joined() -> None:
    ids = tuple(EntryId(os.urandom(32)) for _ in range(3))
    assert split_ids(b"".join(ids)) == ids
    assert split_ids(b"") == ()


# --- what is held -----------------------------------------------------------------------------------------------------


def test_holdings_come_back_and_losses_are_forgotten_after_the_window(ledger: Ledger) -> None:
    holdings = Holdings(ledger.db)
    one = Holding("abc", "local", "why", (Path(b"\xff"),), (EntryId(b"e" * 32),), 7.5)
    with ledger.db.transaction():
        holdings.put(one)
        holdings.approve([EntryId(b"e" * 32)])
        holdings.add_loss(3, now=10.0)
        holdings.add_loss(4, now=20.0)
    assert holdings.all() == [one]
    assert holdings.is_approved(EntryId(b"e" * 32))
    assert not holdings.is_approved(EntryId(b"f" * 32))
    with ledger.db.transaction():
        assert holdings.losses(since_s=10.0) == [(20.0, 4)]
        holdings.drop("abc")
    assert holdings.all() == []
