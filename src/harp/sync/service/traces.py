# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an action on the disk leaves in the ledger: the row of its path, where chunks lie now, the trash as a place."""

from collections.abc import Sequence
from dataclasses import replace

from harp.sync.engine import merge
from harp.sync.model import (
    Action,
    Entry,
    EntryId,
    FileKind,
    MakeDirectory,
    OnDisk,
    Outcome,
    Path,
    RemoveDirectory,
    RemoveFile,
    SetAttributes,
    Skipped,
    Stat,
    WriteFile,
    WriteSymlink,
)
from harp.sync.service import catalog
from harp.sync.service.replica import Replica
from harp.sync.store.places import PENDING, SETTLED, Place, with_disk


class Traces:
    """For the folder's thread, within the transaction that notes a turn."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    def after(self, place: Place, outcome: Outcome, heads: Sequence[Entry]) -> Place:
        """A path's row after one action on it."""
        if isinstance(outcome, Skipped):
            return place
        before = place.on_disk
        action, stat = outcome.action, outcome.stat
        if before is not None and before.stat.kind is FileKind.FILE and not isinstance(action, SetAttributes):
            self.moved_away(place, before, outcome.trashed)
        on_disk = None if stat is None else lying(action, stat, heads)
        if on_disk is not None and on_disk.root and not isinstance(action, SetAttributes):
            catalog.index(self._replica.places, place.number, on_disk.root, on_disk.stat.size)
        return with_disk(place, on_disk, pending=place.pending, problem=place.problem)

    def moved_away(self, place: Place, before: OnDisk, trashed: Path | None) -> None:
        """What lay there lies in the trash now, and is a source of chunks there."""
        places = self._replica.places
        catalog.unindex(places, place.number, before.root, before.stat.size)
        if trashed is None:
            return
        stat = self._replica.root.stat(trashed)
        if stat is not None:
            item = places.get_or_new(trashed)
            places.put([replace(item, on_disk=replace(before, stat=stat, copy_of=None))])
            catalog.index(places, item.number, before.root, before.stat.size)

    def of_copy(self, path: Path) -> Place:
        """The row of a copy's path, which the journal covered until now."""
        place = self._replica.places.get_or_new(path)
        return replace(place, pending=PENDING if place.heads else SETTLED)

    def stays(self, outcome: Skipped) -> bool:
        """Whether it is a directory that has to stay: it holds what is ignored, not what is still to be removed."""
        if not isinstance(outcome.action, RemoveDirectory) or not self._replica.root.names(outcome.action.path):
            return False
        return not any(place.pending for place in self._replica.places.below(outcome.action.path, on_disk_only=True))


def lying(action: Action, stat: Stat, heads: Sequence[Entry]) -> OnDisk:
    """What lies on the disk after an action, with what was wanted where the disk could not hold it."""
    match action:
        case WriteFile() | SetAttributes() if action.entry.meta.size or stat.kind is FileKind.FILE:
            meta = action.entry.meta
            return OnDisk(
                stat,
                merge.shown(action.entry, heads),
                meta.root,
                wanted_mtime_ns=None if stat.mtime_ns == meta.mtime_ns else meta.mtime_ns,
                wanted_executable=None if stat.executable == meta.executable else meta.executable,
                copy_of=action.copy_of,
            )
        case WriteSymlink() | SetAttributes() | WriteFile():
            return OnDisk(
                stat, merge.shown(action.entry, heads), target=action.entry.meta.target, copy_of=action.copy_of
            )
        case MakeDirectory():
            return OnDisk(stat, () if action.entry is None else merge.shown(action.entry, heads))
        case RemoveFile() | RemoveDirectory():
            raise AssertionError("nothing lies where something was removed")


def with_applied(on_disk: OnDisk, heads: Sequence[Entry]) -> OnDisk:
    """The heads whose bytes lie there, should more of them say the same by now."""
    if len(heads) == 1 and on_disk.applied == (heads[0].id,):
        return on_disk
    ids = {head.id for head in heads}
    winner = next((head for head in heads if head.id in on_disk.applied), None)
    if winner is None or on_disk.copy_of is not None:
        return on_disk
    applied: tuple[EntryId, ...] = tuple(id_ for id_ in merge.shown(winner, heads) if id_ in ids)
    return on_disk if applied == on_disk.applied else replace(on_disk, applied=applied)
