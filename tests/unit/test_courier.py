# SPDX-License-Identifier: AGPL-3.0-or-later
"""The courier, its assemblies and the server it asks: right content comes from whoever has it, lies are found out."""

import os
import time
from pathlib import Path as FilePath

import pytest

from harp.sync.engine import manifest
from harp.sync.model import MAX_CHUNK, MIN_CHUNK, ChunkId, ChunkRef, NodeId, Path, Role, RootId
from harp.sync.protocol.asks import Asked
from harp.sync.protocol.foldermessages import What
from harp.sync.protocol.frames import Status
from harp.sync.service import assembly, catalog, larder, questions
from harp.sync.service.assembly import Deliveries
from harp.sync.service.inbox import PeerWent
from harp.sync.service.server import Server
from harp.sync.service.shelf import Shelf
from tests.fakes.content import counted
from tests.fakes.history import device_key
from tests.fakes.peers import FakePeer
from tests.fakes.replicas import Device, connect, deliver, disconnect, office, settle

LARGE = counted(600_000)
"""Several chunks."""
GIVER = device_key(9).device_id


@pytest.fixture
def two(tmp_path: FilePath) -> tuple[Device, Device]:
    anna, ben = office(tmp_path, Role.READ_WRITE)
    return anna, ben


def link_to(one: Device, other: Device) -> FakePeer:
    return one.peers[other.key.device_id.hex()]


def answer(asker: Device, of: Device, asked: Asked, status: Status, content: bytes = b"") -> None:
    asker.loop.answered(of.key.device_id, asked, status, memoryview(bytearray(content)))


# --- what others have -------------------------------------------------------------------------------------------------


def test_a_lie_is_found_out_asked_once_more_and_the_liar_benched(two: tuple[Device, Device]) -> None:
    anna, ben = two
    anna.put("large.bin", LARGE)
    anna.looks()
    link = link_to(ben, anna)
    lies = 0
    for _ in range(200):
        anna.rests()
        deliver(anna, ben)
        ben.turn()
        while link.on_way:
            item = link.on_way.popleft()
            if isinstance(item, Asked) and item.what is What.CHUNK:
                lies += 1
                answer(ben, anna, item, Status.OK, b"this is not what was asked for")
            elif isinstance(item, Asked):
                buffer = memoryview(bytearray(MAX_CHUNK))
                status, length = anna.loop.server.reader(item.what, item.id)(buffer)
                answer(ben, anna, item, Status(status), bytes(buffer[:length]))
            else:
                anna.loop.received(anna.peers[ben.key.device_id.hex()].as_peer, item)
    assert lies >= questions.BAD_ANSWERS
    assert "large.bin" not in ben.tree()
    assert ben.loop.courier._questions.is_benched(anna.key.device_id, now=time.monotonic())
    asked = len(link.asked)
    ben.rests()
    assert len(link.asked) == asked, "who is benched is not asked"


def test_what_one_refuses_is_asked_of_another(tmp_path: FilePath) -> None:
    anna, ben, cleo = office(tmp_path, Role.READ_WRITE, Role.READ_WRITE)
    anna.put("large.bin", LARGE)
    anna.looks()
    settle(anna, ben)
    disconnected = link_to(cleo, anna)
    for _ in range(100):
        deliver(anna, cleo)
        cleo.turn()
        while disconnected.on_way:
            item = disconnected.on_way.popleft()
            if isinstance(item, Asked):
                answer(cleo, anna, item, Status.NOT_HELD)
            else:
                anna.loop.received(anna.peers[cleo.key.device_id.hex()].as_peer, item)
        settle_pair(cleo, ben)
        if cleo.tree() == anna.tree():
            break
    assert cleo.tree() == {"large.bin": LARGE}


def settle_pair(one: Device, other: Device) -> None:
    for _ in range(5):
        for device in (one, other):
            device.turn()
        deliver(one, other)
        deliver(other, one)


def test_what_a_lost_peer_was_asked_for_is_asked_of_it_again_when_it_comes_back(two: tuple[Device, Device]) -> None:
    anna, ben = two
    anna.put("large.bin", LARGE)
    anna.looks()
    deliver(anna, ben)
    ben.rests()
    assert link_to(ben, anna).asked
    disconnect(anna, ben)
    ben.rests()
    connect(anna, ben)
    settle(anna, ben)
    assert ben.tree() == {"large.bin": LARGE}


def test_what_a_link_was_asked_for_is_asked_of_the_link_that_takes_its_place(two: tuple[Device, Device]) -> None:
    anna, ben = two
    anna.put("large.bin", LARGE)
    anna.looks()
    deliver(anna, ben)
    ben.rests()
    old = link_to(ben, anna)
    assert old.asked, "there must be something under way for this to mean anything"
    # Both dialled: one of the two links is closed, and its last answers with it.
    connect(anna, ben)
    ben.loop.post(PeerWent(old.as_peer))
    settle(anna, ben)
    assert ben.tree() == {"large.bin": LARGE}


def test_an_interrupted_large_file_goes_on_where_it_was(two: tuple[Device, Device]) -> None:
    anna, ben = two
    anna.put("large.bin", LARGE)
    anna.looks()
    for _ in range(60):
        deliver(anna, ben)
        ben.turn()
        deliver(ben, anna, 2)
        if ben.loop.courier.needed_bytes and any(a.done_bytes for a in ben.loop.courier._assemblies.values()):
            break
        anna.turn()
    total = len(link_to(ben, anna).asked)
    assert total
    disconnect(anna, ben)
    ben.reopen(cleanly=False)
    connect(anna, ben)
    settle(anna, ben)
    assert ben.tree() == {"large.bin": LARGE}


def test_inline_content_is_verified_and_bounded(two: tuple[Device, Device], monkeypatch: pytest.MonkeyPatch) -> None:
    _, ben = two
    keys = ben.replica.keys
    good, other = b"good", b"other"
    monkeypatch.setattr(larder, "MAX_BYTES", 6)
    ben.loop.courier.hold([(ChunkId(b"\0" * 32), b"bad")], GIVER, now=0.0)
    assert len(ben.loop.courier.larder) == 0
    ben.loop.courier.hold([(manifest.chunk_id(data, keys), data) for data in (good, other)], GIVER, now=0.0)
    kept = [ben.loop.courier.larder.get(RootId(manifest.chunk_id(data, keys))) for data in (good, other)]
    assert kept == [good, None]


# --- deliveries -------------------------------------------------------------------------------------------------------


def test_a_delivered_chunk_is_written_wherever_it_is_missing_and_only_there(two: tuple[Device, Device]) -> None:
    _, ben = two
    keys = ben.replica.keys
    data = os.urandom(1000)
    id_ = manifest.chunk_id(data, keys)
    temp = ben.replica.staging.temp("file-x")
    deliveries = Deliveries(keys, Shelf())
    deliveries.expect(ChunkRef(id_, 1000), temp, 0)
    deliveries.expect(ChunkRef(id_, 1000), temp, 5000)
    assert not deliveries.deliver(id_, memoryview(b"something else"))
    assert deliveries.deliver(id_, memoryview(data))
    for offset in (0, 5000):
        buffer = memoryview(bytearray(1000))
        temp.read_at(offset, buffer)
        assert bytes(buffer) == data
    deliveries.expect(ChunkRef(id_, 999), temp, 0)
    assert not deliveries.deliver(id_, memoryview(data)), "its entry states another length"


def test_chunks_that_follow_each_other_are_copied_in_one_go(two: tuple[Device, Device]) -> None:
    anna, _ = two
    anna.put("large.bin", LARGE)
    anna.looks()
    place = anna.place("large.bin")
    assert place.on_disk is not None
    found = list(catalog.chunks(anna.replica.places, place.on_disk.root, place.on_disk.stat.size))
    assert len(found) > 2
    assert sum(size for _, _, size in found) == len(LARGE)
    refs = [ChunkRef(id_, size) for id_, _, size in found]

    def locate(ref: ChunkRef) -> object:
        return anna.replica.places.locate(ref.id)[0] if ref != refs[1] else None

    runs = list(assembly.runs(refs, 0, locate))  # type: ignore[arg-type]
    assert isinstance(runs[0], assembly.Run)
    assert runs[1] == (refs[1], refs[0].size)
    assert isinstance(runs[2], assembly.Run)
    assert runs[2].size == len(LARGE) - refs[0].size - refs[1].size


# --- the server -------------------------------------------------------------------------------------------------------


def asked_of(device: Device, what: What, id_: bytes) -> tuple[Status, bytes]:
    buffer = memoryview(bytearray(MAX_CHUNK))
    status, length = device.loop.server.reader(what, id_)(buffer)
    return Status(status), bytes(buffer[:length])


def test_the_server_serves_chunks_and_nodes_and_nothing_it_has_not(two: tuple[Device, Device]) -> None:
    anna, _ = two
    anna.put("large.bin", LARGE)
    anna.put("small.txt", b"small")
    anna.looks()
    large, small = anna.place("large.bin").on_disk, anna.place("small.txt").on_disk
    assert large is not None
    assert small is not None
    assert asked_of(anna, What.CHUNK, small.root) == (Status.OK, b"small")
    status, node = asked_of(anna, What.NODE, large.root)
    assert status is Status.OK
    assert manifest.parse_root(node)[0] == len(LARGE)
    whole = b"".join(
        asked_of(anna, What.CHUNK, id_)[1]
        for id_, _, _ in catalog.chunks(anna.replica.places, large.root, large.stat.size)
    )
    assert whole == LARGE
    assert asked_of(anna, What.CHUNK, b"\0" * 32) == (Status.NOT_HELD, b"")
    assert asked_of(anna, What.NODE, b"\0" * 32) == (Status.NOT_HELD, b"")


def test_a_file_that_is_not_what_the_ledger_says_is_gone_and_looked_at_again(two: tuple[Device, Device]) -> None:
    anna, _ = two
    anna.put("small.txt", b"small")
    anna.looks()
    on_disk = anna.place("small.txt").on_disk
    assert on_disk is not None
    told: list[Path] = []
    server = Server(
        anna.replica.ledger.db.path, anna.replica.root, anna.loop.offering, anna.loop.courier.stock, told.append
    )
    anna.put("small.txt", b"other")
    buffer = memoryview(bytearray(MAX_CHUNK))
    assert server.reader(What.CHUNK, on_disk.root)(buffer) == (Status.GONE, 0)
    assert told == [b"small.txt"]


def test_the_catalog_forgets_what_no_longer_lies_there(two: tuple[Device, Device]) -> None:
    anna, _ = two
    anna.put("large.bin", LARGE)
    anna.looks()
    place = anna.place("large.bin")
    assert place.on_disk is not None
    [first, *_] = catalog.chunks(anna.replica.places, place.on_disk.root, place.on_disk.stat.size)
    assert anna.replica.places.locate(first[0])
    anna.remove("large.bin")
    anna.looks()
    assert anna.replica.places.locate(first[0]) == []
    assert list(catalog.chunks(anna.replica.places, RootId(NodeId(b"\0" * 32)), MIN_CHUNK + 1)) == []
