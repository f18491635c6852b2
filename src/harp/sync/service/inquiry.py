# SPDX-License-Identifier: AGPL-3.0-or-later
"""Answers what people ask of a folder: what happened to a file, what is in conflict, whether all is as it should be."""

from collections.abc import Iterator
from dataclasses import dataclass

from harp.base.errors import FolderError, RemoteProtocolError, UsageError
from harp.identity.device import DeviceId
from harp.sync.engine import chain
from harp.sync.folder import read
from harp.sync.model import MIN_CHUNK, NO_ENTRY, Entry, EntryId, FileKind, Kind, Path
from harp.sync.service import catalog
from harp.sync.service.replica import Replica, is_internal
from harp.sync.store.places import Place


@dataclass(frozen=True, slots=True)
class Version:
    """One entry of a path, as a person sees it."""

    entry: Entry
    is_current: bool
    is_restorable: bool
    shown_as: Path | None


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong; ``path`` is empty where it is about the history."""

    path: Path
    why: str


@dataclass(frozen=True, slots=True)
class Checked:
    """How far a verification is."""

    files: int
    bytes: int


class Inquiry:
    """For the folder's thread; nothing here changes anything."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    def history(self, path: Path) -> list[Version]:
        """Newest first. Raises :class:`UsageError` for a path that the folder never had."""
        place = self._replica.places.get(path)
        entries = [] if place is None else self._replica.ledger.entries_at(place.number)
        if place is None or not entries:
            raise UsageError("the folder never had this path", hint="a path is relative to the folder")
        heads = self._replica.heads(place)
        shown = {entry.id: copy for copy, entry in self._replica.view(place, heads).copies}
        return [
            Version(entry, entry.id in place.heads, self.is_restorable(entry), shown.get(entry.id))
            for entry in reversed(entries)
        ]

    def conflicts(self) -> list[tuple[Path, list[Version]]]:
        """Paths that show conflict copies: the version that has the name first."""
        found = []
        for path in self._replica.places.conflicting():
            place = self._replica.places.get(path)
            if place is None:
                continue
            heads = self._replica.heads(place)
            view = self._replica.view(place, heads)
            if view.copies:
                named = [] if view.at_path is None else [Version(view.at_path, True, True, None)]
                copies = [Version(entry, True, self.is_restorable(entry), copy) for copy, entry in view.copies]
                found.append((path, named + copies))
        return found

    def entry(self, path: Path, prefix: str) -> Entry:
        """The one entry of a path whose id begins with ``prefix``. Raises :class:`UsageError` for none or several."""
        matching = [one.entry for one in self.history(path) if one.entry.id.hex().startswith(prefix.lower())]
        if len(matching) != 1:
            raise UsageError(
                f"{'no' if not matching else 'more than one'} version of this path begins with {prefix}",
                hint="`harp history NAME PATH` lists them",
            )
        return matching[0]

    def member_name(self, device: DeviceId) -> str:
        member = self._replica.membership.members.get(device)
        return "" if member is None else member.name

    def verify(self) -> Iterator[Finding | Checked]:
        """Checks every chain, signature and file; a step at a time, so that others get their turn in between."""
        yield from self._verify_history()
        yield from self._verify_files()

    def _verify_history(self) -> Iterator[Finding | Checked]:
        ends: dict[tuple[bytes, bytes], tuple[int, EntryId]] = {}
        # As they are now: what is merged in between two steps is not looked at.
        chains = self._replica.ledger.chains()
        for batch in self._replica.ledger.merged_batches():
            try:
                chain.check(batch)
            except RemoteProtocolError as error:
                yield Finding(Path(b""), f"history, batch {batch.first_sequence} of a chain: {error.message}")
            key = (batch.author, batch.incarnation)
            sequence, last = ends.get(key, (0, NO_ENTRY))
            if batch.first_sequence != sequence + 1 or batch.entries[0].prev != last:
                yield Finding(Path(b""), f"history: the chain is broken before entry {batch.first_sequence}")
            ends[key] = (batch.last_sequence, batch.entries[-1].id)
            for entry in batch.entries:
                known = self._replica.ledger.knows_entry(entry.id) or not entry.meta.kind.is_about_path
                if not known:
                    yield Finding(entry.meta.path, "an entry of its history is missing from the index")
            yield Checked(0, 0)
        for known_chain in chains:
            key = (known_chain.id.author, known_chain.id.incarnation)
            if known_chain.merged and ends.get(key, (0, NO_ENTRY))[1] != known_chain.merged_id:
                yield Finding(Path(b""), "history: a chain ends elsewhere than its batches")

    def _verify_files(self) -> Iterator[Finding | Checked]:
        for place in self._replica.places.below(Path(b""), on_disk_only=True):
            if is_internal(place.path) or place.on_disk is None:
                continue
            why = self._fault(place)
            now = self._replica.places.get(place.path) if why else place
            if now != place:
                # It was written again since its row was read, or is gone for good.
                why = "" if now is None or now.on_disk is None else self._fault(now)
            if why:
                yield Finding(place.path, why)
            yield Checked(1, place.on_disk.stat.size)

    def _fault(self, place: Place) -> str:
        """What is wrong with what lies at a path; empty if nothing is."""
        replica, on_disk = self._replica, place.on_disk
        assert on_disk is not None
        try:
            stat = replica.root.stat(place.path)
            if stat is None:
                return "it is missing"
            if stat.kind is not on_disk.stat.kind:
                return "something else lies there"
            if stat.kind is FileKind.SYMLINK:
                return "" if replica.root.readlink(place.path) == on_disk.target else "its target is another"
            if stat.kind is not FileKind.FILE:
                return ""
            hashed = read.hash_file(replica.root, place.path, replica.keys)
        except FolderError as error:
            return error.message
        if isinstance(hashed, read.Gone):
            return f"it could not be read: {hashed.why}"
        if hashed.root == on_disk.root:
            return ""
        if hashed.stat == on_disk.stat:
            return "its content has changed although its times have not: the disk may be failing"
        return "it has changed and that has not been noticed yet"

    def is_restorable(self, entry: Entry) -> bool:
        """Whether an entry's content lies on this disk, in the folder or in its trash."""
        meta = entry.meta
        if meta.kind is not Kind.FILE or not meta.size:
            return meta.kind is not Kind.TOMBSTONE
        if self._replica.places.with_root(meta.root):
            return True
        if meta.size <= MIN_CHUNK:
            return False
        chunks = list(catalog.chunks(self._replica.places, meta.root, meta.size))
        return bool(chunks) and all(self._replica.places.locate(id_) for id_, _, _ in chunks)
