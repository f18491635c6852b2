# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may have what: the decision that HAProxy takes from its maps, and the agent where HAProxy may not.

Both must say the same on every input; the contract's sections 2.3, 2.4 and 2.8 are the source.
"""

import re

from harp.proxy.model import (
    CONTROL_ID,
    INTERNAL_PATHS,
    Allowed,
    AppId,
    Identity,
    Refusal,
    Route,
    Verdict,
)

PREFIX = "/exapps/"
CLIMBS = r"(?:^|/|%2[fF])(?:\.|%2[eE]){2}(?:/|%2[fF]|\z)"
"""A segment of exactly two dots, written out or percent-encoded, for PCRE2; the raw path is looked at."""

TWO_DOTS = r"(?:\.|%2[eE]){2}"
"""What is in every path that climbs; it spares most paths the longer expression."""
_CLIMBS = re.compile(CLIMBS.replace(r"\z", r"\Z"))


def climbs(path: str) -> bool:
    """Whether the raw path holds a parent directory (40–42)."""
    return _CLIMBS.search(path) is not None


def spelled_id(path: str) -> str:
    """The app id as it is spelled in a raw path; empty where there is none (39)."""
    return path[len(PREFIX) :].partition("/")[0] if path.startswith(PREFIX) else ""


def app_id(spelled: str) -> AppId:
    """The id that everything is looked up by (15, 29)."""
    return AppId(spelled.lower())


def target_of(path: str) -> str:
    """What the app is asked for: the path behind ``/exapps/ID``, not decoded, not tidied; ``/`` where it is empty."""
    return "/" + path[len(PREFIX) :].partition("/")[2]


def is_control(spelled: str) -> bool:
    """Whether this is the control API; the spelling counts (10)."""
    return spelled == CONTROL_ID


def is_internal(target: str) -> bool:
    """Whether only Nextcloud may ask for it (72)."""
    return target in INTERNAL_PATHS


def before_routes(path: str) -> Refusal | None:
    """What is wrong with a raw path whatever the app says."""
    if climbs(path):
        return Refusal.CLIMBS
    return None if spelled_id(path) else Refusal.NO_APP_ID


def verdict(route: Route | None, identity: Identity) -> Verdict:
    """What the first route that matched says to this person. ``None``: none matched."""
    if route is None:
        return Refusal.NO_ROUTE
    if route.level <= (identity.level if identity.is_somebody else 0):
        return Allowed(route.level, route.statuses)
    return Refusal.FORBIDDEN


def decide(routes: tuple[Route, ...], target: str, identity: Identity) -> Verdict:
    """The decision about an unsigned request for a target path.

    It matches without a time limit: for expressions of whom nobody knows, find the route by a
    :class:`~harp.proxy.model.Matcher` and ask :func:`verdict`.
    """
    if is_internal(target):
        return Refusal.INTERNAL
    first = next((route for route in routes if re.match(route.pattern, target)), None)
    return verdict(first, identity)
