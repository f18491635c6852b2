# SPDX-License-Identifier: AGPL-3.0-or-later
"""Looks at the disk where something may have changed, and finds what is to be said of it."""

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace

from harp.base.errors import FolderError
from harp.sync.engine import authoring, manifest
from harp.sync.engine.authoring import Observed
from harp.sync.engine.chain import Draft
from harp.sync.folder import names, read
from harp.sync.folder.names import TOP
from harp.sync.folder.walk import Noted, Unreadable, walk
from harp.sync.model import MIN_CHUNK, Entry, FileKind, NodeId, OnDisk, Path, RootId, Stat
from harp.sync.service.author import Seen
from harp.sync.service.departures import Departures
from harp.sync.service.offers import Offering
from harp.sync.service.replica import Replica, is_internal
from harp.sync.store.places import JOURNALLED, Glance, Place

GROUP_FILES = 500
GROUP_LOOKS = 10_000
"""Of a walk that finds nothing new, so that what peers say meanwhile is heard."""
GROUP_BYTES = 8 * 1024 * 1024
"""A group of changes is signed, made durable and sent as one; it ends at whichever comes first."""
INLINE_HASH_BYTES = 4 * 1024 * 1024
"""Larger files are read in a thread of their own, so that a small one behind them need not wait."""
QUIET_NS = 10_000_000_000
"""A file that a program holds open for writing is read nevertheless once it has been quiet for this long."""
CHANGED_HERE_ONLY = (
    "changed here only: this device is no member any more",
    "changed here only: this device may read this folder, not write to it",
)
DELETED_HERE_ONLY = (
    "deleted here only: this device is no member any more",
    "deleted here only: this device may read this folder, not write to it",
)
"""By whether it is a member."""
OPEN_AGAIN_S = 1.0
"""How soon an open file is looked at again, should no event say that it was closed."""


@dataclass(slots=True)
class Group:
    """Changes found together. ``contents`` are those small enough to travel with their entries."""

    changes: list[list[Draft]] = field(default_factory=list)
    seen: dict[Path, Seen] = field(default_factory=dict)
    contents: dict[RootId, bytes] = field(default_factory=dict)
    lost: list[Place] = field(default_factory=list)
    """Places from which something disappeared: their drafts are made once the guard has let them pass."""
    reverted: dict[Path, list[Draft]] = field(default_factory=dict)
    """Of the changes, those that turn a file back to an earlier version."""
    approved: list[Path] = field(default_factory=list)
    """Of the changes, those that a person here stands by."""
    again: dict[Path, None] = field(default_factory=dict)
    """Paths that were told of twice: looked at once more when the ledger holds what was seen now."""
    places: dict[Path, Place] = field(default_factory=dict)
    """The rows of what was found, as they were."""
    files: int = 0
    bytes: int = 0
    looked: int = 0

    @property
    def is_full(self) -> bool:
        return self.files >= GROUP_FILES or self.bytes >= GROUP_BYTES or self.looked >= GROUP_LOOKS

    @property
    def is_empty(self) -> bool:
        return not self.seen and not self.lost

    def has(self, path: Path) -> bool:
        """Whether the path was looked at for this group: then it is looked at again after it, and not said twice."""
        if path not in self.seen:
            return False
        self.again[path] = None
        return True


@dataclass(slots=True)
class Scan:
    """A walk under way. ``seen`` are numbers of rows that were met; the others are gone, but for unreadable parts."""

    under: Path
    walk: Iterator[tuple[Path, Stat] | Unreadable | Noted]
    seen: set[int] = field(default_factory=set)
    unreadable: list[Path] = field(default_factory=list)
    started_s: float = 0.0


class Observer:
    """The queue of what to look at, and the looking. ``offering`` makes chunks of a file known as it is read."""

    def __init__(
        self,
        replica: Replica,
        executor: Executor,
        offering: Offering,
        is_held: Callable[[Path], bool],
        departures: Departures,
    ) -> None:
        self._replica = replica
        self._is_held = is_held
        self._executor = executor
        self._offering = offering
        # Ordered: taking the first of a plain dict looks at all that were taken before.
        journalled = replica.places.pending(JOURNALLED, 1 << 30)
        self._paths: OrderedDict[Path, None] = OrderedDict((place.path, None) for place in journalled)
        self._gone = departures
        self._scans: deque[Scan] = deque()
        self._hashing: dict[Path, Future[read.Hashed | read.Gone]] = {}
        self._read_through: set[Path] = set()
        self._open: dict[Path, float] = {}
        self._approved: set[Path] = set()
        self.adopts = False
        """Until the first scan after a join is done: what lay there is authored with HLC 0, or adopted where equal."""
        self._is_walked = False
        self.notes: dict[Path, str] = {}
        """Paths that cannot be synced, and why."""
        self.last_scan_s: float | None = None
        self.scan_seconds: float | None = None

    @property
    def is_busy(self) -> bool:
        return bool(self._paths or self._gone or self._scans or self._hashing or self._open)

    @property
    def is_scanning(self) -> bool:
        return bool(self._scans)

    @property
    def hashing(self) -> int:
        return len(self._hashing)

    @property
    def can_step(self) -> bool:
        """Whether a step would do something now; files being hashed elsewhere announce themselves."""
        if self._paths or self._scans or (self._gone.is_ripe and not self._hashing):
            return True
        is_due = bool(self._open) and min(self._open.values()) <= time.monotonic()
        return is_due or bool(self._read_through)

    def read_through(self, path: Path) -> None:
        """A file that is hashed elsewhere has been, and its segments are in the ledger by now."""
        if path in self._hashing:
            self._read_through.add(path)

    def look(self, paths: Iterable[Path]) -> None:
        """Queues paths; repeated ones count once."""
        for path in paths:
            if path and not is_internal(path) and not self._is_held(path):
                self._paths[path] = None

    def scan(self, under: Path = TOP) -> None:
        """Queues a whole directory; one that a queued scan covers is not queued twice.

        A scan of the whole folder reads the ignore rules anew.
        """
        if not under:
            self._replica.ignore.learn()
        if is_internal(under) or any(not scan.under and not scan.seen for scan in self._scans):
            return
        self._scans.append(
            Scan(under, walk(self._replica.root, under, self._replica.ignore), started_s=time.monotonic())
        )

    def step(self) -> Group:
        """The next group of changes: what appeared or changed before what disappeared."""
        group = Group()
        self._collect_hashed(group)
        self._reopen()
        while self._paths and not group.is_full:
            path, _ = self._paths.popitem(last=False)
            self._look_at(path, None, group)
        while self._scans and not group.is_full:
            self._go_on(self._scans[0], group)
        # What was moved is said first: it is no loss then.
        if group.is_empty and self._gone.is_ripe and not self._paths and not self._hashing:
            # A directory that was renamed a moment ago must not stand for its old name.
            self._replica.root.forget()
            while not group.is_full and (gone := self._gone.next()) is not None:
                self._look_at_gone(gone, group)
        self._paths.update(group.again)
        if self.adopts and self._is_walked and not (self._paths or self._scans or self._hashing):
            self.adopts = False
        return group

    def next_deadline(self) -> float | None:
        """When (monotonic) a file that was open for writing, or what has gone, is to be looked at."""
        ripe_at = self._gone.ripe_at()
        is_to_come = ripe_at is not None and ripe_at > time.monotonic()
        return min([*self._open.values(), *([ripe_at] if ripe_at is not None and is_to_come else [])], default=None)

    def _reopen(self) -> None:
        now = time.monotonic()
        for path in [path for path, when in self._open.items() if when <= now]:
            del self._open[path]
            self._paths[path] = None

    # --- walking ------------------------------------------------------------------------------------------------------

    def _go_on(self, scan: Scan, group: Group) -> None:
        for found in scan.walk:
            match found:
                case Unreadable():
                    scan.unreadable.append(found.path)
                    self.notes[found.path] = found.why
                case Noted():
                    self.notes[found.path] = found.why
                    self._mark_seen(scan, self._replica.places.glance(found.path))
                case (path, stat):
                    self.notes.pop(path, None)
                    glance = self._replica.places.glance(path)
                    self._mark_seen(scan, glance)
                    if glance is None or not glance.shows(stat):
                        self._look_at(path, stat, group, has_row=glance is not None)
                        if path in group.places:
                            scan.seen.add(group.places[path].number)
                    group.looked += 1
            if group.is_full:
                return
        self._scans.popleft()
        self._find_gone(scan)
        if not scan.under:
            self.last_scan_s = time.time()
            self.scan_seconds = time.monotonic() - scan.started_s
            self._is_walked = True

    def _mark_seen(self, scan: Scan, glance: Glance | None) -> None:
        if glance is not None and glance.stat is not None:
            scan.seen.add(glance.number)

    def _find_gone(self, scan: Scan) -> None:
        for number, path in self._replica.places.on_disk_below(scan.under):
            if number in scan.seen or self._is_held(path):
                continue
            if not any(path.startswith(part + b"/") or not part for part in scan.unreadable):
                self._gone.add(path)
        if scan.under:
            self.look([scan.under])

    # --- looking ------------------------------------------------------------------------------------------------------

    def _look_at(self, path: Path, stat: Stat | None, group: Group, *, has_row: bool = True) -> None:
        replica = self._replica
        if self._is_held(path) or group.has(path):
            return
        self.notes.pop(path, None)
        if stat is None:
            # What a walk found was judged there already, and compared.
            why = names.refusal(path)
            if why:
                self.notes[path] = why
                return
            try:
                stat = replica.root.stat(path)
            except FolderError as error:
                self.notes[path] = error.message
                return
            glance = replica.places.glance(path)
            if stat is not None and glance is not None and glance.shows(stat):
                # Mostly what this device has just written itself.
                return
            has_row = glance is not None
        place = replica.places.get_or_new(path) if has_row else replica.places.new(path)
        before = place.on_disk
        if stat is None:
            if before is not None:
                self._gone.add(path)
            elif place.pending == JOURNALLED:
                group.seen[path] = Seen(None, is_recovered=True)
            return
        if before is not None and before.stat == stat and not place.is_racy and place.pending != JOURNALLED:
            return
        if replica.ignore.ignores(path, stat.kind is FileKind.DIRECTORY):
            return
        self._look_closer(place, stat, group)

    def _look_closer(self, place: Place, stat: Stat, group: Group) -> None:
        """Something lies there that is not what the ledger has there."""
        path = place.path
        match stat.kind:
            case FileKind.OTHER:
                self.notes[path] = "it is a FIFO, a socket or a device: these are not shared"
            case FileKind.DIRECTORY:
                self._found(place, Observed(path, stat), group)
            case FileKind.SYMLINK:
                target = self._replica.root.readlink(path)
                if target:
                    self._found(place, Observed(path, stat, target=target), group)
            case FileKind.FILE:
                self._hash(place, stat, group)

    def _hash(self, place: Place, stat: Stat, group: Group) -> None:
        path = place.path
        if path in self._hashing:
            return
        is_settled = time.time_ns() - stat.mtime_ns > QUIET_NS
        try:
            if stat.size > INLINE_HASH_BYTES:
                self._hashing[path] = self._executor.submit(self._offering.read, path, unless_open=not is_settled)
            elif stat.size > MIN_CHUNK:
                self._hash_medium(place, group, unless_open=not is_settled)
            else:
                self._hash_small(place, group, unless_open=not is_settled)
        except FolderError as error:
            self.notes[path] = error.message

    def _hash_small(self, place: Place, group: Group, *, unless_open: bool) -> None:
        replica = self._replica
        found = read.read_whole(replica.root, place.path, MIN_CHUNK, unless_open=unless_open)
        if isinstance(found, read.Gone):
            self._put_off(place.path, found)
            return
        stat, data = found
        root = manifest.root_of_small(data, replica.keys)
        if data:
            group.contents[root] = data
            group.bytes += len(data)
        self._found(place, Observed(place.path, stat, root), group)

    def _hash_medium(self, place: Place, group: Group, *, unless_open: bool) -> None:
        nodes: list[tuple[NodeId, bytes]] = []
        hashed = read.hash_file(
            self._replica.root,
            place.path,
            self._replica.keys,
            on_segment=lambda segment: nodes.append((segment.id, segment.node)),
            unless_open=unless_open,
        )
        self._take_hashed(place, hashed, group, nodes)

    def _collect_hashed(self, group: Group) -> None:
        while self._read_through:
            path = self._read_through.pop()
            place = self._replica.places.get_or_new(path)
            try:
                hashed = self._hashing.pop(path).result()
            except FolderError as error:
                # Not before something is heard of it again, or the next scan: it would be read without end.
                self.notes[path] = error.message
            else:
                self._take_hashed(place, hashed, group, [])

    def _take_hashed(
        self, place: Place, hashed: read.Hashed | read.Gone, group: Group, nodes: list[tuple[NodeId, bytes]]
    ) -> None:
        if isinstance(hashed, read.Gone):
            self._offering.forget(place.path)
            self._put_off(place.path, hashed)
            return
        if hashed.root_node is not None:
            nodes.append((NodeId(hashed.root), hashed.root_node))
        self._found(place, Observed(place.path, hashed.stat, hashed.root), group, nodes)

    def _put_off(self, path: Path, gone: read.Gone) -> None:
        """A file that is being written is read when it is closed or quiet; one that changed, at once."""
        if gone.is_open:
            self._open[path] = time.monotonic() + OPEN_AGAIN_S
        else:
            self._paths.setdefault(path, None)

    def _found(self, place: Place, after: Observed, group: Group, nodes: Iterable[tuple[NodeId, bytes]] = ()) -> None:
        """Something lies at a path: says what, unless it is what the ledger has there already."""
        replica = self._replica
        before, heads = place.on_disk, replica.heads(place)
        group.places[place.path] = place
        on_disk = OnDisk(after.stat, () if before is None else before.applied, after.root, after.target)
        age_ns = time.time_ns() - after.stat.ctime_ns
        is_racy = after.stat.kind is FileKind.FILE and age_ns < replica.racy_ns
        is_recovered = place.pending == JOURNALLED
        if is_recovered and self._found_after_crash(place, on_disk, heads, group, tuple(nodes)):
            return
        equal = authoring.adoptable(after, heads) if before is None else ()
        if equal:
            group.seen[place.path] = Seen(replace(on_disk, applied=equal), is_racy, tuple(nodes))
            return
        if authoring.is_same(before, after) and before is not None:
            kept = replace(before, stat=after.stat)
            group.seen[place.path] = Seen(kept, is_racy)
            return
        if not replica.may_write:
            self.notes[place.path] = CHANGED_HERE_ONLY[replica.role is not None]
            return
        drafts = self._drafts(place, after, heads)
        if drafts:
            group.changes.append(drafts)
            group.files += 1
            if place.path in self._approved:
                self._approved.discard(place.path)
                group.approved.append(place.path)
            elif self._goes_back(place, after):
                group.reverted[place.path] = drafts
        group.seen[place.path] = Seen(on_disk, is_racy, tuple(nodes), is_recovered)

    def _found_after_crash(
        self,
        place: Place,
        on_disk: OnDisk,
        heads: list[Entry],
        group: Group,
        nodes: tuple[tuple[NodeId, bytes], ...],
    ) -> bool:
        """Whether this is what a write of ours, cut here, may have left; if not, somebody changed it since."""
        equal = authoring.adoptable(Observed(place.path, on_disk.stat, on_disk.root, on_disk.target), heads)
        before = place.on_disk
        found: OnDisk | None = None
        if equal:
            found = replace(on_disk, applied=equal)
        elif before is not None and before.root == on_disk.root and before.stat.kind is on_disk.stat.kind:
            found = replace(before, stat=on_disk.stat)
        elif self._may_be_ours(on_disk.stat, heads):
            self._replica.put_aside(place.path, on_disk)
        else:
            return False
        group.seen[place.path] = Seen(found, nodes=nodes, is_recovered=True)
        return True

    def _may_be_ours(self, stat: Stat, heads: list[Entry]) -> bool:
        """Whether a power cut may have made this of a write of ours: those are given their mtime before their name.

        An empty file counts as such whatever its time: that is what most disks leave (ADR 0010).
        """
        step_ns = self._replica.capabilities.mtime_granularity_ns
        is_timed = any(abs(head.meta.mtime_ns - stat.mtime_ns) < step_ns for head in heads)
        return is_timed or not heads or not stat.size

    def _look_at_gone(self, path: Path, group: Group) -> None:
        if group.has(path):
            return
        replica = self._replica
        place = replica.places.get(path)
        if place is None or place.on_disk is None:
            return
        try:
            if replica.root.stat(path) is not None:
                self.look([path])
                return
        except FolderError as error:
            self.notes[path] = error.message
            return
        is_directory = place.on_disk.stat.kind is FileKind.DIRECTORY
        if replica.ignore.ignores(path, is_directory):
            return
        if not replica.may_write:
            self.notes[path] = DELETED_HERE_ONLY[replica.role is not None]
            return
        if place.pending == JOURNALLED:
            group.seen[path] = Seen(None, is_recovered=True)
            return
        group.lost.append(place)
        group.files += 1

    def approve(self, paths: Iterable[Path]) -> None:
        """A person stands by files that went back to an earlier version: they are looked at again and let pass."""
        for path in paths:
            self._approved.add(path)
            self._paths[path] = None

    def gone_drafts(self, lost: Iterable[Place], group: Group) -> None:
        """Adds what is to be said of places that are empty now; the guard has let it pass."""
        for place in lost:
            drafts = self._drafts(place, None, self._replica.heads(place))
            if drafts:
                group.changes.append(drafts)
            group.seen[place.path] = Seen(None)

    def _drafts(self, place: Place, after: Observed | None, heads: list[Entry]) -> list[Draft]:
        replica = self._replica
        on_disk = place.on_disk
        if on_disk is not None and on_disk.copy_of is not None:
            original = replica.places.get(on_disk.copy_of)
            heads = heads + ([] if original is None else replica.heads(original))
        copies = []
        for copy in replica.places.copies_of(place.path):
            entries = replica.applied(copy)
            if copy.on_disk is not None and entries and replica.root.stat(copy.path) == copy.on_disk.stat:
                copies.append((copy.path, copy.on_disk, entries[0]))
        return authoring.changed(
            place.path,
            on_disk,
            after,
            replica.applied(place),
            heads,
            copies,
            now_ms=time.time_ns() // 1_000_000,
            hlc_zero=self.adopts and on_disk is None,
        )

    def _goes_back(self, place: Place, after: Observed) -> bool:
        """Whether a file's new content is that of an earlier entry of its path, which the current one replaced."""
        if place.on_disk is None or not after.root or after.stat.kind is not FileKind.FILE:
            return False
        older = self._replica.ledger.entries_at(place.number)
        return any(entry.meta.root == after.root for entry in older if entry.id not in place.on_disk.applied)
