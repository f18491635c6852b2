# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sealed records: how bytes travel once TLS has made two devices known to each other (docs/protocol.md, 12.1).

Keys come from the session's exporter (RFC 8446, 7.5), one for each direction; a record's nonce is its number, combined
as in TLS (RFC 8446, 5.3). A record of TLS holds 16 KiB, and each costs a call and three copies in memory; one of ours
holds 256 KiB, and its bytes are encrypted and decrypted from buffer to buffer.
"""

import mmap
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from harp.base.errors import LinkError, LocalProtocolError

Bytes = bytes | bytearray | memoryview
Aead = AESGCM | ChaCha20Poly1305

MAX_PLAINTEXT = 256 * 1024
"""Small enough for the processor's cache, large enough that calls cost little."""
HEADER = struct.Struct(">I")
TAG_BYTES = 16
OVERHEAD = HEADER.size + TAG_BYTES
MAX_RECORD = MAX_PLAINTEXT + OVERHEAD

KEY_BYTES = 32
_NONCE_BYTES = 12
SECRET_BYTES = KEY_BYTES + _NONCE_BYTES
"""What one direction needs of the exporter: a key, and what its nonces begin from."""
EXPORTER_LABEL = b"EXPERIMENTAL harp records v1"
"""Labels that nobody has registered begin so (RFC 5705, section 4)."""
EXPORTED_BYTES = 2 * SECRET_BYTES

_BLOCK_BYTES = 16
MAX_BLOCKS = 2**34
"""As many blocks as TLS lets AES-GCM protect under one key, 2^24.5 records of 2^10 (RFC 8446, 5.5)."""
_ROOM_BYTES = 4 * MAX_RECORD
_BROKEN = "the secured session broke"


def reserved(size_bytes: int) -> memoryview:
    """Room that takes memory only as far as it is used: a quiet link touches a page or two of its buffers."""
    return memoryview(mmap.mmap(-1, size_bytes))


def directions(exported: bytes) -> tuple[bytes, bytes]:
    """The secrets of what the TLS client and of what the server sends, from what the exporter gave."""
    return exported[:SECRET_BYTES], exported[SECRET_BYTES:]


class _Nonces:
    """A number for each record of one direction, as a nonce."""

    __slots__ = ("_first", "_number")

    def __init__(self, first: bytes) -> None:
        self._first = int.from_bytes(first, "big")
        self._number = 0

    def next(self) -> bytes:
        nonce = (self._first ^ self._number).to_bytes(_NONCE_BYTES, "big")
        self._number += 1
        return nonce


class Sealer:
    """Makes records of one direction. For one thread at a time."""

    def __init__(self, aead: type[Aead], secret: bytes) -> None:
        self._aead = aead(secret[:KEY_BYTES])
        self._nonces = _Nonces(secret[KEY_BYTES:])
        self._blocks = 0

    @property
    def is_spent(self) -> bool:
        """Whether so much was sealed under this key that a new session has to take over."""
        return self._blocks >= MAX_BLOCKS

    def seal_into(self, target: memoryview, plaintext: Bytes) -> int:
        """Puts one record into the beginning of ``target``; its length. Nothing as plaintext says that this is the end.

        At most MAX_PLAINTEXT bytes, and as many and OVERHEAD in ``target``.
        """
        sealed_bytes = len(plaintext) + TAG_BYTES
        HEADER.pack_into(target, 0, sealed_bytes)
        end = HEADER.size + sealed_bytes
        self._aead.encrypt_into(self._nonces.next(), plaintext, target[: HEADER.size], target[HEADER.size : end])
        self._blocks += 1 + -(-sealed_bytes // _BLOCK_BYTES)
        return end


class Opener:
    """Takes records of one direction in whatever pieces they come; holds little more than one that is not whole yet.

    For one thread at a time.
    """

    def __init__(self, aead: type[Aead], secret: bytes) -> None:
        self._aead = aead(secret[:KEY_BYTES])
        self._nonces = _Nonces(secret[KEY_BYTES:])
        self._view = reserved(_ROOM_BYTES)
        self._start = 0
        self._end = 0
        self.has_ended = False
        """The other end has said that nothing more will come; what came behind that is not looked at."""

    def space(self) -> memoryview:
        """Where to put what comes next: at least MAX_RECORD, once :meth:`open_into` gave 0."""
        if self._start == self._end:
            self._start = self._end = 0
        elif len(self._view) - self._end < MAX_RECORD:
            length = self._end - self._start
            self._view[:length] = self._view[self._start : self._end]
            self._start, self._end = 0, length
        return self._view[self._end :]

    def filled(self, length: int) -> None:
        """So many bytes were put into :meth:`space`."""
        self._end += length

    def open_into(self, buffer: memoryview) -> int:
        """Puts the plaintext of whole records into ``buffer``, which has room for MAX_PLAINTEXT; how much.

        0 means: more has to come, unless :attr:`has_ended`. Raises :class:`LinkError` for what was altered, left out,
        repeated or sent in another order on the way, and for a length that cannot be, before waiting for more.
        """
        if len(buffer) < MAX_PLAINTEXT:
            raise LocalProtocolError("a buffer that a record may not fit into")
        view, written = self._view, 0
        while not self.has_ended and self._end - self._start >= HEADER.size:
            body = self._start + HEADER.size
            (sealed_bytes,) = HEADER.unpack_from(view, self._start)
            length = sealed_bytes - TAG_BYTES
            if not 0 <= length <= MAX_PLAINTEXT:
                raise LinkError(_BROKEN)
            end = body + sealed_bytes
            if end > self._end or length > len(buffer) - written:
                break
            try:
                self._aead.decrypt_into(
                    self._nonces.next(), view[body:end], view[self._start : body], buffer[written : written + length]
                )
            except InvalidTag as error:
                raise LinkError(_BROKEN) from error
            self._start = end
            written += length
            self.has_ended = not length
        return written
