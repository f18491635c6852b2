# SPDX-License-Identifier: AGPL-3.0-or-later
"""Laws of cutting: nothing is lost, the buffers do not matter, and an edit stays local."""

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from hypothesis import given
from hypothesis import strategies as st

from harp.sync.engine.chunker import Chunker, consumed, whole_zero_chunks
from harp.sync.model import MAX_CHUNK, MIN_CHUNK

MEBI = 1024 * 1024


def noise(seed: int, size: int) -> bytes:
    """The same for the same seed, in a seventh of the time that Python's own chance takes for so much."""
    stream = Cipher(algorithms.ChaCha20(seed.to_bytes(32, "big"), bytes(16)), mode=None)
    return stream.encryptor().update(bytes(size))


@st.composite
def contents(draw: st.DrawFn) -> bytes:
    """Some megabytes of noise and of runs, as files are."""
    parts = []
    for _ in range(draw(st.integers(0, 4))):
        size = draw(st.one_of(st.integers(0, 3 * MEBI), st.sampled_from([1, MIN_CHUNK, MIN_CHUNK + 1, MAX_CHUNK])))
        if draw(st.booleans()):
            parts.append(noise(draw(st.integers(0, 2**32)), size))
        else:
            parts.append(bytes([draw(st.integers(0, 255))]) * size)
    return b"".join(parts)


def whole(data: bytes) -> list[bytes]:
    return [data[offset : offset + length] for offset, length in Chunker().cut(memoryview(data), final=True)]


def in_pieces(data: bytes, sizes: list[int]) -> list[bytes]:
    """As a reader does it: fill the buffer, cut, keep what is left, go on; ``sizes`` are how much each read gave."""
    chunker, buffer, chunks, at, turn = Chunker(), bytearray(), [], 0, 0
    while True:
        size = sizes[turn % len(sizes)]
        turn += 1
        buffer += data[at : at + size]
        at += size
        final = at >= len(data)
        view = memoryview(bytes(buffer))
        cuts = chunker.cut(view, final=final)
        chunks += [bytes(view[offset : offset + length]) for offset, length in cuts]
        del buffer[: consumed(cuts)]
        if final:
            assert not buffer
            return chunks


@given(contents())
def test_the_chunks_joined_are_the_file(data: bytes) -> None:
    assert b"".join(whole(data)) == data


@given(contents())
def test_chunks_have_the_size_that_they_may_have(data: bytes) -> None:
    chunks = whole(data)
    assert all(MIN_CHUNK <= len(chunk) <= MAX_CHUNK for chunk in chunks[:-1])
    assert all(1 <= len(chunk) <= MAX_CHUNK for chunk in chunks)


@given(contents(), st.lists(st.integers(1, 5 * MEBI), min_size=1, max_size=5))
def test_any_split_of_the_stream_gives_the_same_chunks(data: bytes, sizes: list[int]) -> None:
    assert in_pieces(data, [max(size, 50_000) for size in sizes]) == whole(data)


@given(contents())
def test_less_than_the_largest_chunk_is_left_over_and_no_certain_cut_is_kept_back(data: bytes) -> None:
    cuts = Chunker().cut(memoryview(data), final=False)
    assert len(data) - consumed(cuts) < MAX_CHUNK
    assert [data[offset : offset + length] for offset, length in cuts] == whole(data)[: len(cuts)]


@given(st.integers(0, 2**32), st.integers(0, 8 * MEBI), st.binary(min_size=1, max_size=200))
def test_an_insertion_changes_a_bounded_number_of_chunks(seed: int, at: int, inserted: bytes) -> None:
    data = noise(seed, 8 * MEBI)
    before = set(whole(data))
    new = [chunk for chunk in whole(data[:at] + inserted + data[at:]) if chunk not in before]
    assert len(new) <= 8


@given(st.integers(0, 5 * MEBI), st.binary(max_size=100))
def test_the_chunks_of_a_hole_are_known_without_reading_it(run: int, tail: bytes) -> None:
    sure = whole_zero_chunks(run)
    chunks = whole(bytes(run) + tail)
    assert chunks[:sure] == [bytes(MAX_CHUNK)] * sure
