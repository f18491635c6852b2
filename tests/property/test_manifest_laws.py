# SPDX-License-Identifier: AGPL-3.0-or-later
"""Laws of manifests: what was built is what is read, and nothing else is."""

import contextlib
import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harp.base.errors import RemoteProtocolError
from harp.sync.engine.manifest import (
    MAX_ROOT_NODE_BYTES,
    MIN_SEGMENT_CHUNKS,
    Builder,
    Finished,
    Segment,
    keys,
    node_id,
    parse_root,
    parse_segment,
    root_node,
    segment_node,
)
from harp.sync.model import MAX_CHUNK, MAX_SEGMENT_CHUNKS, MIN_CHUNK, ChunkId, ChunkRef, RootId

KEYS = keys(bytes(32))


@st.composite
def files(draw: st.DrawFn) -> list[ChunkRef]:
    """The chunks of a file that has more than one smallest chunk."""
    count = draw(st.one_of(st.integers(1, 200), st.integers(1000, 3000)))
    noise = random.Random(draw(st.integers(0, 2**32)))
    refs = [ChunkRef(ChunkId(noise.randbytes(32)), noise.randint(MIN_CHUNK, MAX_CHUNK)) for _ in range(count)]
    return [*refs, ChunkRef(ChunkId(noise.randbytes(32)), draw(st.integers(1, MAX_CHUNK)))]


def built(refs: list[ChunkRef]) -> tuple[list[Segment], Finished]:
    builder = Builder(KEYS)
    segments = [segment for ref in refs if (segment := builder.add(ref)) is not None]
    finished = builder.finish()
    return [*segments, *([finished.last] if finished.last else [])], finished


@given(files())
def test_a_manifest_read_back_is_the_file(refs: list[ChunkRef]) -> None:
    segments, finished = built(refs)
    assert finished.root_node is not None
    size, listed = parse_root(finished.root_node)
    assert size == finished.size == sum(ref.size for ref in refs)
    assert listed == tuple(segment.ref for segment in segments)
    assert [ref for segment in segments for ref in parse_segment(segment.node, segment.ref)] == refs
    assert finished.root == RootId(node_id(finished.root_node, KEYS))
    assert all(segment.id == node_id(segment.node, KEYS) for segment in segments)


@given(files())
def test_segments_have_the_length_that_they_may_have(refs: list[ChunkRef]) -> None:
    segments, _ = built(refs)
    assert all(MIN_SEGMENT_CHUNKS <= len(segment.refs) <= MAX_SEGMENT_CHUNKS for segment in segments[:-1])
    assert 1 <= len(segments[-1].refs) <= MAX_SEGMENT_CHUNKS


@given(st.integers(0, 2**32), st.integers(0, 3000))
def test_an_insertion_renews_one_run_of_segments_and_all_beside_it_stay(seed: int, at: int) -> None:
    noise = random.Random(seed)
    refs = [ChunkRef(ChunkId(noise.randbytes(32)), MIN_CHUNK) for _ in range(3000)]
    before = {segment.id for segment in built(refs)[0]}
    after = built([*refs[:at], ChunkRef(ChunkId(noise.randbytes(32)), MIN_CHUNK), *refs[at:]])[0]
    runs = [is_new for is_new, _ in itertools.groupby(segment.id not in before for segment in after)]
    assert runs.count(True) == 1


@given(st.binary(max_size=300))
def test_garbage_is_refused_or_reads_back_as_it_was(data: bytes) -> None:
    for tag in (b"", b"\x01", b"\x02"):
        with contextlib.suppress(RemoteProtocolError):
            assert segment_node(parse_segment(tag + data)) == tag + data
        with contextlib.suppress(RemoteProtocolError):
            assert root_node(*parse_root(tag + data)) == tag + data


@given(files(), st.data())
def test_a_damaged_root_is_refused_or_is_another_root(refs: list[ChunkRef], data: st.DataObject) -> None:
    node = built(refs)[1].root_node
    assert node is not None
    at = data.draw(st.integers(0, len(node) - 1))
    damaged = node[:at] + bytes([node[at] ^ data.draw(st.integers(1, 255))]) + node[at + 1 :]
    with contextlib.suppress(RemoteProtocolError):
        assert root_node(*parse_root(damaged)) == damaged
    for shorter in (node[:-1], node[:at], node + b"\0"):
        with pytest.raises(RemoteProtocolError):
            parse_root(shorter)


@given(st.integers(0, 100))
def test_a_root_beyond_the_limit_is_refused(more: int) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_root(b"\x02" + bytes(MAX_ROOT_NODE_BYTES + more))
