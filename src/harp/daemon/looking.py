# SPDX-License-Identifier: AGPL-3.0-or-later
"""Answers what people ask who look around: files, changes, contents, traffic, the log, and what is new meanwhile."""

import asyncio
import base64
import contextlib
import datetime as dt
import functools
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, TypeVar

from harp.base.errors import FolderError, UsageError
from harp.bridge import browsing, model, naming
from harp.daemon import portraits
from harp.sync.model import FolderId, Kind
from harp.sync.model import Path as FolderPath
from harp.sync.service import leaving
from harp.sync.service.browse import Browse, Found
from harp.sync.service.folderloop import FolderLoop

if TYPE_CHECKING:
    from harp.daemon.composition import Daemon

T = TypeVar("T")
LOOK_S, QUIET_S = 1.0, 2.0
"""How often what has changed is looked for while somebody listens; the second where nothing has for STIR_S."""
STIR_S = 10.0
SAY_S = 15.0
"""How long a listener is left without a line."""
FLOWS = 2048.0
"""Bytes a second above which a link carries more than its own upkeep."""


class Looking:
    """Implements :class:`harp.bridge.browsing.Browsing`; on the daemon's event loop."""

    def __init__(self, daemon: "Daemon") -> None:
        self._daemon = daemon

    async def events(self) -> AsyncIterator[browsing.Event]:
        number, said_s, moved_s = 0, float("-inf"), time.monotonic()
        folders: dict[FolderId, object] = {}
        peers: object = None
        while True:
            now_folders, now_peers = await self._folder_marks(folders), self._peer_marks()
            changed = [id_.hex() for id_ in now_folders.keys() | folders.keys() if _differ(now_folders, folders, id_)]
            is_due = time.monotonic() - said_s >= SAY_S
            if changed or now_peers != peers or is_due:
                yield browsing.Event(number=number, at=time.time(), folders=sorted(changed), peers=now_peers != peers)
                number, said_s = number + 1, time.monotonic()
            moved_s = time.monotonic() if changed or now_peers != peers else moved_s
            folders, peers = now_folders, now_peers
            # Where nothing happens, looking is all that an open page costs.
            await asyncio.sleep(LOOK_S if time.monotonic() - moved_s < STIR_S else QUIET_S)

    async def _folder_marks(self, before: dict[FolderId, object]) -> dict[FolderId, object]:
        """What is another one whenever a folder's status is."""
        marks: dict[FolderId, object] = {id_: str(trouble) for id_, trouble in self._daemon.troubles.items()}
        for loop in self._daemon.hub.loops():
            id_ = loop.replica.folder
            marks[id_] = before.get(id_)
            # A folder that is busy for a while is looked at the next time.
            with contextlib.suppress(TimeoutError, FolderError):
                async with asyncio.timeout(LOOK_S):
                    own = await self._on(loop, functools.partial(_mark, loop))
                marks[id_] = (own, self._daemon.mirrors.mark(id_))
        return marks

    def _peer_marks(self) -> object:
        found = []
        for peer in self._daemon.hub.peers():
            rate_in, rate_out = peer.rates()
            flows = rate_in > FLOWS or rate_out > FLOWS
            found.append((peer.device, peer.reach, (rate_in, rate_out) if flows else None))
        return sorted(found, key=lambda one: one[0])

    async def traffic(self, days: int) -> browsing.TrafficDays:
        today = dt.date.today()  # noqa: DTZ011 - a day as the people here have it
        first = (today - dt.timedelta(days=days - 1)).isoformat()
        content = self._daemon.hub.content
        known = [model.CarriedDay(day=day, **carried._asdict()) for day, carried in content.days(days) if day >= first]
        return browsing.TrafficDays(today=today.isoformat(), days=known)

    async def changes(self, folder: str, limit: int) -> list[model.Version]:
        loop = self._loop(folder)
        found = await self._on(loop, lambda: Browse(loop.replica).changes(limit))
        return [portraits.version(loop, one) for one in found]

    async def files(
        self, folder: str, under: bytes, find: str, after: bytes, limit: int, deleted: bool
    ) -> browsing.FileList:
        loop = self._loop(folder)
        browse, below, behind = Browse(loop.replica), FolderPath(under.strip(b"/")), FolderPath(after)
        text = find.encode("utf-8", "surrogateescape")

        def look() -> list[Found]:
            # One more than was asked for tells whether there are more.
            if text:
                return browse.found(text, below, behind, limit + 1)
            return browse.within(below, behind, limit + 1, deleted=deleted)

        found = await self._on(loop, look)
        return browsing.FileList(files=[_file(loop, one) for one in found[:limit]], has_more=len(found) > limit)

    async def content(self, folder: str, path: bytes, entry: str, offset: int, length: int) -> browsing.Content:
        loop = self._loop(folder)
        piece = await self._on(loop, lambda: Browse(loop.replica).content(FolderPath(path), entry, offset, length))
        return browsing.Content(
            entry=piece.entry.id.hex(),
            size=piece.entry.meta.size,
            offset=offset,
            data_b64=base64.b64encode(piece.data).decode(),
        )

    async def left_out(self, folder: str) -> browsing.LeftOut:
        loop = self._loop(folder)
        found = await self._on(loop, lambda: leaving.left_out(loop.replica.root))
        try:
            shared, local = found.shared.decode(), found.local.decode()
        except UnicodeDecodeError:
            shared, local = found.shared.decode("utf-8", "replace"), found.local.decode("utf-8", "replace")
        is_exact = (shared.encode(), local.encode()) == (found.shared, found.local)
        problems = [naming.printable(problem) for problem in found.problems]
        return browsing.LeftOut(shared=shared, local=local, problems=problems, is_exact=is_exact)

    async def leave_out(self, folder: str, shared: str | None, local: str | None) -> browsing.LeftOut:
        loop = self._loop(folder)
        new = [None if text is None else text.encode("utf-8", "surrogatepass") for text in (shared, local)]
        await self._on(loop, lambda: leaving.leave_out(loop.replica.root, shared=new[0], local=new[1]))
        return await self.left_out(folder)

    async def log(self, lines: int) -> list[browsing.LogLine]:
        return [
            browsing.LogLine(at=line.at, level=line.level, text=naming.printable(line.text))
            for line in self._daemon.logbook.lines(lines)
        ]

    async def console_link(self) -> browsing.ConsoleLink:
        console = self._daemon.console
        if console is None:
            raise UsageError(
                "the console is turned off", hint="harp config set console 127.0.0.1:8785, then start anew"
            )
        link = console.link()
        return browsing.ConsoleLink(address=console.address, link=link.url, expires_at=link.expires_at)

    async def console_guest(self, guest: browsing.GuestAsked) -> browsing.GuestPass:
        if self._daemon.from_nextcloud is None:
            raise UsageError(
                "this daemon is no External App", hint="harp config set websocket 127.0.0.1:8786, then start anew"
            )
        made = self._daemon.guests.welcome(
            guest.user, may_all=guest.is_admin, folders=guest.folders, entry=guest.entry, now=time.time()
        )
        return browsing.GuestPass(until=made.until)

    def _loop(self, folder: str) -> FolderLoop:
        id_ = FolderId(bytes.fromhex(folder))
        loop = self._daemon.hub.loop(id_)
        if loop is None:
            trouble = self._daemon.troubles.get(id_)
            raise trouble if trouble is not None else FolderError("this folder is not open")
        return loop

    async def _on(self, loop: FolderLoop, what: Callable[[], T]) -> T:
        return await asyncio.wrap_future(loop.call(what))


def _differ(now: dict[FolderId, object], before: dict[FolderId, object], folder: FolderId) -> bool:
    return folder not in now or folder not in before or now[folder] != before[folder]


def _mark(loop: FolderLoop) -> object:
    """On the folder's thread."""
    correspondents = loop.exchange.correspondents()
    return (
        loop.trouble,
        loop.is_paused,
        loop.observer.is_scanning,
        loop.is_idle,
        loop.held,
        loop.applier.waiting,
        loop.courier.needed_bytes,
        loop.replica.ledger.merged,
        len(loop.replica.membership.members),
        len(loop.observer.notes),
        tuple(sorted((known.waiting, known.has_spoken) for known in correspondents)),
    )


def _file(loop: FolderLoop, found: Found) -> browsing.FileFact:
    """One row of a list."""
    place, meta = found.place, found.entry.meta
    member = loop.replica.membership.members.get(meta.author)
    return browsing.FileFact(
        **naming.path_fields(place.path),
        kind=meta.kind.name.lower() if place.lives else Kind.TOMBSTONE.name.lower(),
        size=meta.size,
        at=portraits.wall_s(found.entry),
        author_name=naming.printable(member.name) if member is not None else "",
        is_here=place.on_disk is not None,
        is_conflict=found.is_conflict,
        problem=naming.printable(place.problem or ""),
    )
