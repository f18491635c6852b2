# SPDX-License-Identifier: AGPL-3.0-or-later
"""Serves a folder's chunks and manifest nodes to its members, on their links' writer threads."""

import threading
from collections.abc import Callable
from pathlib import Path as FilePath
from typing import Protocol

from harp.base.errors import FolderError, StoreError
from harp.sync.folder import read
from harp.sync.folder.fs import Root
from harp.sync.model import ChunkId, NodeId, Path
from harp.sync.protocol.foldermessages import What
from harp.sync.protocol.frames import Status
from harp.sync.service.offers import Offering
from harp.sync.store.database import Database
from harp.sync.store.places import ChunkPlace, Places


class Store(Protocol):
    """Content that is here, and not in the folder yet; for every thread."""

    def read_into(self, chunk: ChunkId, buffer: memoryview) -> int:
        """Puts the chunk into ``buffer``; its size, 0 where it is not here."""


class Server:
    """Thread-safe. ``on_gone`` is told the path of a file that is not what the ledger says any more."""

    def __init__(
        self, ledger: FilePath, root: Root, offering: Offering, store: Store, on_gone: Callable[[Path], None]
    ) -> None:
        self._ledger = ledger
        self._root = root
        self._offering = offering
        self._store = store
        self._on_gone = on_gone
        self._local = threading.local()
        self.served_bytes = 0

    def reader(self, what: What, id_: bytes) -> Callable[[memoryview], tuple[int, int]]:
        """What fills an answer's buffer when its turn comes: (status, length)."""
        return lambda buffer: (
            self._node(NodeId(id_), buffer) if what is What.NODE else self._chunk(ChunkId(id_), buffer)
        )

    def _node(self, node: NodeId, buffer: memoryview) -> tuple[int, int]:
        try:
            data = self._places().node(node)
        except StoreError:
            return Status.NOT_HELD, 0
        if data is None or len(data) > len(buffer):
            return Status.NOT_HELD, 0
        buffer[: len(data)] = data
        return Status.OK, len(data)

    def _chunk(self, chunk: ChunkId, buffer: memoryview) -> tuple[int, int]:
        length = self._store.read_into(chunk, buffer)
        if length:
            self.served_bytes += length
            return Status.OK, length
        offered = self._offering.locate(chunk)
        try:
            found = [offered] if offered is not None else self._located(chunk)
        except StoreError:
            return Status.NOT_HELD, 0
        for place in found:
            if self._filled(place, buffer):
                self.served_bytes += place.size
                return Status.OK, place.size
        return (Status.GONE if found else Status.NOT_HELD), 0

    def _located(self, chunk: ChunkId) -> list[ChunkPlace]:
        """Mostly it is one of a large file's; only then is it not looked for among the small files."""
        places = self._places()
        return places.locate(chunk, may_be_whole=False) or places.locate(chunk)

    def _filled(self, place: ChunkPlace, buffer: memoryview) -> bool:
        try:
            got = read.read_at(self._root, place.path, place.offset, buffer[: place.size], place.stat)
        except FolderError:
            got = 0
        if got == place.size:
            return True
        self._on_gone(place.path)
        return False

    def _places(self) -> Places:
        places: Places | None = getattr(self._local, "places", None)
        if places is None:
            places = self._local.places = Places(Database(self._ledger, "ledger", read_only=True))
        return places
