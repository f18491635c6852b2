# SPDX-License-Identifier: AGPL-3.0-or-later
"""Looking around: what is asked and answered about a folder's files and changes, and the port that answers it.

The forms are those of :mod:`harp.bridge.model`: ids are text, times are seconds since 1970, sizes are bytes.
"""

from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

from harp.bridge.model import CarriedDay, Noun, PathForm, Version
from harp.bridge.requests import FolderAsked, PathAsked

MOST_LISTED = 1000
"""Files or changes that one answer holds."""
MOST_CONTENT = 512 * 1024
"""Bytes of content that one answer holds."""
MOST_DAYS = 92


class Event(Noun, frozen=True, kw_only=True):
    """Something is other than it was; the first one, and one every fifteen seconds, come in any case."""

    number: int
    """Counts from 0 within one stream."""
    at: float
    folders: list[str] = msgspec.field(default_factory=list)
    """Ids of the folders whose status has changed."""
    peers: bool = False
    """Whether a device came or went, or bytes flow."""


class FileFact(PathForm, frozen=True, kw_only=True):
    """One path of a folder, as history has it."""

    kind: str
    """``file``, ``directory``, ``symlink`` or ``tombstone`` (it was deleted)."""
    size: int = 0
    at: float | None = None
    """When its current version was written."""
    author_name: str = ""
    is_here: bool = False
    """Whether it lies on this device's disk."""
    is_conflict: bool = False
    problem: str = ""
    """Why this disk cannot show it just now."""


class FileList(Noun, frozen=True, kw_only=True):
    """In order of their paths. ``has_more``: there are others behind the last one; ask again with it as ``after``."""

    files: list[FileFact]
    has_more: bool = False


class FilesAsked(PathAsked, frozen=True, kw_only=True):
    """What lies right in the directory ``path``; with ``find``, whatever below it has that text in its path.

    Deleted files are among what is found, and with ``deleted`` also among what is listed.
    """

    find: str = ""
    after_b64: str = ""
    """Only paths behind this one (base64)."""
    limit: int = 200
    deleted: bool = False


class ChangesAsked(FolderAsked, frozen=True, kw_only=True):
    limit: int = 50


class ChangeList(Noun, frozen=True, kw_only=True):
    """Newest first, in the order in which they became known here."""

    changes: list[Version]


class ContentAsked(PathAsked, frozen=True, kw_only=True):
    """A piece of the content of one version; without ``entry``, of the current one."""

    entry: str = ""
    offset: int = 0
    length: int = MOST_CONTENT


class Content(Noun, frozen=True, kw_only=True):
    """``data_b64`` is base64 of the bytes from ``offset`` on: all that were asked for, or up to the end."""

    entry: str
    size: int
    offset: int
    data_b64: str


class LeftOut(Noun, frozen=True, kw_only=True):
    """Rules in gitignore's form: ``shared`` lie in ``.harpignore`` for all devices, ``local`` in ``.harp/ignore``.

    Bytes that are no text are shown as U+FFFD; then ``is_exact`` is false, and what is shown must not be sent back.
    """

    shared: str
    local: str
    problems: list[str] = msgspec.field(default_factory=list)
    """Lines that are not followed, and why."""
    is_exact: bool = True


class LeaveOut(FolderAsked, frozen=True, kw_only=True):
    """A text that is not given stays as it is."""

    shared: str | None = None
    local: str | None = None


class TrafficAsked(Noun, frozen=True, kw_only=True):
    days: int = 31


class TrafficDays(Noun, frozen=True, kw_only=True):
    """Where content came from, of all folders together; days without any are left out. The newest first."""

    today: str
    days: list[CarriedDay]


class LogAsked(Noun, frozen=True, kw_only=True):
    lines: int = 200


class LogLine(Noun, frozen=True, kw_only=True):
    at: float
    level: str
    text: str


class LogLines(Noun, frozen=True, kw_only=True):
    """What the daemon logged last, the oldest first, without secrets."""

    lines: list[LogLine]


class ConsoleLink(Noun, frozen=True, kw_only=True):
    """Where the console is, and an address that lets one browser in, once; that one is a secret until then."""

    address: str
    link: str
    expires_at: float


class GuestAsked(Noun, frozen=True, kw_only=True):
    """What a Nextcloud says of a person who opens the console in it. ``user`` is their id, as its proxy sends it.

    ``folders`` are ids, of those that are this person's; an administrator sees all. ``entry`` is the path of the
    Nextcloud that says this again when it is asked for, with ``?to=`` and a path of the console.
    """

    user: str
    is_admin: bool
    folders: list[str]
    entry: str


class GuestPass(Noun, frozen=True, kw_only=True):
    """Until when it is believed, in seconds since 1970."""

    until: float


class Browsing(Protocol):
    """What the running daemon answers about all this; see :class:`harp.bridge.daemonport.Daemon`."""

    def events(self) -> AsyncIterator[Event]:
        """Without an end."""
        ...

    async def traffic(self, days: int) -> TrafficDays: ...

    async def changes(self, folder: str, limit: int) -> list[Version]: ...

    async def files(self, folder: str, under: bytes, find: str, after: bytes, limit: int, deleted: bool) -> FileList:
        """At most ``limit``."""
        ...

    async def content(self, folder: str, path: bytes, entry: str, offset: int, length: int) -> Content: ...

    async def left_out(self, folder: str) -> LeftOut: ...

    async def leave_out(self, folder: str, shared: str | None, local: str | None) -> LeftOut:
        """Answers as it is then."""
        ...

    async def log(self, lines: int) -> list[LogLine]: ...

    async def console_link(self) -> ConsoleLink:
        """A new one-time link. Raises :class:`harp.base.errors.UsageError` where the console is turned off."""
        ...

    async def console_guest(self, guest: GuestAsked) -> GuestPass:
        """Let a person of the Nextcloud in. Raises :class:`harp.base.errors.UsageError` where this is no app of it."""
        ...
