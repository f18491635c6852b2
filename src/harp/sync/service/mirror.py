# SPDX-License-Identifier: AGPL-3.0-or-later
"""One round between a folder's disk and an account: look at both, plan, act, note what is agreed.

A round that is cut off anywhere loses nothing: what was done and not noted is found to be the same by the next one.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

from harp.base.errors import FolderError, StaleError
from harp.sync.cloud import plan as planner
from harp.sync.cloud.dav import BulkFile, BusyError, Dav, FullError, RefusedError
from harp.sync.cloud.nodes import Agreed, CloudPath, Etag, FileId, Local, Remote, is_below, parent
from harp.sync.cloud.plan import (
    Action,
    Agree,
    Download,
    Forget,
    MakeLocal,
    MakeRemote,
    MoveLocal,
    MoveRemote,
    Plan,
    Reconcile,
    Refuse,
    RemoveLocal,
    RemoveRemote,
    SetAside,
    SetAsideRemote,
    Upload,
)
from harp.sync.service.mirrordisk import MirrorDisk
from harp.sync.service.mirrorwalk import Walk, Walked
from harp.sync.store.agreements import Agreements, Row

_T = TypeVar("_T")
WRITERS = 3
"""Requests at once. More in one folder meet in the server's database and wait for one another there."""
BULK_WRITERS = 2
BULK_FILES = 100
BULK_BYTES = 8 * 1024 * 1024
SMALL_BYTES = 256 * 1024
MOST_TURNS = 6


class Mirror:
    """The folder of one disk and the folder of one account. Its methods belong to one event loop."""

    def __init__(self, dav: Dav, disk: MirrorDisk, agreements: Agreements) -> None:
        self._dav = dav
        self._disk = disk
        self._store = agreements
        self.agreed = {CloudPath(path): _agreed(row) for path, row in agreements.rows().items()}
        self._marks = {CloudPath(path): Etag(etag) for path, etag in agreements.marks().items()}
        self.problems: dict[CloudPath, str] = {}
        """What could not be synced in the last round, file by file."""
        self.question = ""
        """What a person has to decide before anything goes on; see :meth:`answer`."""
        self._may_follow = False
        self._is_stale = False
        self._made: set[CloudPath] = set()
        self._changed: dict[CloudPath, Agreed | None] = {}

    # --- a round ------------------------------------------------------------------------------------------------------

    async def settle(self) -> int:
        """Rounds until nothing is left to do but what ``problems`` names; how many steps were taken.

        Raises :class:`CloudError`, :class:`FolderError`, :class:`StoreError`; then nothing is lost, and it may be
        called again.
        """
        steps = 0
        for _ in range(MOST_TURNS):
            taken = await self._turn()
            steps += taken
            if self.question or not (taken or self._is_stale):
                break
        return steps

    async def answer(self, how: str, *, now: datetime) -> None:
        """``merge``: put both sides together, nothing is removed; ``follow``: do here what happened there."""
        if how == "merge":
            self.agreed, self._marks = {}, {}
            await asyncio.to_thread(self._store.clear)
        self._may_follow = how == "follow"
        await asyncio.to_thread(self._store.set_facts, [("fingerprint", ""), ("root", ""), ("answered", f"{now}")])
        self.question = ""

    async def _turn(self) -> int:
        self._is_stale = False
        self.problems = {}
        self._made = set()
        if not await asyncio.to_thread(self._disk.is_there):
            raise FolderError("the folder's marker is gone from the disk", hint="is its disk mounted?")
        walked = await Walk(self._dav, self.agreed, self._marks).walk()
        local = await asyncio.to_thread(self._disk.scan)
        self.problems |= walked.refused | self._disk.refused
        agreed = self.agreed
        out = tuple(self.problems)
        remote = {path: one for path, one in walked.found.items() if not self._disk.ignores(path, one.is_directory)}
        if out:
            local, remote, agreed = _without(local, out), _without(remote, out), _without(agreed, out)
        chosen = planner.plan(agreed, local, remote)
        self.question = await self._doubt(walked, remote, chosen)
        if self.question:
            return 0
        taken = await self._act(chosen)
        self._may_follow = False
        await self._keep(walked, chosen)
        return taken

    async def _doubt(self, walked: Walked, remote: dict[CloudPath, Remote], chosen: Plan) -> str:
        """Why this is not done unasked: the server went back in time, or nearly all is gone from it."""
        known_root, known_print = await asyncio.to_thread(
            lambda: (self._store.fact("root"), self._store.fact("fingerprint"))
        )
        why = ""
        if not self._may_follow and self.agreed:
            if known_root and known_root != walked.root_id:
                why = "the folder in the account is another one than before"
            elif known_print and known_print != (walked.fingerprint or "none"):
                why = "its administrator brought Nextcloud back from a backup"
            else:
                why = planner.looks_restored(self.agreed, remote) or planner.looks_emptied(self.agreed, chosen.removals)
        if why:
            return why
        facts = [("root", walked.root_id), ("fingerprint", walked.fingerprint or "none")]
        if (known_root, known_print) != (facts[0][1], facts[1][1]):
            await asyncio.to_thread(self._store.set_facts, facts)
        return ""

    async def _keep(self, walked: Walked, chosen: Plan) -> None:
        await self._flush()
        unsettled = [*(_paths(chosen)), *self.problems]
        marks = planner.folder_marks(walked.folders, unsettled, self.agreed)
        if marks != self._marks:
            self._marks = marks
            await asyncio.to_thread(self._store.mark, {str(path): str(etag) for path, etag in marks.items()})

    async def _flush(self) -> None:
        changed, self._changed = self._changed, {}
        if changed:
            await asyncio.to_thread(
                self._store.note, {path: None if one is None else _row(one) for path, one in changed.items()}
            )

    def _note(self, path: CloudPath, one: Agreed | None) -> None:
        if one is None:
            self.agreed.pop(path, None)
        else:
            self.agreed[path] = one
        self._changed[path] = one

    # --- acting -------------------------------------------------------------------------------------------------------

    async def _act(self, chosen: Plan) -> int:
        for step in (*chosen.moves, *chosen.makes):
            await self._tried(step)
        await self._flush()
        rest = await self._in_bulk(chosen.files)
        await self._all([partial(self._tried, one) for one in rest], WRITERS)
        files = [one for one in chosen.removals if not _is_directory(one)]
        await self._all([partial(self._tried, one) for one in files], WRITERS)
        for removal in chosen.removals:
            if _is_directory(removal):
                await self._tried(removal)
        quiet = sum(isinstance(one, Forget | Agree | Refuse) for one in chosen.files)
        return len(_paths(chosen)) - quiet - len(self.problems)

    async def _all(self, work: Sequence[Callable[[], Awaitable[None]]], most: int) -> None:
        """All of it, so many at once; the first error that is not about one file ends it."""
        queue = list(reversed(work))

        async def worker() -> None:
            while queue:
                await queue.pop()()

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(most, len(queue))):
                    group.create_task(worker())
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors

    async def _tried(self, step: Action) -> None:
        path = step.target if isinstance(step, MoveLocal | MoveRemote) else step.path
        try:
            await self._do(step)
        except StaleError:
            self._is_stale = True
        except (RefusedError, FullError) as error:
            self.problems[path] = error.message
        except BusyError as error:
            if not error.is_one_file:
                raise
            self.problems[path] = error.message

    async def _do(self, step: Action) -> None:  # noqa: C901 - one line a kind of step
        match step:
            case MoveRemote(source, target, remote):
                await self._dav.move(source, target, remote)
                self._rename(source, target)
            case MoveLocal(source, target, local):
                await asyncio.to_thread(self._disk.move, source, target, local)
                self._rename(source, target)
            case MakeRemote(path):
                if await self._dav.make_folder(path):
                    self._made.add(path)
            case MakeLocal(path):
                await asyncio.to_thread(self._disk.make_directory, path)
            case Upload(path, local, over):
                await self._upload(path, local, over)
            case Download(path, remote, over_local):
                await self._download(path, remote, over_local)
            case Reconcile(path, local, remote):
                await self._reconcile(path, local, remote)
            case SetAside(path, local):
                await self._set_aside(path, local)
            case SetAsideRemote(path, remote):
                await self._dav.move(path, _aside(path, remote.mtime_s, remote.etag), remote)
            case RemoveRemote(path, remote):
                await self._dav.delete(path, remote)
                self._note(path, None)
            case RemoveLocal(path, local):
                await asyncio.to_thread(self._disk.remove, path, local)
                self._note(path, None)
            case Agree(path, local, remote):
                self._note(path, Agreed(local, remote.fileid, remote.etag))
            case Forget(path):
                self._note(path, None)
            case Refuse(path, why):
                self.problems[path] = why

    def _rename(self, source: CloudPath, target: CloudPath) -> None:
        for path in [one for one in self.agreed if one == source or is_below(one, source)]:
            one = self.agreed[path]
            self._note(path, None)
            self._note(CloudPath(target + path[len(source) :]), one)

    async def _upload(self, path: CloudPath, local: Local, over: Remote | None) -> None:
        known = self.agreed.get(path)
        is_same_size = over is not None and known is not None and known.sha256 and local.size == known.local.size
        # A touched or rewritten file with the same bytes would be a version for nothing.
        if is_same_size and known is not None and await self._sha256(path, local) == known.sha256:
            self._note(path, Agreed(local, known.fileid, known.etag, known.sha256))
            return
        source = await asyncio.to_thread(self._disk.open, path, local)
        with source:
            written = await self._dav.put(path, source, local.size, local.mtime_ns // 1_000_000_000, over)
        # Where the disk moved on meanwhile, what went up is what `local` says, and the next turn sees the difference.
        sha256 = written.sha256 if await asyncio.to_thread(self._disk.look, path) == local else ""
        self._note(path, Agreed(local, written.fileid, written.etag, sha256))
        self._is_stale = self._is_stale or not sha256

    async def _sha256(self, path: CloudPath, local: Local) -> str:
        return await asyncio.to_thread(self._disk.sha256, path, local)

    async def _fetched(self, path: CloudPath, remote: Remote) -> tuple[bytes, str]:
        name, target = await asyncio.to_thread(self._disk.temporary)
        try:
            with target:
                sha256 = await self._dav.get(path, remote, target)
                await asyncio.to_thread(_to_disk, target.fileno(), target.flush)
        except BaseException:
            await asyncio.shield(asyncio.to_thread(self._disk.drop, name))
            raise
        return name, sha256

    async def _download(self, path: CloudPath, remote: Remote, over: Local | None) -> None:
        name, sha256 = await self._fetched(path, remote)
        await self._placed(name, path, remote, over, sha256)

    async def _placed(self, name: bytes, path: CloudPath, remote: Remote, over: Local | None, sha256: str) -> None:
        try:
            local = await asyncio.to_thread(self._disk.place, name, path, remote.mtime_s, over)
        except StaleError:
            await asyncio.to_thread(self._disk.drop, name)
            raise
        self._note(path, Agreed(local, remote.fileid, remote.etag, sha256))

    async def _reconcile(self, path: CloudPath, local: Local, remote: Remote) -> None:
        name, sha256 = await self._fetched(path, remote)
        try:
            is_same = local.size == remote.size and await self._sha256(path, local) == sha256
            if not is_same:
                await self._set_aside(path, local)
        except BaseException:
            await asyncio.shield(asyncio.to_thread(self._disk.drop, name))
            raise
        if is_same:
            await asyncio.to_thread(self._disk.drop, name)
            self._note(path, Agreed(local, remote.fileid, remote.etag, sha256))
        else:
            await self._placed(name, path, remote, None, sha256)

    async def _set_aside(self, path: CloudPath, local: Local) -> None:
        aside = _aside(path, local.mtime_ns // 1_000_000_000, await self._sha256(path, local))
        await asyncio.to_thread(self._disk.move, path, aside, local)
        self._note(path, None)
        await self._upload(aside, local, None)

    # --- many small files ---------------------------------------------------------------------------------------------

    async def _in_bulk(self, steps: Sequence[Action]) -> list[Action]:
        """Puts the small ones into folders that this turn made, where nothing can be overwritten; answers the rest."""
        small = [one for one in steps if isinstance(one, Upload) and self._is_for_bulk(one)]
        if len(small) < 3:
            return list(steps)
        groups = _grouped(small)
        taken: dict[CloudPath, tuple[Upload, Etag, str]] = {}

        async def send(group: list[Upload]) -> None:
            contents = await asyncio.to_thread(self._contents, group)
            files = [BulkFile(one.path, content, _seconds(one.local)) for one, (content, _) in contents.items()]
            told = await self._dav.bulk(files) if files else {}
            taken.update(
                {one.path: (one, told[one.path], sha) for one, (_, sha) in contents.items() if one.path in told}
            )

        await self._all([partial(send, group) for group in groups], BULK_WRITERS)
        await self._learn_numbers(taken)
        return [one for one in steps if not (isinstance(one, Upload) and one.path in taken)]

    def _is_for_bulk(self, one: Upload) -> bool:
        return one.over is None and parent(one.path) in self._made and one.local.size <= SMALL_BYTES

    def _contents(self, group: Iterable[Upload]) -> dict[Upload, tuple[bytes, str]]:
        """What is as expected on the disk; the rest waits for the next turn."""
        found: dict[Upload, tuple[bytes, str]] = {}
        for one in group:
            try:
                sha256 = self._disk.sha256(one.path, one.local)
                with self._disk.open(one.path, one.local) as source:
                    found[one] = (source.read(SMALL_BYTES + 1), sha256)
            except StaleError:
                self._is_stale = True
        return found

    async def _learn_numbers(self, taken: dict[CloudPath, tuple[Upload, Etag, str]]) -> None:
        """The bulk call tells etags alone; a listing tells the numbers, and that it is there."""
        for folder in sorted({parent(path) for path in taken}):
            for found in await self._dav.listing(folder, 1):
                path, remote = found.path, found.remote
                if path in taken and remote.etag == taken[path][1] and remote.size == taken[path][0].local.size:
                    self._note(path, Agreed(taken[path][0].local, remote.fileid, remote.etag, taken[path][2]))
        await self._flush()


def _grouped(small: list[Upload]) -> list[list[Upload]]:
    groups: list[list[Upload]] = [[]]
    size = 0
    for one in small:
        if len(groups[-1]) >= BULK_FILES or size + one.local.size > BULK_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(one)
        size += one.local.size
    return groups


def _aside(path: CloudPath, mtime_s: int, digits: str) -> CloudPath:
    when = datetime.fromtimestamp(max(mtime_s, 0), UTC)
    return planner.conflict_name(path, f"{when:%Y-%m-%d %H%M%S}Z", digits)


def _seconds(local: Local) -> int:
    return local.mtime_ns // 1_000_000_000


def _to_disk(fd: int, flush: Callable[[], None]) -> None:
    flush()
    os.fsync(fd)


def _is_directory(step: RemoveLocal | RemoveRemote) -> bool:
    return step.local.is_directory if isinstance(step, RemoveLocal) else step.remote.is_directory


def _paths(chosen: Plan) -> list[CloudPath]:
    paths: list[CloudPath] = []
    for step in (*chosen.moves, *chosen.makes, *chosen.files, *chosen.removals):
        paths += [step.source, step.target] if isinstance(step, MoveLocal | MoveRemote) else [step.path]
    return paths


def _without(tree: dict[CloudPath, _T], out: tuple[CloudPath, ...]) -> dict[CloudPath, _T]:
    return {path: one for path, one in tree.items() if not any(path == gone or is_below(path, gone) for gone in out)}


def _agreed(row: Row) -> Agreed:
    local = Local(row.is_directory, row.inode, row.size, row.mtime_ns)
    return Agreed(local, FileId(row.fileid), Etag(row.etag), row.sha256)


def _row(one: Agreed) -> Row:
    local = one.local
    return Row(local.is_directory, local.inode, local.size, local.mtime_ns, one.fileid, one.etag, one.sha256)
