# SPDX-License-Identifier: AGPL-3.0-or-later
"""What lies in an account: listings of those folders whose etag changed, and for the others what was agreed."""

import asyncio
import contextlib
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from harp.base.errors import CloudError, RemoteProtocolError, StaleError
from harp.sync.cloud.multistatus import Found
from harp.sync.cloud.nodes import FEDERATED, MOUNT, Agreed, CloudPath, Etag, Remote, is_below, parent
from harp.sync.cloud.refusals import AWAY, AwayError, RefusedError
from harp.sync.folder import names
from harp.sync.model import Path

TOP = CloudPath("")
READERS = 4
_DIGITS_OF_MOUNTS = 32


class GoneError(CloudError):
    """The folder that is mirrored is not in the account any more."""


class Lister(Protocol):
    async def listing(self, path: CloudPath, depth: int) -> list[Found]: ...


@dataclass(slots=True)
class Walked:
    """The whole account as it was found."""

    root_id: str = ""
    fingerprint: str = ""
    found: dict[CloudPath, Remote] = field(default_factory=dict)
    folders: dict[CloudPath, Etag] = field(default_factory=dict)
    """The etag of each folder, the top included, from before it was listed."""
    refused: dict[CloudPath, str] = field(default_factory=dict)

    def folder_etags(self) -> dict[str, str]:
        """Of each folder, by its number, but of those in which a share or a storage is mounted, and of what is mounted.

        Nextcloud makes the etag of the first from those of its mounts (32 digits, not 13), and so it comes again when
        one is taken away. A federated share has had its own and the other server's in turn (seen on 32.0.1).
        """
        mounts = [path for path in self.folders if path in self.found and self.found[path].may(MOUNT)]
        etags = {self.root_id: self.folders[TOP]} | {
            self.found[path].fileid: etag
            for path, etag in self.folders.items()
            if path in self.found and not any(path == mount or is_below(path, mount) for mount in mounts)
        }
        return {fileid: etag for fileid, etag in etags.items() if len(etag) != _DIGITS_OF_MOUNTS}


async def knock(lister: Lister, agreed: Mapping[CloudPath, Agreed]) -> None:
    """Has Nextcloud look at what lies on other servers: it does when it is asked for the share itself, and else never.

    Not when the folder above is listed, nor after a write that it has passed on itself (seen on 32.0.1). Another etag
    of the share then leads a walk to what is new in it. What cannot be asked now is asked the next time.
    """
    slots = asyncio.Semaphore(READERS)

    async def ask(path: CloudPath) -> None:
        async with slots:
            with contextlib.suppress(CloudError):
                await lister.listing(path, 0)

    async with asyncio.TaskGroup() as group:
        for path in [path for path, known in agreed.items() if FEDERATED in known.permissions]:
            group.create_task(ask(path))


class Walk:
    """One walk. ``marks`` are folders below which all was agreed when they had that etag."""

    def __init__(self, lister: Lister, agreed: Mapping[CloudPath, Agreed], marks: Mapping[CloudPath, Etag]) -> None:
        self._lister = lister
        self._agreed = agreed
        self._marks = marks
        self._slots = asyncio.Semaphore(READERS)
        self._walked = Walked()

    async def walk(self) -> Walked:
        """Raises :class:`CloudError`, also where the folder itself is gone."""
        try:
            top, *below = await self._listed(TOP)
        except StaleError as error:
            raise GoneError(
                "the folder is not in the account any more", hint="was it renamed, or no longer shared with you?"
            ) from error
        if top.remote.refusal:
            raise unfit(top.remote.refusal)
        if not below and await self._is_away(TOP):
            raise AwayError(AWAY, hint="it is tried again")
        self._walked.root_id, self._walked.fingerprint = top.whole_id, top.fingerprint
        self._walked.folders[TOP] = top.remote.etag
        if self._marks.get(TOP) == top.remote.etag:
            self._take_agreed(TOP)
        else:
            try:
                await self._take(below)
            except ExceptionGroup as errors:
                raise _first(errors) from errors
        return self._walked

    async def _listed(self, path: CloudPath) -> list[Found]:
        async with self._slots:
            found = await self._lister.listing(path, 1)
        # The folder itself comes first, whatever order a server has.
        return sorted(found, key=lambda one: one.path != path)

    async def _take(self, listed: list[Found]) -> None:
        async with asyncio.TaskGroup() as group:
            for one in listed:
                why = one.remote.refusal or _refusal(one.path)
                if why:
                    self._walked.refused[one.path] = why
                    continue
                self._walked.found[one.path] = one.remote
                if one.remote.is_directory:
                    self._walked.folders[one.path] = one.remote.etag
                    if self._marks.get(one.path) == one.remote.etag:
                        self._take_agreed(one.path)
                    else:
                        group.create_task(self._descend(one.path))

    async def _descend(self, path: CloudPath) -> None:
        try:
            _, *below = await self._listed(path)
        except StaleError:
            # It went while we walked; its parent's etag says so to the next walk.
            return
        except AwayError as error:
            self._leave_out(path, error.message)
            return
        if not below and await self._is_away(path):
            self._leave_out(path, AWAY)
            return
        await self._take(below)

    async def _is_away(self, path: CloudPath) -> bool:
        """Whether a folder that is listed without anything in it is not empty: its storage is away (seen on 32.0.1).

        What was in it when both sides last agreed is then not gone (404): it cannot be looked at (503). Nothing but the
        first is proof of a deletion.
        """
        known = self._a_child.get(path)
        if known is None:
            return False
        try:
            with contextlib.suppress(AwayError, RefusedError):
                await self._lister.listing(known, 0)
        except StaleError:
            return False
        return True

    @functools.cached_property
    def _a_child(self) -> Mapping[CloudPath, CloudPath]:
        """Of each folder with something agreed in it, one of these."""
        return {parent(path): path for path in self._agreed}

    def _leave_out(self, path: CloudPath, why: str) -> None:
        del self._walked.found[path], self._walked.folders[path]
        self._walked.refused[path] = why

    def _take_agreed(self, path: CloudPath) -> None:
        for inside, one in self._agreed.items():
            if is_below(inside, path) and inside != path:
                self._walked.found[inside] = Remote(
                    one.is_directory,
                    one.fileid,
                    one.etag,
                    one.local.size,
                    one.local.mtime_s,
                    one.permissions,
                )
                if one.is_directory and inside in self._marks:
                    self._walked.folders[inside] = self._marks[inside]


def unfit(why: str) -> CloudError:
    """The folder that is mirrored has become one that cannot be."""
    return CloudError(f"the folder cannot be mirrored any more: {why}", hint="harp leave NAME: its files stay here")


def _first(errors: ExceptionGroup[Exception]) -> Exception:
    """One error of the many that the folders below one another raised together."""
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, ExceptionGroup) else first


def _refusal(path: CloudPath) -> str:
    try:
        names.check(Path(path.encode()))
    except RemoteProtocolError as error:
        return f"{error.message.replace('a peer named', 'it has')}"
    return ""
