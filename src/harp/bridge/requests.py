# SPDX-License-Identifier: AGPL-3.0-or-later
"""What ``/v1`` is asked, as msgspec structs.

A field that is named in a route's path comes from there; the others from the query of a GET, else from the JSON body.
"""

from harp.bridge.model import Noun, PathForm


class Nothing(Noun, frozen=True, kw_only=True):
    """Nothing is asked but the thing itself."""


class FolderAsked(Noun, frozen=True, kw_only=True):
    """``folder`` is a name, an id, or the first characters of one id only."""

    folder: str


class ShareAsked(PathForm, frozen=True, kw_only=True):
    """``path`` is absolute, on this device; ``make``: it is made where it is not there yet.

    With ``account``, ``path`` is a folder of that account, such as ``/Documents``, and the new folder mirrors it.
    """

    name: str | None = None
    make: bool = False
    account: str | None = None
    place: str | None = None
    """Where a folder of an account comes to lie, an absolute path on this device; else the daemon chooses."""
    merge: bool = False
    """It may lie where something is already; both are put together."""


class JoinAsked(PathForm, frozen=True, kw_only=True):
    ticket: str
    merge: bool = False


class InviteAsked(FolderAsked, frozen=True, kw_only=True):
    read_only: bool = False
    expires_s: float = 3600.0


class WaitAsked(FolderAsked, frozen=True, kw_only=True):
    timeout_s: float | None = None


class PathAsked(FolderAsked, frozen=True, kw_only=True):
    """``path`` is relative to the folder."""

    path: str = ""
    path_b64: str | None = None


class RestoreAsked(PathAsked, frozen=True, kw_only=True):
    """``entry`` may be the first characters of one entry id only."""

    entry: str


class ResolveAsked(PathAsked, frozen=True, kw_only=True):
    """``keep`` is an entry id (or its first characters), or ``both``."""

    keep: str


class LeaveAsked(FolderAsked, frozen=True, kw_only=True):
    for_all: bool = False
    """The sharing ends: all other members are taken away first. They keep the files that they have."""


class HeldAsked(FolderAsked, frozen=True, kw_only=True):
    held: str


class DeviceAsked(Noun, frozen=True, kw_only=True):
    """``device`` is an id, its first characters, or a name that only one peer has."""

    device: str


class SettingAsked(Noun, frozen=True, kw_only=True):
    key: str


class SettingChange(Noun, frozen=True, kw_only=True):
    key: str
    value: str


class BackupAsked(PathForm, frozen=True, kw_only=True):
    """``path`` is absolute, on this device; nothing may lie there yet."""
