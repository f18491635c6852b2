# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whose turn it is among the large files: few are put together at a time, and one that nobody can serve makes way."""

from dataclasses import dataclass

from harp.sync.model import RootId

MOST = 4
"""Large files that are put together at the same time, offered ones apart."""
STUCK_S = 10.0
"""For so long a file keeps its place though nothing of it comes."""
PARKED_S = 30.0
"""One that made way does not come back before this, then twice as long each time."""
MAX_PARKED_S = 300.0


@dataclass(slots=True)
class _Moved:
    done: int
    at_s: float


@dataclass(slots=True)
class _Parked:
    until_s: float
    delay_s: float
    is_told: bool = False


class Slots:
    """For the folder's thread. Times are monotonic."""

    def __init__(self) -> None:
        self._moved: dict[RootId, _Moved] = {}
        self._parked: dict[RootId, _Parked] = {}
        """All that ever made way, until they are done with: they share one place, so that others go on meanwhile."""
        self._returned: RootId | None = None
        self.others_wait = False
        """A file was turned away since one made way."""

    def admits(self, root: RootId, taken: int, *, now: float) -> bool:
        """Whether a file may be begun while ``taken`` others are under way."""
        parked = self._parked.get(root)
        if parked is not None and (now < parked.until_s or self._returned is not None):
            return False
        if taken >= MOST:
            self.others_wait = True
            return False
        if parked is not None:
            self._returned = root
        return True

    def is_stuck(self, root: RootId, done: int, *, now: float) -> bool:
        """Whether a file got no further than ``done`` (any measure that grows) for a while; notes how far it is."""
        moved = self._moved.get(root)
        if moved is None or moved.done != done:
            self._moved[root] = _Moved(done, now)
            return False
        return now - moved.at_s >= STUCK_S

    def park(self, root: RootId, *, now: float) -> None:
        """The file makes way."""
        before = self._parked.get(root)
        self.forget(root)
        delay = PARKED_S if before is None else min(before.delay_s * 2, MAX_PARKED_S)
        self._parked[root] = _Parked(now + delay, delay)
        self.others_wait = False

    def forget(self, root: RootId) -> None:
        """It is on the disk now, or not wanted any more."""
        self._moved.pop(root, None)
        self._parked.pop(root, None)
        if self._returned == root:
            self._returned = None

    def hopeful(self) -> None:
        """Somebody may have now what nobody had: whoever made way may come back."""
        for parked in self._parked.values():
            parked.until_s = 0.0

    def has_returning(self, *, now: float) -> bool:
        """Whether the time has come for one that made way, since this was asked last."""
        returning = [one for one in self._parked.values() if one.until_s <= now and not one.is_told]
        for one in returning:
            one.is_told = True
        return bool(returning)

    @property
    def parked(self) -> list[RootId]:
        """All that made way and are not done with; one of them may be under way again."""
        return list(self._parked)
