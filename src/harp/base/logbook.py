# SPDX-License-Identifier: AGPL-3.0-or-later
"""What was logged last, in memory and without secrets, for people who have no terminal at hand."""

import logging
import re
from collections import deque
from dataclasses import dataclass

MOST_LINES = 1000
MOST_CHARACTERS = 2000
_SECRETS = (
    (re.compile(r"harp1[a-z2-7]{8,}"), "harp1…"),
    (re.compile(r"(?i)\b(authorization(?:-app-api)?|cookie)(\s*[:=]\s*)[^\n]+"), r"\1\2…"),
    (
        re.compile(r"(?i)\b([a-z_-]*(?:secret|password|passwd|token|api[_-]?key|shared[_-]?key))(\s*[:=]\s*)\S+"),
        r"\1\2…",
    ),
    (re.compile(r"(?i)([?&/](?:link|in|token)[=/])[A-Za-z0-9_-]{16,}"), r"\1…"),
    (re.compile(r"(://)[^/\s:@]+:[^/\s@]+@"), r"\1…@"),
)


@dataclass(frozen=True, slots=True)
class Line:
    """One record; ``at`` is in seconds since 1970."""

    at: float
    level: str
    text: str


class Logbook(logging.Handler):
    """A handler that keeps the last lines; for every thread."""

    def __init__(self, most: int = MOST_LINES) -> None:
        super().__init__()
        self._lines: deque[Line] = deque(maxlen=most)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
        except Exception:  # noqa: BLE001 - what logging itself does with a record that cannot be formatted
            self.handleError(record)
            return
        self._lines.append(Line(record.created, record.levelname.lower(), without_secrets(text)[:MOST_CHARACTERS]))

    def lines(self, most: int) -> list[Line]:
        """The last ones, the oldest first."""
        self.acquire()
        try:
            return list(self._lines)[-most:]
        finally:
            self.release()


def without_secrets(text: str) -> str:
    """The text with whatever looks like a ticket, a token or a password taken out."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text
