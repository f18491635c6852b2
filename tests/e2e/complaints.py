# SPDX-License-Identifier: AGPL-3.0-or-later
"""What Nextcloud's own log says of a failure, in lines that a person can read."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

WARNING = 2
"""Of Nextcloud's levels (its manual, "Logging"); 3 is an error, 4 is fatal."""
_USUAL = "jsresourceloader"
"""What misses core/js/common.js with each page, in every Nextcloud 32."""
_MOST = 20
_FRAMES = 12


def of(log: str) -> list[str]:
    """The last warnings and errors in a ``nextcloud.log``, one a line: when, for which request, what, by whom."""
    return [_line(entry) for entry in _entries(log)][-_MOST:]


def _entries(log: str) -> Iterator[Mapping[str, Any]]:
    for line in log.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # the last one may be half written
        if isinstance(entry, dict) and entry.get("level", 0) >= WARNING and entry.get("app") != _USUAL:
            yield entry


def _line(entry: Mapping[str, Any]) -> str:
    request = f"{entry.get('method', '')} {entry.get('url', '')}"
    said = f"{entry.get('time', '')} {request} {entry.get('app', '')}: {entry.get('message', '')}"
    cause = entry.get("exception")
    if not isinstance(cause, dict):
        return said
    frames = [f"{frame.get('class', '')}::{frame.get('function', '')}" for frame in cause.get("Trace", [])]
    while isinstance(cause.get("Previous"), dict):
        cause = cause["Previous"]
    return f"{said} [{cause.get('Message', '')}; by {' < '.join(frames[:_FRAMES])}]"
