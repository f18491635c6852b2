# SPDX-License-Identifier: AGPL-3.0-or-later
"""An OpenSSL session's bytes in and out, straight from and to buffers of ours.

pyOpenSSL's own calls do the same, but each allocates a buffer, has OpenSSL fill it, and copies it into another one:
for each record of 16 KiB that is more work than to decrypt it. So these four calls are made on the handles that a
``Connection`` of pyOpenSSL has kept under the same names since it can do without a socket; what they answer goes
through its own reading of errors.
"""

import mmap
from typing import Any

from OpenSSL import SSL
from OpenSSL._util import ffi, lib

Bytes = bytes | bytearray | memoryview


def reserved(size_bytes: int) -> memoryview:
    """Room that takes memory only as far as it is used: a quiet link touches a page or two of its buffers."""
    return memoryview(mmap.mmap(-1, size_bytes))


class Records:
    """One session without a socket; errors are those of pyOpenSSL. For one thread at a time."""

    def __init__(self, connection: SSL.Connection) -> None:
        self.connection = connection
        handles: Any = connection
        self._ssl: Any = handles._ssl
        self._incoming: Any = handles._into_ssl
        self._outgoing: Any = handles._from_ssl
        self._check = handles._raise_ssl_error
        self.has_ended = False
        """The other end has said that nothing more will come (close_notify)."""

    def receive(self, ciphertext: Bytes) -> None:
        """Take all of what came from the other end."""
        size = len(ciphertext)
        if not size:
            return
        with ffi.from_buffer(ciphertext) as source:
            # A BIO in memory takes all, or there is no memory left.
            if lib.BIO_write(self._incoming, source, size) != size:
                raise MemoryError

    def read_into(self, buffer: memoryview) -> int:
        """Decrypt until the buffer is full or no whole record is left; how much."""
        filled, size = 0, len(buffer)
        ssl, read = self._ssl, lib.SSL_read
        with ffi.from_buffer(buffer, require_writable=True) as target:
            while filled < size:
                got = read(ssl, target + filled, size - filled)
                if got <= 0:
                    self._note_end(got)
                    break
                filled += got
        return filled

    def _note_end(self, got: int) -> None:
        try:
            self._check(self._ssl, got)
        except SSL.WantReadError:
            return
        except SSL.ZeroReturnError:
            self.has_ended = True

    def write(self, plaintext: Bytes) -> None:
        """Encrypt all of it."""
        with ffi.from_buffer(plaintext) as source:
            written = lib.SSL_write(self._ssl, source, len(plaintext))
            self._check(self._ssl, written)

    def drain_into(self, buffer: memoryview) -> int:
        """Put ciphertext for the other end into the buffer; how much, 0 if there is none."""
        with ffi.from_buffer(buffer, require_writable=True) as target:
            return max(0, int(lib.BIO_read(self._outgoing, target, len(buffer))))
