# SPDX-License-Identifier: AGPL-3.0-or-later
"""Looks around in a folder: what lies in a directory, what has a text in its path, what changed last, what is in it."""

from collections.abc import Iterator
from dataclasses import dataclass

from harp.base.errors import FolderError, UsageError
from harp.sync.folder import read
from harp.sync.model import MIN_CHUNK, Entry, Kind, Path, RootId
from harp.sync.service import catalog
from harp.sync.service.inquiry import Inquiry, Version
from harp.sync.service.replica import Replica, is_internal
from harp.sync.store.places import ChunkPlace, Place


@dataclass(frozen=True, slots=True)
class Found:
    """One path: its row, and the version that has its name (the last one, where it was deleted)."""

    place: Place
    entry: Entry
    is_conflict: bool


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a version's content."""

    entry: Entry
    data: bytes


class Browse:
    """For the folder's thread; nothing here changes anything."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    def within(self, under: Path, after: Path, limit: int, *, deleted: bool) -> list[Found]:
        """What lies right in a directory; the empty path is the top."""
        return self._shown(self._replica.places.within(under, after, limit, deleted=deleted))

    def found(self, text: bytes, under: Path, after: Path, limit: int) -> list[Found]:
        """Whatever has ``text`` in its path, deleted files too."""
        return self._shown(self._replica.places.found(text, under, after, limit))

    def changes(self, limit: int) -> list[Version]:
        """What was said last about files, the newest first; what does not count is left out."""
        found: list[Version] = []
        for batch in self._replica.ledger.newest_batches():
            for entry in reversed(batch.entries):
                if entry.meta.kind.is_about_path and self._replica.ledger.counts(entry.id):
                    found.append(self._version(entry))
                    if len(found) == limit:
                        return found
        return found

    def content(self, path: Path, prefix: str, offset: int, length: int) -> Piece:
        """Bytes of the version whose id begins with ``prefix`` (without one: of the current one).

        Raises :class:`UsageError` where there is no such version or it is no file, :class:`FolderError` where its
        content does not lie on this disk.
        """
        entry = Inquiry(self._replica).entry(path, prefix) if prefix else self._current(path)
        if entry.meta.kind is not Kind.FILE:
            raise UsageError("this version is no file", hint="only files have content")
        wanted = max(0, min(length, entry.meta.size - offset))
        buffer = bytearray(wanted)
        filled = 0
        for start, places in self._chunks(entry.meta.root, entry.meta.size, offset, wanted):
            skipped = max(0, offset - start)
            size = min(places[0].size - skipped, wanted - filled) if places else 0
            if not size or not self._read(places, skipped, memoryview(buffer)[filled : filled + size]):
                break
            filled += size
        if filled < wanted:
            raise FolderError(
                "the content of this version does not lie on this device", hint="another member may still have it"
            )
        return Piece(entry, bytes(buffer))

    # --- parts --------------------------------------------------------------------------------------------------------

    def _shown(self, places: list[Place]) -> list[Found]:
        found = []
        for place in places:
            heads = self._replica.heads(place)
            if heads and not is_internal(place.path):
                view = self._replica.view(place, heads)
                found.append(Found(place, view.at_path or heads[0], bool(view.copies)))
        return found

    def _version(self, entry: Entry) -> Version:
        place = self._replica.places.get(entry.meta.path)
        is_current = place is not None and entry.id in place.heads
        return Version(entry, is_current, Inquiry(self._replica).is_restorable(entry), None)

    def _current(self, path: Path) -> Entry:
        place = self._replica.places.get(path)
        heads = [] if place is None else self._replica.heads(place)
        if place is None or not heads:
            raise UsageError("the folder never had this path", hint="a path is relative to the folder")
        return self._replica.view(place, heads).at_path or heads[0]

    def _chunks(self, root: RootId, size: int, offset: int, wanted: int) -> Iterator[tuple[int, list[ChunkPlace]]]:
        """(offset, where it lies) of the chunks that hold the wanted bytes, in order."""
        whole = [
            ChunkPlace(place.path, 0, size, place.on_disk.stat)
            for place in self._replica.places.with_root(root)
            if place.on_disk is not None
        ]
        if whole or size <= MIN_CHUNK:
            yield 0, whole
            return
        for id_, start, length in catalog.chunks(self._replica.places, root, size):
            if start + length > offset and start < offset + wanted:
                yield start, self._replica.places.locate(id_)

    def _read(self, places: list[ChunkPlace], skipped: int, buffer: memoryview) -> bool:
        """Whether one of the places is still as the ledger has it, and filled the buffer."""
        for place in places:
            got = read.read_at(self._replica.root, place.path, place.offset + skipped, buffer, place.stat)
            if got == len(buffer):
                return True
        return False
