# SPDX-License-Identifier: AGPL-3.0-or-later
"""One mirror's crank: when to look at the account, how long to wait after a refusal, and what to tell people of it.

What wakes it is never the truth: a change on the disk, a datagram of Nextcloud's app and the clock all lead to the same
round, which looks at both sides. A round that is cut off loses nothing, so that the loop may be cancelled anywhere.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Protocol

from harp.base.errors import HarpError, UsageError
from harp.base.runtime import Backoff, Clock
from harp.sync.cloud.claims import Claim
from harp.sync.cloud.extent import Extent
from harp.sync.cloud.nodes import CloudPath
from harp.sync.cloud.refusals import BusyError, LoginError
from harp.sync.service.mirrorwalk import GoneError

_log = logging.getLogger(__name__)

REFUSALS = Backoff(first_s=1.0, most_s=300.0)
"""Between attempts while the server is busy or not reached, and says nothing of when to come again."""
PROBLEMS = Backoff(first_s=4.0, most_s=900.0)
"""Between attempts at single files: locked ones, ones that the quota has no room for."""

REFUSED_AGAIN_S = 3600.0
"""A password that was refused is hardly good again by itself; each attempt counts as a failed login over there."""
ASKED_AGAIN_S = 60.0
"""What a person is asked about may be settled in Nextcloud as well: a folder comes back, a share is given again."""
STANDING_S = 1.0
"""How often a folder that is paused, or in which something is held, is looked at for whether it still is."""
QUIET_S = 0.3
GATHER_S = 3.0
"""A round begins when nothing has changed on the disk for the first, or something has for the second: files that come
together go up together, and an editor that saves in several steps makes one version."""
LONGEST_GAP_S = 3.0
FIRST_GAP_S = 0.05
"""A datagram of Nextcloud's app says that somebody changed something; who looked in vain waits longer with the next."""


class Mirroring(Protocol):
    """A mirror as its loop sees it: :class:`harp.sync.service.mirror.Mirror`."""

    problems: dict[CloudPath, str]
    question: str
    extent: Extent
    again_s: float

    @property
    def rivals(self) -> tuple[Claim, ...]: ...

    @property
    def skew_s(self) -> float: ...

    async def settle(self, *, only_news: bool = False) -> int: ...

    async def answer(self, how: str, *, now: datetime) -> None: ...

    async def make_top(self) -> None: ...

    def heard_bridge(self) -> None: ...


class MirrorLoop:
    """On one event loop. ``opened`` yields the mirror, ``stands`` says why the folder is left alone just now, or "".

    ``poll_s`` is how often the account is asked whether something is new, where nobody says so.
    """

    def __init__(
        self,
        opened: Callable[[], AbstractAsyncContextManager[Mirroring]],
        stands: Callable[[], str],
        *,
        poll_s: float,
        clock: Clock,
        jitter: Callable[[], float],
    ) -> None:
        self.trouble: HarpError | None = None
        """Why the last round failed."""
        self.question = ""
        """What a person has to decide before anything goes on; see :meth:`answer`."""
        self.problems: Mapping[CloudPath, str] = {}
        """What could not be synced, file by file."""
        self.rivals: tuple[Claim, ...] = ()
        """Who else mirrors the same files of the account."""
        self.extent = Extent()
        """Which folders of which server it keeps."""
        self.skew_s = 0.0
        """How far the server's clock is ahead of this device's."""
        self.standing = ""
        """Why the folder is left alone just now: it is paused, or something in it is held."""
        self.is_working = False
        self.settled_s: float | None = None
        """When both sides were the same last."""
        self.steps = 0
        """Changes that were carried from one side to the other."""
        self._opened = opened
        self._stands = stands
        self._poll_s = poll_s
        self._clock = clock
        self._jitter = jitter
        self._failures = 0
        self._fruitless = 0
        self._must = True
        """Whether both sides are looked at even where the account is as it was."""
        self._first_s = self._last_s = float("-inf")
        """When the disk changed since the last whole round, for the first and for the last time."""
        self._retry_at = float("inf")
        self._looked_s = float("-inf")
        self._woken = asyncio.Event()
        self._is_called = False
        self._lookers: list[asyncio.Future[None]] = []
        """Who waits for a whole look at both sides that is still to begin."""
        self._watchers: list[asyncio.Future[None]] = []
        """Who waits for the one that is under way."""
        self._mirror: Mirroring | None = None
        self._turn = asyncio.Lock()

    # --- what wakes it ------------------------------------------------------------------------------------------------

    def disk_changed(self) -> None:
        """Something in the folder is other than it was."""
        self._last_s = self._clock.monotonic()
        self._first_s = self._first_s if self._must else self._last_s
        self._must = True
        self._woken.set()

    def called(self) -> None:
        """Something in Nextcloud may be other than it was."""
        self._is_called = True
        self._woken.set()

    def bridge_called(self) -> None:
        """The same, by the word of Harp Bridge."""
        if self._mirror is not None:
            self._mirror.heard_bridge()
        self.called()

    def look(self) -> "asyncio.Future[None]":
        """Both sides are looked at now. Done once that is over, however it ended: the attributes above say how.

        What was refused is asked again at once, but for what the server said when to, and for a password.
        """
        looked = asyncio.get_running_loop().create_future()
        self._lookers.append(looked)
        self._must, self._last_s = True, float("-inf")
        self._woken.set()
        return looked

    # --- deciding -----------------------------------------------------------------------------------------------------

    @property
    def can_follow(self) -> bool:
        """Whether the question can be answered by doing here what happened there."""
        return not isinstance(self.trouble, GoneError)

    async def answer(self, how: str) -> None:
        """``merge``: put both sides together, nothing is removed; ``follow``: do here what happened there.

        Raises :class:`UsageError` where nothing is asked, :class:`CloudError` where the account does not answer.
        """
        async with self._turn:
            if self._mirror is None or not self.question:
                raise UsageError("nothing is asked about this folder", hint="`harp held NAME` lists what is")
            if isinstance(self.trouble, GoneError):
                if how != "merge":
                    raise UsageError(
                        "a folder that is gone cannot be followed",
                        hint="bring it back in Nextcloud, `harp reject` to make it there anew, or `harp leave`",
                    )
                await self._mirror.make_top()
            await self._mirror.answer(how, now=datetime.fromtimestamp(self._clock.now(), UTC))
            self.question, self.trouble = "", None
        self.disk_changed()

    # --- the loop -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                async with self._opened() as mirror:
                    self._mirror = mirror
                    while True:
                        async with self._turn:
                            pause_s = await self._round(mirror)
                        if self.standing:
                            await asyncio.sleep(STANDING_S)
                        else:
                            await self._wait(pause_s)
            except HarpError as error:
                await self._wait(self._not_opened(error))
            except Exception:  # noqa: BLE001 - a defect stops this mirror for a while, not the daemon; it is logged whole
                _log.exception("a mirror stands still")
                await self._wait(self._not_opened(HarpError("a defect of Harp", hint="its log says more")))
            finally:
                self._mirror = None

    async def _round(self, mirror: Mirroring) -> float | None:
        """One look at both sides. How long (s) nothing may wake the loop, None where it waits for whatever comes."""
        was_called = self._is_called
        self._woken.clear()
        self._is_called = False
        self.standing = self._stands()
        if self.standing:
            return None
        now = self._clock.monotonic()
        is_due = now >= min(self._gathered_s(), self._retry_at) or bool(self.question)
        self._must = self._must and not is_due
        if is_due:
            self._watchers, self._lookers = self._lookers, []
        try:
            self.is_working = is_due
            steps = await mirror.settle(only_news=not is_due)
        except HarpError as error:
            self._must = True
            return self._troubled(error)
        finally:
            self.is_working = False
            self._looked_s = self._clock.monotonic()
        self._fruitless = 0 if steps > 0 else self._fruitless + was_called
        self._settled(mirror, steps, was_whole=is_due or steps > 0)
        return ASKED_AGAIN_S if self.question else None

    def _settled(self, mirror: Mirroring, steps: int, *, was_whole: bool) -> None:
        self.trouble, self.question, self.problems = None, mirror.question, dict(mirror.problems)
        self.rivals, self.skew_s, self.extent = mirror.rivals, mirror.skew_s, mirror.extent
        self.steps += max(0, steps)
        if was_whole:
            # A look in between that found nothing new puts nothing off.
            self._failures = 0 if not self.problems else 1 if steps > 0 else self._failures + 1
            wait_s = PROBLEMS.delay_s(self._failures, jitter=self._jitter()) if self.problems else float("inf")
            self._retry_at = self._clock.monotonic() + min(wait_s, mirror.again_s)
        if not self.question:
            self.settled_s = self._clock.now()
        self._tell(self._watchers)

    def _troubled(self, error: HarpError) -> float:
        """Notes it; how long to wait before the next attempt."""
        if self.trouble is None or self.trouble.message != error.message:
            _log.warning("%s", error)
        self.trouble = error
        self.question = error.message if isinstance(error, GoneError) else ""
        self._failures += 1
        self._tell(self._watchers)
        match error:
            case LoginError():
                return REFUSED_AGAIN_S
            case GoneError():
                return ASKED_AGAIN_S
            case BusyError() if error.after_s:
                return error.after_s
            case _:
                return REFUSALS.delay_s(self._failures, jitter=self._jitter())

    def _not_opened(self, error: HarpError) -> float:
        """As :meth:`_troubled`, where there is no mirror that could look."""
        pause_s = self._troubled(error)
        self._tell(self._lookers)
        return pause_s

    @staticmethod
    def _tell(waiting: "list[asyncio.Future[None]]") -> None:
        """That what they wait for is over."""
        for one in waiting:
            if not one.done():
                one.set_result(None)
        waiting.clear()

    async def _wait(self, pause_s: float | None) -> None:
        """After a refusal for exactly so long, or until a person wants it now; else until something wakes the loop."""
        if pause_s is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    while not (self._is_decided or self._is_looked_for):
                        self._woken.clear()
                        await self._woken.wait()
            return
        poll_s = self._clock.monotonic() + self._poll_s
        while True:
            self._woken.clear()
            called_s = self._looked_s + self._gap_s if self._is_called else float("inf")
            wait_s = min(poll_s, self._retry_at, self._gathered_s(), called_s) - self._clock.monotonic()
            if wait_s <= 0:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._woken.wait()

    def _gathered_s(self) -> float:
        """When (monotonic) what changed on the disk is looked at; infinite where nothing did."""
        return min(self._last_s + QUIET_S, self._first_s + GATHER_S) if self._must else float("inf")

    @property
    def _gap_s(self) -> float:
        return min(LONGEST_GAP_S, FIRST_GAP_S * 2.0 ** min(self._fruitless - 1, 16)) if self._fruitless else 0.0

    @property
    def _is_looked_for(self) -> bool:
        """Whether somebody wants a look at once, and the server will not count it against them."""
        return bool(self._lookers) and not isinstance(self.trouble, BusyError | LoginError)

    @property
    def _is_decided(self) -> bool:
        """Whether what the loop waited for was answered."""
        return self.trouble is None and not self.question and self._must
