# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a folder's history calls the files that its mirror takes away: with that they are restored as any others."""

from collections.abc import Sequence
from concurrent.futures import CancelledError

from harp.base.errors import HarpError
from harp.sync.cloud.nodes import Local
from harp.sync.model import EntryId, Path
from harp.sync.service.folderloop import FolderLoop

PATIENCE_S = 30.0
"""A folder whose thread is busy for longer has the file in its trash all the same, as one of which nothing is known."""
_UNKNOWN = (HarpError, TimeoutError, CancelledError)


class FolderHistory:
    """Implements :class:`harp.sync.service.mirrordisk.History`; waits for the folder's thread, and so is for others."""

    def __init__(self, loop: FolderLoop) -> None:
        self._loop = loop

    def entries(self, path: Path, found: Local) -> Sequence[EntryId]:
        try:
            place = self._loop.call(lambda: self._loop.replica.places.get(path)).result(PATIENCE_S)
        except _UNKNOWN:
            return ()
        on_disk = None if place is None else place.on_disk
        if on_disk is None:
            return ()
        stat = on_disk.stat
        return on_disk.applied if Local(False, stat.inode, stat.size, stat.mtime_ns) == found else ()

    def trashed(self, places: Sequence[Path]) -> None:
        """Does not wait. What a crash cuts off is noted by the folder's next round over its trash."""

        def note() -> None:
            replica = self._loop.replica
            replica.note_trashed(item for place in places if (item := replica.trash.item(place)) is not None)

        self._loop.call(note)
