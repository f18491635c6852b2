# SPDX-License-Identifier: AGPL-3.0-or-later
"""Stands before mass deletions and trips back in time, our own and others', until a person has decided."""

import time
from collections.abc import Iterable, Sequence

from harp.base.errors import UsageError
from harp.sync.engine import details, guard, merge
from harp.sync.engine.details import HeldSet
from harp.sync.engine.guard import Guard, Hold, Losses, Pass, Verdict
from harp.sync.model import (
    Action,
    ChainId,
    Entry,
    EntryId,
    FileKind,
    Kind,
    Path,
    RemoveFile,
    RootId,
    WriteFile,
    WriteSymlink,
)
from harp.sync.service.replica import Replica, is_internal
from harp.sync.store.holdings import Holding, Holdings
from harp.sync.store.places import Place

LOCAL, REMOTE = "local", "remote"
FEWEST = 10
"""Fewer losses within the window never hold anything, so the folder's files need not be counted for them."""


class Sentry:
    """For the folder's thread. What is held is in the ledger; its paths are kept here too, to be asked for quickly."""

    def __init__(self, replica: Replica, limits: guard.Limits) -> None:
        self._replica = replica
        self._guard = Guard(limits)
        self._holdings = Holdings(replica.ledger.db)
        self._held: dict[str, Holding] = {holding.id: holding for holding in self._holdings.all()}
        self._paths: dict[Path, str] = {path: holding.id for holding in self._held.values() for path in holding.paths}
        self._approved_up_to: dict[ChainId, int] = {}
        self._reason = ""
        self._let_pass: set[EntryId] = set()
        """Entries whose losses were counted within the window: what has to be tried again is no further loss."""
        self.learn_approvals()

    @property
    def held(self) -> Sequence[Holding]:
        return tuple(self._held.values())

    def is_held(self, path: Path) -> bool:
        return path in self._paths

    def find(self, held_id: str) -> Holding:
        """Raises :class:`UsageError` where nothing is held under this id (any more)."""
        holding = self._held.get(held_id)
        if holding is None:
            raise UsageError(
                f"nothing is held as {held_id}", hint="`harp held NAME` lists it; a set that grew has another id"
            )
        return holding

    def learn_approvals(self) -> None:
        """An author that approved its own losses speaks for all it said before that."""
        for entry, _ in self._replica.ledger.governance():
            if entry.meta.kind is Kind.APPROVE and isinstance(details.parse_approve(entry.meta.detail), HeldSet):
                known = self._approved_up_to.get(entry.meta.chain, 0)
                self._approved_up_to[entry.meta.chain] = max(known, entry.meta.sequence)

    def release(self, holding: Holding, *, approved: bool) -> None:
        """The decision was taken: nothing of it is held any more."""
        with self._holdings.db.transaction():
            self._holdings.drop(holding.id)
            if approved:
                self._holdings.approve(holding.entries)
        del self._held[holding.id]
        self._paths = {path: id_ for path, id_ in self._paths.items() if id_ != holding.id}

    def reconsidered(self) -> list[Holding]:
        """Releases and returns the remote sets that their authors have approved meanwhile."""
        self.learn_approvals()
        released = []
        for holding in self.held:
            entries = self._replica.ledger.entries(holding.entries)
            if holding.origin == REMOTE and entries and all(map(self._is_approved, entries)):
                self.release(holding, approved=True)
                released.append(holding)
        return released

    # --- what peers would have us do ----------------------------------------------------------------------------------

    def held_back(self, plans: Sequence[tuple[Place, list[Entry], list[Action]]]) -> set[Path]:
        """The paths whose plans must not be carried out now."""
        held = {place.path for place, _, actions in plans if actions and self._paths.get(place.path)}
        losing = [
            (place.path, causes)
            for place, heads, actions in plans
            if place.path not in held and (causes := self._causes(place, heads, actions))
        ]
        came = {
            action.entry.meta.root
            for _, _, actions in plans
            for action in actions
            if isinstance(action, WriteFile) and action.expected is None
        }
        losing = [
            (path, causes)
            for path, causes in losing
            if not all(map(self._is_approved, causes)) and not self._lies_elsewhere(path, came)
        ]
        losing = [(path, causes) for path, causes in losing if not self._let_pass.issuperset(c.id for c in causes)]
        if losing and self._passes(REMOTE, Losses(removed=len(losing))):
            self._let_pass.update(cause.id for _, causes in losing for cause in causes)
        elif losing:
            paths = [path for path, _ in losing]
            self._hold(REMOTE, self._reason, paths, [cause.id for _, causes in losing for cause in causes])
            held.update(paths)
        return held

    def _causes(self, place: Place, heads: list[Entry], actions: list[Action]) -> list[Entry]:
        """The entries that take a file's content away, or turn it back to an earlier version."""
        for action in actions:
            if isinstance(action, RemoveFile) and action.path == place.path:
                return [head for head in heads if head.meta.kind is Kind.TOMBSTONE] or heads
            if isinstance(action, WriteFile | WriteSymlink) and action.expected is not None:
                entry = action.entry
                if guard.is_reverted(merge.content(entry.meta), entry.meta.replaces, self._replica.ledger.entry):
                    return [entry]
        return []

    def _is_approved(self, entry: Entry) -> bool:
        if self._approved_up_to.get(entry.meta.chain, 0) > entry.meta.sequence:
            return True
        return self._holdings.is_approved(entry.id)

    # --- what happened here -------------------------------------------------------------------------------------------

    def lets_pass(self, lost: Sequence[Place], came: Iterable[RootId], reverted: Sequence[Path]) -> bool:
        """Whether what disappeared or went back in time here may be authored; otherwise all of it is held."""
        roots = set(came)
        gone = [
            place.path
            for place in lost
            if place.on_disk is not None
            and place.on_disk.stat.kind is not FileKind.DIRECTORY
            and not self._lies_elsewhere(place.path, roots)
        ]
        if self._passes(LOCAL, Losses(removed=len(gone), reverted=len(reverted))):
            return True
        self._hold(LOCAL, self._reason, [*(place.path for place in lost), *reverted], [])
        return False

    def may_hold(self, most: int) -> bool:
        """Whether the loss of ``most`` files here would be held; where not, they need not be looked at one by one."""
        return isinstance(self._verdict(LOCAL, Losses(removed=most), now=time.time()), Hold)

    def holds_burst(self, lost: Sequence[Path]) -> bool:
        """Whether all that went away here together is held; where not, it is no loss yet, and asked for again."""
        gone = [path for path in lost if self._is_file(path) and not self._lies_elsewhere(path, set())]
        verdict = self._verdict(LOCAL, Losses(removed=len(gone)), now=time.time())
        if isinstance(verdict, Hold):
            self._hold(LOCAL, verdict.reason, lost, [])
        return isinstance(verdict, Hold)

    def _is_file(self, path: Path) -> bool:
        place = self._replica.places.get(path)
        return place is not None and place.on_disk is not None and place.on_disk.stat.kind is not FileKind.DIRECTORY

    def _lies_elsewhere(self, path: Path, came: set[RootId]) -> bool:
        """Whether the content of ``path`` appeared, or lies, under another name: then it was moved, not lost."""
        place = self._replica.places.get(path)
        if place is None or place.on_disk is None or not place.on_disk.root:
            return False
        root = place.on_disk.root
        others = self._replica.places.with_root(root)
        return root in came or any(one.path != path and not is_internal(one.path) for one in others)

    def _passes(self, origin: str, losses: Losses) -> bool:
        """Takes the losses into account, and what is held already; ``_reason`` says why they do not pass."""
        now = time.time()
        verdict = self._verdict(origin, losses, now=now)
        if isinstance(verdict, Hold):
            self._reason = verdict.reason
            return False
        if losses.count:
            with self._holdings.db.transaction():
                self._holdings.add_loss(losses.count, now=now)
        return True

    def _verdict(self, origin: str, losses: Losses, *, now: float) -> Verdict:
        """What the guard says to losses, together with those of its window and with what is held."""
        if losses.count == 0:
            return Pass()
        with self._holdings.db.transaction():
            history = self._holdings.losses(since_s=now - self._guard.limits.window_s)
        so_far = sum(count for _, count in history)
        if not so_far:
            self._let_pass.clear()
        # The tail of a mass deletion is a part of it.
        held = [(held.since_s, len(held.paths)) for held in self._held.values() if held.origin == origin]
        if so_far + losses.count < FEWEST and not held:
            return Pass()
        files = self._replica.places.totals()[0] + so_far
        return self._guard.verdict([*history, *held], files, losses, now=now)

    def _hold(self, origin: str, reason: str, paths: Sequence[Path], entries: Sequence[EntryId]) -> None:
        """A set that is held already and grows becomes another, with another id."""
        before = [holding for holding in self._held.values() if holding.origin == origin]
        all_paths = {path for holding in before for path in holding.paths} | set(paths)
        all_entries = {entry for holding in before for entry in holding.entries} | set(entries)
        holding = Holding(
            guard.held_id([*all_paths, *all_entries]),
            origin,
            reason,
            tuple(sorted(all_paths)),
            tuple(sorted(all_entries)),
            before[0].since_s if before else time.time(),
        )
        with self._holdings.db.transaction():
            for old in before:
                self._holdings.drop(old.id)
            self._holdings.put(holding)
        for old in before:
            del self._held[old.id]
        self._held[holding.id] = holding
        self._paths.update(dict.fromkeys(holding.paths, holding.id))
