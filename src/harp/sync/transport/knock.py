# SPDX-License-Identifier: AGPL-3.0-or-later
"""The knock: what a dialler says before TLS, so that a listener shows its certificate to nobody but its own.

153 bytes: version (1), nonce (16), time slot (u64, big-endian), eight tags of 16 bytes. A tag is made under a key that
the listener knows as well: a folder's epoch secret, the pairwise key of the two devices, or a ticket's key. It covers
nonce, slot and *whom the knock is for*, so that a knock overheard on the way to one device opens no other (and, the
pairwise key being the same in both directions, not the dialler's own door either).
"""

import hmac
import ipaddress
import struct
from collections.abc import Iterable, Sequence
from typing import TypeVar

import nacl.bindings
import nacl.exceptions

from harp.base.errors import TrustError
from harp.identity.device import DeviceId, DeviceKey
from harp.sync.transport.freshness import NONCE_BYTES, ReplayMemory, is_fresh
from harp.sync.transport.tags import TAG_BYTES, holds, tag, tag_field

T = TypeVar("T")

KNOCK_VERSION = 1
KNOCK_TAGS = 8
KNOCK_PADDING_BYTES = KNOCK_TAGS * TAG_BYTES
_HEAD = struct.Struct(f">B{NONCE_BYTES}sQ")
KNOCK_BYTES = _HEAD.size + KNOCK_PADDING_BYTES

_CONTEXT = b"harp knock v1"
_PAIRWISE_CONTEXT = b"harp pairwise key v1"


def make_knock(keys: Sequence[bytes], *, listener: bytes, nonce: bytes, slot: int, padding: bytes) -> bytes:
    """The 153 bytes to send, under one to eight ``keys``.

    ``listener`` is whom it is for: its DeviceId where that is known, else (an address that only the beacon named) the
    :func:`place` that is dialled. ``nonce`` is 16 random bytes, ``padding`` 128 more, ``slot`` is ``slot_of(now)``.
    Raises :class:`ValueError` for any other number of keys or bytes.
    """
    if not keys or len(nonce) != NONCE_BYTES:
        raise ValueError("a knock takes one to eight keys and a nonce of 16 bytes")
    field = tag_field(keys, _message(nonce, slot, listener), count=KNOCK_TAGS, padding=padding)
    return _HEAD.pack(KNOCK_VERSION, nonce, slot) + field


def matching(
    data: bytes,
    candidates: Iterable[tuple[bytes, T]],
    *,
    listeners: Sequence[bytes],
    now: float,
    seen: ReplayMemory,
) -> T | None:
    """The first candidate (key, whose) under whose key ``data`` is a fresh knock for one of ``listeners``, else None.

    ``listeners`` are the names this device answers to: its DeviceId, and the :func:`place` the knock arrived at. None
    for anything malformed, too old, too new, or heard before. All candidates are looked at, whichever matches.
    """
    if len(data) != KNOCK_BYTES:
        return None
    version, nonce, slot = _HEAD.unpack_from(data)
    if version != KNOCK_VERSION or not is_fresh(slot, now=now):
        return None
    field = data[_HEAD.size :]
    messages = [_message(nonce, slot, listener) for listener in listeners]
    found = [whose for key, whose in candidates if _is_under(key, messages, field)]
    if not found or not seen.is_first(nonce, slot, now=now):
        return None
    return found[0]


def place(host: str, port: int) -> bytes:
    """The name of a listener that is known by its address only: packed IP address (no scope) and port (u16).

    An IPv4 address inside an IPv6 one (RFC 4291, 2.5.5.2) counts as the IPv4 address. Raises :class:`ValueError` where
    ``host`` is not a numeric address.
    """
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.packed + port.to_bytes(2, "big")


def pairwise_key(own: DeviceKey, other: DeviceId) -> bytes:
    """The 32 secret bytes that ``own`` and ``other`` alone can compute: X25519 (RFC 7748) of their Ed25519 keys.

    A member whose folder secret is stale still gets in by it, a forgotten one does not: the listener decides whose
    pairwise keys are candidates. Raises :class:`TrustError` where ``other`` is no usable public key.
    """
    try:
        secret = nacl.bindings.crypto_sign_ed25519_sk_to_curve25519(own.seed + own.device_id)
        public = nacl.bindings.crypto_sign_ed25519_pk_to_curve25519(other)
        shared = nacl.bindings.crypto_scalarmult(secret, public)
    except (nacl.exceptions.CryptoError, RuntimeError, ValueError, TypeError) as error:
        raise TrustError("this device id is not a usable key") from error
    ids = b"".join(sorted((bytes(own.device_id), bytes(other))))
    return hmac.digest(shared, _PAIRWISE_CONTEXT + ids, "sha256")


def _message(nonce: bytes, slot: int, listener: bytes) -> bytes:
    return _CONTEXT + nonce + slot.to_bytes(8, "big") + listener


def _is_under(key: bytes, messages: Sequence[bytes], field: bytes) -> bool:
    found = False
    for message in messages:
        found |= holds(field, tag(key, message))
    return found
