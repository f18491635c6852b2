# SPDX-License-Identifier: AGPL-3.0-or-later
"""Reads one Nextcloud's journal from time to time: web nodes that do not reach the daemon's socket write there too.

One small question tells about the files of everybody, so that it can be asked more often than each account can be.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from harp.base.errors import CloudError, StaleError
from harp.base.runtime import Backoff
from harp.sync.cloud.journal import Mark
from harp.sync.cloud.refusals import BusyError, LoginError

_log = logging.getLogger(__name__)

REFUSALS = Backoff(first_s=1.0, most_s=300.0)
"""While the server is busy or not reached."""
ABSENT_S = 900.0
"""A server without a journal, or with one that is too old for this, may get it with an update."""


class JournalLoop:
    """On one event loop. ``grew`` is called when a row came, in whatever order their ids are committed.

    ``ask`` raises :class:`CloudError`. Whatever it cannot see, each mirror's own look at its account does.
    """

    def __init__(
        self,
        ask: Callable[[], Awaitable[Mark]],
        grew: Callable[[], None],
        *,
        every_s: float,
        jitter: Callable[[], float],
    ) -> None:
        self._ask = ask
        self._grew = grew
        self._every_s = every_s
        self._jitter = jitter
        self._mark: Mark | None = None
        self._failures = 0

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            pause_s = await self.look()
            await asyncio.sleep(pause_s)

    async def look(self) -> float:
        """Asks once; how long (s) to wait before the next time."""
        try:
            mark = await self._ask()
        except CloudError as error:
            if not self._failures:
                _log.warning("the journal is not read: %s", error)
            self._failures += 1
            return self._pause_s(error)
        self._failures = 0
        if mark != self._mark:
            self._mark = mark
            self._grew()
        return self._every_s

    def _pause_s(self, error: CloudError) -> float:
        match error:
            case StaleError() | LoginError():
                return ABSENT_S
            case BusyError() if error.after_s:
                return error.after_s
            case _:
                return max(self._every_s, REFUSALS.delay_s(self._failures, jitter=self._jitter()))
