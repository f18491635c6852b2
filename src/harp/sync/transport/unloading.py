# SPDX-License-Identifier: AGPL-3.0-or-later
"""Hands large answers on by a thread of its own, so that decrypting goes on while they are verified and written."""

import queue
import threading
from collections.abc import Callable
from typing import NamedTuple

from harp.sync.transport.inflow import Room


class _Answer(NamedTuple):
    request: int
    status: int
    payload: memoryview
    room: Room


class Unloading:
    """One link's. The thread is there from the first answer that is put until :meth:`finish`.

    ``hand_on`` is called for each answer in the order they were put, and does not raise; the room that holds an answer
    is given back after that. How many can wait is bounded by the rooms there are.
    """

    def __init__(self, hand_on: Callable[[int, int, memoryview], None], name: str) -> None:
        self._hand_on = hand_on
        self._name = name
        self._answers: queue.SimpleQueue[_Answer | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._waiting = 0

    @property
    def is_idle(self) -> bool:
        """Whether all that was put has been handed on."""
        return not self._waiting

    def put(self, request: int, status: int, payload: memoryview, room: Room) -> None:
        """Takes over an answer whose ``room`` is kept until it is handed on. Reader thread only."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        with self._lock:
            self._waiting += 1
        self._answers.put(_Answer(request, status, payload, room))

    def finish(self) -> None:
        """Returns once all that was put is handed on."""
        if self._thread is not None:
            self._answers.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (answer := self._answers.get()) is not None:
            try:
                self._hand_on(answer.request, answer.status, answer.payload)
            finally:
                with self._lock:
                    self._waiting -= 1
                answer.room.give_back()
