# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who is linked to us and in which folders: admission, duplicates, invitations, and what a link says to which loop."""

import functools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

from harp.base.errors import HarpError, LinkError, TrustError
from harp.base.runtime import Counter
from harp.base.webaddress import is_web
from harp.identity import pairing
from harp.identity.device import DeviceId, DeviceKey
from harp.sync.engine.fetcher import Reach
from harp.sync.model import FolderId
from harp.sync.protocol import messages
from harp.sync.protocol.asks import Asked
from harp.sync.protocol.frames import Status
from harp.sync.protocol.messages import CloseCode, Hello, Message
from harp.sync.protocol.session import Session
from harp.sync.protocol.transitions import Mode, is_preferred
from harp.sync.service.directory import Directory
from harp.sync.service.doors import ByTicket
from harp.sync.service.folderloop import FolderLoop
from harp.sync.service.governor import Governor
from harp.sync.service.inbox import PeerCame, PeerWent
from harp.sync.service.peer import Peer
from harp.sync.service.sites import Sites
from harp.sync.service.traffic import Traffic
from harp.sync.store.registry import OpenTicket, Registry
from harp.sync.transport.link import Link
from harp.sync.transport.outflow import ReadInto

_log = logging.getLogger(__name__)

UNADMITTED_S = 30.0
"""A link on which no folder came to be shared ends after this."""
NEAR_DEAD_S = 6.0
"""A neighbour that acknowledges nothing for so long is dialled anew: TCP would take long to notice that it is back."""
MAX_CLAIMS = 64
"""States of folders that are not admitted, kept for a link."""
_TICKET_FAULTS = {
    "unknown": CloseCode.TICKET_BAD,
    "used": CloseCode.TICKET_USED,
    "expired": CloseCode.TICKET_EXPIRED,
}


class Surveyor(Protocol):
    """Knows how an address is reached, and what this device says of itself."""

    def reach(self, host: str, round_trip_s: float) -> Reach: ...

    def hello(self) -> Hello: ...

    def own_addresses(self) -> Sequence[str]: ...


@dataclass(slots=True)
class _Linked:
    """What the hub knows of one link."""

    peer: Peer
    admitted: set[FolderId] = field(default_factory=set)
    claims: dict[FolderId, messages.State] = field(default_factory=dict)
    joining: "Joining | None" = None


@dataclass(slots=True)
class Joining:
    """A ticket that is being redeemed over a link."""

    secret: bytes = field(repr=False)
    device_name: str
    welcome: Future[messages.Welcome] = field(default_factory=Future)


class Hub:
    """Implements :class:`Switchboard` and :class:`Surroundings`; for every thread."""

    def __init__(
        self,
        key: DeviceKey,
        registry: Registry,
        surveyor: Surveyor,
        on_change: Callable[[], None],
        sites: Sites | None = None,
        traffic: Traffic | None = None,
    ) -> None:
        self.key = key
        self.registry = registry
        self._surveyor = surveyor
        self._on_change = on_change
        self.sites = sites or Sites()
        self.content = traffic or Traffic()
        self.directory = Directory(key.device_id, registry, surveyor.own_addresses)
        self._lock = threading.RLock()
        self._loops: dict[FolderId, FolderLoop] = {}
        self._linked: dict[DeviceId, _Linked] = {}
        self._all: dict[Peer, _Linked] = {}
        self._provisional: set[tuple[FolderId, DeviceId]] = set()
        self.names: dict[DeviceId, str] = {}
        self.bytes_in, self.bytes_out = Counter(), Counter()
        """Of links that have ended; see :meth:`traffic`."""

    # --- folders ------------------------------------------------------------------------------------------------------

    def loops(self) -> Sequence[FolderLoop]:
        with self._lock:
            return tuple(self._loops.values())

    def loop(self, folder: FolderId) -> FolderLoop | None:
        return self._loops.get(folder)

    def add_loop(self, loop: FolderLoop) -> None:
        """A folder was opened: linked members are admitted to it."""
        with self._lock:
            self._loops[loop.replica.folder] = loop
        self.members_changed(loop.replica.folder)

    def drop_loop(self, folder: FolderId) -> FolderLoop | None:
        """The folder is closed: links go on without it."""
        with self._lock:
            loop = self._loops.pop(folder, None)
            linked = list(self._all.values())
        for one in linked:
            self._withdraw(one, folder)
        return loop

    def admit_provisionally(self, folder: FolderId, device: DeviceId) -> None:
        """Until history says so: the inviter, to whoever it has just welcomed."""
        with self._lock:
            self._provisional.add((folder, device))
        self.members_changed(folder)

    # --- links --------------------------------------------------------------------------------------------------------

    def link_made(self, link: Link, joining: Joining | None = None) -> Peer:
        """A link from the listener or a dialler; it is started."""
        mode = Mode.JOINER if joining else Mode.INVITER if isinstance(link.admitted, ByTicket) else Mode.MEMBER
        session = Session(self._surveyor.hello(), is_dialler=link.is_dialler, mode=mode, now=time.monotonic())
        peer = Peer(link, session, self._surveyor.reach(link.remote[0], link.flow().round_trip_s), self)
        with self._lock:
            self._all[peer] = _Linked(peer, joining=joining)
        peer.start()
        return peer

    def peers(self) -> Sequence[Peer]:
        """Open links, one for each device."""
        with self._lock:
            return tuple(one.peer for one in self._linked.values())

    def peer(self, device: DeviceId) -> Peer | None:
        one = self._linked.get(device)
        return None if one is None else one.peer

    def traffic(self) -> tuple[int, int]:
        """(bytes in, bytes out) over all links since the start."""
        with self._lock:
            links = [peer.link for peer in self._all]
            return (
                self.bytes_in.value + sum(link.bytes_in for link in links),
                self.bytes_out.value + sum(link.bytes_out for link in links),
            )

    def tick(self) -> None:
        """Keeps links alive and ends those that serve for nothing."""
        with self._lock:
            linked = list(self._all.values())
        self.sites.tick()
        for loop in self.loops():
            self.content.found(loop.replica.folder, loop.courier.local_bytes)
        self.content.keep()
        self.directory.keep(self.peers())
        for one in linked:
            one.peer.tick()
            if one.peer.reach is Reach.LAN and one.peer.link.flow().unheard_s > NEAR_DEAD_S:
                one.peer.close(CloseCode.TIMEOUT, "nothing arrives there")
            is_idle = not one.admitted and one.joining is None and time.time() - one.peer.since_s > UNADMITTED_S
            if is_idle:
                one.peer.close(CloseCode.NOT_MEMBER)

    def close_all(self, code: CloseCode) -> None:
        """Ends all links for good: when their devices were seen is written down now, not as each of them ends."""
        self.directory.saw(self.peers())
        with self._lock:
            self._linked.clear()
            linked = list(self._all)
        for peer in linked:
            peer.close(code)

    def forget(self, device: DeviceId) -> None:
        """Ends the link of a device that is refused from now on."""
        one = self._linked.get(device)
        if one is not None:
            one.peer.close(CloseCode.FORGOTTEN)

    # --- what links say (Switchboard) ---------------------------------------------------------------------------------

    def greeted(self, peer: Peer) -> None:
        self.names[peer.device] = peer.name
        with self._lock:
            one = self._all.get(peer)
        if one is None:
            return
        if peer.session.mode is Mode.JOINER and one.joining is not None:
            peer.send(messages.Join(one.joining.secret, one.joining.device_name))
        elif peer.session.mode is Mode.MEMBER:
            self._settle_in(one)

    def _settle_in(self, one: _Linked) -> None:
        """The link is open: it is the one for its device, or the other one is."""
        peer = one.peer
        if peer.device in self.registry.forgotten():
            peer.close(CloseCode.FORGOTTEN)
            return
        with self._lock:
            if peer not in self._all:
                # It ended meanwhile, and is not waited for to end again.
                return
            other = self._linked.get(peer.device)
            loser = None
            if other is not None and other is not one and other.peer.is_open:
                loser = one if self._stays(other.peer, peer) else other
            if loser is not one:
                self._linked[peer.device] = one
        if loser is not None:
            loser.peer.close(CloseCode.DUPLICATE)
        if loser is not one:
            self.sites.linked(peer)
            is_new_address = self.directory.note(peer)
            self._admit_all(one)
            if is_new_address:
                self._spread_addresses()
            self._on_change()

    def _stays(self, old: Peer, new: Peer) -> bool:
        """Whether of two open links to one device the older one stays; both ends decide alike.

        A link of its own goes before one through a web server.
        """
        if is_web(old.link.remote[0]) != is_web(new.link.remote[0]):
            return is_web(new.link.remote[0])
        if old.link.is_dialler == new.link.is_dialler:
            return False
        return is_preferred(self.key.device_id, old.device, is_dialler=old.link.is_dialler)

    def claimed(self, peer: Peer, message: messages.State | messages.Proof) -> None:
        loop = self._loops.get(message.folder)
        with self._lock:
            one = self._all.get(peer)
        if one is None:
            return
        if isinstance(message, messages.State):
            self._state_claimed(one, message)
            return
        if loop is None:
            return

        def proven() -> bool:
            return Governor(loop.replica, loop.author).proves(peer.device, message.batches)

        def decide(answer: "Future[bool]") -> None:
            if answer.exception() is None and answer.result():
                with self._lock:
                    self._provisional.add((message.folder, peer.device))
                self._review(one, loop)

        loop.call(proven).add_done_callback(decide)

    def _state_claimed(self, one: _Linked, message: messages.State) -> None:
        """Kept even for a folder that is not here: it may be about to be, by the very ticket this link redeemed."""
        folder = message.folder
        with self._lock:
            loop = self._loops.get(folder) if folder in one.admitted else None
            if loop is None and len(one.claims) < MAX_CLAIMS:
                one.claims[folder] = message
        if loop is not None:
            # The peer was admitted between its saying so and this.
            loop.received(one.peer, message)

    def received(self, peer: Peer, message: Message) -> None:
        match message:
            case messages.Join():
                self._redeem(peer, message)
            case messages.Welcome():
                self._welcomed(peer, message)
            case messages.Site():
                self.sites.heard(peer, message)
            case messages.Addresses():
                self.directory.hear(peer, message, self._members() | {peer.device})
                self._on_change()
            case _ if isinstance(message, messages.FolderMessage):
                self._received_in_folder(peer, message)
            case _:
                # The session keeps these to itself.
                pass

    def _received_in_folder(self, peer: Peer, message: messages.FolderMessage) -> None:
        with self._lock:
            # Whoever admits the peer holds it until the loop has been told that it came.
            loop = self._loops.get(message.folder)
        if loop is None:
            return
        if isinstance(message, messages.Proof):
            # It speaks of the folder for the first time, or has opened it anew and heard nothing of ours since.
            loop.call(functools.partial(loop.exchange.greet_again, peer))
        else:
            loop.received(peer, message)

    def serve(self, peer: Peer, request: int, id_: bytes, read_into: ReadInto) -> None:
        """On a LAN in the order of asking; over the WAN as the peer's site can take it in."""
        if peer.reach is Reach.LAN:
            peer.serve(request, read_into)
        else:
            self.sites.ask(peer, request, id_, read_into)

    def cancelled(self, peer: Peer, requests: Sequence[int]) -> None:
        self.sites.cancel(peer, requests)

    def answered(self, peer: Peer, asked: Asked, status: Status, payload: memoryview) -> None:
        if status is Status.OK:
            self.content.received(asked.folder, peer.device, peer.reach, len(payload))
        loop = self._loops.get(asked.folder)
        if loop is not None:
            loop.answered(peer.device, asked, status, payload)

    def ended(self, peer: Peer, why: str, code: int | None, asked: Sequence[Asked]) -> None:
        with self._lock:
            one = self._all.pop(peer, None)
            current = self._linked.get(peer.device)
            was_linked = current is not None and current.peer is peer
            if was_linked:
                del self._linked[peer.device]
        self.sites.ended(peer)
        self.directory.ended(peer, was_linked=was_linked)
        self.bytes_in.add(peer.link.bytes_in)
        self.bytes_out.add(peer.link.bytes_out)
        _log.debug("%r ended: %s", peer, why)
        if one is None:
            return
        for folder in tuple(one.admitted):
            loop = self._loops.get(folder)
            if loop is not None:
                loop.post(PeerWent(peer))
        if one.joining is not None and not one.joining.welcome.done():
            one.joining.welcome.set_exception(_join_error(code, why))
        self._on_change()

    # --- admission ----------------------------------------------------------------------------------------------------

    def members_changed(self, folder: FolderId) -> None:
        loop = self._loops.get(folder)
        with self._lock:
            linked = list(self._linked.values())
        if loop is not None:
            for one in linked:
                self._review(one, loop)
            self._spread_addresses()
            self.directory.members_changed(self._members())
        self._on_change()

    def stopped(self, folder: FolderId, error: HarpError) -> None:
        with self._lock:
            linked = list(self._all.values())
        for one in linked:
            self._withdraw(one, folder)
        self._on_change()

    def _admit_all(self, one: _Linked) -> None:
        for loop in self.loops():
            self._review(one, loop)
        self.directory.tell(one.peer, self._members(one.admitted))

    def _review(self, one: _Linked, loop: FolderLoop) -> None:
        """Admits a link to a folder, or takes that back, by what history says now."""
        folder, device = loop.replica.folder, one.peer.device
        if one.peer.session.peer is None:
            return
        with self._lock:
            # Whoever reviews last goes by what history says last, and by the loop that is there then.
            is_member = loop.replica.membership.role(device) is not None
            if is_member:
                self._provisional.discard((folder, device))
            may = is_member or (folder, device) in self._provisional
            # One that ended, or was replaced meanwhile, would push out the one that is there.
            is_current = self._linked.get(device) is one and self._loops.get(folder) is loop
            if may and is_current and folder not in one.admitted:
                one.admitted.add(folder)
                one.peer.admit(folder)
                loop.post(PeerCame(one.peer))
                claim = one.claims.pop(folder, None)
                if claim is not None:
                    # It was said before we knew.
                    loop.received(one.peer, claim)
            if not may and self._withdraw(one, folder) and not one.admitted:
                one.peer.close(CloseCode.NOT_MEMBER)

    def _withdraw(self, one: _Linked, folder: FolderId) -> bool:
        """Whether it was admitted. The order of locks is hub, peer or :class:`Sites`, its link."""
        with self._lock:
            # Whoever admits it anew meanwhile waits: its coming is told after its going.
            if folder not in one.admitted:
                return False
            one.admitted.discard(folder)
            one.peer.withdraw(folder)
            loop = self._loops.get(folder)
            if loop is not None:
                loop.post(PeerWent(one.peer))
            return True

    # --- invitations --------------------------------------------------------------------------------------------------

    def _redeem(self, peer: Peer, join: messages.Join) -> None:
        """Exactly one device gets what a ticket promises."""
        found = self.registry.redeem(pairing.secret_hash(join.secret), peer.device, now=time.time())
        if not isinstance(found, OpenTicket):
            peer.close(_TICKET_FAULTS[found], f"the ticket is {found}")
            return
        loop = self._loops.get(found.folder)
        if loop is None:
            peer.close(CloseCode.TICKET_BAD, "the folder is no longer shared here")
            return
        self.registry.readmit(peer.device)
        ticket: OpenTicket = found

        def grant() -> messages.Welcome:
            governor = Governor(loop.replica, loop.author)
            role = loop.replica.membership.role(peer.device)
            if role is None or role < ticket.role:
                loop.published(governor.grant(peer.device, ticket.role, join.device_name))
            secrets = loop.replica.secrets
            return messages.Welcome(
                ticket.folder,
                loop.replica.name,
                ticket.role,
                secrets.content,
                tuple(secrets.epochs),
                tuple(governor.proof(peer.device)),
            )

        def welcome(answer: "Future[messages.Welcome]") -> None:
            error = answer.exception()
            if error is not None:
                _log.error("a ticket could not be redeemed: %s", error)
                peer.close(CloseCode.STORAGE, "the inviter could not write it down")
                return
            peer.send(answer.result())
            with self._lock:
                one = self._all.get(peer)
            if one is not None:
                self._settle_in(one)

        loop.call(grant).add_done_callback(welcome)

    def _welcomed(self, peer: Peer, welcome: messages.Welcome) -> None:
        with self._lock:
            one = self._all.get(peer)
        if one is not None and one.joining is not None and not one.joining.welcome.done():
            one.joining.welcome.set_result(welcome)

    def settle_joined(self, peer: Peer, folder: FolderId) -> None:
        """The folder that was joined over this link is open: the link goes on as any other."""
        with self._lock:
            one = self._all.get(peer)
            self._provisional.add((folder, peer.device))
        if one is not None:
            one.joining = None
            self._settle_in(one)
        self.members_changed(folder)

    # --- addresses ----------------------------------------------------------------------------------------------------

    def _members(self, folders: Iterable[FolderId] | None = None) -> set[DeviceId]:
        """Of these folders, or of all."""
        loops = self.loops() if folders is None else [self._loops[id_] for id_ in tuple(folders) if id_ in self._loops]
        return {device for loop in loops for device in loop.replica.membership.members}

    def _spread_addresses(self) -> None:
        """Members came, or one was found at a new address: all who share a folder with it are told."""
        with self._lock:
            linked = [(one.peer, tuple(one.admitted)) for one in self._linked.values() if one.admitted]
        for peer, folders in linked:
            self.directory.tell(peer, self._members(folders))


def _join_error(code: int | None, why: str) -> HarpError:
    match code:
        case CloseCode.TICKET_USED:
            return TrustError("this ticket has been used already", hint="ask for another: `harp invite NAME`")
        case CloseCode.TICKET_EXPIRED:
            return TrustError("this ticket has expired", hint="ask for another: `harp invite NAME`")
        case CloseCode.TICKET_BAD:
            return TrustError("the inviter does not know this ticket", hint="ask for another: `harp invite NAME`")
        case _:
            return LinkError(f"the inviter hung up: {why}", hint="is the ticket's device running, and still sharing?")
