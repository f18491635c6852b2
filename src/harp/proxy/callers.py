# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who is asking: what Nextcloud says of a credential, asked once, kept until its deadline (contract, 2.7)."""

import asyncio
import random
from collections import Counter as Tally
from collections import OrderedDict
from dataclasses import dataclass

from harp.base.runtime import Clock, Counters, Tasks
from harp.proxy.model import NOBODY, AppId, CredentialKey, Credentials, Identity, Nextcloud
from harp.proxy.policy.compile import user_text

QUESTIONS_OF_ONE_CLIENT = 16
"""Credentials of one client's address that are asked about at once; anyone can send random ones."""
QUESTIONS_AT_ONCE = 64
"""Credentials of all clients that Nextcloud is asked about at once; the others wait their turn."""
KEPT_MOST = 100_000
GRACE_S = 2.0
"""How long an answer is kept for those who were told to wait for it."""


class TooManyQuestions(Exception):
    """One client's address has as many credentials in question as it may."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An identity, and until when it may be believed: seconds since 1970, counted from the question.

    Whom Nextcloud names, it names for all apps. Where it refuses to, that may be because of the app: ``only_at`` is the
    one for which it did.
    """

    identity: Identity
    until: float
    only_at: AppId | None = None


@dataclass(frozen=True, slots=True)
class _Kept:
    answer: Answer
    at_hand_until: float


class Callers:
    """What Nextcloud said of credentials. HAProxy holds a copy of each answer; the one here is asked first."""

    def __init__(self, nextcloud: Nextcloud, lifetime_s: float, clock: Clock, tasks: Tasks, counters: Counters) -> None:
        self.lifetime_s = lifetime_s
        self._nextcloud = nextcloud
        self._clock = clock
        self._tasks = tasks
        self._kept: OrderedDict[tuple[CredentialKey, AppId | None], _Kept] = OrderedDict()
        self._flights: dict[CredentialKey, asyncio.Task[Answer]] = {}
        self._asking: Tally[str] = Tally()
        self._turns = asyncio.Semaphore(QUESTIONS_AT_ONCE)
        self._hits = counters.counter("harp_proxy_identity_hits_total", "Questions answered from memory.")
        self._joined = counters.counter("harp_proxy_identity_joined_total", "Questions that joined one under way.")
        self._refused = counters.counter("harp_proxy_identity_refused_total", "Questions over a client's limit.")

    async def identify(self, key: CredentialKey, app: AppId, credentials: Credentials) -> Answer:
        """Who has these credentials. Nextcloud is asked for one app, whichever is first, and answers for all.

        Raises :class:`TooManyQuestions`, and :class:`~harp.proxy.model.NextcloudUnsure`.
        """
        while True:
            for only_at in (None, app):
                kept = self._kept.get((key, only_at))
                if kept is not None and kept.at_hand_until > self._clock.now():
                    self._hits.add()
                    return kept.answer
            answer = await asyncio.shield(self._flight(key, app, credentials))
            if answer.only_at in (None, app):
                return answer

    def _flight(self, key: CredentialKey, app: AppId, credentials: Credentials) -> "asyncio.Task[Answer]":
        """The question that is under way; a new one where there is none."""
        flight = self._flights.get(key)
        if flight is not None:
            self._joined.add()
            return flight
        if self._asking[credentials.client] >= QUESTIONS_OF_ONE_CLIENT:
            self._refused.add()
            raise TooManyQuestions
        flight = self._flights[key] = self._tasks.task("identity", self._asked(key, app, credentials))
        return flight

    async def _asked(self, key: CredentialKey, app: AppId, credentials: Credentials) -> Answer:
        self._asking[credentials.client] += 1
        try:
            async with self._turns:
                # From here on it is Nextcloud's word; waiting for a turn must not make it older than it is.
                asked_at = self._clock.now()
                identity = await self._nextcloud.identify(app, credentials)
            until = asked_at + self.lifetime_s
            answer = Answer(NOBODY, until, only_at=app) if identity is None else Answer(identity, until)
            self._keep(key, answer, asked_at)
            return answer
        finally:
            self._flights.pop(key, None)
            self._asking[credentials.client] -= 1
            if not self._asking[credentials.client]:
                del self._asking[credentials.client]

    def _keep(self, key: CredentialKey, answer: Answer, asked_at: float) -> None:
        now = self._clock.now()
        was_slow = now - asked_at > 1.0
        at_hand_until = max(answer.until, now + GRACE_S) if was_slow else answer.until
        while self._kept and (len(self._kept) >= KEPT_MOST or next(iter(self._kept.values())).at_hand_until <= now):
            self._kept.popitem(last=False)
        if at_hand_until > now:
            self._kept[key, answer.only_at] = _Kept(answer, at_hand_until)
            self._kept.move_to_end((key, answer.only_at))


class Numbers:
    """A number for each user, never used again: HAProxy keeps the number, and the user's name in a map.

    ``number % 4`` is the level, ``number // 4 % 2`` says that the Authorization header identified the person.
    """

    SWEEP_AT = 5_000
    """How many numbers are worth a look; twice as many as were left the last time, where that is more."""

    def __init__(self, first: int | None = None) -> None:
        # Where HAProxy outlived an earlier agent, its numbers must not meet new ones.
        self._next = random.randrange(1, 1 << 27) if first is None else first  # noqa: S311 - a start, not a secret
        self._of: dict[tuple[str, bool], tuple[int, float]] = {}
        self._sweep_at = self.SWEEP_AT

    def number(self, identity: Identity, strip: bool, until: float) -> tuple[int, str]:
        """The number, and the text that stands behind it."""
        text = user_text(identity)
        key = (f"{int(identity.level)} {text}", strip)
        place, last = self._of.get(key, (0, 0.0))
        if not place:
            place, self._next = self._next, self._next + 1
        self._of[key] = place, max(until, last)
        return place * 8 + (4 if strip else 0) + int(identity.level if identity.is_somebody else 0), text

    def sweep(self, now: float) -> dict[int, str] | None:
        """Forgets the numbers that nobody has any more; what then is left, by number; ``None`` where it was little."""
        if len(self._of) < self._sweep_at:
            return None
        self._of = {key: value for key, value in self._of.items() if value[1] > now - 15.0}
        self._sweep_at = max(self.SWEEP_AT, 2 * len(self._of))
        return {
            place * 8 + (4 if strip else 0) + int(key.partition(" ")[0]): key.partition(" ")[2]
            for (key, strip), (place, _until) in self._of.items()
        }
