# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who is let in: links that work once, sessions that outlive a restart, and the token without which no form counts.

Only hashes are kept, of links in memory, of sessions in ``HOME/console.json`` (0600). A session's CSRF token is made
from its cookie, so that it is another one in each session and needs no place of its own.
"""

import hashlib
import hmac
import json
import logging
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_log = logging.getLogger(__name__)

FILE_NAME = "console.json"
LINK_S = 3600.0
SESSION_S = 30 * 86_400.0
"""How long a session that nobody uses lasts."""
RENEW_S = 86_400.0
MOST_SESSIONS = 100
MOST_LINKS = 20
_TOKEN_BYTES = 24


@dataclass(frozen=True, slots=True)
class Link:
    """A way in that works once. ``token`` is a secret."""

    token: str = field(repr=False)
    expires_at: float


class Sessions:
    """On the console's event loop. ``now`` is in seconds since 1970."""

    def __init__(self, home: Path) -> None:
        self._file = home / FILE_NAME
        self._links: dict[str, float] = {}
        self._ends: dict[str, float] = {}
        self.instance = secrets.token_hex(4)
        """Tells this home's cookie from that of another daemon on the same machine."""
        self._load()

    # --- links --------------------------------------------------------------------------------------------------------

    def link(self, *, now: float) -> Link:
        """A new link; should there be very many that nobody used, the oldest of them ends."""
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        while len(self._links) >= MOST_LINKS:
            del self._links[next(iter(self._links))]
        self._links[_hash(token)] = now + LINK_S
        return Link(token, now + LINK_S)

    def redeem(self, token: str, *, now: float) -> bool:
        """Whether the link lets someone in; it does so once."""
        ends = self._links.pop(_hash(token), None)
        return ends is not None and now < ends

    # --- sessions -----------------------------------------------------------------------------------------------------

    @property
    def cookie(self) -> str:
        """The name of the cookie: cookies know no ports."""
        return f"harp-{self.instance}"

    def begin(self, *, now: float) -> str:
        """The token of a new session, for its cookie."""
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        self._ends = {key: ends for key, ends in self._ends.items() if ends > now}
        while len(self._ends) >= MOST_SESSIONS:
            del self._ends[min(self._ends, key=lambda key: self._ends[key])]
        self._ends[_hash(token)] = now + SESSION_S
        self._keep()
        return token

    def knows(self, token: str, *, now: float) -> bool:
        """Whether this is the cookie of a session; using it keeps it alive."""
        key = _hash(token)
        ends = self._ends.get(key, 0.0)
        if ends <= now:
            return False
        if ends - now < SESSION_S - RENEW_S:
            self._ends[key] = now + SESSION_S
            self._keep()
        return True

    def end(self, token: str) -> None:
        """The session is over, whoever has its cookie."""
        if self._ends.pop(_hash(token), None) is not None:
            self._keep()

    def end_all(self) -> None:
        """All of them are over: the password is another one."""
        self._ends.clear()
        self._keep()

    # --- keeping ------------------------------------------------------------------------------------------------------

    def _load(self) -> None:
        """What was kept; a file that is damaged costs everyone one more login."""
        try:
            kept = json.loads(self._file.read_text("utf-8"))
            self.instance = _instance(kept["instance"])
            self._ends = {str(key): float(ends) for key, ends in kept["sessions"].items()}
        except FileNotFoundError:
            self._keep()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            _log.warning("%s is begun anew: %s", self._file, type(error).__name__)
            self._ends = {}
            self._keep()

    def _keep(self) -> None:
        temporary = self._file.with_name(f".{FILE_NAME}.new")
        try:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as out:
                json.dump({"instance": self.instance, "sessions": self._ends}, out)
            temporary.replace(self._file)
        except OSError as error:
            _log.warning("%s cannot be written, sessions end with the daemon: %s", self._file, error.strerror)


def csrf(token: str) -> str:
    """What every form of a session carries."""
    return hmac.new(token.encode(), b"harp console form", hashlib.sha256).hexdigest()


def is_csrf(token: str, given: str) -> bool:
    """Whether a form carries it."""
    return hmac.compare_digest(csrf(token).encode(), given.encode("utf-8", "replace"))


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def _instance(value: Any) -> str:
    text = str(value)
    if len(text) != 8 or not set(text) <= set("0123456789abcdef"):
        raise ValueError("no instance")
    return text
