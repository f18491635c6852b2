# SPDX-License-Identifier: AGPL-3.0-or-later
"""How often strangers may make us work: a bucket of turns for each source and one for all of them."""

from collections import OrderedDict
from dataclasses import dataclass

_MAX_SOURCES = 1024


@dataclass(slots=True)
class _Bucket:
    turns: float
    filled_at: float


class Allowance:
    """Turns by source: each may have ``burst`` at once and then ``rate_per_s``, all together ``shared`` times that."""

    def __init__(self, *, rate_per_s: float, burst: float, shared: float) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._shared = shared
        self._all: _Bucket | None = None
        self._sources: OrderedDict[str, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sources)

    def has_turn(self, source: str, *, now: float) -> bool:
        """Whether ``source`` may have a turn now, which is taken then. ``now`` is in seconds and never goes back."""
        if self._all is None:
            self._all = _Bucket(self._burst * self._shared, now)
        bucket = self._sources.pop(source, None) or _Bucket(self._burst, now)
        self._sources[source] = bucket
        if len(self._sources) > _MAX_SOURCES:
            self._sources.popitem(last=False)
        for each, factor in ((bucket, 1.0), (self._all, self._shared)):
            gained = max(0.0, now - each.filled_at) * self._rate_per_s * factor
            each.turns, each.filled_at = min(self._burst * factor, each.turns + gained), now
        if bucket.turns < 1 or self._all.turns < 1:
            return False
        bucket.turns -= 1
        self._all.turns -= 1
        return True
