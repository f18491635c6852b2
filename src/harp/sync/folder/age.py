# SPDX-License-Identifier: AGPL-3.0-or-later
"""How long something has lain in the trash: by time in which the computer ran, which no clock that is set can hurry.

The wall clock jumps: a computer without a battery for it starts in the past and learns the date minutes later. What
was removed just before would be weeks old at once, and gone for good. So the time is counted in which the computer was
awake. Time for which it was off or asleep does not count: nobody could have missed the file meanwhile.
"""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

_MS = 1000


class Awake(NamedTuple):
    """How long the computer has been awake since it started."""

    boot: str
    """Which start; other starts' times are not to be compared with it."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Counted:
    """The seconds that were counted until a moment."""

    total_s: float
    until: Awake

    def at(self, now: Awake) -> Self:
        """Goes on counting. After another start it does so from that moment: what was between is not known."""
        step_s = now.seconds - self.until.seconds if now.boot == self.until.boot else 0.0
        return replace(self, total_s=self.total_s + max(0.0, step_s), until=now)

    @property
    def stamp(self) -> int:
        """For what comes into the trash now: whole seconds, not before the moment itself."""
        return math.ceil(self.total_s)

    def is_over(self, stamp: int, most_s: float) -> bool:
        """Whether what came under ``stamp`` has lain there for longer than ``most_s``."""
        return self.total_s - stamp > most_s

    def written(self) -> bytes:
        """For :func:`read`."""
        return b"%x %x %s\n" % (int(self.total_s * _MS), int(self.until.seconds * _MS), self.until.boot.encode())


def read(text: bytes) -> Counted | None:
    """What was :meth:`Counted.written`; None for anything else, such as what a power cut left of it."""
    try:
        total, seconds, boot = text.decode("ascii").split()
        return Counted(int(total, 16) / _MS, Awake(boot, int(seconds, 16) / _MS))
    except ValueError:
        return None
