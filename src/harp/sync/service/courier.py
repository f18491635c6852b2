# SPDX-License-Identifier: AGPL-3.0-or-later
"""Gets content: what lies on this disk already is copied, the rest is asked of those who have it."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass

from harp.base.errors import FolderError, RemoteProtocolError
from harp.identity.device import DEVICE_ID_BYTES, DeviceId
from harp.sync.engine import fetcher, manifest
from harp.sync.engine.fetcher import Want
from harp.sync.folder import read
from harp.sync.model import MIN_CHUNK, ChunkId, Entry, NodeId, RootId
from harp.sync.protocol.asks import Asked as SessionAsked
from harp.sync.protocol.foldermessages import Content, Offer, OfferEnd, What
from harp.sync.protocol.frames import Status
from harp.sync.protocol.officemessages import Availability, Circle
from harp.sync.service.assembly import Assembly, Deliveries
from harp.sync.service.correspondent import Correspondent, Holders, holders_of
from harp.sync.service.inbox import Event, Woken
from harp.sync.service.larder import MAX_BYTES
from harp.sync.service.offered import OfferedFiles
from harp.sync.service.office import Office
from harp.sync.service.peer import Peer
from harp.sync.service.placing import Placing
from harp.sync.service.questions import Arrival, Questions
from harp.sync.service.replica import Replica
from harp.sync.service.slots import Slots
from harp.sync.service.stock import Stock

_log = logging.getLogger(__name__)

PLACED_AHEAD = 2048
"""Chunks of one file that are known to be missing before further segments are looked at."""
NODE_BYTES = 40 * 1024
"""What an ask for a manifest node counts in a window: its length is not known before."""


@dataclass(slots=True)
class _Wanted:
    """Something that is to be asked for. ``holders`` says who can be expected to have it."""

    what: What
    size: int
    holders: Holders


class Courier:
    """For the folder's thread, but for :meth:`deliver`, which links' threads call."""

    def __init__(
        self,
        replica: Replica,
        executor: Executor,
        correspondents: Callable[[], Iterable[Correspondent]],
        office: Office,
        post: Callable[[Event], None],
    ) -> None:
        self._replica = replica
        self._correspondents = correspondents
        self._office = office
        self._post = post
        self.stock = Stock(replica.places)
        self.larder = self.stock.larder
        self._deliveries = Deliveries(replica.keys, self.stock.shelf)
        self._placing = Placing(replica, executor, self._deliveries, post)
        self._small: dict[bytes, Holders] = {}
        self._nodes: dict[bytes, _Wanted] = {}
        self._assemblies: dict[RootId, Assembly] = {}
        self._holders: dict[RootId, Holders] = {}
        self._slots = Slots()
        self._offered = OfferedFiles(replica, self._placing, self._drop)
        self._questions = Questions(replica.folder)
        self._came: set[RootId] = set()
        self.has_freed = False
        """A large file is done with, so another can be begun: paths that wait for their turn are to be looked at."""
        self._unwritten: dict[bytes, FolderError] = {}
        """Chunks that came and that the disk did not take; links' threads put them in."""

    def heard(self, peer: Peer, message: Content | Offer | OfferEnd | Circle | Availability, *, now: float) -> None:
        """What a peer says about content: what it has, fetches, lacks, offers, or sends unasked."""
        match message:
            case Content():
                self.hold(message.items, peer.device, now=now)
            case Offer():
                self._offered.heard(peer.device, message)
            case OfferEnd():
                self._offered.ended(peer.device, message, is_known=message.root in self._assemblies)
            case Circle() | Availability():
                held = self._office.heard(peer, message, self.stock.holds, now=now)
                self._questions.heard_again(peer.device)
                self._questions.hopeful(peer.device, held)

    # --- small content ------------------------------------------------------------------------------------------------

    def hold(self, items: Iterable[tuple[ChunkId, bytes]], giver: DeviceId, *, now: float) -> None:
        """Keeps small content that came unasked, as long as there is room; what is not what its id says is dropped."""
        for id_, data in items:
            root = RootId(id_)
            has_room = self.larder.awaits(root) or self.larder.has_room(len(data))
            if has_room and manifest.chunk_id(data, self._replica.keys) == id_:
                self._office.came_in(id_, giver, now=now)
                self._forget_small(root)
                self.larder.put(root, data)

    def small(self, entry: Entry) -> bytes | None:
        """The content of an entry of at most one smallest chunk, if it is here; otherwise it is asked for."""
        root, size = entry.meta.root, entry.meta.size
        data = self.larder.get(root)
        if data is None:
            data = self._read_local(root, size)
        if data is None:
            if self.larder.expect(root, size):
                self._small.setdefault(root, self._holders_of(entry))
            return None
        if len(data) != size:
            raise RemoteProtocolError("its entry states another size than its content has")
        return data

    def _forget_small(self, root: RootId) -> None:
        if self.larder.forget(root):
            self._small.pop(root, None)
            self._questions.close(root)

    def _read_local(self, root: RootId, size: int) -> bytes | None:
        replica = self._replica
        for place in replica.places.with_root(root):
            try:
                found = read.read_whole(replica.root, place.path, MIN_CHUNK)
            except FolderError:
                continue
            if not isinstance(found, read.Gone) and manifest.root_of_small(found[1], replica.keys) == root:
                self._placing.local_bytes += size
                return found[1]
        return None

    # --- large content ------------------------------------------------------------------------------------------------

    def large(self, entry: Entry, *, now: float) -> Assembly | None:
        """The assembly of an entry's content once it is complete; until then it is worked on, as there is room.

        Raises :class:`FolderError` where the disk takes no temporary file, or not all of it: what was got is dropped
        then, so that it is in nobody's way.
        """
        root = entry.meta.root
        assembly = self._assemblies.get(root)
        if assembly is not None and assembly.trouble is not None:
            self.finish(assembly)
            self._discard(assembly)
            raise assembly.trouble
        if assembly is None:
            assembly = self._offered.adopted(root)
            if assembly is not None:
                self._assemblies[root] = assembly
        if assembly is None:
            # One that is complete only waits for what else its path needs.
            taken = sum(one.is_wanted and not one.is_complete for one in self._assemblies.values())
            if not self._slots.admits(root, taken, now=now):
                return None
            assembly = self._assemblies[root] = self._begun(root, entry.meta.size)
        assembly.is_wanted = True
        self._holders[root] = self._holders_of(entry)
        if not assembly.is_complete:
            self._advance(assembly)
        return assembly if assembly.is_complete else None

    def _begun(self, root: RootId, size: int) -> Assembly:
        """A new assembly, or one that an earlier run of the daemon began: what is right of it is kept."""
        staging, name = self._replica.staging, _temp_name(root)
        earlier = staging.reopen(name)
        temp = staging.temp(name) if earlier is None else earlier
        return Assembly(temp, size, self._replica.keys, root, is_resumed=earlier is not None)

    def give_up(self, wanted: Callable[[RootId], bool], *, is_all_done: bool) -> None:
        """Drops what no entry waits for any more: of large files each time, of small ones once all is done.

        To be called when every path that lacks content is known to wait for it.
        """
        for root, assembly in list(self._assemblies.items()):
            if assembly.is_wanted and not wanted(root):
                self.finish(assembly)
                self._discard(assembly)
        for root in self._slots.parked:
            if root not in self._assemblies and not wanted(root):
                self._slots.forget(root)
                self._replica.staging.discard(_temp_name(root))
        if not is_all_done:
            return
        awaited, there = self.larder.unwanted(wanted)
        for root in awaited:
            self._forget_small(root)
        # What came unasked is often a moment ahead of its entries.
        for root in [] if self.larder.has_room(MAX_BYTES // 2) else there:
            self.larder.spend(root)
        for id_ in [] if self._assemblies else list(self._nodes):
            del self._nodes[id_]
            self._questions.close(id_)

    @property
    def is_busy(self) -> bool:
        is_putting_together = any(one.is_wanted for one in self._assemblies.values())
        return bool(self._small or self._nodes or self._slots.parked or is_putting_together)

    @property
    def local_bytes(self) -> int:
        """Found on this disk and copied rather than transferred, since the start."""
        return self._placing.local_bytes

    @property
    def needed_bytes(self) -> int:
        """What the files being put together still lack."""
        return sum((a.size - a.done_bytes for a in self._assemblies.values() if a.is_wanted), self.larder.awaited_bytes)

    @property
    def arrived_bytes(self) -> int:
        return sum(one.done_bytes for one in self._assemblies.values() if one.is_wanted)

    def finish(self, assembly: Assembly) -> None:
        """The content lies on the disk now, or nobody wants it any more."""
        self._take_out(assembly)
        if assembly.root is not None:
            self._slots.forget(assembly.root)

    def _take_out(self, assembly: Assembly) -> None:
        self.has_freed = True
        self._deliveries.forget(assembly.temp)
        for id_ in assembly.missing:
            self._questions.close(id_)
        if assembly.root is not None:
            self._assemblies.pop(assembly.root, None)
            self._holders.pop(assembly.root, None)

    def _make_way(self, now: float) -> None:
        """A file of which nothing comes gives up its place to those that wait; what is here of it is kept."""
        for root, assembly in list(self._assemblies.items()):
            done = assembly.placed + assembly.done_bytes + assembly.placed_segments
            is_under_way = assembly.is_wanted and not assembly.is_complete
            if not is_under_way or not self._slots.is_stuck(root, done, now=now):
                continue
            if self._slots.others_wait and not self._is_served(assembly, now):
                self._take_out(assembly)
                for _, future in assembly.copies:
                    future.cancel()
                assembly.temp.close()
                self._slots.park(root, now=now)
        if self._slots.has_returning(now=now):
            self.has_freed = True

    def _is_served(self, assembly: Assembly, now: float) -> bool:
        """Whether somebody is asked, or can be, for what the file lacks first."""
        if assembly.copies or assembly.root is None:
            return True
        lacking = assembly.next_segment.id if assembly.next_segment is not None else NodeId(assembly.root)
        asked = self._questions.asked.get(next(iter(assembly.missing), ChunkId(lacking))) or fetcher.Asked()
        holders = self._holders[assembly.root]
        return asked.device is not None or any(
            one.can_serve
            and holders(one)
            and one.device not in asked.refused
            and not self._questions.is_benched(one.device, now=now)
            for one in self._correspondents()
        )

    def _advance(self, assembly: Assembly) -> None:
        """Collects finished copies, and places further segments while not too much is missing."""
        self._placing.collect(assembly)
        if assembly.placed == assembly.size or len(assembly.missing) > PLACED_AHEAD or assembly.root is None:
            return
        if assembly.segments is None:
            node = self._node(NodeId(assembly.root), assembly)
            if node is None:
                return
            size, segments = manifest.parse_root(node)
            if size != assembly.size:
                raise FolderError("its entry and its manifest disagree about its size")
            assembly.segments = list(segments)
        while len(assembly.missing) <= PLACED_AHEAD and (segment := assembly.next_segment) is not None:
            listed = self._node(segment.id, assembly)
            if listed is None:
                return
            self._placing.place(assembly, manifest.parse_segment(listed, segment))
            assembly.placed_segments += 1

    def _node(self, node: NodeId, assembly: Assembly) -> bytes | None:
        data = self._replica.places.node(node) or dict(assembly.nodes).get(node)
        if data is None and assembly.root is not None:
            self._nodes.setdefault(node, _Wanted(What.NODE, NODE_BYTES, self._holders[assembly.root]))
        return data

    def _drop(self, assembly: Assembly) -> None:
        """An offered file that nobody will want."""
        self._deliveries.forget(assembly.temp)
        for id_ in assembly.missing:
            self._questions.close(id_)
        self._discard(assembly)

    def _discard(self, assembly: Assembly) -> None:
        """Copies that are under way hold the file; they end by themselves."""
        for _, future in assembly.copies:
            future.cancel()
        assembly.temp.close()
        self._replica.staging.discard(assembly.temp.name)

    # --- asking -------------------------------------------------------------------------------------------------------

    def step(self, *, now: float) -> set[RootId]:
        """Goes on with what is under way and asks for what is missing; the roots whose content has come, or failed."""
        self.collect(now=now)
        self._offered.step(now=now)
        came, self._came = self._came, set()
        for root, assembly in self._assemblies.items():
            if assembly.trouble is not None:
                came.add(root)
                continue
            try:
                self._advance(assembly)
            except (FolderError, RemoteProtocolError):
                # It is met again, and told, where the path that wants it is planned.
                came.add(root)
            if assembly.is_complete:
                came.add(root)
        self._ask_around(now)
        self._make_way(now)
        return came

    def _ask_around(self, now: float) -> None:
        correspondents = {one.device: one for one in self._correspondents() if one.can_serve}
        members, ours = len(self._replica.membership.members), self._replica.ledger.vector()
        self._office.follow(correspondents.values(), ours, members=members, now=now)
        if correspondents:
            self._ask(correspondents, now)
        self._office.tell(now=now)

    def _ask(self, correspondents: dict[DeviceId, Correspondent], now: float) -> None:
        wanted: dict[bytes, _Wanted] = {}
        hood = self._office.hood
        wants: Iterable[Want] = self._wants(wanted)
        is_served = any(not self._questions.is_benched(device, now=now) for device in self._office.served_by)
        if self._office.is_waited_for and not is_served:
            wants = list(wants)
            self._office.want(
                (want.id for want in wants),
                lambda id_: frozenset(one.device for one in correspondents.values() if wanted[id_].holders(one)),
                now=now,
            )
        may_serve = (one for one in correspondents.values() if self._office.may_ask(one))
        sources = self._questions.sources(may_serve, lambda one, id_: self._has(one, id_, wanted), now=now)
        asks: dict[DeviceId, list[fetcher.Ask]] = {}
        is_ours = self._office.is_ours(now)
        asked = self._questions.asked
        for ask in fetcher.assign(wants, sources, asked, now=now, is_ours=is_ours) if sources else ():
            asks.setdefault(ask.device, []).append(ask)
        for device, its in asks.items():
            whats: dict[bytes, What] = {ask.id: wanted[ask.id].what for ask in its}
            made = self._questions.put(correspondents[device], its, whats, now=now)
            if device in hood.sources:
                for ask in its[:made]:
                    hood.asked(ask.id, device, now=now)

    def explained(self, root: RootId, *, now: float) -> list[tuple[bytes, int, DeviceId | None, str]]:
        """Of a content that is being got: id and size of what is missing, whom it is asked of or left to, and why."""
        assembly = self._assemblies.get(root)
        ids: set[bytes] = {root}
        if assembly is not None:
            ids.update(assembly.missing, [assembly.next_segment.id] if assembly.next_segment is not None else [])
        wanted: dict[bytes, _Wanted] = {}
        wants = [want for want in self._wants(wanted) if want.id in ids]
        linked = [one for one in self._correspondents() if one.can_serve and self._office.may_ask(one)]
        sources = self._questions.windows(linked, lambda one, id_: self._has(one, id_, wanted))
        is_ours = self._office.is_ours(now)
        told = []
        for want in wants:
            why = fetcher.why(want, sources, self._questions.asked, now=now, is_ours=is_ours)
            asked = self._questions.asked.get(want.id) or fetcher.Asked()
            left_to = self._office.verdict(want.id, now=now).awaited if why is fetcher.Why.NEIGHBOUR else None
            told.append((bytes(want.id), want.size, asked.device or left_to, why.value))
        return told

    def _has(self, one: Correspondent, id_: ChunkId, wanted: dict[bytes, _Wanted]) -> bool:
        return id_ in wanted and (self._office.hood.holds(one.device, id_) or wanted[id_].holders(one))

    def _wants(self, wanted: dict[bytes, _Wanted]) -> Iterator[Want]:
        """Everything that may be asked for, the most urgent first; noted in ``wanted`` as it is given out."""
        for id_, one in self._nodes.items():
            wanted[id_] = one
            yield Want(ChunkId(id_), one.size)
        for chunk, size in self.larder.awaited:
            wanted[chunk] = _Wanted(What.CHUNK, size, self._small[chunk])
            yield Want(chunk, size)
        for device, assembly in self._offered:
            yield from self._wants_of(assembly, _only(device), wanted)
        for root, assembly in self._assemblies.items():
            yield from self._wants_of(assembly, self._holders[root], wanted)

    def _wants_of(self, assembly: Assembly, holders: Holders, wanted: dict[bytes, _Wanted]) -> Iterator[Want]:
        for id_, ref in assembly.missing.items() if assembly.trouble is None else ():
            wanted[id_] = _Wanted(What.CHUNK, ref.size, holders)
            yield Want(id_, ref.size)

    def deliver(self, device: DeviceId, asked: SessionAsked, status: Status, payload: memoryview) -> None:
        """Takes an answer in, on the link's thread: a chunk of a large file goes straight to where it belongs."""
        is_good, data = False, b""
        if status is Status.OK:
            if asked.what is What.NODE:
                data = bytes(payload)
                is_good = manifest.node_id(data, self._replica.keys) == asked.id
            elif self.larder.awaits(asked.id):
                data = bytes(payload)
                is_good = manifest.chunk_id(data, self._replica.keys) == asked.id
            else:
                try:
                    is_good = self._deliveries.deliver(ChunkId(asked.id), payload)
                except FolderError as error:
                    self._unwritten[asked.id] = error
                    status = Status.GONE
        elif status is Status.ELSEWHERE:
            data = bytes(payload)
        is_time = self._questions.answered(Arrival(device, asked, status, is_good, data), len(payload))
        if is_time or (self._office.is_waited_for and device in self._office.hood.sources):
            self._post(Woken())

    def collect(self, *, now: float) -> None:
        """The folder's thread learns what became of its asks: some at a time, since each turn costs the links time."""
        for arrival in self._questions.taken():
            id_ = ChunkId(arrival.asked.id)
            if arrival.is_good:
                self._office.came_in(id_, arrival.device, now=now)
                self._keep(arrival)
            elif arrival.status is Status.ELSEWHERE and len(arrival.data) == DEVICE_ID_BYTES:
                if self._questions.released(id_, arrival.device):
                    self._office.hood.elsewhere(id_, DeviceId(arrival.data), now=now)
            else:
                self._questions.refused(arrival, now=now)
                self._office.hood.refused(id_, arrival.device, now=now)
                if self._questions.is_benched(arrival.device, now=now):
                    self._office.hood.bench(arrival.device, now=now)
                self._note_unwritten(id_)

    def _keep(self, arrival: Arrival) -> None:
        id_ = arrival.asked.id
        self._questions.close(id_)
        if arrival.asked.what is What.NODE:
            self._keep_node(NodeId(id_), arrival.data)
        elif arrival.data:
            root = RootId(id_)
            self._forget_small(root)
            self.larder.put(root, arrival.data)
            self._came.add(root)
        else:
            self._note_written(ChunkId(id_))

    def lost(self, device: DeviceId) -> None:
        """The peer is gone: what it was asked for is open again."""
        self._questions.lost(device)
        self._office.hood.lost(device, now=time.monotonic())
        self._offered.lost(device)

    def hopeful(self, device: DeviceId) -> None:
        """The peer's state changed: what it could not serve before it may have now."""
        self._questions.hopeful(device)
        self._slots.hopeful()

    def _keep_node(self, node: NodeId, data: bytes) -> None:
        self._nodes.pop(node, None)
        try:
            manifest.parse_root(data) if data[:1] == b"\x02" else manifest.parse_segment(data)
        except RemoteProtocolError as error:
            _log.warning("a manifest node is not one: %s", error.message)
            return
        places = self._replica.places
        with places.db.transaction():
            places.add_nodes([(node, data)])

    def _holders_of(self, entry: Entry) -> Holders:
        return holders_of(entry, self._correspondents, self._office)

    def _note_unwritten(self, chunk: bytes) -> None:
        error = self._unwritten.pop(chunk, None)
        if error is None:
            return
        for assembly in self._assemblies.values():
            if chunk in assembly.missing:
                assembly.trouble = error
        self._offered.unwritten(chunk)

    def _note_written(self, chunk: ChunkId) -> None:
        for assembly in (*self._assemblies.values(), *(assembly for _, assembly in self._offered)):
            ref = assembly.missing.pop(chunk, None)
            if ref is not None:
                assembly.done_bytes += ref.size


def _only(device: DeviceId) -> Holders:
    return lambda one: one.device == device


def _temp_name(root: RootId) -> str:
    return f"file-{root.hex()}"
