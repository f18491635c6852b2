# SPDX-License-Identifier: AGPL-3.0-or-later
"""After the ledger or the disk refused, a folder's thread tries nothing for a moment, and answers whoever asks."""

import logging

from harp.base.errors import FolderError, StoreError
from harp.sync.model import NodeId
from harp.sync.protocol.foldermessages import Batches, Forked
from harp.sync.service.inbox import Event, Said, SegmentsRead

_log = logging.getLogger(__name__)

AGAIN_AFTER_S = 1.0
MAX_FORKS = 16
"""Proofs that are kept meanwhile; who has one shows it again to whoever links to it."""


class Respite:
    """For the folder's thread. Times are monotonic."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._until: float | None = None
        self._segments: dict[NodeId, bytes] = {}
        """Each once: a large file is read again at each attempt."""
        self._forks: list[Event] = []
        self.problem = ""
        """Why the last turn that failed did; empty once one went well. It is logged once, not each time."""

    @property
    def is_on(self) -> bool:
        return self._until is not None

    def begin(self, error: StoreError | FolderError, *, now: float) -> None:
        """Raises the error again where time does not help."""
        if not error.retryable:
            raise error
        if error.message != self.problem:
            _log.warning("folder %s: %s", self._name, error.message)
        self.problem = error.message
        self._until = now + AGAIN_AFTER_S

    def next_deadline(self) -> float | None:
        return self._until

    def ends(self, now: float) -> bool:
        """Whether it was on, and is over."""
        if self._until is None or now < self._until:
            return False
        self._until = None
        return True

    def puts_off(self, event: Event) -> bool:
        """Whether an event that needs the ledger has to wait; batches are forgotten, since they are asked for again."""
        match event:
            case _ if not self.is_on:
                return False
            case Said(message=Batches()):
                return True
            case SegmentsRead():
                self._segments.update(event.nodes)
                return True
            case Said(message=Forked()):
                self._forks = [*self._forks[-MAX_FORKS + 1 :], event]
                return True
            case _:
                return False

    def taken(self) -> list[Event]:
        """What waited."""
        segments = [SegmentsRead(tuple(self._segments.items()))] if self._segments else []
        events, self._forks, self._segments = [*segments, *self._forks], [], {}
        return events
