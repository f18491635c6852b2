# SPDX-License-Identifier: AGPL-3.0-or-later
"""The console's password: kept as an Argon2id hash in ``HOME/console-password`` (0600), and guessed at slowly."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harp.base import privatefile
from harp.base.errors import UsageError

if TYPE_CHECKING:
    from argon2 import PasswordHasher

FILE_NAME = "console-password"
LEAST_CHARACTERS = 10
MOST_CHARACTERS = 1024
FREE_FAILURES = 5
"""So many wrong ones in a row cost nothing but time to type."""
LONGEST_S = 900.0


@dataclass(slots=True)
class Throttle:
    """How long to wait after wrong passwords: 2 s after the sixth in a row, then twice as long for each. Pure.

    It holds for everyone alike: behind a reverse proxy all who ask come from one address.
    """

    failures: int = 0
    failed_at: float = 0.0

    def wait_s(self, *, now: float) -> float:
        """0 where the next one may be tried at once."""
        beyond = self.failures - FREE_FAILURES
        if beyond <= 0:
            return 0.0
        return max(0.0, self.failed_at + min(LONGEST_S, 2.0 ** min(beyond, 32)) - now)

    def failed(self, *, now: float) -> None:
        self.failures, self.failed_at = self.failures + 1, now

    def succeeded(self) -> None:
        self.failures = 0


class Password:
    """The password of a home, which may be set while the console runs."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._file = home / FILE_NAME
        self._one_at_a_time = asyncio.Lock()

    @property
    def is_set(self) -> bool:
        return self._file.is_file()

    @property
    def mark(self) -> int:
        """Another number once another password was set."""
        try:
            return self._file.stat().st_mtime_ns
        except OSError:
            return 0

    async def set(self, given: str) -> None:
        """As :func:`store`, and raises the same."""
        async with self._one_at_a_time:
            await asyncio.to_thread(store, self._home, given)

    async def is_right(self, given: str) -> bool:
        """Takes as long for a wrong one as for the right one, and one at a time: a hash costs 64 MiB of memory."""
        if len(given) > MOST_CHARACTERS:
            return False
        async with self._one_at_a_time:
            return await asyncio.to_thread(self._verified, given)

    def _verified(self, given: str) -> bool:
        from argon2.exceptions import Argon2Error, InvalidHashError

        try:
            return _hasher().verify(self._file.read_text("ascii").strip(), given)
        except (OSError, UnicodeError, Argon2Error, InvalidHashError):
            return False


def store(home: Path, password: str) -> None:
    """Sets the password of a home. Raises :class:`UsageError` for one that is too short, :class:`ConfigError`."""
    if not LEAST_CHARACTERS <= len(password) <= MOST_CHARACTERS:
        raise UsageError(
            f"a password has {LEAST_CHARACTERS} to {MOST_CHARACTERS} characters", hint="a few words are easy to keep"
        )
    privatefile.replace(home / FILE_NAME, _hasher().hash(password) + "\n")


def _hasher() -> "PasswordHasher":
    """With the parameters of RFC 9106, section 4, the second recommended option."""
    import argon2  # 20 ms of start that only a login pays

    return argon2.PasswordHasher.from_parameters(argon2.profiles.RFC_9106_LOW_MEMORY)
