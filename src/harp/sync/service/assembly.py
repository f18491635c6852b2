# SPDX-License-Identifier: AGPL-3.0-or-later
"""The content of one large file on its way into a temporary file: what of it is there, what is still missing."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from harp.base.errors import FolderError
from harp.sync.engine import manifest
from harp.sync.engine.manifest import Builder, Keys
from harp.sync.folder.fs import Root
from harp.sync.folder.staging import Temp
from harp.sync.model import MAX_CHUNK, ChunkId, ChunkRef, NodeId, Path, RootId, SegmentRef, Stat
from harp.sync.service.shelf import Shelf
from harp.sync.store.places import ChunkPlace

MAX_RUN_BYTES = 64 * 1024 * 1024
"""Chunks that follow each other in another file too are copied in one go, up to this."""


@dataclass(slots=True)
class Run:
    """Successive chunks that lie one after the other in a file of this disk."""

    source: Path
    stat: Stat
    source_offset: int
    offset: int
    size: int
    refs: list[tuple[ChunkRef, int]] = field(default_factory=list)

    def takes(self, place: ChunkPlace, offset: int) -> bool:
        """Whether the chunk at ``place`` continues the run, for ``offset`` of the file that is made."""
        return (
            self.source == place.path
            and self.stat == place.stat
            and self.source_offset + self.size == place.offset
            and self.offset + self.size == offset
            and self.size < MAX_RUN_BYTES
        )


class Deliveries:
    """Which temporary files wait for which chunk; links' threads write what arrives straight into them."""

    def __init__(self, keys: Keys, shelf: Shelf) -> None:
        self._keys = keys
        self._shelf = shelf
        self._lock = threading.Lock()
        self._expected: dict[ChunkId, list[tuple[Temp, int, int]]] = {}

    def expect(self, ref: ChunkRef, temp: Temp, offset: int) -> None:
        with self._lock:
            self._expected.setdefault(ref.id, []).append((temp, offset, ref.size))

    def is_there(self, ref: ChunkRef, temp: Temp, offset: int) -> None:
        """It lies in the file already, and was verified."""
        self._shelf.put(ref.id, temp, offset, ref.size)

    def forget(self, temp: Temp) -> None:
        """The file is given up, or complete: nothing is written to it any more."""
        self._shelf.forget(temp)
        with self._lock:
            kept = {id_: [one for one in waiting if one[0] is not temp] for id_, waiting in self._expected.items()}
            self._expected = {id_: waiting for id_, waiting in kept.items() if waiting}

    def deliver(self, chunk: ChunkId, payload: memoryview) -> bool:
        """Verifies the chunk and writes it wherever it is missing; False where it is not what its id says.

        Raises :class:`FolderError` where the disk refuses; the chunk is then still missing.
        """
        if manifest.chunk_id(payload, self._keys) != chunk:
            return False
        with self._lock:
            waiting = self._expected.get(chunk, [])
            if any(size != len(payload) for _, _, size in waiting):
                return False
            self._expected.pop(chunk, None)
        try:
            for temp, offset, size in waiting:
                temp.write_at(offset, payload)
                self._shelf.put(chunk, temp, offset, size)
        except BaseException:
            with self._lock:
                self._expected.setdefault(chunk, []).extend(waiting)
            raise
        return True


class Assembly:
    """One file. ``root`` is known from the start for an entry's content, and at the end for an offered file's."""

    def __init__(self, temp: Temp, size: int, keys: Keys, root: RootId | None, *, is_resumed: bool = False) -> None:
        self.temp = temp
        self.size = size
        self.root = root
        self.missing: dict[ChunkId, ChunkRef] = {}
        self.copies: list[tuple[Run, Future[list[tuple[ChunkRef, int]]]]] = []
        self.segments: list[SegmentRef] | None = None
        self.placed_segments = 0
        self.placed = 0
        """Bytes of the file whose chunks are known and are there, are being copied, or are missing."""
        self.done_bytes = 0
        self.is_wanted = root is not None
        self.is_resumed = is_resumed
        """The temporary file may hold some of the content already."""
        self.nodes: list[tuple[NodeId, bytes]] = []
        """Manifest nodes to be kept in the ledger once the content is."""
        self.trouble: FolderError | None = None
        """Why the disk did not take what came: told where the path that wants the file is planned."""
        self._builder = Builder(keys) if root is None else None

    @property
    def is_complete(self) -> bool:
        """All content is in the temporary file."""
        is_known = self.root is not None and self.placed == self.size
        return is_known and not self.missing and not self.copies

    @property
    def next_segment(self) -> SegmentRef | None:
        """The segment whose chunks are to be placed next."""
        if self.segments is None or self.placed_segments >= len(self.segments):
            return None
        return self.segments[self.placed_segments]

    def learn(self, refs: Sequence[ChunkRef]) -> None:
        """Further chunks of an offered file, in order."""
        assert self._builder is not None
        for ref in refs:
            segment = self._builder.add(ref)
            if segment is not None:
                self.nodes.append((segment.id, segment.node))

    def conclude(self, root: RootId) -> bool:
        """The offered file is whole, says the peer; whether its chunks do give that root."""
        assert self._builder is not None
        finished = self._builder.finish()
        if finished.root != root or finished.root_node is None:
            return False
        if finished.last is not None:
            self.nodes.append((finished.last.id, finished.last.node))
        self.nodes.append((NodeId(root), finished.root_node))
        self.root, self.size = root, finished.size
        return True


Locate = Callable[[ChunkRef], ChunkPlace | None]


def runs(refs: Iterable[ChunkRef], offset: int, locate: Locate) -> Iterator[Run | tuple[ChunkRef, int]]:
    """For chunks that follow each other from ``offset``: what can be copied on this disk, and what is missing."""
    run: Run | None = None
    for ref in refs:
        place = locate(ref)
        if place is not None and run is not None and run.takes(place, offset):
            run.size += ref.size
            run.refs.append((ref, offset))
        else:
            if run is not None:
                yield run
            run = None
            if place is None:
                yield ref, offset
            else:
                run = Run(place.path, place.stat, place.offset, offset, ref.size, [(ref, offset)])
        offset += ref.size
    if run is not None:
        yield run


def copied(root: Root, temp: Temp, run: Run) -> list[tuple[ChunkRef, int]]:
    """Copies a run into the temporary file; what of it is missing after all, since its source has changed."""
    is_copied = temp.copy_from(root, run.source, run.source_offset, run.size, run.offset, run.stat)
    return [] if is_copied else run.refs


def zero_id(keys: Keys) -> ChunkId:
    """The id of the chunk that a hole consists of."""
    return manifest.chunk_id(bytes(MAX_CHUNK), keys)
