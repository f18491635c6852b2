# SPDX-License-Identifier: AGPL-3.0-or-later
"""Frames, byte by byte, and answers, which are frames of another kind."""

import pytest

from harp.base.errors import LocalProtocolError, RemoteProtocolError
from harp.sync.protocol.frames import (
    ANSWER_HEADER,
    ANSWER_TYPE,
    HEADER,
    MAX_FRAME,
    MAX_PAYLOAD,
    Answer,
    FrameSplitter,
    Status,
    answer_frame,
    decode_answer,
    frame,
    status_of,
)


def test_a_frame_is_a_length_that_counts_the_type_then_the_type_then_the_body() -> None:
    assert frame(7, b"abc") == bytes([0, 0, 0, 4, 7]) + b"abc"
    assert frame(13, b"") == bytes([0, 0, 0, 1, 13])


def test_the_longest_frame_passes_and_one_byte_more_does_not() -> None:
    body = bytes(MAX_FRAME - 1)
    assert FrameSplitter().feed(frame(6, body)) == [(6, body)]
    with pytest.raises(LocalProtocolError, match="more than a frame holds"):
        frame(6, body + b"x")


def test_a_splitter_waits_for_the_rest() -> None:
    splitter = FrameSplitter()
    assert splitter.feed(b"\0\0\0") == []
    assert splitter.feed(b"\x03\x0d") == []
    assert splitter.pending_bytes == 5
    assert splitter.feed(b"ab\0\0") == [(13, b"ab")]
    assert splitter.feed(memoryview(b"\0\x01\x0e")) == [(14, b"")]
    assert splitter.pending_bytes == 0


@pytest.mark.parametrize("length", [0, MAX_FRAME + 1, 2**32 - 1])
def test_a_length_that_cannot_be_is_refused_before_anything_is_kept(length: int) -> None:
    splitter = FrameSplitter()
    with pytest.raises(RemoteProtocolError, match=f"says it has {length} bytes"):
        splitter.feed(HEADER.pack(length, 1)[:4])
    assert splitter.pending_bytes == 0
    with pytest.raises(RemoteProtocolError):
        splitter.feed(frame(13, b"ab"))


def test_an_answer_is_its_request_its_status_and_its_payload() -> None:
    assert answer_frame(0x01020304, Status.OK, b"data") == bytes([0, 0, 0, 10, 8, 1, 2, 3, 4, 0]) + b"data"
    ((type, body),) = FrameSplitter().feed(answer_frame(9, Status.GONE))
    assert (type, decode_answer(body)) == (ANSWER_TYPE, Answer(9, Status.GONE, b""))


def test_a_whole_chunk_fits_into_an_answer_and_no_more() -> None:
    head = ANSWER_HEADER.pack(1, Status.OK)
    assert len(decode_answer(head + bytes(MAX_PAYLOAD)).payload) == MAX_PAYLOAD
    with pytest.raises(RemoteProtocolError, match="longer than a chunk"):
        decode_answer(head + bytes(MAX_PAYLOAD + 1))
    assert len(answer_frame(1, Status.OK, bytes(MAX_PAYLOAD))) <= MAX_FRAME


@pytest.mark.parametrize("body", [b"", b"\0\0\0\1", ANSWER_HEADER.pack(1, Status.ELSEWHERE) + bytes(31)])
def test_an_answer_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_answer(body)


def test_a_status_of_a_later_version_is_a_refusal_and_what_comes_with_it_is_dropped() -> None:
    assert status_of(200) is Status.REFUSED
    assert decode_answer(ANSWER_HEADER.pack(1, 200) + b"whatever") == Answer(1, Status.REFUSED, b"")
    assert decode_answer(ANSWER_HEADER.pack(1, Status.NOT_HELD) + b"whatever") == Answer(1, Status.NOT_HELD, b"")
