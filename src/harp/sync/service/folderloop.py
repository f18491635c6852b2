# SPDX-License-Identifier: AGPL-3.0-or-later
"""One folder's crank: a thread that takes what happened, asks the pure parts, and acts on disk, ledger and peers."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future
from typing import TypeVar

from harp.base.errors import FolderError, HarpError, RemoteProtocolError, StoreError
from harp.identity.device import DeviceId
from harp.sync.engine import dag
from harp.sync.folder.watch import Changes, Watcher
from harp.sync.protocol.asks import Asked
from harp.sync.protocol.foldermessages import Ask, Batches, Content, Forked, Get, Offer, OfferEnd, Proof, State
from harp.sync.protocol.frames import Status
from harp.sync.protocol.linkmessages import CloseCode
from harp.sync.protocol.messages import FolderMessage
from harp.sync.protocol.officemessages import Availability, Circle
from harp.sync.service.applier import Applier
from harp.sync.service.author import Author, Written
from harp.sync.service.census import Census
from harp.sync.service.courier import Courier
from harp.sync.service.departures import Departures
from harp.sync.service.exchange import Exchange
from harp.sync.service.floods import Floods
from harp.sync.service.forks import Forks
from harp.sync.service.governor import Governor
from harp.sync.service.inbox import (
    Call,
    DiskChanged,
    Event,
    FileRead,
    Inbox,
    PeerCame,
    PeerWent,
    Said,
    Sayable,
    SegmentsRead,
    Stop,
    Woken,
    perform,
)
from harp.sync.service.merger import Merged, Merger
from harp.sync.service.observer import Group, Observer
from harp.sync.service.offers import Offering
from harp.sync.service.office import Office
from harp.sync.service.peer import Peer
from harp.sync.service.replica import Replica
from harp.sync.service.respite import Respite
from harp.sync.service.rounds import Rounds
from harp.sync.service.sentry import Sentry
from harp.sync.service.server import Server
from harp.sync.service.settings import FolderSettings
from harp.sync.service.stillness import Stillness
from harp.sync.service.surroundings import Surroundings
from harp.sync.store.places import JOURNALLED

_log = logging.getLogger(__name__)
T = TypeVar("T")

HEAR_FIRST_S = 2.0
"""After its start a device lets a peer speak first: if its disk and ledger were put back together, that tells it."""
PEERS_WITHIN_S = 5.0
"""How long after the start a missing peer is not yet called missing."""


class FolderLoop:
    """Owned by the daemon; :meth:`post` and :meth:`call` are for every thread, the rest is the loop's own."""

    def __init__(
        self, replica: Replica, settings: FolderSettings, executor: Executor, surroundings: Surroundings
    ) -> None:
        self.replica = replica
        self.settings = settings
        self.is_paused = False
        self.trouble = ""
        """Why the folder stands still: its disk or marker is gone, or not to be read. Empty while all is well."""
        self._surroundings = surroundings
        self._inbox = Inbox()
        self.floods = Floods(replica, settings.author_entries)
        self.merger = Merger(replica, self.floods)
        self.exchange = Exchange(replica.folder, replica.ledger, self.merger.is_unwanted)
        self.offering = Offering(replica.root, replica.keys, replica.folder, self.exchange.broadcast, self.post)
        self.sentry = Sentry(replica, settings.guard)
        self.departures = Departures(replica, self.sentry, self._marker_is_there)
        self.observer = Observer(replica, executor, self.offering, self.sentry.is_held, self.departures)
        self.office = Office(replica.folder, replica.device, settings.office)
        self.courier = Courier(replica, executor, self.exchange.correspondents, self.office, self.post)
        self.applier = Applier(replica, self.courier, self.sentry, self.observer.look)
        self.author = Author(replica)
        self.governor = Governor(replica, self.author)
        self.forks = Forks(replica)
        self.open_forks = self.forks.open()
        self.server = Server(
            replica.ledger.db.path,
            replica.root,
            self.offering,
            self.courier.stock,
            lambda path: self.post(DiskChanged(Changes(frozenset({path})))),
        )
        self.watch_problem = ""
        self.respite = Respite(replica.name)
        self._watcher = Watcher(replica.root, self._on_changes, replica.ignore, on_problem=self._on_watch_problem)
        self._thread = threading.Thread(target=self._run, name=f"harp folder {replica.name}", daemon=True)
        self._rounds = Rounds(replica, settings, self.observer, self._marker_is_there)
        self._is_stopping = False
        self._followed = b""
        """The digest of the ignore rules that have been acted upon."""
        self._scans_awaited: list[Future[None]] = []
        self._started_s = time.monotonic()
        self.census = Census(replica.places)
        self.stillness = Stillness()
        self._is_new = replica.ledger.fact("is_new") is not None
        """Joined, and not yet agreed with a peer on the history: what lies here is not looked at before that."""

    # --- for every thread ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 30.0) -> None:
        """Ends the loop after the turn that is under way; the ledger is closed cleanly."""
        self.post(Stop())
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def post(self, event: Event) -> None:
        self._inbox.put(event)

    def call(self, what: Callable[[], T]) -> "Future[T]":
        """Runs ``what`` on the folder's thread, where ledger and places may be used."""
        answer: Future[T] = Future()
        if not self._thread.is_alive():
            answer.set_exception(FolderError("this folder stands still", hint="`harp status` says why"))
        else:
            self.post(Call(what, answer))
        return answer

    def scanned(self) -> "Future[None]":
        """Begins a scan of the whole folder; done when that is."""
        done: Future[None] = Future()

        def begin() -> None:
            self.observer.scan()
            self._scans_awaited.append(done)

        self.call(begin)
        return done

    def received(self, peer: Peer, message: FolderMessage) -> None:
        """A member's message, on its link's thread: asks are served at once, the rest waits its turn."""
        if isinstance(message, Ask):
            for request, what, id_ in message.wanted:
                self._surroundings.serve(peer, request, id_, self.server.reader(what, id_))
        elif isinstance(message, Sayable):
            self.post(Said(peer, message))

    def answered(self, device: DeviceId, asked: Asked, status: Status, payload: memoryview) -> None:
        """An answer, on its link's thread."""
        self.courier.deliver(device, asked, status, payload)

    def _on_changes(self, changes: Changes) -> None:
        self.post(DiskChanged(changes))

    def _on_watch_problem(self, text: str) -> None:
        self.watch_problem = text

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._watcher.start()
            if not self._is_new:
                self.observer.scan()
            timeout: float | None = 0.0
            while not self._is_stopping:
                for event in self._inbox.taken(timeout):
                    self._handle_or_put_off(event)
                timeout = self._turn()
            self._watcher.stop()
            self.replica.trash.keep_age()
            self.replica.ledger.set_clean()
        except HarpError as error:
            _log.error("folder %s stands still: %s", self.replica.name, error)
            self.trouble = error.message
            self._surroundings.stopped(self.replica.folder, error)
        except Exception:  # noqa: BLE001 - a defect stops this folder, not the daemon; it is logged whole
            _log.exception("folder %s stands still", self.replica.name)
            self.trouble = "a defect of Harp; its log says more"
            self._surroundings.stopped(self.replica.folder, FolderError(self.trouble))
        finally:
            self._inbox.refuse_calls(FolderError("this folder stands still", hint="`harp status` says why"))
            self.replica.ledger.close()
            self.replica.witness.close()

    def _handle_or_put_off(self, event: Event) -> None:
        """Where the ledger refuses for now, such as on a full disk, what needs it waits, and nobody else does."""
        try:
            if not self.respite.puts_off(event):
                self._handle(event)
        except StoreError as error:
            self.respite.begin(error, now=time.monotonic())
            self.respite.puts_off(event)

    def _handle(self, event: Event) -> None:
        match event:
            case DiskChanged():
                self._disk_changed(event.changes)
            case PeerCame():
                self._came(event.peer)
            case PeerWent():
                if self.exchange.went(event.peer):
                    self.courier.lost(event.peer.device)
            case Said():
                self._heard(event.peer, event.message)
            case SegmentsRead():
                with self.replica.ledger.db.transaction():
                    self.replica.places.add_nodes(event.nodes)
            case Call():
                perform(event)
            case FileRead():
                self.observer.read_through(event.path)
            case Woken():
                pass
            case Stop():
                self._is_stopping = True

    def _came(self, peer: Peer) -> None:
        peer.send(Proof(self.replica.folder, tuple(self.governor.proof(self.replica.device))))
        if self.exchange.came(peer):
            # What it was asked by the other link is not answered any more.
            self.courier.lost(peer.device)

    def _disk_changed(self, changes: Changes) -> None:
        if changes.overflow or changes.rules:
            # A scan reads the rules first: what they hid or hide now is looked at.
            self.observer.scan()
        for subtree in changes.subtrees:
            self.observer.scan(subtree)
        self.observer.look(changes.paths)

    def _follow_rules(self) -> None:
        """What other rules hid was not planned, and is now; also where they changed while the folder was closed."""
        replica = self.replica
        self._followed = replica.ignore.digest
        if replica.ledger.fact("rules") == self._followed:
            return
        self._watcher.renew(replica.ignore)
        with replica.ledger.db.transaction():
            replica.places.unsettle()
            replica.ledger.set_fact("rules", replica.ignore.digest)
        self.applier.resume()

    def _heard(self, peer: Peer, message: Sayable) -> None:
        try:
            match message:
                case State():
                    if self.exchange.heard(peer, message) is not None:
                        self.courier.hopeful(peer.device)
                case Get():
                    self.exchange.wanted(peer, message)
                case Batches():
                    self.exchange.got(peer, message)
                    if message.batches:
                        self.take(message.batches)
                    self.exchange.ask_all()
                case Content() | Offer() | OfferEnd() | Circle() | Availability():
                    self.courier.heard(peer, message, now=time.monotonic())
                case Forked():
                    self.take((message.one, message.other))
        except RemoteProtocolError as error:
            _log.warning("%r broke the protocol: %s", peer, error.message)
            peer.close(CloseCode.PROTOCOL, error.message)
        except FolderError as error:
            _log.warning("folder %s: %s", self.replica.name, error.message)

    def take(self, batches: Iterable[bytes]) -> None:
        """Merges batches that a peer sent, or that came with a welcome."""
        self.note_merged(self.merger.take(batches, is_catching_up=self._is_new))

    def note_merged(self, merged: Merged) -> None:
        self.applier.queue(merged.places)
        self.exchange.pass_on(merged.forked)
        if merged.forked or merged.members_changed:
            self.learn_forks()
        self.exchange.suspects |= merged.suspects
        self.exchange.suspects -= {ours.chain for ours, _ in merged.forked}
        if merged.members_changed:
            self.governor.learn_epochs()
            self._marker_is_there()
            for holding in self.sentry.reconsidered():
                _log.info("folder %s: the author approved what was held as %s", self.replica.name, holding.id)
                self.applier.resume()
            self._surroundings.members_changed(self.replica.folder)

    # --- one turn -----------------------------------------------------------------------------------------------------

    def _turn(self) -> float | None:
        """Does a bounded amount of what there is to do; how long (s) the inbox may be waited for then."""
        now = time.monotonic()
        more = False
        try:
            if self.respite.ends(now):
                self._begin_again()
            if not self.respite.is_on:
                more = self._work(now)
        except (StoreError, FolderError) as error:
            self.respite.begin(error, now=now)
        more = self.exchange.pump() or more
        state_at = self._say_state(now)
        if self._scans_awaited and not self.observer.is_scanning:
            for done in self._scans_awaited:
                done.set_result(None)
            self._scans_awaited.clear()
        if more:
            return 0.0
        self.stillness.look(self.replica.ledger.db.changes)
        return self._pause(now, state_at)

    def _work(self, now: float) -> bool:
        """What is due from time to time, and one step; whether there is more to do."""
        self._rounds.go(now)
        if self._followed != self.replica.ignore.digest:
            self._follow_rules()
        if self.is_paused or self.trouble:
            return False
        more = self._step(now)
        self.respite.problem = self.respite.problem if more else ""
        return more

    def _step(self, now: float) -> bool:
        if self.forks.own_is_stopped or (self._is_new and not self._has_caught_up()):
            return False
        if self.governor.owes_secret and not self._may_have_gone_back():
            self.published(self.governor.renewed())
        if self.observer.can_step and not self._may_have_gone_back():
            self._author(self.observer.step())
        if self._may_apply:
            self.applier.step(now=now)
            if self.applier.has_planned_all:
                self.courier.give_up(self.applier.wants, is_all_done=not self.applier.is_busy)
        came = self.courier.step(now=now)
        if came:
            self.applier.content_came(came)
        if self.courier.has_freed:
            self.courier.has_freed = False
            self.applier.look_again()
        return (self.observer.can_step and not self._may_have_gone_back()) or self._may_apply

    @property
    def _may_apply(self) -> bool:
        """After a join, what lies here already is found before anything is fetched or written."""
        return self.applier.can_step and not self.observer.adopts

    def _has_caught_up(self) -> bool:
        """Whether history is here as far as a peer has told it; then what lies here is adopted or added to it."""
        spoken = [known for known in self.exchange.correspondents() if known.has_spoken]
        ours = self.replica.ledger.vector()
        if self.replica.role is None or not any(dag.covers(ours, known.said) for known in spoken):
            return False
        self._is_new = False
        with self.replica.ledger.db.transaction():
            self.replica.ledger.drop_fact("is_new")
        self.observer.adopts = True
        self.observer.scan()
        self.applier.resume()
        return True

    def _may_have_gone_back(self) -> bool:
        """Whether a peer has, or may have, more of our own chain: a restored ledger says nothing before it has that."""
        own = self.replica.own_chain
        merged = self.replica.ledger.chain(own).merged
        correspondents = self.exchange.correspondents()
        # One that was asked for it and did not send it has claimed what nobody has.
        if any(known.is_getting and known.said.get(own, 0) > merged for known in correspondents):
            return True
        is_early = time.monotonic() - self._started_s < HEAR_FIRST_S and len(self.replica.membership.members) > 1
        return is_early and not any(known.has_spoken for known in correspondents)

    def _author(self, group: Group) -> None:
        """Says what was found, unless it is so much loss that a person has to look at it first."""
        if group.lost or group.reverted:
            if not self._marker_is_there():
                return
            came = [seen.on_disk.root for seen in group.seen.values() if seen.on_disk is not None]
            if self.sentry.lets_pass(group.lost, came, list(group.reverted)):
                self.observer.gone_drafts(group.lost, group)
            else:
                for path, drafts in group.reverted.items():
                    group.changes.remove(drafts)
                    del group.seen[path]
        if group.changes or group.seen:
            self.write(group)

    def write(self, group: Group) -> list[Written]:
        """Makes a group durable and tells the members."""
        for root in self.replica.places.held_roots(group.contents):
            # It was copied or renamed within the folder: who has caught up has it.
            del group.contents[root]
        written, places = self.author.write(group.changes, group.seen, group.places)
        for path in group.seen:
            self.offering.forget(path)
        if written:
            self.exchange.publish(written, group.contents)
        self.applier.queue(places)
        self.applier.renew(group.seen)
        if group.approved:
            self.published(self.governor.stand_by(written, group.approved))
        return written

    def pause(self, paused: bool) -> None:
        """While paused nothing is looked at, written or asked for; what peers say is still merged."""
        self.is_paused = paused
        if not paused:
            self.observer.scan()
            self.applier.resume()

    @property
    def has_waited_for_peers(self) -> bool:
        """Whether peers had the time to be found since the loop started."""
        return time.monotonic() - self._started_s > PEERS_WITHIN_S

    def learn_forks(self) -> None:
        """Which forks wait for an owner; should ours be approved, this device goes on anew."""
        self.open_forks = self.forks.open()
        if self.forks.go_on_anew():
            _log.warning("folder %s: goes on as a new incarnation after a fork", self.replica.name)
            self.observer.scan()
            self.applier.resume()

    @property
    def held(self) -> int:
        """How much waits for a person."""
        return len(self.sentry.held) + len(self.open_forks) + len(self.floods.held)

    def published(self, written: Sequence[Written]) -> None:
        """Sends what this device said about members to all of them; who they are may have changed."""
        self.exchange.publish(written, {})
        self.learn_forks()
        self._surroundings.members_changed(self.replica.folder)

    def _say_state(self, now: float) -> float | None:
        return self.exchange.state(is_settled=self.is_settled, waiting=self.applier.waiting, held=self.held, now=now)

    @property
    def is_settled(self) -> bool:
        """Whether the disk durably shows all that is merged here."""
        is_working = (
            self._is_new or self.applier.is_busy or self.merger.waits or self.applier.next_deadline() is not None
        )
        return not (is_working or self.replica.ignore.is_changing or self.held or self.trouble)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left to be seen, said, got or written."""
        return self.is_settled and not self.observer.is_busy and not self.courier.is_busy

    @property
    def _stands_still(self) -> bool:
        """Whether nothing is looked at or written just now, whatever is due."""
        return self.is_paused or bool(self.trouble) or self.forks.own_is_stopped or self._is_new

    def _pause(self, now: float, state_at: float | None) -> float:
        deadlines = [
            self._rounds.next_deadline(),
            state_at,
            self.respite.next_deadline(),
            *([] if self._stands_still else [self.applier.next_deadline(), self.observer.next_deadline()]),
            now + 1.0 if self.courier.is_busy else None,
            None if self._stands_still else self.office.next_deadline(),
            self._started_s + HEAR_FIRST_S if now < self._started_s + HEAR_FIRST_S else None,
        ]
        return max(0.0, min(deadline for deadline in deadlines if deadline is not None) - now)

    # --- the marker ---------------------------------------------------------------------------------------------------

    def _marker_is_there(self) -> bool:
        """Looks for the folder's marker; without it nothing is authored or written until it is back."""
        before, self.trouble = self.trouble, self.replica.root.trouble(self.replica.marker)
        if self.trouble and self.trouble != before:
            _log.error("folder %s: %s", self.replica.name, self.trouble)
        elif before and not self.trouble:
            self._watcher.renew(self.replica.ignore)
            self.observer.scan()
            self.applier.resume()
        # Whoever is no member any more keeps its disk as it is: what was taken back is not taken from it.
        self.applier.is_stopped = bool(self.trouble) or self.replica.role is None
        return not self.trouble

    def _begin_again(self) -> None:
        """The ledger or the disk refused in the middle of a turn: all that was taken up is taken up once more."""
        self.observer.look(place.path for place in self.replica.places.pending(JOURNALLED))
        self.observer.scan()
        self.applier.resume()
        self.exchange.ask_anew()
        for event in self.respite.taken():
            self._handle_or_put_off(event)
