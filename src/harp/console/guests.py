# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whom Nextcloud has vouched for, and what they may see: harpbridge says it over the control socket, for a while.

Who is asking says the proxy, at each request. That one is an administrator, or which folders are theirs, neither the
proxy nor this daemon knows: harpbridge does.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harp.base.errors import UsageError
from harp.console.page import own

_log = logging.getLogger(__name__)

FILE_NAME = "console-entry"
PASS_S = 600.0
"""How long a person's rights are believed."""
RENEW_S = 300.0
"""With no more than this left, a page asks Nextcloud anew."""
MOST_GUESTS = 10_000
MOST_CHARACTERS = 255


@dataclass(frozen=True, slots=True)
class Pass:
    """What one person may see, until a moment in seconds since 1970. ``folders`` are ids, in hexadecimal."""

    may_all: bool
    folders: frozenset[str]
    until: float


class Guests:
    """On the console's event loop. ``now`` is in seconds since 1970."""

    def __init__(self, home: Path) -> None:
        self._file = home / FILE_NAME
        self._passes: dict[str, Pass] = {}
        self.entry = self._kept()
        """Where Nextcloud lets people in: ``/index.php/apps/harpbridge/console``. Empty: not known."""

    @property
    def nextcloud(self) -> str:
        """Nextcloud's own first page."""
        return self.entry.rpartition("apps/")[0]

    def welcome(self, user: str, *, may_all: bool, folders: Iterable[str], entry: str, now: float) -> Pass:
        """Believe this of a person from now on. Raises :class:`UsageError`."""
        if not 0 < len(user) <= MOST_CHARACTERS:
            raise UsageError(f"a user's id has 1 to {MOST_CHARACTERS} characters", hint="it is Nextcloud's own")
        if entry == "/" or own(entry) != entry:
            raise UsageError("the entry is a path of the Nextcloud", hint="/index.php/apps/harpbridge/console")
        self._passes = {name: one for name, one in self._passes.items() if one.until > now and name != user}
        while len(self._passes) >= MOST_GUESTS:
            del self._passes[next(iter(self._passes))]
        made = self._passes[user] = Pass(may_all, frozenset(folders), now + PASS_S)
        if entry != self.entry:
            self.entry = entry
            self._keep()
        return made

    def of(self, user: str, *, now: float) -> Pass | None:
        """What this person may see; None where Nextcloud has to be asked."""
        found = self._passes.get(user)
        return found if found is not None and found.until > now else None

    # --- keeping ------------------------------------------------------------------------------------------------------

    def _kept(self) -> str:
        """So that a page that is open when the daemon starts anew finds its way."""
        try:
            text = self._file.read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            return ""
        return text if own(text) == text else ""

    def _keep(self) -> None:
        try:
            self._file.write_text(self.entry, "utf-8")
        except OSError as error:
            _log.warning("%s cannot be written: %s", self._file, error.strerror)
