# SPDX-License-Identifier: AGPL-3.0-or-later
"""Carries out what a person decides: held changes, conflicts, older versions."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

from harp.base.errors import FolderError, TrustError, UsageError
from harp.sync.engine import authoring, dag, details, merge
from harp.sync.engine.chain import Draft
from harp.sync.model import Entry, Kind, Path, Role, RootId, Vector
from harp.sync.service.author import Seen
from harp.sync.service.floods import Flood
from harp.sync.service.folderloop import FolderLoop
from harp.sync.service.inquiry import Inquiry
from harp.sync.service.observer import Group
from harp.sync.service.sentry import LOCAL
from harp.sync.store.holdings import Holding
from harp.sync.store.places import PENDING, Place

MARKER = "marker"
"""What a folder whose marker is gone is listed as; nobody can decide on that."""


class Decisions:
    """For the folder's thread."""

    def __init__(self, loop: FolderLoop) -> None:
        self._loop = loop
        self._replica = loop.replica

    def approve(self, held_id: str) -> str:
        """Lets exactly what was shown happen; what it did in one line."""
        fork = self._loop.forks.find(held_id)
        if fork is not None:
            self._loop.published(self._loop.governor.approve(self._loop.forks.approval(fork)))
            return "approved: the device goes on anew, with what each of its copies has"
        flood = self._loop.floods.find(held_id)
        if flood is not None:
            self._let_go_on(flood)
            return "approved: what the device has written so far is taken in, and its hour begins anew"
        holding = self._holding(held_id)
        if holding.origin == LOCAL:
            self._approve_local(holding)
        else:
            self._loop.sentry.release(holding, approved=True)
            self._loop.applier.resume()
        return f"approved {len(holding.paths)} changes"

    def reject(self, held_id: str) -> str:
        """Puts the files back: for everyone where the change was a peer's, here where it was ours."""
        if self._loop.forks.find(held_id) is not None:
            raise UsageError("a fork cannot be rejected: it is stopped", hint="`harp forget` the device, or approve it")
        flood = self._loop.floods.find(held_id)
        if flood is not None:
            self._end_membership(flood)
            return "rejected: the device is no member any more; nothing counts that it wrote beyond what is here"
        holding = self._holding(held_id)
        if holding.origin != LOCAL:
            self._demand_writable()
        self._loop.sentry.release(holding, approved=False)
        if holding.origin == LOCAL:
            self._put_back_here(holding.paths)
        else:
            self._put_back_for_all(holding)
        return f"rejected; {len(holding.paths)} files are being put back"

    def restore(self, path: Path, prefix: str) -> str:
        """Makes an older version the current one. Raises :class:`FolderError` where its content is nowhere here."""
        version = next(
            one
            for one in Inquiry(self._replica).history(path)
            if one.entry.id == Inquiry(self._replica).entry(path, prefix).id
        )
        self._demand_writable()
        meta = version.entry.meta
        if meta.kind is Kind.TOMBSTONE:
            raise UsageError("this version is a deletion", hint="name one that has content")
        if not version.is_restorable:
            raise FolderError(
                "the content of this version is no longer here", hint="another member's trash may still hold it"
            )
        place = self._replica.places.get_or_new(path)
        self._write(self._revived(version.entry, place))
        return "restored"

    def resolve(self, path: Path, keep: str) -> str:
        """Ends a conflict: one version stays, or each gets a name of its own."""
        self._demand_writable()
        place = self._replica.places.get(path)
        heads = [] if place is None else self._replica.heads(place)
        if place is None or len(heads) < 2:
            raise UsageError("this path is not in conflict", hint="`harp conflicts NAME` lists those that are")
        view = self._replica.view(place, heads)
        if keep == "both":
            winner = view.at_path or heads[0]
            drafts = self._revived(winner, place)
            for copy, entry in view.copies:
                drafts += self._revived(entry, self._replica.places.get_or_new(copy))
        else:
            chosen = Inquiry(self._replica).entry(path, keep)
            if chosen.id not in place.heads:
                raise UsageError(
                    "this version is not in conflict any more", hint="`harp restore NAME PATH@ENTRY` brings it back"
                )
            drafts = self._revived(chosen, place)
        self._write(drafts)
        return "resolved"

    # --- the parts ----------------------------------------------------------------------------------------------------

    def _holding(self, held_id: str) -> Holding:
        if not self._replica.root.marker_is_there(self._replica.marker):
            raise UsageError(
                "a folder that is not there cannot be decided on: nothing of it is taken for deleted",
                hint="mount the disk, or `harp share` the folder's new place",
            )
        return self._loop.sentry.find(held_id)

    def _let_go_on(self, flood: Flood) -> None:
        """All that is known of the author by now is let in."""
        loop = self._loop
        known: Vector = {}
        for correspondent in loop.exchange.correspondents():
            known = dag.joined(known, correspondent.said)
        with self._replica.ledger.db.transaction():
            loop.floods.release(flood.author, known)
        loop.take([])
        loop.exchange.ask_anew()

    def _end_membership(self, flood: Flood) -> None:
        if self._replica.role is not Role.OWNER:
            raise TrustError(
                "only an owner can reject this: it ends the device's membership",
                hint="reject it on a device that owns the folder, or leave it held",
            )
        loop = self._loop
        written = loop.governor.cut(flood.author)
        with self._replica.ledger.db.transaction():
            loop.floods.release(flood.author)
        loop.published(written)
        loop.take([])

    def _approve_local(self, holding: Holding) -> None:
        """The losses are authored now, and signed for."""
        loop = self._loop
        loop.sentry.release(holding, approved=True)
        group = Group()
        places = [place for path in holding.paths if (place := self._replica.places.get(path)) is not None]
        gone = [place for place in places if place.on_disk is not None and self._replica.root.stat(place.path) is None]
        loop.observer.gone_drafts(gone, group)
        # Said and signed for in one breath: whoever gets the losses has the approval.
        written, touched = loop.author.write(group.changes, group.seen)
        entries = [e.id for item in written for e in item.batch.entries if e.meta.kind is Kind.TOMBSTONE]
        if entries:
            written += loop.governor.approve(details.HeldSet(details.held_digest(entries)))
            loop.published(written)
        loop.applier.queue(touched)
        there = {place.path for place in gone}
        loop.observer.approve(path for path in holding.paths if path not in there)

    def _put_back_here(self, paths: Iterable[Path]) -> None:
        """What disappeared here was not meant to: the disk follows the history again."""
        places = []
        for path in paths:
            place = self._replica.places.get(path)
            if place is None:
                continue
            stat = self._replica.root.stat(path)
            on_disk = (
                None if stat is None or place.on_disk is None else replace(place.on_disk, stat=stat, root=RootId(b""))
            )
            # Not to be looked at again before it is put back: it would be found, and held, once more.
            places.append(replace(place, on_disk=on_disk, pending=PENDING, is_racy=False))
        with self._replica.ledger.db.transaction():
            self._replica.places.put(places)
        self._loop.applier.queue(places)

    def _put_back_for_all(self, holding: Holding) -> None:
        """What a peer took away, and what still lies here, is said anew."""
        drafts = []
        for path in holding.paths:
            place = self._replica.places.get(path)
            applied = [] if place is None else self._replica.applied(place)
            if place is not None and applied:
                drafts += self._revived(applied[0], place)
        self._write(drafts)

    def _revived(self, entry: Entry, place: Place) -> list[Draft]:
        """An entry's content said anew, in place of all heads."""
        meta = entry.meta
        heads = self._replica.heads(place)
        revived = Draft(
            kind=meta.kind,
            path=place.path,
            target=meta.target,
            size=meta.size,
            mtime_ns=meta.mtime_ns,
            executable=meta.executable,
            root=meta.root,
            hlc=merge.next_hlc(heads, now_ms=time.time_ns() // 1_000_000),
        )
        return authoring.in_place_of(place.heads, revived)

    def _write(self, drafts: Sequence[Draft]) -> None:
        seen: dict[Path, Seen] = {}
        written, places = self._loop.author.write([list(drafts)], seen)
        self._loop.exchange.publish(written, {})
        self._loop.applier.queue(places)

    def _demand_writable(self) -> None:
        if not self._replica.may_write:
            raise UsageError("this device may only read this folder", hint="ask an owner for a read-write invitation")
