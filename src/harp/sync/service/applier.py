# SPDX-License-Identifier: AGPL-3.0-or-later
"""Makes the disk show what history says: plan, get content, write, make durable, note it in the ledger."""

import itertools
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from harp.base.errors import FolderError, HarpError, RemoteProtocolError, StoreError
from harp.sync.engine import merge, planner
from harp.sync.engine.planner import Move
from harp.sync.folder.apply import Ready, Refused
from harp.sync.folder.staging import is_full
from harp.sync.model import (
    MIN_CHUNK,
    Action,
    Applied,
    Entry,
    FileKind,
    Outcome,
    Path,
    RootId,
    SetAttributes,
    Skipped,
    WriteFile,
    WriteSymlink,
)
from harp.sync.service.assembly import Assembly
from harp.sync.service.courier import Courier
from harp.sync.service.replica import Replica
from harp.sync.service.sentry import Sentry
from harp.sync.service.traces import Traces, with_applied
from harp.sync.store.places import JOURNALLED, PENDING, Place, with_disk

_log = logging.getLogger(__name__)

GROUP = 2000
"""Paths that are planned, written and made durable together, at most."""
GROUP_BYTES = 32 * 1024 * 1024
"""Small content that is written in one group, at most."""
FEW = 16
"""Up to this many files fsync of each is cheaper than syncfs of the whole disk."""
ROOM_BYTES = 16 * 1024 * 1024
"""The trash gives this much at least when the disk is full, so that not each file asks it anew."""
RETRY_S = 2.0
MAX_RETRY_S = 300.0


@dataclass(slots=True)
class _Plan:
    """One path's way to what it should show."""

    place: Place
    heads: list[Entry]
    actions: list[Action]
    failed: bool = False
    """Nothing of it is carried out in this turn."""
    roots: set[RootId] = field(default_factory=set)
    """The contents that it needs: what is here of them is kept until all are."""
    lacks: bool = False
    """Some of them are not here yet."""


@dataclass(slots=True)
class _Turn:
    """What one step carries out."""

    plans: list[_Plan] = field(default_factory=list)
    ready: list[Ready] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    assemblies: list[Assembly] = field(default_factory=list)
    contents: list[RootId] = field(default_factory=list)
    got: dict[int, Assembly | bytes] = field(default_factory=dict)
    """By the id of its action: content that is here, to be staged once all that its path needs is."""
    bytes: int = 0


class Applier:
    """The queue of paths whose disk has to follow. ``look`` sends a path to the observer."""

    def __init__(
        self, replica: Replica, courier: Courier, sentry: Sentry, look: Callable[[Iterable[Path]], None]
    ) -> None:
        self._replica = replica
        self._courier = courier
        self._sentry = sentry
        self._traces = Traces(replica)
        self._look = look
        self._work: OrderedDict[Path, Place] = OrderedDict()
        self._waiting: dict[Path, Place] = {}
        self._roots: dict[RootId, set[Path]] = {}
        self.awaits: dict[Path, frozenset[RootId]] = {}
        """What a path waited for last: in ``_roots`` it stays under what it waited for before, too."""
        self._retry: dict[Path, tuple[float, float]] = {}
        self._names = itertools.count(1)
        self._may_have_more = True
        self.is_stopped = False
        """Set while the folder's disk cannot be trusted (its marker or mount is gone): nothing is written."""

    def queue(self, places: Iterable[Place]) -> None:
        """These rows changed: their paths are planned anew, but those where a cut write is still to be looked at."""
        for place in places:
            if place.pending == JOURNALLED:
                continue
            self._waiting.pop(place.path, None)
            self._retry.pop(place.path, None)
            self._work[place.path] = place

    def renew(self, paths: Iterable[Path]) -> None:
        """The rows of these paths may be newer than the queue's."""
        for path in paths:
            if path in self._work:
                self._work[path] = self._replica.places.get_or_new(path)
            elif path in self._waiting:
                del self._waiting[path]
                self._work[path] = self._replica.places.get_or_new(path)

    def content_came(self, roots: Iterable[RootId]) -> None:
        """Paths that waited for these contents are looked at again."""
        for root in roots:
            for path in self._roots.pop(root, ()):
                if path in self._waiting:
                    self._work[path] = self._waiting.pop(path)

    def resume(self) -> None:
        """Looks at everything that is pending again: after a start, an approval, or when content may have come."""
        self._may_have_more = True
        self._retry.clear()
        self.look_again()

    def look_again(self) -> None:
        """Everything that waited for content is looked at again: there may be room for it now."""
        self._work.update(self._waiting)
        self._waiting.clear()
        self._roots.clear()
        self.awaits.clear()

    @property
    def can_step(self) -> bool:
        return not self.is_stopped and bool(self._work or self._can_refill or self._is_due())

    @property
    def has_planned_all(self) -> bool:
        """Every path that is pending has been planned: what none of them waits for is not wanted."""
        return not (self._work or self._may_have_more or self._is_due())

    @property
    def _can_refill(self) -> bool:
        """While a whole group waits for content no further paths are looked at."""
        return self._may_have_more and len(self._waiting) < GROUP

    @property
    def is_busy(self) -> bool:
        return bool(self._work or self._waiting or self._may_have_more)

    @property
    def waiting(self) -> int:
        failed = sum(when != float("inf") for when, _ in self._retry.values())
        return len(self._work) + len(self._waiting) + failed

    def next_deadline(self) -> float | None:
        """When (monotonic) a path that failed is tried again."""
        return min((when for when, _ in self._retry.values()), default=None)

    def _is_due(self) -> bool:
        deadline = self.next_deadline() if self._retry else None
        return deadline is not None and deadline <= time.monotonic()

    def wants(self, root: RootId) -> bool:
        """Whether a path still waits for this content, or is to be tried again with it."""
        paths = [path for path in self._roots.get(root, ()) if root in self.awaits.get(path, ())]
        return any(path in self._waiting or path in self._retry for path in paths)

    def step(self, *, now: float) -> bool:
        """One group; whether the ledger changed. ``now`` is monotonic."""
        if self.is_stopped:
            return False
        self._refill(now)
        turn = self._planned(now)
        if not turn.plans:
            return False
        self._carry_out(turn, now)
        return True

    # --- planning -----------------------------------------------------------------------------------------------------

    def _refill(self, now: float) -> None:
        for path in [path for path, (when, _) in self._retry.items() if when <= now]:
            place = self._replica.places.get(path)
            _, delay = self._retry[path]
            self._retry[path] = (float("inf"), delay)
            if place is not None and place.pending == PENDING:
                self._work[path] = place
            else:
                del self._retry[path]
        if not self._work and self._can_refill:
            found = self._replica.places.pending(PENDING, limit=GROUP + len(self._waiting) + len(self._retry))
            fresh = {
                place.path: place
                for place in found
                if place.path not in self._waiting and place.path not in self._retry
            }
            self._work.update(fresh)
            self._may_have_more = bool(fresh) and len(found) >= GROUP

    def _planned(self, now: float) -> _Turn:
        """Takes paths off the queue until the group is full; those whose content is missing wait."""
        turn = _Turn()
        plans: dict[Path, _Plan] = {}
        while self._work and len(plans) < GROUP:
            path, place = self._work.popitem(last=False)
            plans[path] = self._plan(place)
        held = self._sentry.held_back([(plan.place, plan.heads, plan.actions) for plan in plans.values()])
        for path in held:
            plans.pop(path, None)
        owner = {id(action): plan for plan in plans.values() for action in plan.actions}
        turn.moves, rest = planner.moves(planner.ordered(a for plan in plans.values() for a in plan.actions))
        for action in rest:
            self._get(action, owner[id(action)], turn, now)
        for plan in plans.values():
            self._await(plan)
        for action in rest:
            self._stage(action, owner[id(action)], turn, now)
        for item in turn.ready:
            if owner[id(item.action)].failed and item.temp is not None and item.temp.startswith("new-"):
                self._replica.staging.discard(item.temp)
        turn.ready = [item for item in turn.ready if not owner[id(item.action)].failed]
        turn.moves = [
            move for move in turn.moves if not (owner[id(move.source)].failed or owner[id(move.target)].failed)
        ]
        turn.plans = [plan for plan in plans.values() if not plan.failed]
        return turn

    def _plan(self, place: Place) -> _Plan:
        replica = self._replica
        heads = replica.heads(place)
        view = replica.view(place, heads)
        if replica.ignore.ignores(place.path, view.is_directory):
            return _Plan(place, heads, [])
        actions = planner.plan(place.path, view, place.on_disk) if heads or view.is_directory or not place.lives else []
        shown = {copy.path: copy.on_disk for copy in replica.places.copies_of(place.path) if copy.on_disk is not None}
        if view.copies or shown:
            owned = set()
            for path in {path for path, _ in view.copies} | shown.keys():
                copy = replica.places.get(path)
                if copy is not None and copy.on_disk is not None:
                    shown[path] = copy.on_disk
                if copy is not None and copy.lives:
                    owned.add(path)
            actions += planner.plan_copies(place.path, view, shown, owned)
        return _Plan(place, heads, actions)

    def _get(self, action: Action, plan: _Plan, turn: _Turn, now: float) -> None:
        """Gets the content that an action needs, or asks for it; where a path needs several, all are asked for."""
        if plan.failed or not isinstance(action, WriteFile) or not action.entry.meta.size:
            return
        meta = action.entry.meta
        plan.roots.add(meta.root)
        is_large = meta.size > MIN_CHUNK
        if turn.bytes >= GROUP_BYTES and not is_large:
            self._put_back(plan)
            return
        try:
            entry, courier = action.entry, self._courier
            found = courier.large(entry, now=now) if is_large else courier.small(entry)
        except (FolderError, RemoteProtocolError) as error:
            self._refused(action, plan, error, now)
            return
        if found is None:
            plan.lacks = True
        elif isinstance(found, Assembly) and found in turn.got.values():
            # Another path takes it in this turn: in the next one it is copied from there.
            self._put_back(plan)
        else:
            turn.got[id(action)] = found
            turn.bytes += 0 if is_large else meta.size

    def _await(self, plan: _Plan) -> None:
        """A path whose content is not all here waits; so does what of it is here already."""
        if not plan.lacks and not plan.failed:
            return
        for root in plan.roots:
            self._roots.setdefault(root, set()).add(plan.place.path)
        self.awaits[plan.place.path] = frozenset(plan.roots)
        if not plan.failed:
            plan.failed = True
            self._waiting[plan.place.path] = plan.place

    def _stage(self, action: Action, plan: _Plan, turn: _Turn, now: float) -> None:
        """Makes a finished temporary file of an action's content."""
        if plan.failed:
            return
        found = turn.got.get(id(action))
        if found is None or not isinstance(action, WriteFile):
            turn.ready.append(Ready(action))
            return
        meta = action.entry.meta
        try:
            if isinstance(found, Assembly):
                found.temp.finish(meta.mtime_ns, meta.executable, size=meta.size)
                turn.assemblies.append(found)
                name = found.temp.name
            else:
                name = f"new-{next(self._names)}"
                self._replica.staging.write_small(name, found, meta.mtime_ns, meta.executable)
                turn.contents.append(meta.root)
        except FolderError as error:
            self._refused(action, plan, error, now)
        else:
            turn.ready.append(Ready(action, name))

    def _put_back(self, plan: _Plan) -> None:
        plan.failed = True
        self._work[plan.place.path] = plan.place

    def _refused(self, action: WriteFile, plan: _Plan, error: HarpError, now: float) -> None:
        """The disk, or the content, said no: tried again at once where room can be made, else later."""
        if isinstance(error, FolderError) and is_full(error) and self._made_room(action.entry.meta.size):
            self._put_back(plan)
        else:
            plan.failed = True
            self._fail(plan.place, error.message, now)

    def _made_room(self, wanted_bytes: int) -> bool:
        """The trash yields before a file has to wait for a full disk, unless the file does not fit on it anyway."""
        freed = self._replica.trash.make_room(max(wanted_bytes, ROOM_BYTES), needed_bytes=wanted_bytes)
        if freed:
            self._replica.forget_missing_trash()
        return freed > 0

    # --- doing --------------------------------------------------------------------------------------------------------

    def _carry_out(self, turn: _Turn, now: float) -> None:
        replica = self._replica
        is_few = len(turn.ready) + len(turn.moves) <= FEW
        if turn.ready or turn.moves:
            self._journal(turn)
            self._sync_temps(turn, is_few=is_few)
        outcomes = self._moved(turn) + replica.disk.commit(turn.ready, now=time.time())
        if outcomes:
            self._sync_places(outcomes, turn, is_few=is_few)
        self._note(turn, outcomes, now)
        done = {id(outcome.action) for outcome in outcomes if isinstance(outcome, Applied)}
        for item in turn.ready:
            if item.temp is not None and item.temp.startswith("new-") and id(item.action) not in done:
                replica.staging.discard(item.temp)
        for assembly in turn.assemblies:
            self._courier.finish(assembly)
        for root in turn.contents:
            self._courier.larder.spend(root)
        if turn.assemblies or self._courier.larder.is_crowded:
            self._courier.larder.is_crowded = False
            self.look_again()

    def _journal(self, turn: _Turn) -> None:
        """What may be half-written should the power go now: looked at with that in mind at the next start."""
        db = self._replica.ledger.db
        with db.transaction():
            self._replica.places.journal(plan.place.number for plan in turn.plans if plan.actions)
            self._journal_copies(turn)
            for assembly in turn.assemblies:
                self._replica.places.add_nodes(assembly.nodes)

    def _journal_copies(self, turn: _Turn) -> None:
        """A conflict copy's path has no entries of its own, maybe no row: a copy that was cut is none of a user's."""
        places = self._replica.places
        paths = {action.path for plan in turn.plans for action in plan.actions if action.path != plan.place.path}
        rows = [places.get_or_new(path) for path in sorted(paths)]
        places.put(replace(row, pending=JOURNALLED) for row in rows)

    def _sync_temps(self, turn: _Turn, *, is_few: bool) -> None:
        names = [item.temp for item in turn.ready if item.temp is not None]
        if not names:
            return
        if is_few:
            self._replica.staging.sync(names)
        else:
            self._replica.disk.sync_all()

    def _sync_places(self, outcomes: Sequence[Outcome], turn: _Turn, *, is_few: bool) -> None:
        disk = self._replica.disk
        if not is_few:
            disk.sync_all()
            return
        done = [outcome.action for outcome in outcomes if isinstance(outcome, Applied)]
        moved = {id(move.target) for move in turn.moves}
        # What a temp brings was synced with it; times and modes that were set in place were not.
        in_place = [action.path for action in done if isinstance(action, SetAttributes) or id(action) in moved]
        if in_place:
            disk.sync_files(in_place)
        if len(in_place) < len(done):
            disk.sync_directories(action.path for action in done if action.path not in in_place)

    def _moved(self, turn: _Turn) -> list[Outcome]:
        """Renames within the folder; one that the disk refuses is done the long way at the next turn.

        On a disk to which old and new name may be one (another case), the old one goes first, by way of the trash.
        """
        outcomes: list[Outcome] = []
        for source, target in ((move.source, move.target) for move in turn.moves):
            meta, stat = target.entry.meta, source.expected.stat
            done = self._replica.disk.move(
                source.path, target.path, stat, mtime_ns=meta.mtime_ns, executable=meta.executable
            )
            if not isinstance(done, Refused):
                outcomes += [Applied(target, done), Applied(source, None)]
            elif done.is_misspelled:
                turn.ready.insert(0, Ready(source))
                outcomes.append(Skipped(target, done.why))
            else:
                outcomes += [Skipped(source, done.why, done.changed), Skipped(target, done.why, done.changed)]
        return outcomes

    # --- noting -------------------------------------------------------------------------------------------------------

    def _note(self, turn: _Turn, outcomes: Sequence[Outcome], now: float) -> None:
        replica = self._replica
        by_path: dict[Path, list[Outcome]] = {}
        for outcome in outcomes:
            by_path.setdefault(outcome.action.path, []).append(outcome)
        plans = {plan.place.path: plan for plan in turn.plans}
        rows: dict[Path, Place] = {}
        owners = {id(action): plan for plan in turn.plans for action in plan.actions}
        try:
            with replica.ledger.db.transaction():
                for path, done in by_path.items():
                    place = plans[path].place if path in plans else self._traces.of_copy(path)
                    for outcome in done:
                        place = self._traces.after(place, outcome, owners[id(outcome.action)].heads)
                    rows[path] = place
                for plan in turn.plans:
                    rows[plan.place.path] = self._concluded(rows.get(plan.place.path, plan.place), plan, by_path, now)
                replica.places.put(rows.values())
        except StoreError:
            replica.ledger.refresh()
            self.resume()
            raise
        changed = [o.action for o in outcomes if isinstance(o, Skipped) and o.changed]
        if not self._replica.may_write:
            self._keep_aside(changed)
        self._look(action.path for action in changed)

    def _keep_aside(self, actions: Iterable[Action]) -> None:
        """On a device that may only read, what was changed here gets out of the way of the folder's version.

        From then on nothing of the folder's lies there: its version is written anew, or has gone already.
        """
        replica = self._replica
        emptied = []
        for action in actions:
            stat = replica.root.stat(action.path)
            if (
                isinstance(action, WriteFile | WriteSymlink)
                and stat is not None
                and stat.kind is not FileKind.DIRECTORY
            ):
                replica.disk.move(action.path, merge.conflict_path(action.path, action.entry), stat)
            place = replica.places.get(action.path)
            if place is not None and place.on_disk is not None:
                emptied.append(place)
        if not emptied:
            return
        rows = [replace(place, on_disk=None, pending=PENDING) for place in emptied]
        with replica.ledger.db.transaction():
            for place in emptied:
                assert place.on_disk is not None
                self._traces.moved_away(place, place.on_disk, None)
            replica.places.put(rows)
        self.queue(rows)

    def _concluded(self, place: Place, plan: _Plan, by_path: dict[Path, list[Outcome]], now: float) -> Place:
        """Whether a path shows now what it should, or why it does not."""
        failed = [
            outcome
            for action in plan.actions
            for outcome in by_path.get(action.path, ())
            if isinstance(outcome, Skipped) and outcome.action is action
        ]
        if all(map(self._traces.stays, failed)):
            self._retry.pop(place.path, None)
            self.awaits.pop(place.path, None)
            on_disk = place.on_disk
            if on_disk is not None and plan.heads:
                on_disk = with_applied(on_disk, plan.heads)
            return with_disk(place, on_disk, is_racy=place.is_racy)
        self._put_off(place.path, now)
        problem = None if failed[0].changed else failed[0].why
        return replace(place, pending=PENDING, problem=problem)

    def _fail(self, place: Place, why: str, now: float) -> None:
        self._put_off(place.path, now)
        with self._replica.ledger.db.transaction():
            self._replica.places.put([replace(place, pending=PENDING, problem=why)])

    def _put_off(self, path: Path, now: float) -> None:
        _, delay = self._retry.get(path, (0.0, RETRY_S / 2))
        delay = min(delay * 2, MAX_RETRY_S)
        self._retry[path] = (now + delay, delay)
