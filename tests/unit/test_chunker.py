# SPDX-License-Identifier: AGPL-3.0-or-later
"""The chunker by example; the cuts of the known stream are normative."""

import random

from harp.sync.engine.chunker import Chunker, consumed, whole_zero_chunks
from harp.sync.model import AVERAGE_CHUNK, MAX_CHUNK, MIN_CHUNK


def test_an_empty_file_has_no_chunks() -> None:
    assert Chunker().cut(memoryview(b""), final=True) == []


def test_a_small_file_is_one_chunk_however_small() -> None:
    assert Chunker().cut(memoryview(b"x"), final=True) == [(0, 1)]
    assert Chunker().cut(memoryview(bytes(MIN_CHUNK)), final=True) == [(0, MIN_CHUNK)]


def test_without_the_end_nothing_is_certain_before_the_largest_chunk_is_in_sight() -> None:
    noise = random.Random(1).randbytes(MAX_CHUNK)
    assert Chunker().cut(memoryview(noise)[:-1], final=False) == []
    assert consumed([]) == 0
    cuts = Chunker().cut(memoryview(noise), final=False)
    assert len(cuts) == 1
    assert consumed(cuts) == cuts[0][1]


def test_zeros_are_cut_at_the_largest_size() -> None:
    run = 3 * MAX_CHUNK + 5
    cuts = Chunker().cut(memoryview(bytes(run)), final=True)
    assert cuts == [(0, MAX_CHUNK), (MAX_CHUNK, MAX_CHUNK), (2 * MAX_CHUNK, MAX_CHUNK), (3 * MAX_CHUNK, 5)]
    assert whole_zero_chunks(run) == 3


def test_the_known_stream_is_cut_where_every_implementation_cuts_it() -> None:
    noise = random.Random(20261123).randbytes(4 * 1024 * 1024)
    cuts = Chunker().cut(memoryview(noise), final=True)
    assert [length for _, length in cuts] == KNOWN_LENGTHS
    assert consumed(cuts) == len(noise)


def test_chunks_are_of_the_average_size_on_the_whole() -> None:
    noise = random.Random(2).randbytes(32 * 1024 * 1024)
    average = len(noise) / len(Chunker().cut(memoryview(noise), final=True))
    assert AVERAGE_CHUNK <= average <= AVERAGE_CHUNK + 2 * MIN_CHUNK


def test_a_readers_own_buffer_is_cut_in_place() -> None:
    buffer = bytearray(random.Random(3).randbytes(2 * MAX_CHUNK))
    cuts = Chunker().cut(memoryview(buffer)[:MAX_CHUNK], final=True)
    assert consumed(cuts) == MAX_CHUNK
    buffer.clear()


KNOWN_LENGTHS = [
    143352,
    695159,
    258518,
    271350,
    348947,
    325470,
    287056,
    293473,
    295079,
    226526,
    122153,
    167337,
    185893,
    334341,
    239650,
]
