# SPDX-License-Identifier: AGPL-3.0-or-later
"""Entries on their way into the ledger, within one transaction: each path's row is read once and written once."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from harp.sync.model import Entry, EntryId, Kind, OnDisk, Path
from harp.sync.store.ledger import EntryRow, Ledger
from harp.sync.store.places import PENDING, Place, Places, with_disk


class Record:
    """Collects what a turn learns, and writes it with :meth:`flush`; ``touched`` are paths to be planned anew."""

    def __init__(self, ledger: Ledger, places: Places, known: Mapping[Path, Place] | None = None) -> None:
        """``known`` are rows that were read a moment ago, on this thread."""
        self._ledger = ledger
        self._places = places
        self._rows: list[EntryRow] = []
        self._cached: dict[Path, Place] = dict(known or {})
        self._changed: dict[Path, None] = {}
        self._kinds: dict[EntryId, Kind] = {}
        self._lifted: set[Path] = set()
        self.touched: set[Path] = set()

    def place(self, path: Path) -> Place:
        found = self._cached.get(path)
        if found is None:
            found = self._cached[path] = self._places.get_or_new(path)
        return found

    def look_up(self, paths: Iterable[Path]) -> None:
        """Reads the rows of these paths in one go: each is going to be asked for."""
        unread = {path for path in paths if path not in self._cached}
        found = self._places.known(unread)
        self._cached.update((path, found.get(path) or self._places.new(path)) for path in unread)

    def put(self, place: Place) -> None:
        self._cached[place.path] = place
        self._changed[place.path] = None

    def add(self, entry: Entry, chain_no: int, *, counts: bool) -> None:
        """Notes an entry about a path; where it counts, the path's heads follow."""
        place = self.place(entry.meta.path)
        self._rows.append(EntryRow(entry, place.number, chain_no, counts))
        self._kinds[entry.id] = entry.meta.kind
        self.put(self._with_head(place, entry) if counts else place)

    def recount(self, path: Path, counted: Iterable[Entry]) -> None:
        """The heads of a path from all its counted entries: after a cut or a fork changed which of them count."""
        place = self.place(path)
        entries = list(counted)
        replaced = {id_ for entry in entries for id_ in entry.meta.replaces}
        self._kinds.update((entry.id, entry.meta.kind) for entry in entries)
        self._ledger.note_superseded(place.number, replaced - {entry.id for entry in entries})
        heads = tuple(entry.id for entry in entries if entry.id not in replaced)
        if heads != place.heads:
            self.put(self._with_heads(place, heads))

    def show(self, path: Path, on_disk: OnDisk | None, *, is_racy: bool = False) -> None:
        """Notes what lies on the disk at a path."""
        place = self.place(path)
        self.put(with_disk(place, on_disk, pending=place.pending, problem=place.problem, is_racy=is_racy))

    def flush(self) -> list[Place]:
        """Writes all of it; the rows that changed."""
        changed = [self._cached[path] for path in self._changed]
        self._places.put(changed)
        self._ledger.add_entries(self._rows)
        self._rows = []
        self._changed = {}
        return changed

    def _with_head(self, place: Place, entry: Entry) -> Place:
        replaced = entry.meta.replaces
        heads = tuple(head for head in place.heads if head not in replaced) if replaced else place.heads
        unknown = [id_ for id_ in replaced if id_ not in place.heads and not self._is_known(id_)]
        if unknown:
            self._ledger.note_superseded(place.number, unknown)
        if entry.id not in heads and not self._ledger.is_superseded(entry.id, place.number):
            heads = (*heads, entry.id)
        return self._with_heads(place, heads)

    def _with_heads(self, place: Place, heads: tuple[EntryId, ...]) -> Place:
        lives = any(self._kind(head) is not Kind.TOMBSTONE for head in heads)
        if lives != place.lives:
            self._lift(place.path)
        self.touched.add(place.path)
        # A write that was cut is still to be looked at before anything else is done there.
        pending = place.pending or PENDING
        return Place(place.number, place.path, heads, lives, pending, None, place.on_disk, place.is_racy)

    def _lift(self, path: Path) -> None:
        """What lives or dies below a path decides whether that path is a directory: its ancestors are planned anew."""
        parent = Path(path.rpartition(b"/")[0])
        while parent and parent not in self._lifted:
            self._lifted.add(parent)
            place = self._cached.get(parent) or self._places.get(parent)
            if place is not None and (place.heads or place.on_disk is not None):
                self.touched.add(parent)
                self.put(replace(self.place(parent), pending=place.pending or PENDING))
            parent = Path(parent.rpartition(b"/")[0])

    def _is_known(self, entry_id: EntryId) -> bool:
        return entry_id in self._kinds or self._ledger.knows_entry(entry_id)

    def _kind(self, entry_id: EntryId) -> Kind:
        kind = self._kinds.get(entry_id)
        if kind is None:
            entry = self._ledger.entry(entry_id)
            kind = self._kinds[entry_id] = Kind.TOMBSTONE if entry is None else entry.meta.kind
        return kind
