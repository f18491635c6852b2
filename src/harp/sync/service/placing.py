# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where the chunks of a large file come from: those that lie on this disk are copied, the others are missing."""

from collections.abc import Callable, Iterable
from concurrent.futures import Executor

from harp.base.errors import FolderError
from harp.sync.engine import manifest
from harp.sync.model import MAX_CHUNK, MIN_CHUNK, ChunkRef, FileKind, Path, Stat
from harp.sync.service.assembly import Assembly, Deliveries, Run, copied, runs, zero_id
from harp.sync.service.inbox import Event, Woken
from harp.sync.service.replica import Replica
from harp.sync.store.places import ChunkPlace

_HOLE = ChunkPlace(Path(b""), 0, MAX_CHUNK, Stat(FileKind.FILE, 0, 0, 0, 0, False))
"""Where zeros lie: everywhere, so they are neither copied nor asked for."""


class Placing:
    """For the folder's thread. What is missing is expected by ``deliveries``."""

    def __init__(
        self, replica: Replica, executor: Executor, deliveries: Deliveries, post: Callable[[Event], None]
    ) -> None:
        self._replica = replica
        self._executor = executor
        self._deliveries = deliveries
        self._post = post
        self._zero = zero_id(replica.keys)
        self.local_bytes = 0
        """Found on this disk and copied rather than transferred, since the start."""

    def place(self, assembly: Assembly, refs: Iterable[ChunkRef]) -> None:
        """Finds the next chunks of a file on this disk, or notes that they are missing."""
        refs = tuple(refs)
        for found in runs(refs, assembly.placed, self._locate):
            if isinstance(found, Run):
                self._copy(assembly, found)
            else:
                self._miss(assembly, *found)
        assembly.placed += sum(ref.size for ref in refs)

    def _copy(self, assembly: Assembly, run: Run) -> None:
        if not run.source:
            assembly.done_bytes += run.size
            return

        def copy() -> list[tuple[ChunkRef, int]]:
            try:
                return copied(self._replica.root, assembly.temp, run)
            except FolderError:
                return run.refs

        future = self._executor.submit(copy)
        future.add_done_callback(lambda _: self._post(Woken()))
        assembly.copies.append((run, future))
        assembly.done_bytes += run.size
        self.local_bytes += run.size

    def _miss(self, assembly: Assembly, ref: ChunkRef, offset: int) -> None:
        if assembly.is_resumed and self._is_there(assembly, ref, offset):
            assembly.done_bytes += ref.size
            self._deliveries.is_there(ref, assembly.temp, offset)
            return
        assembly.missing[ref.id] = ref
        self._deliveries.expect(ref, assembly.temp, offset)

    def _is_there(self, assembly: Assembly, ref: ChunkRef, offset: int) -> bool:
        buffer = memoryview(bytearray(ref.size))
        return (
            assembly.temp.read_at(offset, buffer) == ref.size
            and manifest.chunk_id(buffer, self._replica.keys) == ref.id
        )

    def collect(self, assembly: Assembly) -> None:
        copies, assembly.copies = assembly.copies, []
        for run, future in copies:
            if not future.done():
                assembly.copies.append((run, future))
                continue
            for ref, offset in future.result():
                assembly.done_bytes -= ref.size
                self._find_again(assembly, run, ref, offset)

    def _find_again(self, assembly: Assembly, run: Run, ref: ChunkRef, offset: int) -> None:
        """The source of a copy went away under it: mostly to the trash, or to another name, where it still is."""
        place = self._locate(ref)
        if place is None or (place.path, place.stat) == (run.source, run.stat):
            self._miss(assembly, ref, offset)
        else:
            self._copy(assembly, Run(place.path, place.stat, place.offset, offset, ref.size, [(ref, offset)]))

    def _locate(self, ref: ChunkRef) -> ChunkPlace | None:
        if ref.id == self._zero:
            return _HOLE
        for place in self._replica.places.locate(ref.id, may_be_whole=ref.size <= MIN_CHUNK):
            if place.size == ref.size:
                return place
        return None
