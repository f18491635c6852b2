# SPDX-License-Identifier: AGPL-3.0-or-later
"""What waits to go out on one link: control before bulk, both bounded; thread-safe, never blocks who puts."""

import threading
from collections import deque
from collections.abc import Callable, Container
from dataclasses import dataclass, field

ReadInto = Callable[[memoryview], tuple[int, int]]
"""Puts an answer's payload into the buffer; gives its status and length."""

MAX_BACKLOG_BYTES = 64 * 1024 * 1024
MAX_WAITING_ANSWERS = 16_384
_GATHER_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Bulk:
    """An answer that is read at the moment it is sent."""

    request: int
    read_into: ReadInto = field(repr=False)


class Outflow:
    """Two queues and an end: after :meth:`finish` control still goes out, after :meth:`abort` nothing does."""

    def __init__(self) -> None:
        self._ready = threading.Condition()
        self._control: deque[bytes] = deque()
        self._control_bytes = 0
        self._bulk: deque[Bulk] = deque()
        self._is_finishing = False

    @property
    def backlog_bytes(self) -> int:
        """How much control waits."""
        return self._control_bytes

    @property
    def waiting_answers(self) -> int:
        return len(self._bulk)

    def put_control(self, data: bytes) -> bool:
        """Queue whole frames. False where more waits than a working peer would let wait; then nothing was queued."""
        with self._ready:
            if self._is_finishing:
                return True
            if self._control_bytes + len(data) > MAX_BACKLOG_BYTES:
                return False
            self._control.append(data)
            self._control_bytes += len(data)
            self._ready.notify()
            return True

    def put_bulk(self, bulk: Bulk) -> bool:
        """Queue an answer. False where the peer asked for more than any honest one does."""
        with self._ready:
            if self._is_finishing:
                return True
            if len(self._bulk) >= MAX_WAITING_ANSWERS:
                return False
            self._bulk.append(bulk)
            self._ready.notify()
            return True

    def drop(self, requests: Container[int]) -> None:
        """Forget the answers to ``requests`` that were not begun."""
        with self._ready:
            self._bulk = deque(bulk for bulk in self._bulk if bulk.request not in requests)

    def finish(self) -> None:
        """Let the control that waits go out, then end."""
        with self._ready:
            self._is_finishing = True
            self._bulk.clear()
            self._ready.notify()

    def abort(self) -> None:
        """End now."""
        with self._ready:
            self._is_finishing = True
            self._bulk.clear()
            self._control.clear()
            self._control_bytes = 0
            self._ready.notify()

    def take(self) -> bytes | Bulk | None:
        """Wait for what goes next: control in pieces of about 256 KiB, else one answer, else (at the end) None."""
        with self._ready:
            while True:
                if self._control:
                    return self._gathered()
                if self._bulk:
                    return self._bulk.popleft()
                if self._is_finishing:
                    return None
                self._ready.wait()

    def _gathered(self) -> bytes:
        pieces = [self._control.popleft()]
        length = len(pieces[0])
        while self._control and length + len(self._control[0]) <= _GATHER_BYTES:
            pieces.append(self._control.popleft())
            length += len(pieces[-1])
        self._control_bytes -= length
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
