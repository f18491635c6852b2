# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a file consists of: keyed chunk ids in segments, and a root over the segments.

Nodes are fixed binary forms, integers big-endian::

    segment node = 0x01, then for each chunk:   32 bytes ChunkId, u32 size
    root node    = 0x02, u64 size of the file, then for each segment:   32 bytes NodeId, u32 chunks, u64 bytes

An empty file has the empty root, content of at most ``MIN_CHUNK`` bytes has its one chunk's id as root, all else the
id of its root node. A segment ends after ``MAX_SEGMENT_CHUNKS`` chunks, or after a chunk (from the 64th on) whose id's
first two bytes, as a number, end in nine zero bits: so an insertion renews the segments near it and no others.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from blake3 import blake3

from harp.base.errors import FolderError, LocalProtocolError, RemoteProtocolError
from harp.sync.model import (
    MAX_CHUNK,
    MAX_SEGMENT_CHUNKS,
    MIN_CHUNK,
    ChunkId,
    ChunkRef,
    NodeId,
    RootId,
    SegmentRef,
)

CHUNK_CONTEXT: Final = "harp 2026-11 chunk v1"
NODE_CONTEXT: Final = "harp 2026-11 manifest v1"
MIN_SEGMENT_CHUNKS: Final = 64
SEGMENT_END_MASK: Final = 0x01FF
MAX_ROOT_NODE_BYTES: Final = 1024 * 1024
EMPTY_ROOT: Final = RootId(b"")

_SEGMENT_TAG: Final = b"\x01"
_ROOT_TAG: Final = b"\x02"
_CHUNK_REF: Final = struct.Struct(">32sI")
_SEGMENT_REF: Final = struct.Struct(">32sIQ")
_FILE_SIZE: Final = struct.Struct(">Q")
_ROOT_HEAD_BYTES: Final = len(_ROOT_TAG) + _FILE_SIZE.size
MAX_SEGMENT_NODE_BYTES: Final = len(_SEGMENT_TAG) + MAX_SEGMENT_CHUNKS * _CHUNK_REF.size
MAX_SEGMENTS: Final = (MAX_ROOT_NODE_BYTES - _ROOT_HEAD_BYTES) // _SEGMENT_REF.size

Bytes = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Keys:
    """A folder's two hash keys; equal content has different ids in different folders."""

    chunk_key: bytes = field(repr=False)
    node_key: bytes = field(repr=False)


def keys(content_secret: bytes) -> Keys:
    """The keys that follow from ``FolderKeys.content`` (BLAKE3 in key derivation mode)."""
    return Keys(
        blake3(content_secret, derive_key_context=CHUNK_CONTEXT).digest(),
        blake3(content_secret, derive_key_context=NODE_CONTEXT).digest(),
    )


def chunk_id(data: Bytes, keys: Keys) -> ChunkId:
    """BLAKE3 of a chunk's bytes, keyed with the chunk key."""
    return ChunkId(blake3(data, key=keys.chunk_key).digest())


def node_id(data: Bytes, keys: Keys) -> NodeId:
    """BLAKE3 of a node's bytes, keyed with the node key."""
    return NodeId(blake3(data, key=keys.node_key).digest())


def root_of_small(data: Bytes, keys: Keys) -> RootId:
    """The root of a whole file of at most ``MIN_CHUNK`` bytes; raises :class:`LocalProtocolError` for a larger one."""
    if len(data) > MIN_CHUNK:
        raise LocalProtocolError("content of more than one smallest chunk has a root node")
    return RootId(chunk_id(data, keys)) if len(data) else EMPTY_ROOT


@dataclass(frozen=True, slots=True)
class Segment:
    """A finished segment: ``node`` is what travels, ``id`` its keyed hash."""

    id: NodeId
    node: bytes
    refs: tuple[ChunkRef, ...]
    size: int

    @property
    def ref(self) -> SegmentRef:
        return SegmentRef(self.id, len(self.refs), self.size)


@dataclass(frozen=True, slots=True)
class Finished:
    """A whole manifest; ``root_node`` and ``last`` are None where the root is the one chunk itself, or nothing."""

    root: RootId
    size: int
    root_node: bytes | None
    last: Segment | None


class Builder:
    """Builds one file's manifest from its chunks in order; holds one segment, and 44 bytes for each one finished."""

    __slots__ = ("_keys", "_refs", "_segment_size", "_segments", "_size")

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._refs: list[ChunkRef] = []
        self._segment_size = 0
        self._segments: list[SegmentRef] = []
        self._size = 0

    def add(self, ref: ChunkRef) -> Segment | None:
        """Take the next chunk; the segment that it ends, if it ends one.

        Raises :class:`LocalProtocolError` for a chunk that no chunker cuts, :class:`FolderError` for a file whose root
        node would pass ``MAX_ROOT_NODE_BYTES``.
        """
        if not 1 <= ref.size <= MAX_CHUNK:
            raise LocalProtocolError(f"a chunk has 1 to {MAX_CHUNK} bytes, not {ref.size}")
        self._refs.append(ref)
        self._segment_size += ref.size
        self._size += ref.size
        return self._close() if ends_segment(ref.id, len(self._refs)) else None

    def finish(self) -> Finished:
        """The root over everything added; the builder is done with."""
        if self._size == 0:
            return Finished(EMPTY_ROOT, 0, None, None)
        if self._size <= MIN_CHUNK:
            return self._small()
        last = self._close() if self._refs else None
        node = root_node(self._size, self._segments)
        return Finished(RootId(node_id(node, self._keys)), self._size, node, last)

    def _small(self) -> Finished:
        if len(self._refs) != 1 or self._segments:
            raise LocalProtocolError("content of one smallest chunk was cut")
        return Finished(RootId(self._refs[0].id), self._size, None, None)

    def _close(self) -> Segment:
        node = segment_node(self._refs)
        segment = Segment(node_id(node, self._keys), node, tuple(self._refs), self._segment_size)
        self._segments.append(segment.ref)
        if len(self._segments) > MAX_SEGMENTS:
            raise FolderError("the file is too large for one manifest", hint="split it into several files")
        self._refs = []
        self._segment_size = 0
        return segment


def ends_segment(id: ChunkId, count: int) -> bool:
    """Whether a segment ends after the chunk ``id``, the ``count``-th in it."""
    if count >= MAX_SEGMENT_CHUNKS:
        return True
    return count >= MIN_SEGMENT_CHUNKS and int.from_bytes(id[:2], "big") & SEGMENT_END_MASK == 0


def segment_node(refs: Sequence[ChunkRef]) -> bytes:
    """The bytes of a segment node."""
    return _SEGMENT_TAG + b"".join([_CHUNK_REF.pack(*ref) for ref in refs])


def root_node(size: int, segments: Sequence[SegmentRef]) -> bytes:
    """The bytes of a root node."""
    return _ROOT_TAG + _FILE_SIZE.pack(size) + b"".join([_SEGMENT_REF.pack(*ref) for ref in segments])


def parse_segment(data: Bytes, expected: SegmentRef | None = None) -> tuple[ChunkRef, ...]:
    """The chunks of a segment node, which is the one that the root names as ``expected``, if given.

    Raises :class:`RemoteProtocolError` for a wrong tag, length, chunk size, or other sums than ``expected`` says. The
    node's own id is for the caller to compare.
    """
    body = _body(data, _SEGMENT_TAG, len(_SEGMENT_TAG), _CHUNK_REF.size, MAX_SEGMENT_NODE_BYTES)
    refs = tuple([ChunkRef._make(fields) for fields in _CHUNK_REF.iter_unpack(body)])
    if not all(1 <= ref.size <= MAX_CHUNK for ref in refs):
        raise RemoteProtocolError("a segment lists a chunk of impossible size")
    if expected is not None and (len(refs), sum(ref.size for ref in refs)) != (expected.chunks, expected.size):
        raise RemoteProtocolError("a segment is not what its root says of it")
    return refs


def parse_root(data: Bytes) -> tuple[int, tuple[SegmentRef, ...]]:
    """The file's size and the segments of a root node.

    Raises :class:`RemoteProtocolError` for a wrong tag or length, a count outside 1 to ``MAX_SEGMENT_CHUNKS``, sizes
    that cannot be or do not sum up, and a file that is too small to have a root node.
    """
    body = _body(data, _ROOT_TAG, _ROOT_HEAD_BYTES, _SEGMENT_REF.size, MAX_ROOT_NODE_BYTES)
    (size,) = _FILE_SIZE.unpack_from(data, len(_ROOT_TAG))
    segments = tuple([SegmentRef._make(fields) for fields in _SEGMENT_REF.iter_unpack(body)])
    for _, chunks, segment_size in segments:
        if not (1 <= chunks <= MAX_SEGMENT_CHUNKS and chunks <= segment_size <= chunks * MAX_CHUNK):
            raise RemoteProtocolError("a root lists a segment of impossible size")
    if size <= MIN_CHUNK or size != sum(segment.size for segment in segments):
        raise RemoteProtocolError("a root's size is not that of its segments")
    return size, segments


def _body(data: Bytes, tag: bytes, head: int, item: int, limit: int) -> memoryview:
    """What follows the head of a node: one or more items of ``item`` bytes."""
    if data[: len(tag)] != tag:
        raise RemoteProtocolError("a manifest node has an unknown tag")
    if len(data) > limit or len(data) <= head or (len(data) - head) % item:
        raise RemoteProtocolError("a manifest node has an impossible length")
    return memoryview(data)[head:]
