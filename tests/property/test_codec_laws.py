# SPDX-License-Identifier: AGPL-3.0-or-later
"""Laws of the wire: one form for each value, the same frames however the stream is split, no harm from garbage."""

import itertools
import random

import cbor2
from hypothesis import given
from hypothesis import strategies as st

from harp.base.errors import RemoteProtocolError
from harp.sync.model import Batch, ChainId, FolderId, append_metadata
from harp.sync.protocol import batchform, messages
from harp.sync.protocol.frames import (
    HEADER,
    LENGTH,
    MAX_FRAME,
    Answer,
    FrameSplitter,
    Status,
    answer_frame,
    decode_answer,
    frame,
)
from harp.sync.protocol.messages import MESSAGES, Message
from tests.fakes.words import any_message, batches, folders, u32s, vectors

frames = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=200)), max_size=8)
plain = st.recursive(
    st.one_of(st.integers(-(2**64), 2**64 - 1), st.binary(max_size=9), st.text(max_size=9), st.booleans()),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=5,
)


def body_of(data: bytes) -> tuple[int, bytes]:
    ((type, body),) = FrameSplitter().feed(data)
    return type, body


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(at)]


def mutated(data: bytes, changes: list[tuple[int, int]]) -> bytes:
    changed = bytearray(data)
    for where, byte in changes:
        changed[where % len(data)] = byte
    return bytes(changed)


@given(any_message)
def test_decoding_what_was_encoded_gives_the_same_message(message: Message) -> None:
    assert messages.decode(*body_of(messages.encode(message))) == message


@given(any_message)
def test_equal_messages_are_equal_bytes(message: Message) -> None:
    again = messages.decode(*body_of(messages.encode(message)))
    assert again is not None
    assert messages.encode(again) == messages.encode(message)


@given(folders, vectors, st.randoms(use_true_random=False))
def test_the_order_in_which_a_vector_was_gathered_does_not_show(
    folder: FolderId, vector: dict[ChainId, int], order: random.Random
) -> None:
    rows = list(vector.items())
    order.shuffle(rows)
    assert messages.encode(messages.Get(folder, dict(rows))) == messages.encode(messages.Get(folder, vector))


@given(any_message, st.lists(plain, min_size=1, max_size=3))
def test_fields_of_a_later_version_are_left_out(message: Message, later: list[object]) -> None:
    body = cbor2.dumps((*message.fields(), *later))
    assert messages.decode(message.TYPE, body) == message


@given(any_message)
def test_a_message_that_lacks_a_field_is_refused(message: Message) -> None:
    body = cbor2.dumps(message.fields()[:-1])
    assert refused(message.TYPE, body)


@given(frames, st.lists(st.integers(0, 2**16), max_size=12))
def test_any_split_of_the_stream_gives_the_same_frames(sent: list[tuple[int, bytes]], cuts: list[int]) -> None:
    stream = b"".join(frame(type, body) for type, body in sent)
    splitter = FrameSplitter()
    assert [found for piece in split(stream, cuts) for found in splitter.feed(piece)] == sent
    assert splitter.pending_bytes == 0


@given(frames)
def test_byte_by_byte_gives_the_same_frames(sent: list[tuple[int, bytes]]) -> None:
    stream = b"".join(frame(type, body) for type, body in sent)
    splitter = FrameSplitter()
    assert [found for at in range(len(stream)) for found in splitter.feed(memoryview(stream)[at : at + 1])] == sent


@given(st.lists(st.binary(max_size=300), max_size=10))
def test_a_garbage_stream_is_cut_or_refused_and_never_hoarded(pieces: list[bytes]) -> None:
    splitter = FrameSplitter()
    refusals = 0
    for piece in pieces:
        try:
            splitter.feed(piece)
        except RemoteProtocolError:
            refusals += 1
        else:
            assert refusals == 0, "what is refused stays refused"
        assert splitter.pending_bytes <= MAX_FRAME + LENGTH.size - 1
    assert not refusals or splitter.pending_bytes == 0


@given(st.integers(MAX_FRAME + 1, 2**32 - 1) | st.just(0), st.integers(0, 255))
def test_a_length_over_the_limit_is_refused_at_once(length: int, type: int) -> None:
    splitter = FrameSplitter()
    try:
        splitter.feed(HEADER.pack(length, type)[: LENGTH.size])
    except RemoteProtocolError:
        assert splitter.pending_bytes == 0
    else:
        raise AssertionError("it was not refused")


@given(st.integers(0, 255), st.binary(max_size=400))
def test_a_garbage_body_is_refused_or_ignored(type: int, body: bytes) -> None:
    assert refused(type, body) or type >= 128 or messages.decode(type, body) is not None


@given(any_message, st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), min_size=1, max_size=3))
def test_a_damaged_message_is_refused_or_is_another_whole_message(
    message: Message, changes: list[tuple[int, int]]
) -> None:
    type, body = body_of(messages.encode(message))
    damaged = mutated(body, changes)
    if refused(type, damaged):
        return
    read = messages.decode(type, damaged)
    assert read is not None
    assert body_of(messages.encode(read)) == (type, damaged) or cbor2.loads(damaged)[len(read.fields()) :]


@given(st.sampled_from(sorted(MESSAGES)), plain)
def test_any_other_value_in_place_of_a_message_is_refused_or_read(type: int, value: object) -> None:
    body = cbor2.dumps(value)
    assert refused(type, body) or messages.decode(type, body) is not None


@given(u32s, st.sampled_from(Status), st.binary(min_size=32, max_size=32))
def test_decoding_an_answer_gives_what_was_answered(request: int, status: Status, payload: bytes) -> None:
    said = payload if status in (Status.OK, Status.ELSEWHERE) else b""
    _type, body = body_of(answer_frame(request, status, said))
    assert decode_answer(body) == Answer(request, status, said)


@given(batches())
def test_a_batch_comes_back_with_the_ids_it_had(batch: Batch) -> None:
    data = batchform.encode_batch(batch)
    again = batchform.decode_batch(data)
    assert again == batch
    assert batchform.encode_batch(again) == data
    assert all(entry.id == append_metadata(entry.prev, entry.meta) for entry in again.entries)


@given(batches(), st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), min_size=1, max_size=3))
def test_a_damaged_batch_is_refused_or_is_another_whole_batch(batch: Batch, changes: list[tuple[int, int]]) -> None:
    damaged = mutated(batchform.encode_batch(batch), changes)
    try:
        read = batchform.decode_batch(damaged)
    except RemoteProtocolError:
        return
    assert batchform.encode_batch(read) == damaged


@given(batches(), st.integers(1, 40))
def test_a_cut_batch_is_refused(batch: Batch, missing: int) -> None:
    data = batchform.encode_batch(batch)
    for damaged in (data[:-missing], data + bytes(missing)):
        try:
            batchform.decode_batch(damaged)
        except RemoteProtocolError:
            continue
        raise AssertionError("it was not refused")


def refused(type: int, body: bytes) -> bool:
    try:
        messages.decode(type, body)
    except RemoteProtocolError:
        return True
    return False
