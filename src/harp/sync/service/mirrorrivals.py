# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether another daemon mirrors the same folder of an account: each says so in the account, and reads the others."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from harp.base.errors import CloudError
from harp.sync.cloud.claims import Claim
from harp.sync.cloud.refusals import LoginError

_log = logging.getLogger(__name__)

EVERY_S = 300.0
"""Two small requests each time; another daemon is noticed after this at the latest."""
ROUNDS = 3
"""A note holds for so many of its writer's rounds: one that ended without a word is forgotten then."""


class Register(Protocol):
    """The notes in an account: :class:`harp.sync.cloud.claims.Register`."""

    async def read(self) -> tuple[Sequence[Claim], int]: ...

    async def write(self, claims: Sequence[Claim]) -> None: ...


class Rivals:
    """Of one mirror. ``own`` is its note, whose end is filled in; ``every_s`` is how often its account is looked at."""

    def __init__(self, register: Register, own: Claim, *, every_s: float, clock: Callable[[], float]) -> None:
        """``clock`` is monotonic, in seconds."""
        self._register = register
        self._own = own
        self._every_s = max(EVERY_S, every_s)
        self._clock = clock
        self._due_s = float("-inf")
        self._is_said = False
        self._is_refused = False
        self.found: tuple[Claim, ...] = ()
        """The notes of others about the same files. One of this very mirror is of a copy of this home that runs too."""

    async def look(self) -> None:
        """Where it is time. Raises :class:`LoginError` alone: an account without notes is mirrored all the same."""
        if self._clock() < self._due_s:
            return
        self._due_s = self._clock() + self._every_s
        try:
            claims, now = await self._register.read()
            mine = next((one for one in claims if one.mirror == self._own.mirror), None)
            others = [one for one in claims if one.mirror != self._own.mirror]
            # What this very daemon mirrors besides, or mirrored until a moment ago, is no other one's.
            found = [one for one in others if one.run != self._own.run and one.meets(self._own)]
            if self._is_said and mine is not None and mine.run != self._own.run:
                found.append(mine)
            self.found = tuple(found)
            await self._register.write([*others, replace(self._own, until=now + int(ROUNDS * self._every_s))])
            self._is_said = True
        except LoginError:
            raise
        except CloudError as error:
            if not self._is_refused:
                _log.info("whether others mirror %s too cannot be seen: %s", self._own.path, error)
            self._is_refused = True

    async def withdraw(self) -> None:
        """This mirror is no more. Raises :class:`CloudError`."""
        claims, _ = await self._register.read()
        if any(one.mirror == self._own.mirror for one in claims):
            await self._register.write([one for one in claims if one.mirror != self._own.mirror])
