# SPDX-License-Identifier: AGPL-3.0-or-later
"""The Stream Processing Offload Protocol, version 2.0, as bytes (HAProxy's doc/SPOE.txt, section 3).

Pure: bytes in, values out. A frame on the wire is its length in four bytes, then the frame that is meant here.
"""

import enum
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Value = None | bool | int | str | bytes

VERSION = "2.0"
FIN = 0x00000001
MIN_FRAME = 256
MAX_FRAME = 1 << 20
_U32 = struct.Struct(">I")
_HEAD = struct.Struct(">BI")


class MalformedFrame(ValueError):
    """Bytes that are no frame."""


class Kind(enum.IntEnum):
    """Types of frames (section 3.2.2)."""

    HAPROXY_HELLO = 1
    HAPROXY_DISCONNECT = 2
    NOTIFY = 3
    AGENT_HELLO = 101
    AGENT_DISCONNECT = 102
    ACK = 103


class _Type(enum.IntEnum):
    """Types of data (section 3.1); the low four bits of the first byte."""

    NULL = 0
    BOOL = 1
    INT32 = 2
    UINT32 = 3
    INT64 = 4
    UINT64 = 5
    IPV4 = 6
    IPV6 = 7
    STRING = 8
    BINARY = 9


class Scope(enum.IntEnum):
    """Where a variable lives (section 3.4)."""

    TRANSACTION = 2
    REQUEST = 3


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame without its payload's meaning."""

    kind: int
    flags: int
    stream: int
    number: int
    payload: bytes


def encode_varint(value: int) -> bytes:
    """An unsigned integer in HAProxy's own variable length (section 3.1)."""
    if value < 240:
        return bytes((value,))
    out = bytearray(((value & 0x0F) | 0xF0,))
    value = (value - 240) >> 4
    while value >= 128:
        out.append((value & 0x7F) | 0x80)
        value = (value - 128) >> 7
    out.append(value)
    return bytes(out)


def decode_varint(data: bytes, at: int) -> tuple[int, int]:
    """The integer at an offset, and the offset behind it. Raises :class:`MalformedFrame`."""
    try:
        value = data[at]
        at += 1
        if value < 240:
            return value, at
        shift = 4
        while True:
            byte = data[at]
            at += 1
            value += byte << shift
            shift += 7
            if byte < 128:
                break
            if shift > 67:
                raise MalformedFrame("an integer has more than 64 bits")
    except IndexError:
        raise MalformedFrame("an integer ends before its end") from None
    if value >= 1 << 64:
        raise MalformedFrame("an integer has more than 64 bits")
    return value, at


def encode_text(text: str | bytes) -> bytes:
    """A string with its length."""
    raw = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    return encode_varint(len(raw)) + raw


def _decode_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    length, at = decode_varint(data, at)
    if length > len(data) - at:
        raise MalformedFrame("a string ends before its end")
    return data[at : at + length], at + length


def decode_text(data: bytes, at: int) -> tuple[str, int]:
    """A string, and the offset behind it. Bytes that are no UTF-8 are kept (surrogateescape)."""
    raw, at = _decode_bytes(data, at)
    return raw.decode("utf-8", "surrogateescape"), at


def encode_value(value: Value) -> bytes:
    """A typed datum; integers travel as INT64."""
    if value is None:
        return bytes((_Type.NULL,))
    if isinstance(value, bool):
        return bytes((_Type.BOOL | (0x10 if value else 0),))
    if isinstance(value, int):
        return bytes((_Type.INT64,)) + encode_varint(value & 0xFFFFFFFFFFFFFFFF)
    if isinstance(value, str):
        return bytes((_Type.STRING,)) + encode_text(value)
    return bytes((_Type.BINARY,)) + encode_text(value)


def decode_value(data: bytes, at: int) -> tuple[Value, int]:
    """A typed datum, and the offset behind it. Addresses come as their 4 or 16 bytes."""
    if at >= len(data):
        raise MalformedFrame("a value is missing")
    head = data[at]
    at += 1
    kind = head & 0x0F
    if kind == _Type.NULL:
        return None, at
    if kind == _Type.BOOL:
        return bool(head & 0x10), at
    if kind in (_Type.INT32, _Type.INT64, _Type.UINT32, _Type.UINT64):
        number, at = decode_varint(data, at)
        is_negative = kind in (_Type.INT32, _Type.INT64) and number >= 1 << 63
        return number - (1 << 64) if is_negative else number, at
    if kind in (_Type.IPV4, _Type.IPV6):
        end = at + (4 if kind == _Type.IPV4 else 16)
        if end > len(data):
            raise MalformedFrame("an address ends before its end")
        return data[at:end], end
    if kind == _Type.STRING:
        return decode_text(data, at)
    if kind == _Type.BINARY:
        return _decode_bytes(data, at)
    raise MalformedFrame(f"there is no type {kind}")


def encode_frame(kind: Kind, stream: int, number: int, payload: bytes) -> bytes:
    """A whole frame, with its length in front."""
    body = _HEAD.pack(kind, FIN) + encode_varint(stream) + encode_varint(number) + payload
    return _U32.pack(len(body)) + body


def decode_frame(body: bytes) -> Frame:
    """A frame without its length. Raises :class:`MalformedFrame`."""
    if len(body) < _HEAD.size:
        raise MalformedFrame("a frame is too short")
    kind, flags = _HEAD.unpack_from(body)
    stream, at = decode_varint(body, _HEAD.size)
    number, at = decode_varint(body, at)
    if not flags & FIN:
        raise MalformedFrame("a payload comes in fragments, which was never offered")
    return Frame(kind, flags, stream, number, body[at:])


def frame_length(prefix: bytes) -> int:
    """How long the frame behind these four bytes is. Raises :class:`MalformedFrame` where that cannot be."""
    (length,) = _U32.unpack(prefix)
    if not _HEAD.size <= length <= MAX_FRAME:
        raise MalformedFrame(f"a frame of {length} bytes")
    return int(length)


def encode_pairs(pairs: Mapping[str, Value]) -> bytes:
    """A KV-LIST."""
    return b"".join(encode_text(name) + encode_value(value) for name, value in pairs.items())


def decode_pairs(data: bytes) -> dict[str, Value]:
    """A KV-LIST. Raises :class:`MalformedFrame`."""
    found: dict[str, Value] = {}
    at = 0
    while at < len(data):
        name, at = decode_text(data, at)
        found[name], at = decode_value(data, at)
    return found


def encode_messages(messages: Sequence[tuple[str, Mapping[str, Value]]]) -> bytes:
    """A LIST-OF-MESSAGES, as HAProxy sends it."""
    return b"".join(encode_text(name) + bytes((len(pairs),)) + encode_pairs(pairs) for name, pairs in messages)


def decode_messages(data: bytes) -> list[tuple[str, dict[str, Value]]]:
    """A LIST-OF-MESSAGES: names, and arguments by name. Raises :class:`MalformedFrame`."""
    found: list[tuple[str, dict[str, Value]]] = []
    at = 0
    while at < len(data):
        name, at = decode_text(data, at)
        if at >= len(data):
            raise MalformedFrame("a message ends before its end")
        count = data[at]
        at += 1
        arguments: dict[str, Value] = {}
        for _ in range(count):
            key, at = decode_text(data, at)
            arguments[key], at = decode_value(data, at)
        found.append((name, arguments))
    return found


def encode_set_vars(variables: Mapping[str, Value], scope: Scope = Scope.TRANSACTION) -> bytes:
    """A LIST-OF-ACTIONS that sets these variables (section 3.4)."""
    return b"".join(bytes((1, 3, scope)) + encode_text(name) + encode_value(value) for name, value in variables.items())
