# SPDX-License-Identifier: AGPL-3.0-or-later
"""How many entries of an author are merged within an hour before a person is asked (docs/protocol.md, 4.3)."""

from typing import Final

from harp.identity.device import DeviceId

ENTRIES_PER_HOUR: Final = 1_000_000
"""Far above a first copy of some 100,000 files, or their return; some 300 MB of history."""
WINDOW_S: Final = 3600.0
_STEP_S: Final = 60.0
"""Counts are kept by the minute, so that they take little room however many batches there are."""


class Quota:
    """Counts of the last hour. Times are seconds of any clock that does not go back by much."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._counts: dict[DeviceId, dict[int, int]] = {}

    def room(self, author: DeviceId, *, now: float) -> int:
        """How many more entries of ``author`` may be merged now; not below 0."""
        counts = self._counts.get(author, {})
        begin = int((now - WINDOW_S) // _STEP_S)
        for minute in [minute for minute in counts if minute <= begin]:
            del counts[minute]
        return max(0, self._limit - sum(counts.values()))

    def charge(self, author: DeviceId, entries: int, *, now: float) -> None:
        """``entries`` of ``author`` are merged."""
        counts = self._counts.setdefault(author, {})
        minute = int(now // _STEP_S)
        counts[minute] = counts.get(minute, 0) + entries

    def forgive(self, author: DeviceId) -> None:
        """Its hour begins anew."""
        self._counts.pop(author, None)
