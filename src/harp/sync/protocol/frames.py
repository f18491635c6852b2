# SPDX-License-Identifier: AGPL-3.0-or-later
"""Frames: how a byte stream inside TLS is cut into messages (docs/protocol.md, section "Frames").

A frame is u32 big-endian ``n``, u8 ``type`` and a body of ``n`` - 1 bytes, 1 <= n <= MAX_FRAME. All bodies but that of
an ANSWER are CBOR; an answer carries a chunk, which neither side wants to copy once more.
"""

import struct
from enum import IntEnum
from typing import NamedTuple

from harp.base.errors import LocalProtocolError, RemoteProtocolError
from harp.identity.device import DEVICE_ID_BYTES

MAX_FRAME = 1024 * 1024 + 64 * 1024
"""The most that a frame's length may say: the type and the body."""
MAX_PAYLOAD = 1024 * 1024
"""The most content that one answer carries."""

LENGTH = struct.Struct(">I")
HEADER = struct.Struct(">IB")
"""Length (of type and body) and type."""
ANSWER_HEADER = struct.Struct(">IB")
"""Request and status: the first bytes of an answer's body; the payload follows."""
ANSWER_TYPE = 8


class Status(IntEnum):
    """How an ask was answered. A number that is not known here means REFUSED."""

    OK = 0
    """The payload is what was asked for."""
    GONE = 1
    """It lay here, but the file has changed since: ask again after the next State."""
    NOT_HELD = 2
    """It does not lie here."""
    REFUSED = 3
    """It will not be given: do not ask this peer for it again."""
    ELSEWHERE = 4
    """The payload is the id of a device of your site that already has been given it."""


_STATUSES = tuple(Status)


class Answer(NamedTuple):
    """One answer as it came; ``payload`` is content for OK, a device id for ELSEWHERE, else empty."""

    request: int
    status: Status
    payload: bytes


def frame(type: int, body: bytes) -> bytes:
    """The frame of ``body``. Raises :class:`LocalProtocolError` where the body is too long to be sent."""
    if len(body) >= MAX_FRAME:
        raise LocalProtocolError(f"a message of type {type} has {len(body)} bytes, more than a frame holds")
    return HEADER.pack(len(body) + 1, type) + body


def answer_frame(request: int, status: Status, payload: bytes = b"") -> bytes:
    """The frame of one answer, for those that carry no bulk."""
    return frame(ANSWER_TYPE, ANSWER_HEADER.pack(request, status) + payload)


def status_of(number: int) -> Status:
    """The status that ``number`` says; REFUSED for one that a later version added."""
    return _STATUSES[number] if number < len(_STATUSES) else Status.REFUSED


def decode_answer(body: bytes) -> Answer:
    """What the body of an ANSWER frame says. Raises :class:`RemoteProtocolError` for what is none.

    >>> decode_answer(bytes([0, 0, 0, 7, 2]))
    Answer(request=7, status=<Status.NOT_HELD: 2>, payload=b'')
    """
    if len(body) < ANSWER_HEADER.size:
        raise RemoteProtocolError("an answer is shorter than its header")
    request, number = ANSWER_HEADER.unpack_from(body)
    status, payload = status_of(number), bytes(body[ANSWER_HEADER.size :])
    if status is Status.OK and len(payload) > MAX_PAYLOAD:
        raise RemoteProtocolError("an answer is longer than a chunk can be")
    if status is Status.ELSEWHERE and len(payload) != DEVICE_ID_BYTES:
        raise RemoteProtocolError("an answer names a device that is none")
    return Answer(request, status, payload if status in (Status.OK, Status.ELSEWHERE) else b"")


class FrameSplitter:
    """Cuts a stream into frames; however the stream is split on the way, the frames are the same."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._is_broken = False

    @property
    def pending_bytes(self) -> int:
        """How much of an unfinished frame is kept: at most MAX_FRAME + 3."""
        return len(self._pending)

    def feed(self, data: bytes | memoryview) -> list[tuple[int, bytes]]:
        """The frames, as (type, body), that ``data`` completes.

        Raises :class:`RemoteProtocolError` as soon as a length is not within 1 to MAX_FRAME, and from then on always;
        the frames before the bad one are lost with it, since the link is closed then anyway.
        """
        if self._is_broken:
            raise RemoteProtocolError("a frame came after one that was refused")
        self._pending += data
        try:
            with memoryview(self._pending) as view:
                frames, used = _frames_in(view)
        except RemoteProtocolError:
            self._is_broken = True
            self._pending.clear()
            raise
        del self._pending[:used]
        return frames


def _frames_in(view: memoryview) -> tuple[list[tuple[int, bytes]], int]:
    """The whole frames at the start of ``view``, and how many bytes they take."""
    frames: list[tuple[int, bytes]] = []
    start = 0
    while len(view) - start >= LENGTH.size:
        (length,) = LENGTH.unpack_from(view, start)
        if not 1 <= length <= MAX_FRAME:
            raise RemoteProtocolError(f"a frame says it has {length} bytes")
        end = start + LENGTH.size + length
        if end > len(view):
            break
        frames.append((view[start + LENGTH.size], bytes(view[start + HEADER.size : end])))
        start = end
    return frames, start
