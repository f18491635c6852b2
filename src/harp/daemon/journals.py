# SPDX-License-Identifier: AGPL-3.0-or-later
"""The journals of those servers whose accounts are mirrored here: each is read by the accounts there in turn."""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterable

from harp.base.errors import StaleError
from harp.base.runtime import Tasks
from harp.sync.cloud import journal, server
from harp.sync.cloud.dav import Login
from harp.sync.cloud.journal import Mark
from harp.sync.cloud.refusals import LoginError
from harp.sync.service.journalloop import JournalLoop
from harp.sync.store.accounts import Account

_Server = tuple[str, str, tuple[Account, ...]]
"""Its address, the certificates by which it is known, and who has an account there."""


class Journals:
    """On the daemon's event loop. ``grew`` is told the server's address; ``every_s``: None reads no journal."""

    def __init__(self, tasks: Tasks, grew: Callable[[str], None], *, every_s: float | None) -> None:
        self._tasks = tasks
        self._grew = grew
        self._every_s = every_s
        self._running: dict[_Server, asyncio.Task[None]] = {}
        self.absent: set[str] = set()
        """Addresses of servers that have no journal, or one that is too old for this."""

    def look(self, accounts: Iterable[Account]) -> None:
        """Reads the journals of the servers of these accounts, and no others; anew where an account has changed."""
        if self._every_s is None:
            return
        by_server: dict[tuple[str, str], list[Account]] = {}
        for one in accounts:
            by_server.setdefault((one.url, one.ca_file), []).append(one)
        wanted = {(url, ca_file, tuple(there)) for (url, ca_file), there in by_server.items()}
        self.absent &= {url for url, _, _ in wanted}
        for gone in self._running.keys() - wanted:
            self._running.pop(gone).cancel()
        for new in wanted - self._running.keys():
            self._running[new] = self._tasks.task(f"journal of {new[0]}", self._read(*new, self._every_s))

    async def _read(self, url: str, ca_file: str, accounts: tuple[Account, ...], every_s: float) -> None:
        let_in = deque(accounts)

        async def ask() -> Mark:
            while let_in:
                let_in.rotate(-1)
                try:
                    mark = await journal.mark(session, Login(url, let_in[0].user, let_in[0].password))
                except LoginError:
                    # It is left out until no other is let in either: each attempt is a failed login over there.
                    let_in.popleft()
                except StaleError as error:
                    self.absent.add(url)
                    raise StaleError(unread(url)) from error
                else:
                    self.absent.discard(url)
                    return mark
            let_in.extend(accounts)
            raise LoginError(f"no account of {url} is let in", hint="log in again: harp account add NAME URL")

        async with server.session(ca_file) as session:
            await JournalLoop(ask, lambda: self._grew(url), every_s=every_s, jitter=random.random).run()


def unread(url: str) -> str:
    """What is said of a server whose journal was to be read, and cannot be."""
    todo = "update the app there, or harp config set journal_poll_s none"
    return f"{url} has no harpbridge whose journal can be read: {todo}"
