# SPDX-License-Identifier: AGPL-3.0-or-later
"""Devices with a real home, ledger and folder each, whose loops are turned by hand and whose links lie in memory."""

import os
import random
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path as FilePath
from typing import Any

from harp.base.errors import HarpError
from harp.identity.device import DeviceKey
from harp.sync.engine import chain
from harp.sync.engine.chain import Draft
from harp.sync.model import MAX_CHUNK, NO_ENTRY, Batch, ChainId, FolderId, Path, Role
from harp.sync.protocol import batchform
from harp.sync.protocol.asks import Asked
from harp.sync.protocol.linkmessages import Welcome
from harp.sync.service import opening
from harp.sync.service.author import Written
from harp.sync.service.decisions import Decisions
from harp.sync.service.folderloop import FolderLoop
from harp.sync.service.inbox import PeerCame, PeerWent, Sayable
from harp.sync.service.peer import Peer
from harp.sync.service.replica import Replica
from harp.sync.service.settings import FolderSettings
from harp.sync.store.places import Place
from harp.sync.store.registry import SharedFolder
from harp.sync.transport.outflow import ReadInto
from tests.fakes.history import device_key
from tests.fakes.peers import FakePeer

MOST_ROUNDS = 2000
_SOON_S = 0.1


class AtOnce(Executor):
    """Does what it is given before it answers."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - whoever asks the future is told
            done.set_exception(error)
        return done


class Device:
    """One device with one folder, under ``at``. It is its loop's surroundings as well."""

    def __init__(self, at: FilePath, number: int, settings: FolderSettings | None = None) -> None:
        self.home, self.files = at / "home", at / "folder"
        self.home.mkdir(parents=True)
        self.files.mkdir()
        self.key: DeviceKey = device_key(number)
        self.settings = settings or FolderSettings()
        self.shared: SharedFolder | None = None
        self.errors: list[HarpError] = []
        self.peers: dict[str, FakePeer] = {}

    # --- its folder ---

    def found(self) -> "Device":
        """Founds the folder that others may join."""
        self.shared = opening.found(self.home, self.key, self.files, "Photos")
        return self.open()

    def join(self, owner: "Device", role: Role = Role.READ_WRITE) -> "Device":
        """Becomes a member by ``owner``'s grant; not linked yet."""
        owner.loop.published(owner.loop.governor.grant(self.key.device_id, role, "a member"))
        secrets = owner.replica.secrets
        proof = tuple(owner.loop.governor.proof(self.key.device_id))
        welcome = Welcome(owner.replica.folder, "Photos", role, secrets.content, tuple(secrets.epochs), proof)
        self.shared = opening.enter(self.home, self.files, "Photos", welcome)
        return self.open()

    def open(self) -> "Device":
        """As a start of the daemon does, the first scan included."""
        assert self.shared is not None
        self.loop = FolderLoop(opening.opened(self.home, self.key, self.shared), self.settings, AtOnce(), self)
        # Whoever just started waits for its peers before it says anything; the tests' devices have waited already.
        self.loop._started_s = self.loop.office._started_s = float("-inf")
        self.loop.departures.settle_s = 0.0
        if self.replica.ledger.fact("is_new") is None:
            self.loop.observer.scan()
        return self

    def close(self, *, cleanly: bool = True) -> None:
        if cleanly:
            self.replica.ledger.set_clean()
        self.replica.ledger.close()
        self.replica.witness.close()

    def reopen(self, *, cleanly: bool = True) -> "Device":
        self.close(cleanly=cleanly)
        return self.open()

    @property
    def replica(self) -> Replica:
        return self.loop.replica

    @property
    def decisions(self) -> Decisions:
        return Decisions(self.loop)

    def members_changed(self, folder: FolderId) -> None:
        """Links are made and ended by the tests."""

    def serve(self, peer: Peer, request: int, id_: bytes, read_into: ReadInto) -> None:
        """The tests serve what is asked by themselves."""

    def stopped(self, folder: FolderId, error: HarpError) -> None:
        self.errors.append(error)

    # --- a user's hands ---

    def put(self, name: str, content: bytes = b"") -> None:
        path = self.files / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def remove(self, name: str) -> None:
        (self.files / name).unlink()

    def looks(self) -> "Device":
        """Scans the folder and says what it found."""
        self.loop.observer.scan()
        return self.rests()

    def tree(self) -> dict[str, bytes | str | None]:
        """What a user sees: contents of files, None for directories, the targets of symlinks."""
        found: dict[str, bytes | str | None] = {}
        for above, directories, files in os.walk(self.files):
            at = FilePath(above)
            if at == self.files and ".harp" in directories:
                directories.remove(".harp")
            for name in (*directories, *files):
                path = at / name
                key = str(path.relative_to(self.files))
                is_link, is_file = path.is_symlink(), path.is_file()
                found[key] = os.readlink(path) if is_link else path.read_bytes() if is_file else None
        return found

    def trashed(self) -> list[bytes]:
        return sorted((self.files / os.fsdecode(item.place)).read_bytes() for item in self.replica.trash.list())

    # --- its thread ---

    def turn(self) -> float:
        """Handles what is in the inbox and does one turn; how soon (s) there is more to do."""
        for event in self.loop._inbox.taken(0):
            self.loop._handle_or_put_off(event)
        return self.loop._turn() or 0.0

    def rests(self) -> "Device":
        """Turns until nothing is left to do but wait for others."""
        for _ in range(MOST_ROUNDS):
            if self.turn() > 0.0:
                return self
        raise AssertionError("it did not come to rest")

    # --- its history ---

    def place(self, name: str) -> Place:
        found = self.replica.places.get(Path(os.fsencode(name)))
        assert found is not None, f"nothing is known of {name}"
        return found

    def written(self, beyond: dict[ChainId, int] | None = None) -> list[bytes]:
        """All batches merged here, causes first, as they travel."""
        return list(self.replica.ledger.batches_beyond(beyond or {}))

    def says(self, *drafts: Draft) -> list[Written]:
        """Authors drafts directly, whatever lies on the disk."""
        written, places = self.loop.author.write([list(drafts)], {})
        self.loop.applier.queue(places)
        return written

    def heads(self) -> dict[bytes, frozenset[bytes]]:
        """The heads of all paths that have any."""
        return {
            bytes(place.path): frozenset(place.heads) for place in self.replica.places.below(Path(b"")) if place.heads
        }


def branch(of: Device, *drafts: Draft, after: Batch | None = None) -> Batch:
    """A batch that ``of`` could have said upon ``after`` (its last one), but did not: as a copied identity would."""
    replica = of.replica
    own = replica.ledger.chain(replica.own_chain)
    last, prev = (own.merged, own.merged_id) if after is None else (after.last_sequence, after.entries[-1].id)
    prev = prev if last else NO_ENTRY
    entries = chain.extended(prev, replica.folder, replica.device, replica.incarnation, last + 1, drafts)
    vector = dict(replica.ledger.vector())
    return chain.sealed(replica.key, replica.folder, replica.incarnation, vector, entries)


def encoded(batches: Iterable[Batch]) -> list[bytes]:
    return [batchform.encode_batch(batch) for batch in batches]


# --- links ------------------------------------------------------------------------------------------------------------


def connect(one: Device, other: Device) -> tuple[FakePeer, FakePeer]:
    """Links two devices: the other as one sees it, and one as the other sees it."""
    there, here = FakePeer(other.key.device_id), FakePeer(one.key.device_id)
    one.peers[_name(other)], other.peers[_name(one)] = there, here
    one.loop.post(PeerCame(there.as_peer))
    other.loop.post(PeerCame(here.as_peer))
    return there, here


def disconnect(one: Device, other: Device) -> None:
    """What was under way is lost."""
    for device, partner in ((one, other), (other, one)):
        peer = device.peers.pop(_name(partner), None)
        if peer is not None:
            peer.is_open = False
            device.loop.post(PeerWent(peer.as_peer))


def deliver(sender: Device, receiver: Device, most: int = 1 << 30) -> int:
    """Hands over what ``sender`` said to ``receiver``; how many messages and asks that were."""
    link, back = sender.peers.get(_name(receiver)), receiver.peers.get(_name(sender))
    count = 0
    while link is not None and back is not None and link.on_way and count < most:
        item = link.on_way.popleft()
        count += 1
        if isinstance(item, Asked):
            _serve(item, sender, receiver)
        elif isinstance(item, Sayable):
            receiver.loop.received(back.as_peer, item)
    return count


def settle(*devices: Device, chance: random.Random | None = None) -> None:
    """Turns all loops and carries all messages until there is nothing left; with ``chance``, in a random order."""
    quiet = 0
    for _ in range(MOST_ROUNDS):
        pairs = [(a, b) for a in devices for b in devices if a is not b]
        if chance is not None:
            chance.shuffle(pairs)
        soon = [device.turn() for device in devices]
        carried = sum(deliver(a, b, chance.randint(0, 3) if chance else 1 << 30) for a, b in pairs)
        is_waiting = any((link := a.peers.get(_name(b))) is not None and link.on_way for a, b in pairs)
        quiet = quiet + 1 if not carried and not is_waiting and min(soon) > 0.0 else 0
        if quiet and min(soon) < _SOON_S:
            time.sleep(min(soon))
            quiet = 0
        if quiet > 1:
            return
    raise AssertionError("they did not come to rest")


def _serve(asked: Asked, asker: Device, server: Device) -> None:
    buffer = memoryview(bytearray(MAX_CHUNK))
    status, length = server.loop.server.reader(asked.what, asked.id)(buffer)
    asker.loop.answered(server.key.device_id, asked, status, buffer[:length])  # type: ignore[arg-type]


def _name(device: Device) -> str:
    return device.key.device_id.hex()


def office(at: FilePath, *roles: Role, settings: FolderSettings | None = None) -> list[Device]:
    """A founder and members of these roles, linked each to each and at rest."""
    owner = Device(at / "owner", 1, settings).found()
    members = [
        Device(at / f"member-{number}", number, settings).join(owner, role) for number, role in enumerate(roles, 2)
    ]
    devices = [owner, *members]
    link_all(devices)
    settle(*devices)
    return devices


def link_all(devices: Sequence[Device]) -> None:
    for number, one in enumerate(devices):
        for other in devices[number + 1 :]:
            if _name(other) not in one.peers:
                connect(one, other)


def unlink_all(devices: Sequence[Device]) -> None:
    for number, one in enumerate(devices):
        for other in devices[number + 1 :]:
            disconnect(one, other)
