# SPDX-License-Identifier: AGPL-3.0-or-later
"""Manifests by example; the bytes of the nodes are normative."""

import random
import struct

import pytest

from harp.base.errors import FolderError, LocalProtocolError, RemoteProtocolError
from harp.sync.engine import manifest
from harp.sync.engine.manifest import Builder, Keys, chunk_id, keys, node_id, parse_root, parse_segment, root_of_small
from harp.sync.model import MAX_CHUNK, MAX_SEGMENT_CHUNKS, MIN_CHUNK, ChunkId, ChunkRef, NodeId, RootId, SegmentRef

KEYS = keys(b"\x07" * 32)


def ref(number: int, size: int = MIN_CHUNK) -> ChunkRef:
    """A chunk whose id never ends a segment."""
    return ChunkRef(ChunkId(b"\x01\x01" + number.to_bytes(30, "big")), size)


def test_ids_depend_on_the_folders_secret_and_on_what_is_hashed() -> None:
    others = keys(b"\x08" * 32)
    ids = {chunk_id(b"x", KEYS), node_id(b"x", KEYS), chunk_id(b"x", others), node_id(b"x", others)}
    assert len(ids) == 4
    assert {len(id) for id in ids} == {32}
    assert chunk_id(memoryview(b"x"), KEYS) == chunk_id(b"x", KEYS)


def test_keys_are_never_shown() -> None:
    assert repr(Keys(b"secret", b"secret")) == "Keys()"


def test_an_empty_file_has_the_empty_root() -> None:
    assert root_of_small(b"", KEYS) == RootId(b"")
    finished = Builder(KEYS).finish()
    assert (finished.root, finished.size, finished.root_node, finished.last) == (RootId(b""), 0, None, None)


def test_a_small_file_has_its_chunk_as_root_and_no_nodes() -> None:
    data = b"s" * MIN_CHUNK
    builder = Builder(KEYS)
    assert builder.add(ChunkRef(chunk_id(data, KEYS), len(data))) is None
    finished = builder.finish()
    assert finished.root == root_of_small(data, KEYS) == RootId(chunk_id(data, KEYS))
    assert (finished.root_node, finished.last) == (None, None)


def test_one_byte_more_and_there_is_a_root_node() -> None:
    builder = Builder(KEYS)
    builder.add(ref(1, MIN_CHUNK + 1))
    finished = builder.finish()
    assert finished.last is not None
    assert finished.last.node == b"\x01" + ref(1).id + struct.pack(">I", MIN_CHUNK + 1)
    assert finished.root_node == (
        b"\x02" + struct.pack(">Q", MIN_CHUNK + 1) + finished.last.id + struct.pack(">IQ", 1, MIN_CHUNK + 1)
    )
    with pytest.raises(LocalProtocolError):
        root_of_small(bytes(MIN_CHUNK + 1), KEYS)


def test_a_segment_ends_when_it_is_full() -> None:
    builder = Builder(KEYS)
    segments = [builder.add(ref(number)) for number in range(MAX_SEGMENT_CHUNKS + 1)]
    assert [number for number, segment in enumerate(segments, 1) if segment] == [MAX_SEGMENT_CHUNKS]
    finished = builder.finish()
    assert finished.last is not None
    assert finished.last.refs == (ref(MAX_SEGMENT_CHUNKS),)


def test_a_segment_that_ended_with_the_file_is_not_given_twice() -> None:
    builder = Builder(KEYS)
    assert [builder.add(ref(number)) for number in range(MAX_SEGMENT_CHUNKS)][-1] is not None
    assert builder.finish().last is None


def test_a_segment_ends_after_an_id_with_nine_zero_bits_but_not_before_the_64th_chunk() -> None:
    ending = ChunkRef(ChunkId(b"\x02\x00" + bytes(30)), MIN_CHUNK)
    assert manifest.ends_segment(ending.id, 64)
    assert not manifest.ends_segment(ending.id, 63)
    assert not manifest.ends_segment(ChunkId(b"\x01\x00" + bytes(30)), 64)
    builder = Builder(KEYS)
    ends = [builder.add(ending) is not None for _ in range(128)]
    assert [number for number, ended in enumerate(ends, 1) if ended] == [64, 128]


def test_an_insertion_in_a_large_file_renews_a_segment_or_two() -> None:
    noise = random.Random(5)
    refs = [ChunkRef(ChunkId(noise.randbytes(32)), MIN_CHUNK) for _ in range(20_000)]

    def ids(refs: list[ChunkRef]) -> list[NodeId]:
        builder = Builder(KEYS)
        segments = [segment.id for one in refs if (segment := builder.add(one))]
        last = builder.finish().last
        return [*segments, *([last.id] if last else [])]

    before = set(ids(refs))
    assert len(before) > 30
    assert len([id for id in ids([*refs[:300], ref(0), *refs[300:]]) if id not in before]) <= 2


def test_what_no_chunker_cuts_is_our_own_fault() -> None:
    for size in (0, MAX_CHUNK + 1):
        with pytest.raises(LocalProtocolError):
            Builder(KEYS).add(ref(1, size))
    builder = Builder(KEYS)
    builder.add(ref(1, 5))
    builder.add(ref(2, 5))
    with pytest.raises(LocalProtocolError):
        builder.finish()


def test_a_file_beyond_the_limit_of_a_root_node_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "MAX_SEGMENTS", 1)
    builder = Builder(KEYS)
    for number in range(MAX_SEGMENT_CHUNKS + 1):
        builder.add(ref(number))
    with pytest.raises(FolderError):
        builder.finish()


def segment_bytes(*refs: tuple[bytes, int]) -> bytes:
    return b"\x01" + b"".join(id + struct.pack(">I", size) for id, size in refs)


@pytest.mark.parametrize(
    "node",
    [
        b"",
        b"\x01",
        b"\x02" + segment_bytes((b"i" * 32, 5))[1:],
        segment_bytes((b"i" * 32, 5))[:-1],
        segment_bytes((b"i" * 32, 0)),
        segment_bytes((b"i" * 32, MAX_CHUNK + 1)),
        segment_bytes(*[(b"i" * 32, 5)] * (MAX_SEGMENT_CHUNKS + 1)),
    ],
)
def test_a_segment_node_that_cannot_be_is_refused(node: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_segment(node)


def test_a_segment_has_to_be_the_one_that_its_root_names() -> None:
    node = segment_bytes((b"i" * 32, 5), (b"j" * 32, 6))
    id = NodeId(bytes(32))
    assert len(parse_segment(node, SegmentRef(id, 2, 11))) == 2
    for wrong in (SegmentRef(id, 1, 11), SegmentRef(id, 2, 12)):
        with pytest.raises(RemoteProtocolError):
            parse_segment(node, wrong)


def test_a_root_node_has_at_most_a_mebibyte() -> None:
    segments = (1024 * 1024 - 9) // 44
    assert parse_root(root_bytes(segments * MAX_CHUNK, *[(1, MAX_CHUNK)] * segments))[0] == segments * MAX_CHUNK
    with pytest.raises(RemoteProtocolError):
        parse_root(root_bytes((segments + 1) * MAX_CHUNK, *[(1, MAX_CHUNK)] * (segments + 1)))


def root_bytes(size: int, *segments: tuple[int, int]) -> bytes:
    listed = b"".join(bytes(32) + struct.pack(">IQ", chunks, held) for chunks, held in segments)
    return b"\x02" + struct.pack(">Q", size) + listed


def test_a_root_node_is_read() -> None:
    node = root_bytes(2 * MAX_CHUNK + 1, (2, 2 * MAX_CHUNK), (1, 1))
    assert parse_root(node) == (
        2 * MAX_CHUNK + 1,
        (SegmentRef(NodeId(bytes(32)), 2, 2 * MAX_CHUNK), SegmentRef(NodeId(bytes(32)), 1, 1)),
    )


@pytest.mark.parametrize(
    "node",
    [
        b"",
        root_bytes(0),
        root_bytes(MIN_CHUNK, (1, MIN_CHUNK)),
        root_bytes(MIN_CHUNK + 1, (1, MIN_CHUNK + 2)),
        root_bytes(MAX_CHUNK + 1, (1, MAX_CHUNK + 1)),
        root_bytes(MIN_CHUNK + 1, (0, MIN_CHUNK + 1)),
        root_bytes(MIN_CHUNK + 1, (1, MIN_CHUNK + 1), (1, 0)),
        root_bytes(MIN_CHUNK + 1, (MAX_SEGMENT_CHUNKS + 1, MIN_CHUNK + 1)),
        root_bytes(MIN_CHUNK + 1, (1, MIN_CHUNK + 1)) + b"\0",
        b"\x01" + root_bytes(MIN_CHUNK + 1, (1, MIN_CHUNK + 1))[1:],
    ],
)
def test_a_root_node_that_cannot_be_is_refused(node: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_root(node)
