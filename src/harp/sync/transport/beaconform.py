# SPDX-License-Identifier: AGPL-3.0-or-later
"""The beacon's datagrams: 284 bytes that tell a member of a folder where another one listens, and a stranger nothing.

Version (1), kind (1), listening port (u16), time slot (u64), nonce (16), sixteen tags of 16 bytes, all big-endian. A
tag is made under a folder's newest epoch secret and covers kind, port, slot and nonce. An answer has the nonce of its
question, so that an old answer is worth nothing; the slot does the same for an old question.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from harp.sync.transport.freshness import NONCE_BYTES
from harp.sync.transport.tags import TAG_BYTES, holds, tag, tag_field

BEACON_VERSION = 1
BEACON_TAGS = 16
BEACON_PADDING_BYTES = BEACON_TAGS * TAG_BYTES

_CONTEXT = b"harp beacon v1"
_HEAD = struct.Struct(f">BBHQ{NONCE_BYTES}s")
BEACON_BYTES = _HEAD.size + BEACON_PADDING_BYTES


class BeaconKind(IntEnum):
    """Who is there, or: I am."""

    ASK = 0
    ANSWER = 1


@dataclass(frozen=True, slots=True)
class Datagram:
    """One datagram as it came; whose it is only the tags say."""

    kind: BeaconKind
    port: int
    slot: int
    nonce: bytes
    _message: bytes
    _field: bytes

    def is_under(self, secret: bytes) -> bool:
        """Whether whoever made this knows ``secret``."""
        return holds(self._field, tag(secret, self._message))


def encode_beacon(
    kind: BeaconKind, secrets: Sequence[bytes], *, port: int, slot: int, nonce: bytes, padding: bytes
) -> bytes:
    """The datagram; up to sixteen ``secrets``, ``padding`` is 256 random bytes. Raises :class:`ValueError` for more."""
    head = _HEAD.pack(BEACON_VERSION, kind, port, slot, nonce)
    return head + tag_field(secrets, _CONTEXT + head[1:], count=BEACON_TAGS, padding=padding)


def decode_beacon(data: bytes) -> Datagram | None:
    """What a datagram says, None for anything that is not one of version 1 and exactly 284 bytes."""
    if len(data) != BEACON_BYTES:
        return None
    version, kind, port, slot, nonce = _HEAD.unpack_from(data)
    if version != BEACON_VERSION or kind not in (BeaconKind.ASK, BeaconKind.ANSWER) or not port:
        return None
    return Datagram(BeaconKind(kind), port, slot, nonce, _CONTEXT + data[1 : _HEAD.size], data[_HEAD.size :])
