# SPDX-License-Identifier: AGPL-3.0-or-later
"""When a folder comes to rest after something in it has changed, for those who look at its disk from outside."""

from collections.abc import Callable


class Stillness:
    """``listeners`` are called on the folder's thread and must not block."""

    def __init__(self) -> None:
        self.listeners: list[Callable[[], None]] = []
        self._told = 0

    def look(self, changes: int) -> None:
        """The folder rests just now, and its ledger has made so many ``changes`` since it was opened."""
        if changes != self._told:
            self._told = changes
            for tell in tuple(self.listeners):
                tell()
