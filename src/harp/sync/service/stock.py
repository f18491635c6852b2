# SPDX-License-Identifier: AGPL-3.0-or-later
"""What of a folder's content can be served before it is in the folder: large files in the making, small ones."""

from harp.sync.model import ChunkId, NodeId, RootId
from harp.sync.service.larder import Larder
from harp.sync.service.shelf import Shelf
from harp.sync.store.places import Places


class Stock:
    """Implements :class:`harp.sync.service.server.Store`. All but :meth:`holds` is for every thread."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self.shelf = Shelf()
        self.larder = Larder()

    def holds(self, id_: ChunkId) -> bool:
        """Whether a chunk or a node can be served, from here or from the folder."""
        is_at_hand = id_ in self.shelf or self.larder.get(RootId(id_)) is not None
        return is_at_hand or bool(self._places.locate(id_)) or self._places.node(NodeId(id_)) is not None

    def read_into(self, chunk: ChunkId, buffer: memoryview) -> int:
        """Puts the chunk into ``buffer``; its size, 0 where it is not here."""
        data = self.larder.get(RootId(chunk))
        if data is None:
            return self.shelf.read_into(chunk, buffer)
        buffer[: len(data)] = data
        return len(data)
