# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who is listened to: the servers of the accounts that are mirrored here, over one line for each account."""

import asyncio
import random
from collections.abc import Callable, Iterable

from harp.base.runtime import Clock, Tasks
from harp.sync.cloud import pushline
from harp.sync.cloud.dav import Login
from harp.sync.service.pushloop import PushLoop
from harp.sync.store.accounts import Account


class Pushes:
    """On the daemon's event loop. ``changed`` is told the name of an account of which files may have changed."""

    def __init__(self, tasks: Tasks, changed: Callable[[str], None], *, clock: Clock) -> None:
        self._tasks = tasks
        self._changed = changed
        self._clock = clock
        self._running: dict[Account, tuple[PushLoop, asyncio.Task[None]]] = {}

    def look(self, accounts: Iterable[Account]) -> None:
        """Listens for these accounts, and no others; anew where an account has changed."""
        wanted = set(accounts)
        for gone in self._running.keys() - wanted:
            self._end(gone)
        for new in wanted - self._running.keys():
            self._running[new] = self._started(new)

    def of(self, account: str) -> PushLoop | None:
        """The loop of the account of that name, if it is mirrored."""
        return next((loop for one, (loop, _) in self._running.items() if one.name == account), None)

    def renewed(self, account: str) -> None:
        """The account was logged in to again: with the next look, what waits because of its password begins anew."""
        for one in [one for one in self._running if one.name == account]:
            self._end(one)

    def _started(self, account: Account) -> tuple[PushLoop, asyncio.Task[None]]:
        login = Login(account.url, account.user, account.password)
        loop = PushLoop(
            lambda: pushline.news(login, account.ca_file),
            lambda: self._changed(account.name),
            clock=self._clock,
            jitter=random.random,
        )
        return loop, self._tasks.task(f"listening for {account.name}", loop.run())

    def _end(self, account: Account) -> None:
        _, task = self._running.pop(account)
        task.cancel()
