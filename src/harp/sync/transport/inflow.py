# SPDX-License-Identifier: AGPL-3.0-or-later
"""Plaintext on its way in: buffers in which frames are found where they were decrypted, without a copy."""

import threading
import time
from collections.abc import Callable

from harp.base.errors import RemoteProtocolError
from harp.sync.protocol.frames import HEADER, LENGTH, MAX_FRAME
from harp.sync.transport.records import MAX_PLAINTEXT, reserved

READ_BYTES = MAX_PLAINTEXT
"""The least room there is for decrypting, once all whole frames were taken: that of a record."""

MAX_ROOMS = 4
"""How many buffers there are at most while what lies in them is still in use elsewhere."""

QUIET_S = 5.0
"""A link that has needed no further room for so long gives back all but one; sooner, each pause in a large file would
cost the memory's pages anew."""

_CAPACITY = LENGTH.size + MAX_FRAME + 4 * READ_BYTES


class Room:
    """One buffer. It is written to from its start anew only when nobody keeps what lies in it."""

    __slots__ = ("_changed", "_keepers", "view")

    def __init__(self, changed: threading.Condition) -> None:
        self.view = reserved(_CAPACITY)
        self._changed = changed
        self._keepers = 0

    @property
    def is_kept(self) -> bool:
        return self._keepers > 0

    def keep(self) -> "Room":
        """What was found in it so far stays as it is until :meth:`give_back`. Reader thread only."""
        with self._changed:
            self._keepers += 1
        return self

    def give_back(self) -> None:
        """Any thread, once for each :meth:`keep`."""
        with self._changed:
            self._keepers -= 1
            self._changed.notify()


class Inflow:
    """Bytes go in at :meth:`space`, frames come out by :meth:`next_frame`; never more than one frame is waited for."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._moved_on_s = 0.0
        self._changed = threading.Condition()
        self.room = Room(self._changed)
        """Where the last frame lies."""
        self._others: list[Room] = []
        self._view = self.room.view
        self._start = 0
        self._end = 0

    @property
    def pending_bytes(self) -> int:
        """How much of unfinished frames lies here."""
        return self._end - self._start

    def space(self) -> memoryview:
        """Where to put what comes next: at least READ_BYTES, once :meth:`next_frame` gave None.

        What earlier frames pointed to is not valid any more, but for what is kept: where all rooms are, this waits.
        """
        is_full = len(self._view) - self._end < READ_BYTES
        if self.room.is_kept:
            if is_full:
                self._move_on()
        elif self._start == self._end:
            self._start = self._end = 0
            if self._others and self._clock() - self._moved_on_s > QUIET_S:
                self._others = [room for room in self._others if room.is_kept]
        elif is_full:
            self._take_along(self._view)
        return self._view[self._end :]

    def _move_on(self) -> None:
        before = self.room
        self._moved_on_s = self._clock()
        with self._changed:
            free = next((room for room in self._others if not room.is_kept), None)
            if free is None and len(self._others) < MAX_ROOMS - 1:
                free = Room(self._changed)
                self._others.append(free)
            while free is None:
                self._changed.wait()
                free = next((room for room in (before, *self._others) if not room.is_kept), None)
        if free is not before:
            self._others[self._others.index(free)] = before
        self.room, self._view = free, free.view
        self._take_along(before.view)

    def _take_along(self, before: memoryview) -> None:
        """The part of a frame that is here already comes to the start of the room."""
        length = self._end - self._start
        self._view[:length] = before[self._start : self._end]
        self._start, self._end = 0, length

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
