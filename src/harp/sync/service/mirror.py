# SPDX-License-Identifier: AGPL-3.0-or-later
"""One round between a folder's disk and an account: look at both, plan, act, note what is agreed.

A round that is cut off anywhere loses nothing: what was done and not noted is found to be the same by the next one.
"""

import asyncio
import os
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import groupby
from typing import TypeVar

from harp.base.errors import FolderError, StaleError
from harp.base.runtime import Backoff
from harp.sync.cloud import doubts, mounts
from harp.sync.cloud import plan as planner
from harp.sync.cloud.capabilities import Capabilities
from harp.sync.cloud.claims import Claim
from harp.sync.cloud.dav import Dav
from harp.sync.cloud.extent import Extent, extent
from harp.sync.cloud.nodes import (
    Agreed,
    CloudPath,
    Etag,
    FileId,
    Local,
    Remote,
    agreed_on,
    ancestors,
    conflict_name,
    is_below,
    parent,
)
from harp.sync.cloud.refusals import AwayError, BusyError, FullError, RefusedError
from harp.sync.cloud.steps import (
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
from harp.sync.service.mirrordisk import DeniedError, MirrorDisk
from harp.sync.service.mirrorhere import Here
from harp.sync.service.mirrornear import Near
from harp.sync.service.mirrornotes import Notes
from harp.sync.service.mirrorpost import BULK_WRITERS, Batch, Post
from harp.sync.service.mirrorrenames import HALF_S, Renames
from harp.sync.service.mirrorrivals import Rivals
from harp.sync.service.mirrorwalk import TOP, Walk, Walked, knock
from harp.sync.store.agreements import Agreements

_T = TypeVar("_T")
_Work = Callable[[], Awaitable[None]]
WRITERS = 4
"""Requests at once. More in one folder meet in the server's database and wait for one another there."""
MOST_TURNS = 6
SECOND_LOOK_S = 3.0
"""The folder's guard weighs a burst of deletions for two seconds at most; while it holds one, no round is begun."""
KNOCK_S = 300.0
"""How often what lies on other servers is asked for: Nextcloud asks there each time."""
TRIES = 4
"""Of one step, where the server asks for patience; then the round ends, or goes on without that file."""
LONGEST_WAIT_S = 30.0


class Mirror:
    """The folder of one disk and the folder of one account. Its methods belong to one event loop."""

    def __init__(
        self, dav: Dav, disk: MirrorDisk, agreements: Agreements, near: Near | None = None, rivals: Rivals | None = None
    ) -> None:
        self._dav = dav
        self._disk = disk
        self._near = near
        self._rivals = rivals
        self._store = agreements
        self._notes = Notes(agreements)
        self._post = Post(dav, disk, self._notes, agreements)
        self._here = Here(dav, disk, self.agreed)
        self._marks = {CloudPath(path): Etag(etag) for path, etag in agreements.marks().items()}
        self.problems: dict[CloudPath, str] = {}
        """What could not be synced in the last round, file by file."""
        self.question = ""
        """What a person has to decide before anything goes on; see :meth:`answer`."""
        self._may_follow = False
        self.extent = Extent()
        """Which folders of which server it keeps."""
        self.again_s = float("inf")
        """After how long another round is due, whatever happens until then."""
        self._renames = Renames(disk, self._notes)
        self._walked_s = 0.0
        """When the last walk began (s, by the server's clock)."""
        self._missed: set[CloudPath] = set()
        """What the last walk did not find any more."""
        self._exodus_s: float | None = None
        """Since when (monotonic, s) many files are gone from the disk that the account still has."""
        self._knocked_s = float("-inf")
        self._is_stale = False
        self._seen = Etag("")
        """The etag that the account's folder had at the last walk."""
        self._unmovable: set[CloudPath] = set()
        """Targets of renames that the account refused: they go as new files, and the old ones as removed."""
        self._made: set[CloudPath] = set()
        """Folders of the account that this run has made, and in which nobody else has been at work since."""
        self._steps = 0
        self.backoff = Backoff(first_s=0.5, most_s=LONGEST_WAIT_S)

    @property
    def agreed(self) -> Mapping[CloudPath, Agreed]:
        """What both sides had when they last were the same, path by path."""
        return self._notes.agreed

    @property
    def rivals(self) -> tuple[Claim, ...]:
        """Who else mirrors the same files; nothing is lost by it, but much is done twice."""
        return () if self._rivals is None else self._rivals.found

    @property
    def skew_s(self) -> float:
        """How far the server's clock is ahead of this device's."""
        return self._dav.skew_s

    # --- a round ------------------------------------------------------------------------------------------------------

    async def settle(self, *, only_news: bool = False) -> int:
        """Rounds until nothing is left to do but what ``problems`` names; how many steps were taken.

        With ``only_news`` the disk is not looked at where the account is as it was at the last walk. Raises
        :class:`CloudError`, :class:`FolderError`, :class:`StoreError`; nothing is lost then, it may be called again.
        """
        if self._rivals is not None:
            await self._rivals.look()
        if time.monotonic() - self._knocked_s >= KNOCK_S:
            self._knocked_s = time.monotonic()
            await knock(self._dav, self.agreed)
        steps = 0
        self._unmovable = set()
        for _ in range(MOST_TURNS):
            taken = await self._turn(only_news=only_news and not steps)
            steps += taken
            if self.question or not (taken or self._is_stale):
                break
        return steps

    def heard_bridge(self) -> None:
        """Nextcloud's app has said that something changed."""
        self._dav.heard_bridge()

    async def make_top(self) -> None:
        """Makes the account's folder where it is gone. Raises :class:`CloudError`."""
        await self._dav.make_folder(TOP)

    async def answer(self, how: str, *, now: datetime) -> None:
        """``merge``: put both sides together, nothing is removed; ``follow``: do here what happened there."""
        if how == "merge":
            self._marks = {}
            await self._notes.clear()
        self._may_follow = how == "follow"
        await asyncio.to_thread(self._store.set_facts, [("fingerprint", ""), ("root", ""), ("answered", f"{now}")])
        self.question = ""

    async def _turn(self, *, only_news: bool) -> int:
        self._is_stale = False
        self._steps = 0
        if not await asyncio.to_thread(self._disk.is_there):
            raise FolderError("the folder's marker is gone from the disk", hint="is its disk mounted?")
        await self._follow_rules()
        begun_s = time.time()
        walked = await Walk(self._dav, self.agreed, self._marks).walk()
        self._walked_s = begun_s + self._dav.skew_s
        if only_news and walked.folders[TOP] == self._seen:
            return 0
        self.extent = extent(walked.root_id, self._dav.instance, walked.found)
        self._seen = walked.folders[TOP]
        self.problems = {}
        local = await asyncio.to_thread(self._disk.scan)
        rules = await self._dav.capabilities()
        self.problems |= walked.refused | self._disk.refused
        self.problems |= planner.unnameable(local, walked.found, rules.refusal)
        left_out = self._disk.left_out | {local[path].inode for path in self.problems if path in local}
        self.problems |= planner.renamed_out(self.agreed, local, left_out)
        remote = {path: one for path, one in walked.found.items() if not self._disk.ignores(path, one.is_directory)}
        self.problems |= mounts.lost(self.agreed, local, remote, self.problems.keys())
        halves = await self._renames.recognise(local, remote, now=time.monotonic())
        self.again_s = HALF_S if halves else float("inf")
        agreed = self._notes.agreed
        strange = planner.differing(agreed, remote)
        self._made = {path for path in self._made if path in remote} - {parent(path) for path in strange}
        if out := (*self.problems, *halves):
            local, remote, agreed = _without(local, out), _without(remote, out), _without(agreed, out)
        self._notes.learn(remote)
        self._here = Here(self._dav, self._disk, self.agreed)
        chosen = self._without_haste(planner.plan(agreed, local, remote, self._unmovable), now=time.monotonic())
        chosen = await self._without_missed(walked, chosen)
        self.question = await self._doubt(walked, remote, chosen)
        if self.question:
            return 0
        try:
            await self._act(chosen, rules)
        finally:
            await self._notes.keep()
            await asyncio.to_thread(self._disk.settle)
        self._may_follow = False
        await self._keep(walked, [*strange, *_paths(chosen), *self.problems])
        return self._steps

    async def _follow_rules(self) -> None:
        """What other rules left out is in no mark of a folder: with new ones all of it is looked at again."""
        rules = self._disk.rules_digest.hex()
        if rules != await asyncio.to_thread(self._store.fact, "rules"):
            self._marks, self._seen = {}, Etag("")
            await asyncio.to_thread(self._store.mark, {})
            await asyncio.to_thread(self._store.set_facts, [("rules", rules)])

    def _without_haste(self, chosen: Plan, *, now: float) -> Plan:
        """Many deletions on this disk are done in the account a moment later: the folder's guard sees them first."""
        if not doubts.is_exodus(chosen.removals):
            self._exodus_s = None
            return chosen
        self._exodus_s = now if self._exodus_s is None else self._exodus_s
        if now - self._exodus_s >= SECOND_LOOK_S:
            return chosen
        self.again_s = min(self.again_s, SECOND_LOOK_S)
        return replace(chosen, removals=tuple(one for one in chosen.removals if isinstance(one, RemoveLocal)))

    async def _without_missed(self, walked: Walked, chosen: Plan) -> Plan:
        """A walk misses what is moved meanwhile to where it has been: only what the next one misses too is gone."""
        gone = {one.path for one in chosen.removals if isinstance(one, RemoveLocal)}
        missed, self._missed = gone - self._missed, gone
        if not missed or (await self._dav.listing(TOP, 0))[0].remote.etag == walked.folders[TOP]:
            return chosen
        self._is_stale = True
        kept = (one for one in chosen.removals if not isinstance(one, RemoveLocal) or one.path not in missed)
        return replace(chosen, removals=tuple(kept))

    async def _doubt(self, walked: Walked, remote: dict[CloudPath, Remote], chosen: Plan) -> str:
        """Why this is not done unasked: the server went back in time, or nearly all is gone from it."""
        known_root, known_print = await asyncio.to_thread(
            lambda: (self._store.fact("root"), self._store.fact("fingerprint"))
        )
        etags = walked.folder_etags()
        why = ""
        if not self._may_follow and self.agreed:
            if known_root and known_root != walked.root_id:
                why = "the folder in the account is another one than before"
            elif known_print and known_print != (walked.fingerprint or "none"):
                why = "its administrator brought Nextcloud back from a backup"
            elif doubts.takes_from_disk(chosen) and (again := await asyncio.to_thread(self._store.came_again, etags)):
                why = f"Nextcloud went back in time: {len(again)} folders are as they were once before"
            else:
                why = doubts.looks_restored(self.agreed, remote, abs(self.skew_s))
                why = why or doubts.looks_emptied(self.agreed, chosen.removals)
        if why:
            return why
        await asyncio.to_thread(self._store.saw, etags)
        facts = [("root", walked.root_id), ("fingerprint", walked.fingerprint or "none")]
        if (known_root, known_print) != (facts[0][1], facts[1][1]):
            await asyncio.to_thread(self._store.set_facts, facts)
        return ""

    async def _keep(self, walked: Walked, unsettled: list[CloudPath]) -> None:
        marks = planner.folder_marks(walked.folders, unsettled, self.agreed)
        if marks != self._marks:
            self._marks = marks
            await asyncio.to_thread(self._store.mark, {str(path): str(etag) for path, etag in marks.items()})

    # --- acting -------------------------------------------------------------------------------------------------------

    async def _act(self, chosen: Plan, rules: Capabilities) -> None:
        for move in chosen.moves:
            await self._tried(move)
        for _, level in groupby(chosen.makes, key=lambda make: make.path.count("/")):
            await self._all(deque[_Work](partial(self._tried, make) for make in level), deque())
        await self._notes.keep()
        if not chosen.moves:
            await self._post.chunked.sweep([one.path for one in chosen.files if isinstance(one, Upload | Reconcile)])
        batches, rest = self._post.parted(chosen.files, self._made, rules, now=time.monotonic())
        many = deque[_Work](partial(self._bulk, batch) for batch in batches)
        await self._all(deque[_Work](partial(self._tried, one) for one in rest), many)
        removals = deque[_Work](partial(self._tried, one) for one in chosen.removals if not _is_directory(one))
        await self._all(removals, deque())
        for removal in chosen.removals:
            if _is_directory(removal):
                await self._tried(removal)

    async def _all(self, single: deque[_Work], many: deque[_Work]) -> None:
        """All of it, some at once, and of the ``many`` fewer; the first error that is not about one file ends it."""

        async def worker(*queues: deque[_Work]) -> None:
            for queue in queues:
                while queue:
                    await queue.popleft()()
                    await self._notes.keep_some()

        try:
            async with asyncio.TaskGroup() as group:
                for number in range(WRITERS):
                    group.create_task(worker(many, single) if number < BULK_WRITERS else worker(single))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors

    async def _bulk(self, batch: Batch) -> None:
        left = await self._patiently(partial(self._post.bulk, batch, now=time.monotonic()))
        self._steps += len(batch.uploads) - len(left)
        for one in left:
            await self._tried(one)

    async def _tried(self, step: Action) -> None:
        path = step.target if isinstance(step, MoveLocal | MoveRemote) else step.path
        above = next((self.problems[one] for one in ancestors(path) if one in self.problems), "")
        if above:
            self.problems[path] = above
            return
        try:
            await self._patiently(partial(self._do, step))
            self._steps += not isinstance(step, Forget | Agree | Refuse)
        except StaleError:
            self._is_stale = True
        except RefusedError as error:
            if isinstance(step, MoveRemote):
                self._unmovable.add(path)
                self._is_stale = True
            else:
                self.problems[path] = error.message
        except (FullError, DeniedError) as error:
            self.problems[path] = error.message
        except BusyError as error:
            if not error.is_one_file:
                raise
            self.problems[path] = error.message

    async def _patiently(self, work: Callable[[], Awaitable[_T]]) -> _T:
        """Tries again, a few times, what is locked or where the server asks for patience."""
        for tries in range(1, TRIES):
            try:
                return await work()
            except BusyError as error:
                if error.after_s > LONGEST_WAIT_S or isinstance(error, AwayError):
                    raise
                await asyncio.sleep(max(error.after_s, self.backoff.delay_s(tries, jitter=random.random())))  # noqa: S311
        return await work()

    async def _do(self, step: Action) -> None:  # noqa: C901 - one line a kind of step
        match step:
            case MoveRemote(source, target, remote):
                await self._dav.move(source, target, remote)
                self._notes.rename(source, target)
            case MoveLocal(source, target, local):
                await asyncio.to_thread(self._disk.move, source, target, local)
                self._notes.rename(source, target)
            case MakeRemote(path):
                if await self._dav.make_folder(path):
                    self._made.add(path)
                    await self._made_on_both(path)
            case MakeLocal(path):
                await asyncio.to_thread(self._disk.make_directory, path)
                await self._made_on_both(path)
            case Upload(path, local, over):
                self._is_stale |= not await self._post.upload(path, local, over, seen_s=self._walked_s)
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
                self._notes.note(path, None)
            case RemoveLocal(path, local):
                await asyncio.to_thread(self._disk.remove, path, local)
                self._notes.note(path, None)
            case Agree(path, local, remote):
                self._notes.note(path, agreed_on(local, remote))
            case Forget(path):
                self._notes.note(path, None)
            case Refuse(path, why):
                self.problems[path] = why

    async def _made_on_both(self, path: CloudPath) -> None:
        """A directory that one side loses before the next look is known, and removed; its number is learned then."""
        local = await asyncio.to_thread(self._disk.look, path)
        if local is not None and local.is_directory:
            self._notes.note(path, Agreed(local, FileId(""), Etag("")))

    async def _fetched(self, path: CloudPath, remote: Remote) -> tuple[bytes, str]:
        name, target = await asyncio.to_thread(self._disk.temporary)
        try:
            with target:
                sha256 = await self._near.read(path, remote, target) if self._near else ""
                sha256 = sha256 or await self._here.read(path, remote, target)
                sha256 = sha256 or await self._dav.get(path, remote, target)
                await asyncio.to_thread(_to_disk, target.fileno(), target.flush)
        except BaseException as error:
            await asyncio.shield(asyncio.to_thread(self._disk.drop, name))
            if isinstance(error, OSError):
                raise FolderError(f"{path} cannot be written here: {error.strerror}", hint="see the disk") from error
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
        self._notes.note(path, agreed_on(local, remote, sha256))

    async def _reconcile(self, path: CloudPath, local: Local, remote: Remote) -> None:
        if self._post.chunked.has_written(path, local, remote):
            self._notes.note(path, agreed_on(local, remote, self._post.chunked.sha256(path)))
            return
        if sha256 := await self._here.has(path, local, remote):
            self._notes.note(path, agreed_on(local, remote, sha256))
            return
        name, sha256 = await self._fetched(path, remote)
        try:
            is_same = local.size == remote.size and await asyncio.to_thread(self._disk.sha256, path, local) == sha256
            if not is_same:
                await self._set_aside(path, local)
        except BaseException:
            await asyncio.shield(asyncio.to_thread(self._disk.drop, name))
            raise
        if is_same:
            await asyncio.to_thread(self._disk.drop, name)
            self._notes.note(path, agreed_on(local, remote, sha256))
        else:
            await self._placed(name, path, remote, None, sha256)

    async def _set_aside(self, path: CloudPath, local: Local) -> None:
        aside = _aside(path, local.mtime_s, await asyncio.to_thread(self._disk.sha256, path, local))
        await asyncio.to_thread(self._disk.move, path, aside, local)
        self._notes.note(path, None)
        self._is_stale |= not await self._post.upload(aside, local, None, seen_s=self._walked_s)


def _aside(path: CloudPath, mtime_s: int, digits: str) -> CloudPath:
    when = datetime.fromtimestamp(max(mtime_s, 0), UTC)
    return conflict_name(path, f"{when:%Y-%m-%d %H%M%S}Z", digits)


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
