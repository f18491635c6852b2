# SPDX-License-Identifier: AGPL-3.0-or-later
"""What lies where: a row for each path with its heads and its state on this disk, chunks, and manifest nodes."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar, cast

from harp.sync.model import (
    MAX_PATH_BYTES,
    ChunkId,
    EntryId,
    FileKind,
    NodeId,
    OnDisk,
    Path,
    RootId,
    Stat,
)
from harp.sync.store.database import Database
from harp.sync.store.ledger import split_ids

T = TypeVar("T")
SETTLED, PENDING, JOURNALLED = 0, 1, 2

_COLUMNS = (
    "path_no, path, heads, lives, pending, problem, disk_kind, disk_size, disk_mtime_ns, disk_ctime_ns, disk_inode,"
    " disk_executable, applied, disk_root, disk_target, wanted_mtime_ns, wanted_executable, copy_of, is_racy"
)
_UPSERT = (
    f"INSERT INTO path ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (path_no) DO UPDATE SET heads = excluded.heads, lives = excluded.lives, pending = excluded.pending,"
    " problem = excluded.problem, disk_kind = excluded.disk_kind, disk_size = excluded.disk_size,"
    " disk_mtime_ns = excluded.disk_mtime_ns, disk_ctime_ns = excluded.disk_ctime_ns,"
    " disk_inode = excluded.disk_inode, disk_executable = excluded.disk_executable, applied = excluded.applied,"
    " disk_root = excluded.disk_root, disk_target = excluded.disk_target, wanted_mtime_ns = excluded.wanted_mtime_ns,"
    " wanted_executable = excluded.wanted_executable, copy_of = excluded.copy_of, is_racy = excluded.is_racy"
)


@dataclass(frozen=True, slots=True)
class Place:
    """One path: what history says of it (``heads``) and what lies there (``on_disk``)."""

    number: int
    path: Path
    heads: tuple[EntryId, ...] = ()
    lives: bool = False
    pending: int = SETTLED
    problem: str | None = None
    on_disk: OnDisk | None = None
    is_racy: bool = False
    """Hashed so soon after its last change that a change in the same tick of the clock could hide: look again."""


class Glance(NamedTuple):
    """What lies at a path, as plain columns: ``stat`` compares equal to a :class:`Stat`'s fields."""

    number: int
    stat: tuple[int, ...] | None
    is_doubtful: bool
    """Hashed too soon after its last change, or a write to it may have been cut: equal times prove nothing."""

    def shows(self, stat: Stat) -> bool:
        """Whether the row says that exactly this lies there."""
        return not self.is_doubtful and self.stat == stat


@dataclass(frozen=True, slots=True)
class ChunkPlace:
    """Where a chunk lies; ``stat`` is what the file must still look like."""

    path: Path
    offset: int
    size: int
    stat: Stat


class Places:
    """Rows of the ``path``, ``chunk`` and ``node`` tables. Callers wrap changes in ``db.transaction()``."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self._has_copies = db.execute("SELECT 1 FROM path WHERE copy_of IS NOT NULL LIMIT 1").fetchone() is not None
        self._counted: dict[str, tuple[int, object]] = {}
        self._next_number = int(db.execute("SELECT coalesce(max(path_no), 0) FROM path").fetchone()[0]) + 1

    def get(self, path: Path) -> Place | None:
        row = self.db.execute(f"SELECT {_COLUMNS} FROM path WHERE path = ?", (path,)).fetchone()
        return None if row is None else _place(row)

    def known(self, paths: Collection[Path]) -> dict[Path, Place]:
        """The rows of those of the paths that have one, at most some thousand, in one go."""
        marks = ",".join("?" * len(paths))
        rows = self.db.execute(f"SELECT {_COLUMNS} FROM path WHERE path IN ({marks})", tuple(paths)).fetchall()
        return {place.path: place for place in map(_place, rows)}

    def glance(self, path: Path) -> Glance | None:
        """Just enough of a row to tell whether what lies there is still the same."""
        row = self.db.execute(
            "SELECT path_no, disk_kind, disk_size, disk_mtime_ns, disk_ctime_ns, disk_inode, disk_executable, pending,"
            " is_racy FROM path WHERE path = ?",
            (path,),
        ).fetchone()
        if row is None:
            return None
        return Glance(row[0], None if row[1] is None else row[1:7], row[7] == JOURNALLED or bool(row[8]))

    def on_disk_below(self, under: Path) -> Iterator[tuple[int, Path]]:
        """Number and path of each row below a directory (all, for the empty path) where something lies on this disk."""
        after, limit = _range_below(under)
        while True:
            rows = self.db.execute(
                "SELECT path_no, path FROM path WHERE path > ? AND path < ? AND disk_kind IS NOT NULL"
                " ORDER BY path LIMIT 5000",
                (after, limit),
            ).fetchall()
            yield from (row for row in rows if not row[1].startswith(b".harp/"))
            if len(rows) < 5000:
                return
            after = rows[-1][1]

    def trashed(self) -> list[tuple[int, Path]]:
        """Number and path of each item of the trash."""
        rows = self.db.execute(
            "SELECT path_no, path FROM path WHERE path >= ? AND path < ?", (b".harp/trash/", b".harp/trash0")
        )
        return [(row[0], Path(row[1])) for row in rows.fetchall()]

    def get_or_new(self, path: Path) -> Place:
        """The row, or one with a fresh number that is not written until :meth:`put`."""
        return self.get(path) or self.new(path)

    def new(self, path: Path) -> Place:
        """A row for a path that has none, with a fresh number."""
        place = Place(self._next_number, path)
        self._next_number += 1
        return place

    def numbered(self, path_no: int) -> Place | None:
        row = self.db.execute(f"SELECT {_COLUMNS} FROM path WHERE path_no = ?", (path_no,)).fetchone()
        return None if row is None else _place(row)

    def put(self, places: Iterable[Place]) -> None:
        self.db.executemany(_UPSERT, map(self._noted, places))

    def _noted(self, place: Place) -> tuple[object, ...]:
        if place.on_disk is not None and place.on_disk.copy_of is not None:
            self._has_copies = True
        return _row(place)

    def journal(self, numbers: Iterable[int]) -> None:
        """Notes that writes to these paths may be under way."""
        self.db.executemany(f"UPDATE path SET pending = {JOURNALLED} WHERE path_no = ?", ((n,) for n in numbers))

    def unsettle(self) -> None:
        """Every path whose disk does not show its heads is to be planned again. Walks all rows."""
        self.db.execute(
            f"UPDATE path SET pending = {PENDING} WHERE pending = {SETTLED} AND heads != x'' AND applied IS NOT heads"
            " AND (lives = 1 OR disk_kind IS NOT NULL)"
        )

    def drop(self, place: Place) -> None:
        """Forgets a row of the trash. Rows of the tree stay: their entries refer to them."""
        self.db.execute("DELETE FROM path WHERE path_no = ?", (place.number,))

    def below(self, under: Path, *, on_disk_only: bool = False) -> Iterator[Place]:
        """Rows strictly below a directory (all, for the empty path), in order of path, without the trash's."""
        after, limit = _range_below(under)
        only = " AND disk_kind IS NOT NULL" if on_disk_only else ""
        while True:
            rows = self.db.execute(
                f"SELECT {_COLUMNS} FROM path WHERE path > ? AND path < ?{only} ORDER BY path LIMIT 1000",
                (after, limit),
            ).fetchall()
            for row in rows:
                if not row[1].startswith(b".harp/"):
                    yield _place(row)
            if len(rows) < 1000:
                return
            after = rows[-1][1]

    def lives_below(self, path: Path) -> bool:
        """Whether a path strictly below lives: range look-up on the index of paths."""
        found = self.db.execute(
            "SELECT 1 FROM path WHERE path > ? AND path < ? AND lives = 1 LIMIT 1", (path + b"/", path + b"0")
        )
        return found.fetchone() is not None

    def copies_of(self, path: Path) -> list[Place]:
        """Conflict copies of ``path`` that are shown on this disk."""
        if not self._has_copies:
            return []
        rows = self.db.execute(f"SELECT {_COLUMNS} FROM path WHERE copy_of = ? ORDER BY path", (path,))
        return [_place(row) for row in rows.fetchall()]

    def pending(self, state: int | None = None, limit: int = 10_000) -> list[Place]:
        """Rows whose disk does not yet show what it should."""
        # Only with the index's own condition does SQLite use an index that has one (Partial Indexes, section 3).
        where = "pending > 0" if state is None else f"pending > 0 AND pending = {int(state)}"
        rows = self.db.execute(
            f"SELECT {_COLUMNS} FROM path INDEXED BY path_pending WHERE {where} ORDER BY path_no LIMIT ?", (limit,)
        )
        return [_place(row) for row in rows.fetchall()]

    def count_pending(self) -> int:
        return int(self.db.execute("SELECT count(*) FROM path WHERE pending > 0").fetchone()[0])

    def racy(self, limit: int = 1000) -> list[Place]:
        rows = self.db.execute(f"SELECT {_COLUMNS} FROM path WHERE is_racy > 0 LIMIT ?", (limit,)).fetchall()
        return [_place(row) for row in rows]

    def problems(self, limit: int = 1000) -> list[Place]:
        rows = self.db.execute(f"SELECT {_COLUMNS} FROM path WHERE problem IS NOT NULL ORDER BY path LIMIT ?", (limit,))
        return [_place(row) for row in rows.fetchall()]

    def conflicting(self, limit: int = 10_000) -> list[Path]:
        """Paths with more than one head of which one lives at least: conflicts are among them."""
        statement = "SELECT path FROM path WHERE lives = 1 AND length(heads) > 32 ORDER BY path LIMIT ?"
        return self._walked(
            f"conflicts {limit}", lambda: [Path(row[0]) for row in self.db.execute(statement, (limit,)).fetchall()]
        )

    def within(self, under: Path, after: Path, limit: int, *, deleted: bool) -> list[Place]:
        """What history has right in a directory (the empty path is the top), in order, behind the path ``after``."""
        first, beyond = _range_below(under)
        rows = self.db.execute(
            f"SELECT {_COLUMNS} FROM path WHERE path > ? AND path < ? AND instr(substr(path, ?), x'2f') = 0"
            " AND heads != x'' AND lives >= ? ORDER BY path LIMIT ?",
            (max(first, after), beyond, len(first) + 1, int(not deleted), limit),
        )
        return [_place(row) for row in rows.fetchall()]

    def found(self, text: bytes, under: Path, after: Path, limit: int) -> list[Place]:
        """What history has below a directory with ``text`` in its path (A to Z as a to z), in order of path."""
        first, beyond = _range_below(under)
        rows = self.db.execute(
            f"SELECT {_COLUMNS} FROM path WHERE path > ? AND path < ? AND heads != x''"
            " AND instr(lower(CAST(path AS TEXT)), lower(CAST(? AS TEXT))) > 0 ORDER BY path LIMIT ?",
            (max(first, after), beyond, text, limit),
        )
        return [_place(row) for row in rows.fetchall()]

    def totals(self) -> tuple[int, int]:
        """(files, bytes) on this disk, without the trash."""
        statement = (
            "SELECT count(*), coalesce(sum(disk_size), 0) FROM path WHERE disk_kind = 0"
            " AND NOT (path >= x'2e686172702f' AND path < x'2e6861727030')"
        )
        files, size = self._walked("totals", lambda: self.db.execute(statement).fetchone())
        return int(files), int(size)

    def _walked(self, what: str, walk: Callable[[], T]) -> T:
        """What a walk of all rows found; it is not done anew before a row has changed."""
        if self.db.in_transaction:
            # It may yet be undone, and then nothing would tell.
            return walk()
        mark = self.db.changes
        known = self._counted.get(what)
        if known is None or known[0] != mark:
            known = self._counted[what] = mark, walk()
        return cast(T, known[1])

    # --- content ---

    def add_chunks(self, path_no: int, chunks: Iterable[tuple[ChunkId, int, int]]) -> None:
        """(id, offset, size) of chunks that lie in a file."""
        self.db.executemany(
            "INSERT OR IGNORE INTO chunk (id, path_no, offset, size) VALUES (?, ?, ?, ?)",
            ((id_, path_no, offset, size) for id_, offset, size in chunks),
        )

    def drop_chunks(self, path_no: int, chunks: Iterable[tuple[ChunkId, int]]) -> None:
        """(id, offset) of chunks that no longer lie there."""
        self.db.executemany(
            "DELETE FROM chunk WHERE id = ? AND path_no = ? AND offset = ?",
            ((id_, path_no, offset) for id_, offset in chunks),
        )

    def locate(self, chunk: ChunkId, *, may_be_whole: bool = True) -> list[ChunkPlace]:
        """Where the chunk lies on this disk, as far as the ledger knows: at most four places within files of several,
        and unless it cannot be one, at most four files that consist of it alone."""
        rows = self.db.execute(
            "SELECT path, offset, size, disk_kind, disk_size, disk_mtime_ns, disk_ctime_ns, disk_inode,"
            " disk_executable FROM chunk JOIN path USING (path_no) WHERE id = ? AND disk_kind = 0 LIMIT 4",
            (chunk,),
        ).fetchall()
        if may_be_whole:
            rows += self.db.execute(
                "SELECT path, 0, disk_size, disk_kind, disk_size, disk_mtime_ns, disk_ctime_ns, disk_inode,"
                " disk_executable FROM path WHERE disk_root = ? AND disk_kind = 0 AND disk_root != x'' LIMIT 4",
                (chunk,),
            ).fetchall()
        return [ChunkPlace(Path(row[0]), row[1], row[2], _stat(row[3:9])) for row in rows]

    def with_root(self, root: RootId) -> list[Place]:
        """Files on this disk (the trash included) with exactly that content: at most four."""
        rows = self.db.execute(
            f"SELECT {_COLUMNS} FROM path WHERE disk_root = ? AND disk_root != x'' AND disk_kind = 0 LIMIT 4", (root,)
        )
        return [_place(row) for row in rows.fetchall()]

    def held_roots(self, roots: Collection[RootId]) -> list[RootId]:
        """Those of the roots whose content lies in some file on this disk, the trash included."""
        marks = ",".join("?" * len(roots))
        found = self.db.execute(
            f"SELECT DISTINCT disk_root FROM path WHERE disk_root IN ({marks}) AND disk_root != x''", tuple(roots)
        )
        return [RootId(row[0]) for row in found.fetchall()]

    def add_nodes(self, nodes: Iterable[tuple[NodeId, bytes]]) -> None:
        self.db.executemany("INSERT OR IGNORE INTO node (id, data) VALUES (?, ?)", nodes)

    def node(self, node: NodeId) -> bytes | None:
        row = self.db.execute("SELECT data FROM node WHERE id = ?", (node,)).fetchone()
        return None if row is None else bytes(row[0])


def _range_below(under: Path) -> tuple[bytes, bytes]:
    """What lies strictly between these two is what lies below; no path, of whatever bytes, is beyond the second."""
    return (under + b"/", under + b"0") if under else (b"", b"\xff" * (MAX_PATH_BYTES + 1))


def _place(row: Sequence) -> Place:  # type: ignore[type-arg]
    on_disk = None
    if row[6] is not None:
        on_disk = OnDisk(
            _stat(row[6:12]),
            split_ids(row[12] or b""),
            RootId(row[13] or b""),
            row[14] or b"",
            row[15],
            None if row[16] is None else bool(row[16]),
            None if row[17] is None else Path(row[17]),
        )
    return Place(row[0], Path(row[1]), split_ids(row[2]), bool(row[3]), row[4], row[5], on_disk, bool(row[18]))


def _stat(columns: Sequence) -> Stat:  # type: ignore[type-arg]
    kind, size, mtime_ns, ctime_ns, inode, executable = columns
    return Stat(FileKind(kind), size, mtime_ns, ctime_ns, inode, bool(executable))


_NOTHING = (None,) * 12


def _row(place: Place) -> tuple[object, ...]:
    head = (place.number, place.path, b"".join(place.heads), place.lives, place.pending, place.problem)
    disk = place.on_disk
    if disk is None:
        return (*head, *_NOTHING, place.is_racy)
    stat = disk.stat
    return (
        *head,
        int(stat.kind),
        stat.size,
        stat.mtime_ns,
        stat.ctime_ns,
        stat.inode,
        stat.executable,
        b"".join(disk.applied),
        disk.root,
        disk.target,
        disk.wanted_mtime_ns,
        disk.wanted_executable,
        disk.copy_of,
        place.is_racy,
    )


def with_disk(
    place: Place,
    on_disk: OnDisk | None,
    *,
    pending: int = SETTLED,
    problem: str | None = None,
    is_racy: bool = False,
) -> Place:
    """The place after its disk state changed. By hand, since ``dataclasses.replace`` takes three times as long and
    this is done for each file several times."""
    return Place(place.number, place.path, place.heads, place.lives, pending, problem, on_disk, is_racy)
