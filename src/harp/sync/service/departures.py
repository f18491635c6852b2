# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is not there any more, until all that goes with it has gone: so that a mass deletion is counted as a whole."""

import time
from collections import OrderedDict
from collections.abc import Callable

from harp.base.errors import FolderError
from harp.sync.model import FileKind, Path
from harp.sync.service.replica import Replica
from harp.sync.service.sentry import Sentry
from harp.sync.store.places import JOURNALLED

SETTLE_S = 0.1
"""Nothing more has gone for this long: what did is one burst. `rm -rf` leaves milliseconds between two files."""
LONGEST_S = 2.0
"""A burst that does not end is counted after this."""


class Departures:
    """For the folder's thread. ``is_there`` says whether the folder's marker is: without it nothing is a deletion."""

    def __init__(self, replica: Replica, sentry: Sentry, is_there: Callable[[], bool]) -> None:
        self._replica = replica
        self._sentry = sentry
        self._is_there = is_there
        # Ordered: taking the first of a plain dict looks at all that were taken before.
        self._paths: OrderedDict[Path, None] = OrderedDict()
        self._first_s = self._last_s = 0.0
        self._is_weighed = False
        self.settle_s = SETTLE_S

    def __len__(self) -> int:
        return len(self._paths)

    def add(self, path: Path) -> None:
        """Something that lay at ``path`` does not any more, as it seems."""
        now = time.monotonic()
        if not self._paths:
            self._first_s = now
        if path not in self._paths:
            self._paths[path] = None
            self._last_s, self._is_weighed = now, False

    def ripe_at(self) -> float | None:
        """When (monotonic) the burst is over; None where nothing has gone."""
        if not self._paths:
            return None
        return min(self._last_s + self.settle_s, self._first_s + LONGEST_S)

    @property
    def is_ripe(self) -> bool:
        ripe_at = self.ripe_at()
        return ripe_at is not None and ripe_at <= time.monotonic()

    def next(self) -> Path | None:
        """The next path to be looked at; None where there is none, or where all of it waits for a person now."""
        if not self._is_weighed:
            self._is_weighed = True
            self._weigh()
        return self._paths.popitem(last=False)[0] if self._paths else None

    def _weigh(self) -> None:
        """What is too much to go unasked is held whole, before any of it is said."""
        if not self._sentry.may_hold(len(self._paths)) or not self._is_there() or not self._replica.may_write:
            return
        if self._sentry.holds_burst([path for path in self._paths if self._is_lost(path)]):
            self._paths.clear()

    def _is_lost(self, path: Path) -> bool:
        """Whether what the ledger has there is gone, and that is a deletion."""
        place = self._replica.places.get(path)
        if place is None or place.on_disk is None or place.pending == JOURNALLED:
            return False
        if self._replica.ignore.ignores(path, place.on_disk.stat.kind is FileKind.DIRECTORY):
            return False
        try:
            return self._replica.root.stat(path) is None
        except FolderError:
            return False
