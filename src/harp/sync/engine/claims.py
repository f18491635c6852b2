# SPDX-License-Identifier: AGPL-3.0-or-later
"""What neighbours tell each other about chunks, and for how long a claim to fetch one is believed."""

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Final

from harp.identity.device import DeviceId
from harp.sync.model import ChunkId

STALL_S: Final = 2.0
SKEW_S: Final = 0.5
"""By how much the order of two claims may be another one in the source's queue than it was heard here."""


@dataclass(slots=True)
class Tidings:
    """What one device tells a neighbour about a folder's chunks, since the last time."""

    missing: dict[ChunkId, None] = field(default_factory=dict)
    """I lack these and do not fetch them (any more)."""
    held: dict[ChunkId, None] = field(default_factory=dict)
    """I can serve these."""
    fetching: dict[ChunkId, DeviceId] = field(default_factory=dict)
    """I have asked these of that source, over the WAN."""
    expected: dict[ChunkId, None] = field(default_factory=dict)
    """A neighbour of mine, whom you do not know, fetches these; I will hold them then."""
    dropped: dict[ChunkId, None] = field(default_factory=dict)
    """I do not want these any more."""

    def __bool__(self) -> bool:
        return bool(self.missing or self.held or self.fetching or self.expected or self.dropped)


@dataclass(slots=True)
class Claim:
    """A neighbour fetches a chunk: since when, as heard here, and until when that is to be believed at least."""

    at: float
    good_until: float
    source: DeviceId | None = None
    """None for one that was passed on by a hop."""


class KeptClaims:
    """Of what came over the WAN to one of a LAN lately: when it had been claimed, and when it came.

    A source serves a site from one queue. So a claim is good while what stood before it in that queue goes on coming.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[float, float]] = []
        """(claimed, came); both ascend, since an older delivery of a later claim says no more than a newer one."""

    def add(self, claimed_at: float, *, now: float) -> None:
        """What was claimed then has come."""
        while self._kept and self._kept[-1][0] >= claimed_at:
            self._kept.pop()
        self._kept.append((claimed_at, now))
        if self._kept[0][1] < now - STALL_S:
            self._kept = [one for one in self._kept if one[1] >= now - STALL_S]

    def good_until(self, claim: Claim) -> float:
        number = bisect_right(self._kept, (claim.at + SKEW_S, float("inf")))
        return max(claim.good_until, self._kept[number - 1][1] + STALL_S if number else 0.0)
