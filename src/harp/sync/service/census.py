# SPDX-License-Identifier: AGPL-3.0-or-later
"""How many files and bytes a folder has here, as often as anybody may ask."""

import time

from harp.sync.store.places import Places

EVERY_S = 1.0
"""It is a walk of the ledger, so it is not done anew sooner."""


class Census:
    """For the folder's thread."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._totals: tuple[int, int] = (0, 0)
        self._counted_s = float("-inf")

    def totals(self) -> tuple[int, int]:
        """(files, bytes), a second old at most."""
        now = time.monotonic()
        if now - self._counted_s > EVERY_S:
            self._totals, self._counted_s = self._places.totals(), now
        return self._totals
