# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the app notify_push ("Client Push") of a Nextcloud says, and where it may be listened to (pure).

Source: its ``README.md`` and ``DEVELOPING.md`` ("Clients", "Pre-authenticated tokens"), 1.4.0.
"""

from enum import Enum, auto

from harp.base.errors import CloudError, StaleError
from harp.base.webaddress import WebAddress, web_address

MOST_SHOWN = 100


class ElsewhereError(CloudError):
    """The server names a place to listen at that is not its own, or not safe: nobody goes there."""

    retryable = False


class Heard(Enum):
    """What one message is about."""

    WELCOME = auto()
    """Whoever listens is let in."""
    FILES = auto()
    """Files of the account may be other than they were."""
    OTHER = auto()
    """Notifications, activities, other apps' own messages; before the welcome, why there is none."""


_WORDS = {"authenticated": Heard.WELCOME, "notify_file": Heard.FILES, "notify_file_id": Heard.FILES}


def heard(text: str) -> Heard:
    """``text`` is one message. Some have a body behind the first space, such as the numbers of the files.

    >>> heard("notify_file_id [12,34]")
    <Heard.FILES: 2>
    """
    return _WORDS.get(text.partition(" ")[0], Heard.OTHER)


def refusal(text: str) -> str:
    """What was said in place of a welcome, as it can be shown: whoever says it may be anybody."""
    return "".join(one if one.isprintable() else "?" for one in text[:MOST_SHOWN]).strip() or "nothing"


def address(told: str, url: str) -> WebAddress:
    """Where to listen, by what the server at ``url`` told in its capabilities.

    It has to be on the server's own host, whose certificate the account trusts, and with TLS where the account has it.
    Raises :class:`StaleError` where the server told nothing, :class:`ElsewhereError` for any other place.
    """
    if not told:
        raise StaleError(f"{url} does not tell of changed files: it has no notify_push")
    try:
        found, own = web_address(told), web_address(f"ws{url.removeprefix('http')}")
    except ValueError as error:
        raise _elsewhere(told, url) from error
    if found.host != own.host or (own.is_secure and not found.is_secure):
        raise _elsewhere(told, url)
    return found


def _elsewhere(told: str, url: str) -> ElsewhereError:
    own = f"ws{url.removeprefix('http')}/push"
    return ElsewhereError(
        f"{url} tells of changed files at {refusal(told)}, which is not safe or another host",
        hint=f"that has to be on its own host, such as {own}: occ notify_push:setup {url}/push",
    )
