# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who asks, and what they may: every route names a verb, and no handler runs before the caller may do it."""

from dataclasses import dataclass
from enum import Enum

import msgspec

from harp.base.errors import UsageError

ON_BEHALF = "Harp-For"
"""The header by which someone who may do everything asks for a Nextcloud user, and then may do only what that one may:
``{"name": …, "folders": [ids]}`` in JSON."""


class Verb(Enum):
    """What a route does to a folder, or to the device where no folder is named."""

    READ = "read"
    """See it: status, history, conflicts, what is held."""
    CHANGE = "change"
    """Work with its content: restore, resolve, scan, verify, wait."""
    MANAGE = "manage"
    """Decide for it: invite, approve, pause, leave …; for the device: share, join, forget, change settings, stop."""


@dataclass(frozen=True, slots=True)
class LocalUser:
    """Someone on this machine who runs as the daemon's user, or as root: may do everything."""

    uid: int
    sees_everything = True

    def may(self, _folder: str | None, _verb: Verb) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class NextcloudUser:
    """A user of the Nextcloud beside which Harp runs: sees and works with the folders given to them, manages none."""

    name: str
    folders: frozenset[str]
    """Ids, in hexadecimal."""
    sees_everything = False

    def may(self, folder: str | None, verb: Verb) -> bool:
        if folder is None:
            return verb is Verb.READ
        return folder in self.folders and verb is not Verb.MANAGE


Caller = LocalUser | NextcloudUser


def of_request(uid: int, on_behalf: str | None) -> Caller:
    """Who asks, by the system's word and :data:`ON_BEHALF`. Raises :class:`UsageError`."""
    if on_behalf is None:
        return LocalUser(uid)
    try:
        return msgspec.json.decode(on_behalf, type=NextcloudUser)
    except msgspec.MsgspecError as error:
        raise UsageError(f"{ON_BEHALF} is not understood", hint="see docs/reference/api.md") from error
