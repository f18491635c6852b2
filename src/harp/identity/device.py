# SPDX-License-Identifier: AGPL-3.0-or-later
"""A device is its Ed25519 public key: ids as people read them, signing and verifying (RFC 8032)."""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from typing import NewType

import nacl.exceptions
import nacl.signing

from harp.base.errors import TrustError

DeviceId = NewType("DeviceId", bytes)
"""The 32 bytes of an Ed25519 public key."""

DEVICE_ID_BYTES = 32
SIGNATURE_BYTES = 64

_GROUP = 7
_CHECK_CHARACTERS = 4


@dataclass(frozen=True, slots=True)
class DeviceKey:
    """The secret half of a device's identity; its ``repr`` never shows it."""

    _signing: nacl.signing.SigningKey

    @classmethod
    def from_seed(cls, seed: bytes) -> "DeviceKey":
        """The key that follows from 32 secret bytes (RFC 8032, section 5.1.5)."""
        return cls(nacl.signing.SigningKey(seed))

    @property
    def seed(self) -> bytes:
        """The 32 secret bytes, for the keyring alone."""
        return bytes(self._signing)

    @property
    def device_id(self) -> DeviceId:
        return DeviceId(bytes(self._signing.verify_key))

    def sign(self, message: bytes) -> bytes:
        """64 bytes, the Ed25519 signature of ``message``."""
        return self._signing.sign(message).signature

    def __repr__(self) -> str:
        return f"DeviceKey({short(self.device_id)})"


def is_signed_by(device: DeviceId, message: bytes, signature: bytes) -> bool:
    """Whether ``signature`` is ``device``'s over ``message``; False for anything malformed."""
    if len(device) != DEVICE_ID_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        nacl.signing.VerifyKey(device).verify(message, signature)
    except (nacl.exceptions.BadSignatureError, ValueError, nacl.exceptions.CryptoError):
        return False
    return True


def text(device: DeviceId) -> str:
    """The id as people read and compare it: base32 in groups of seven, the last four characters check digits."""
    body = base64.b32encode(device).decode().rstrip("=")
    whole = body + _check(device)
    return "-".join(whole[i : i + _GROUP] for i in range(0, len(whole), _GROUP))


def short(device: DeviceId) -> str:
    """The first group of :func:`text`: enough to tell the devices of a household apart, never to trust one."""
    return text(device)[:_GROUP]


def parse(written: str) -> DeviceId:
    """The id that :func:`text` wrote, in any case, with or without hyphens and blanks.

    Raises :class:`TrustError` where the length, an unknown character or the check digits show a typing error.
    """
    whole = "".join(written.split()).replace("-", "").upper()
    body, check = whole[:-_CHECK_CHARACTERS], whole[-_CHECK_CHARACTERS:]
    try:
        device = DeviceId(base64.b32decode(body + "=" * (-len(body) % 8)))
    except (binascii.Error, ValueError):
        device = DeviceId(b"")
    is_whole = len(device) == DEVICE_ID_BYTES and base64.b32encode(device).decode().rstrip("=") == body
    if not is_whole or not hmac.compare_digest(_check(device).encode(), check.encode()):
        raise TrustError("this is not a device id", hint="compare it with what `harp id` prints on that device")
    return device


def _check(device: DeviceId) -> str:
    digest = hashlib.sha3_256(b"harp device check v1" + device).digest()
    return base64.b32encode(digest).decode()[:_CHECK_CHARACTERS]
