# SPDX-License-Identifier: AGPL-3.0-or-later
"""Content of files that are still being put together: peers are served from it before the files are in the folder."""

import os
import threading
from dataclasses import dataclass, field

from harp.sync.folder.staging import Temp
from harp.sync.model import ChunkId


@dataclass(slots=True)
class _File:
    fd: int
    chunks: set[ChunkId] = field(default_factory=set)


class Shelf:
    """For every thread. A file is read through a descriptor of the shelf's own, until :meth:`forget`.

    So what was written into a temporary file can be served also while it is made durable and moved to its place.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: dict[Temp, _File] = {}
        self._places: dict[ChunkId, tuple[Temp, int, int]] = {}

    def put(self, chunk: ChunkId, temp: Temp, offset: int, size: int) -> None:
        """The chunk was verified and lies there."""
        with self._lock:
            file = self._files.get(temp)
            if file is None:
                fd = temp.reader()
                if fd is None:
                    return
                file = self._files[temp] = _File(fd)
            file.chunks.add(chunk)
            self._places.setdefault(chunk, (temp, offset, size))

    def __contains__(self, chunk: object) -> bool:
        return chunk in self._places

    def read_into(self, chunk: ChunkId, buffer: memoryview) -> int:
        """Puts the chunk into ``buffer``; its size, 0 where it is not here."""
        with self._lock:
            place = self._places.get(chunk)
            if place is None or place[2] > len(buffer):
                return 0
            temp, offset, size = place
            try:
                return size if os.preadv(self._files[temp].fd, [buffer[:size]], offset) == size else 0
            except OSError:
                return 0

    def forget(self, temp: Temp) -> None:
        """The file is in the folder, or given up."""
        with self._lock:
            file = self._files.pop(temp, None)
            if file is None:
                return
            for chunk in file.chunks:
                if self._places.get(chunk, (None,))[0] is temp:
                    del self._places[chunk]
            os.close(file.fd)
