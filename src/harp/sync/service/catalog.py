# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which chunks a file consists of, by its manifest in the ledger, and the ledger's note of where they lie."""

from collections.abc import Iterator

from harp.sync.engine import manifest
from harp.sync.model import MIN_CHUNK, ChunkId, NodeId, RootId
from harp.sync.store.places import Places


def chunks(places: Places, root: RootId, size: int) -> Iterator[tuple[ChunkId, int, int]]:
    """(id, offset, size) of a file's chunks, in order; ends early where a node is not in the ledger."""
    if size <= MIN_CHUNK:
        if size:
            yield ChunkId(root), 0, size
        return
    node = places.node(NodeId(root))
    if node is None:
        return
    offset = 0
    for segment in manifest.parse_root(node)[1]:
        listed = places.node(segment.id)
        if listed is None:
            return
        for ref in manifest.parse_segment(listed, segment):
            yield ref.id, offset, ref.size
            offset += ref.size


def index(places: Places, path_no: int, root: RootId, size: int) -> None:
    """Notes where the chunks of a file of more than one lie; a file of one is found by its root."""
    if size > MIN_CHUNK:
        places.add_chunks(path_no, chunks(places, root, size))


def unindex(places: Places, path_no: int, root: RootId, size: int) -> None:
    """The file no longer lies there."""
    if size > MIN_CHUNK:
        places.drop_chunks(path_no, ((id_, offset) for id_, offset, _ in chunks(places, root, size)))
