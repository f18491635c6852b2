# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files that are being read: their chunks are known to peers, and can be served, before the whole file is hashed."""

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from harp.sync.engine.manifest import Keys, Segment
from harp.sync.folder.fs import Root
from harp.sync.folder.read import Gone, Hashed, hash_file
from harp.sync.model import MAX_CHUNK, ChunkId, ChunkRef, FolderId, Path, RootId, Stat
from harp.sync.protocol.foldermessages import Offer, OfferEnd
from harp.sync.service.inbox import Event, FileRead, SegmentsRead
from harp.sync.store.places import ChunkPlace

MAX_OFFERED_BYTES = 16 * 1024 * 1024 * 1024
"""A larger file is not offered while it is read: whoever is offered keeps a note of each chunk."""
MIN_OFFERED_BYTES = 4 * MAX_CHUNK
OFFER_CHUNKS = 48
SETTLE_S = 0.05
"""So long after its last change a file is read: from then on each further change shows in its ctime."""


@dataclass(slots=True)
class _Reading:
    path: Path
    stat: Stat
    number: int
    chunks: dict[ChunkId, tuple[int, int]] = field(default_factory=dict)
    size: int = 0
    unsaid: list[ChunkRef] = field(default_factory=list)


class Offering:
    """:meth:`read` runs in helpers' threads, :meth:`locate` in links' threads."""

    def __init__(
        self,
        root: Root,
        keys: Keys,
        folder: FolderId,
        say: Callable[[Offer | OfferEnd], None],
        post: Callable[[Event], None],
    ) -> None:
        self._root = root
        self._keys = keys
        self._folder = folder
        self._say = say
        self._post = post
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._readings: dict[int, _Reading] = {}

    def read(self, path: Path, *, unless_open: bool) -> Hashed | Gone:
        """Hashes a large file, offering its chunks as they are found; the folder's thread is told of the end.

        Raises :class:`FolderError` where it cannot be read.
        """
        try:
            return self._read(path, unless_open)
        finally:
            self._post(FileRead(path))

    def locate(self, chunk: ChunkId) -> ChunkPlace | None:
        """Where an offered chunk lies."""
        with self._lock:
            for reading in self._readings.values():
                found = reading.chunks.get(chunk)
                if found is not None:
                    return ChunkPlace(reading.path, found[0], found[1], reading.stat)
        return None

    def forget(self, path: Path) -> None:
        """The file's chunks are in the ledger now, or the file is not what was read."""
        with self._lock:
            self._readings = {number: item for number, item in self._readings.items() if item.path != path}

    def _read(self, path: Path, unless_open: bool) -> Hashed | Gone:
        stat = self._settled(path)
        if stat is None:
            return Gone("it is gone")
        reading = _Reading(path, stat, next(self._numbers))
        is_offered = MIN_OFFERED_BYTES <= stat.size <= MAX_OFFERED_BYTES
        if is_offered:
            with self._lock:
                self._readings[reading.number] = reading
        hashed: Hashed | Gone | None = None
        try:
            hashed = hash_file(
                self._root,
                path,
                self._keys,
                (lambda refs: self._offer(reading, refs)) if is_offered else None,
                self._keep,
                unless_open=unless_open,
            )
            return hashed
        finally:
            if is_offered:
                self._say_offer(reading)
                is_whole = isinstance(hashed, Hashed) and hashed.stat == stat
                self._say(OfferEnd(self._folder, reading.number, hashed.root if is_whole else RootId(b"")))  # type: ignore[union-attr]
                if not is_whole:
                    self.forget(path)

    def _settled(self, path: Path) -> Stat | None:
        """The file's state once its last change lies a moment back; a file that goes on changing is read as it is."""
        stat = self._root.stat(path)
        if stat is not None and time.time_ns() - stat.ctime_ns < SETTLE_S * 1e9:
            time.sleep(SETTLE_S)
            stat = self._root.stat(path)
        return stat

    def _offer(self, reading: _Reading, refs: Sequence[ChunkRef]) -> None:
        """Notes chunks as they are found; the first go out at once, the others some at a time."""
        with self._lock:
            for ref in refs:
                reading.chunks.setdefault(ref.id, (reading.size, ref.size))
                reading.size += ref.size
        reading.unsaid += refs
        if len(reading.unsaid) >= OFFER_CHUNKS or reading.size == sum(ref.size for ref in refs):
            self._say_offer(reading)

    def _say_offer(self, reading: _Reading) -> None:
        if reading.unsaid:
            self._say(Offer(self._folder, reading.number, reading.stat.size, tuple(reading.unsaid)))
            reading.unsaid.clear()

    def _keep(self, segment: Segment) -> None:
        self._post(SegmentsRead(((segment.id, segment.node),)))
