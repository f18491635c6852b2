# SPDX-License-Identifier: AGPL-3.0-or-later
"""The world of the app plane in memory: a Nextcloud that answers as told, names, a clock that is set."""

import asyncio
import re
from dataclasses import dataclass, field

from harp.proxy.model import NOBODY, AppId, Credentials, ExApp, Identity, NextcloudUnsure


@dataclass(slots=True)
class SetClock:
    """Both times are what the test says."""

    at: float = 1_000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


@dataclass(slots=True)
class FakeNextcloud:
    """Implements the port. ``gate`` holds answers back until it is set; what is unknown is asked in vain."""

    apps: dict[str, ExApp | Exception] = field(default_factory=dict)
    people: dict[str, Identity | Exception | None] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    strangers: set[str] = field(default_factory=set)
    """Apps for which it says nothing of anybody."""
    gate: asyncio.Event | None = None

    async def exapp(self, app: AppId) -> ExApp | None:
        self.asked.append(f"app {app}")
        await self._held()
        found = self.apps.get(app)
        if isinstance(found, Exception):
            raise found
        return found

    async def identify(self, app: AppId, credentials: Credentials) -> Identity | None:
        self.asked.append(f"person {credentials.cookie or credentials.authorization}")
        await self._held()
        if app in self.strangers:
            return None
        found = self.people.get(credentials.cookie or credentials.authorization, NOBODY)
        if isinstance(found, Exception):
            raise found
        return found

    async def _held(self) -> None:
        if self.gate is not None:
            await self.gate.wait()


@dataclass(slots=True)
class FakeNames:
    """Implements the resolver."""

    addresses: dict[str, str] = field(default_factory=dict)

    async def address(self, host: str) -> str | None:
        return self.addresses.get(host)


class InlineMatcher:
    """Implements the matcher in this very process; ``is_slow`` makes it give up."""

    is_slow = False

    async def first(self, patterns: tuple[str, ...], path: str) -> int | None:
        if self.is_slow:
            raise TimeoutError
        return next((index for index, pattern in enumerate(patterns) if re.match(pattern, path)), None)


UNSURE = NextcloudUnsure("down")
