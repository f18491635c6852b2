# SPDX-License-Identifier: AGPL-3.0-or-later
"""Plaintext on its way in: one buffer in which frames are found where they were decrypted, without a copy."""

from harp.base.errors import RemoteProtocolError
from harp.sync.protocol.frames import HEADER, LENGTH, MAX_FRAME
from harp.sync.transport.records import reserved

READ_BYTES = 256 * 1024
"""The least room there is for decrypting, once all whole frames were taken."""

_CAPACITY = LENGTH.size + MAX_FRAME + 4 * READ_BYTES


class Inflow:
    """Bytes go in at :meth:`space`, frames come out by :meth:`next_frame`; never more than one frame is waited for."""

    def __init__(self) -> None:
        self._view = reserved(_CAPACITY)
        self._start = 0
        self._end = 0

    @property
    def pending_bytes(self) -> int:
        """How much of unfinished frames lies here."""
        return self._end - self._start

    def space(self) -> memoryview:
        """Where to put what comes next: at least READ_BYTES, once :meth:`next_frame` gave None.

        What earlier frames pointed to is not valid any more.
        """
        if self._start == self._end:
            self._start = self._end = 0
        elif len(self._view) - self._end < READ_BYTES:
            length = self._end - self._start
            self._view[:length] = self._view[self._start : self._end]
            self._start, self._end = 0, length
        return self._view[self._end :]

    def filled(self, length: int) -> None:
        """So many bytes were put into :meth:`space`."""
        self._end += length

    def next_frame(self) -> tuple[int, memoryview] | None:
        """Type and body of the next whole frame, None if there is none yet; the body is valid until :meth:`space`.

        Raises :class:`RemoteProtocolError` for a length that is not within 1 to MAX_FRAME, before waiting for more.
        """
        start = self._start
        available = self._end - start
        if available < LENGTH.size:
            return None
        (length,) = LENGTH.unpack_from(self._view, start)
        if not 1 <= length <= MAX_FRAME:
            raise RemoteProtocolError(f"a frame says it has {length} bytes")
        if available < LENGTH.size + length:
            return None
        self._start = start + LENGTH.size + length
        return self._view[start + LENGTH.size], self._view[start + HEADER.size : self._start]
