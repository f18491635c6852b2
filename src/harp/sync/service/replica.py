# SPDX-License-Identifier: AGPL-3.0-or-later
"""This device's copy of one folder: its disk, its ledger, its keys and its members, for the folder's one thread."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from harp.base.errors import CorruptStore
from harp.identity.device import DeviceId, DeviceKey
from harp.sync.engine import chain, facts, members, merge
from harp.sync.engine.manifest import Keys
from harp.sync.engine.members import Membership
from harp.sync.folder.apply import Disk, Ready
from harp.sync.folder.fs import Marker, Root
from harp.sync.folder.probe import Capabilities
from harp.sync.folder.staging import Staging
from harp.sync.folder.trash import Trash, TrashItem
from harp.sync.model import (
    ChainId,
    Entry,
    FileKind,
    FolderId,
    FolderKeys,
    Incarnation,
    OnDisk,
    Path,
    RemoveFile,
    Role,
)
from harp.sync.service import catalog
from harp.sync.service.rules import LiveRules
from harp.sync.service.witness import Witness
from harp.sync.store.ledger import Ledger
from harp.sync.store.places import Place, Places

RACY_NS = 2_000_000_000
"""For disks that keep times in steps of up to two seconds, such as FAT."""
FINE_RACY_NS = 50_000_000
"""For disks that keep nanoseconds: the kernel's clock of file times steps by 10 ms at most."""
FINE_GRANULARITY_NS = 1000


@dataclass(slots=True)
class Replica:
    """What the parts of a folder's loop share. Only the loop's thread touches ledger and places."""

    key: DeviceKey
    name: str
    incarnation: Incarnation
    ledger: Ledger
    places: Places
    root: Root
    disk: Disk
    staging: Staging
    trash: Trash
    marker: Marker
    witness: Witness
    capabilities: Capabilities
    keys: Keys = field(repr=False)
    secrets: FolderKeys = field(repr=False)
    ignore: LiveRules
    membership: Membership

    @property
    def racy_ns(self) -> int:
        """A change within this time of another may leave the file's times as they are (file-plane.md, Scan)."""
        return FINE_RACY_NS if self.capabilities.mtime_granularity_ns <= FINE_GRANULARITY_NS else RACY_NS

    @property
    def folder(self) -> FolderId:
        return self.ledger.folder

    @property
    def device(self) -> DeviceId:
        return self.key.device_id

    @property
    def own_chain(self) -> ChainId:
        return ChainId(self.device, self.incarnation)

    @property
    def role(self) -> Role | None:
        """What this device may do in the folder, by the history merged so far."""
        return self.membership.role(self.device)

    @property
    def may_write(self) -> bool:
        role = self.role
        return role is not None and role >= Role.READ_WRITE

    def heads(self, place: Place) -> list[Entry]:
        return self.ledger.entries(place.heads)

    def view(self, place: Place, heads: Sequence[Entry]) -> merge.PathView:
        return merge.view(place.path, heads, lives_below=self.places.lives_below(place.path))

    def applied(self, place: Place) -> list[Entry]:
        """The entries whose content lies on the disk at a path."""
        return [] if place.on_disk is None else self.ledger.entries(place.on_disk.applied)

    def put_aside(self, path: Path, on_disk: OnDisk) -> None:
        """Moves what lies at a path to the trash: a write of ours that a crash cut."""
        if on_disk.stat.kind is FileKind.DIRECTORY:
            return
        self.disk.commit([Ready(RemoveFile(path, on_disk))], now=time.time())

    def forget_trashed(self, items: Iterable[Path]) -> None:
        """What left the trash is no place for chunks any more."""
        with self.ledger.db.transaction():
            for path in items:
                place = self.places.get(path)
                if place is not None and place.on_disk is not None:
                    catalog.unindex(self.places, place.number, place.on_disk.root, place.on_disk.stat.size)
                    self.places.drop(place)

    def forget_missing_trash(self) -> None:
        """The trash gave way to what needed its room: its rows follow."""
        known = {item.place for item in self.trash.list()}
        gone = [path for _, path in self.places.trashed() if path not in known]
        self.forget_trashed(gone)

    def note_trashed(self, items: Iterable[TrashItem]) -> None:
        """What another part put into the trash is a place for chunks from now on, as far as it says what it was."""
        with self.ledger.db.transaction():
            for item in items:
                if self.places.get(item.place) is not None:
                    continue
                entry = next(iter(self.ledger.entries(item.entries)), None)
                if entry is None or entry.meta.size != item.stat.size:
                    continue
                row, root = self.places.new(item.place), entry.meta.root
                self.places.put([replace(row, on_disk=OnDisk(item.stat, item.entries, root))])
                catalog.index(self.places, row.number, root, item.stat.size)

    def learn_members(self) -> Membership:
        """Reads grants, cuts and leaves anew; the membership before."""
        before = self.membership
        self.membership = membership_of(self.ledger)
        return before


def membership_of(ledger: Ledger) -> Membership:
    """Who is a member, by what is merged. Raises :class:`CorruptStore` for a ledger without its folder's genesis."""
    genesis = None
    grants, cuts, leaves = [], [], []
    for entry, batch in ledger.governance():
        if chain.is_genesis(entry):
            genesis = entry
        match facts.fact(entry, batch.vector):
            case facts.GrantFact() as fact:
                grants.append(fact)
            case facts.CutFact() as fact:
                cuts.append(fact)
            case facts.LeaveFact() as fact:
                leaves.append(fact)
            case None:
                pass
    if genesis is None:
        raise CorruptStore(f"the database {ledger.db.path} does not hold its folder's founding", hint="join again")
    return members.evaluate(genesis, grants, cuts, leaves)


def is_internal(path: Path) -> bool:
    """Harp's own corner of the folder, the trash included."""
    return path == b".harp" or path.startswith(b".harp/")
