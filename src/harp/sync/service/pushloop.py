# SPDX-License-Identifier: AGPL-3.0-or-later
"""Listens to one account's Nextcloud where that says by itself that files have changed.

It only wakes the mirrors. Nothing that is heard is believed, and nothing that is not heard is missed for longer than a
mirror waits between two looks of its own.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from harp.base.errors import CloudError, StaleError
from harp.base.runtime import Backoff, Clock
from harp.sync.cloud.push import ElsewhereError
from harp.sync.cloud.refusals import BusyError, LoginError
from harp.sync.service.journalloop import ABSENT_S
from harp.sync.service.mirrorloop import REFUSED_AGAIN_S

_log = logging.getLogger(__name__)

REFUSALS = Backoff(first_s=5.0, most_s=300.0)
"""Between two lines. So long from the first time on: when a server starts anew, everybody's line broke at once."""
STEADY_S = 60.0
"""A line that stood so long was a good one."""


class PushLoop:
    """On one event loop. ``changed`` is called when files may have changed.

    ``line`` is a new one: it yields once when the server is ready to tell, so that whatever happened before is looked
    for, and then with each change. It raises :class:`CloudError`.
    """

    def __init__(
        self,
        line: Callable[[], AsyncGenerator[None]],
        changed: Callable[[], None],
        *,
        clock: Clock,
        jitter: Callable[[], float],
    ) -> None:
        self.is_heard = False
        """Whether the server would be heard now."""
        self.trouble: CloudError | None = None
        """Why it was not lately, although it says that it can tell; of the last line that stood long, nothing."""
        self._line = line
        self._changed = changed
        self._clock = clock
        self._jitter = jitter
        self._failures = 0

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            pause_s = await self.listen()
            await asyncio.sleep(pause_s)

    async def listen(self) -> float:
        """Over one line, until it breaks; how long (s) to wait before the next."""
        began_s = self._clock.monotonic()
        try:
            async with aclosing(self._line()) as line:
                async for _ in line:
                    self.is_heard = True
                    self._changed()
            error = CloudError("the server hangs up", hint="it is tried again")
        except CloudError as caught:
            error = caught
        except Exception:  # noqa: BLE001 - whatever a server can bring about costs this line, and is logged whole
            _log.exception("a line is given up")
            error = CloudError("a defect of Harp", hint="its log says more")
        finally:
            self.is_heard = False
        was_steady = self._clock.monotonic() - began_s >= STEADY_S
        self._failures = 1 if was_steady else self._failures + 1
        self._note(None if was_steady or isinstance(error, StaleError) else error)
        return self._pause_s(error)

    def _note(self, trouble: CloudError | None) -> None:
        if trouble is not None and (self.trouble is None or self.trouble.message != trouble.message):
            _log.warning("changes are not heard of: %s", trouble)
        self.trouble = trouble

    def _pause_s(self, error: CloudError) -> float:
        match error:
            case LoginError():
                return REFUSED_AGAIN_S
            case StaleError() | ElsewhereError():
                return ABSENT_S
            case BusyError() if error.after_s:
                return error.after_s
            case _:
                return REFUSALS.delay_s(self._failures, jitter=self._jitter())
