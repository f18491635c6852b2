# SPDX-License-Identifier: AGPL-3.0-or-later
"""One folder's part in the office, on whole devices: the WAN is asked for each chunk once, and only by who may."""

import time
from collections import Counter
from pathlib import Path as FilePath

import pytest

from harp.identity.device import DeviceId
from harp.sync.engine.claims import Tidings
from harp.sync.engine.fetcher import Reach
from harp.sync.model import ChunkId, FolderId, Path, Role
from harp.sync.protocol.officemessages import MAX_TIDINGS, Availability, Circle
from harp.sync.service.explanation import explained
from harp.sync.service.office import _messages, _tidings
from harp.sync.service.settings import FolderSettings, OfficeSettings
from tests.fakes.clock import chosen_clock
from tests.fakes.content import counted
from tests.fakes.replicas import Device, connect, deliver, disconnect, office, settle

FILM = counted(600_000)
FOLDER = FolderId(b"f" * 32)


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, devices hear each other in time."""
    chosen_clock(monkeypatch, "harp.sync.", "tests.fakes.", __name__)


@pytest.fixture
def branch(tmp_path: FilePath) -> tuple[Device, Device, Device]:
    """A cloud beyond the WAN, and two neighbours."""
    cloud, ben, cleo = office(tmp_path, Role.READ_WRITE, Role.READ_WRITE)
    for one in (ben, cleo):
        far(cloud, one)
    return cloud, ben, cleo


def far(one: Device, other: Device) -> None:
    """The WAN lies between the two."""
    for device, partner in ((one, other), (other, one)):
        link = device.peers.get(partner.key.device_id.hex())
        if link is not None:
            link.reach = Reach.WAN


def asked_of(cloud: Device, *devices: Device) -> Counter[bytes]:
    """What was asked over the WAN, how often."""
    return Counter(asked.id for one in devices for asked in one.peers[cloud.key.device_id.hex()].asked)


def test_neighbours_ask_the_wan_for_each_chunk_once(branch: tuple[Device, Device, Device]) -> None:
    cloud, ben, cleo = branch
    settle(cloud, ben, cleo)
    cloud.put("film", FILM)
    cloud.put("note", b"small")
    cloud.looks()
    settle(cloud, ben, cleo)
    assert ben.tree() == cleo.tree() == cloud.tree()
    asked = asked_of(cloud, ben, cleo)
    assert set(asked.values()) == {1}
    assert len(asked) > 5
    assert all(asked_of(cloud, one) for one in (ben, cleo)), "both do a part"


def test_who_may_not_use_the_wan_gets_it_from_its_neighbour(tmp_path: FilePath) -> None:
    cloud, ben = office(tmp_path / "one", Role.READ_WRITE)
    lan_only = FolderSettings(office=OfficeSettings(lan_only=True))
    cleo = Device(tmp_path / "two", 7, lan_only).join(cloud)
    connect(cloud, cleo)
    far(cloud, ben)
    far(cloud, cleo)
    cloud.put("film", FILM)
    cloud.looks()
    settle(cloud, ben, cleo)
    assert "film" in ben.tree()
    assert "film" not in cleo.tree()
    assert not asked_of(cloud, cleo)
    found = explained(cleo.replica, cleo.loop.applier, cleo.loop.courier, Path(b"film"), now=0.0)
    assert found.state == "waits for content"
    assert [piece.why for piece in found.pieces] == ["no connected peer has it"]
    connect(ben, cleo)
    settle(cloud, ben, cleo)
    assert cleo.tree() == cloud.tree()
    assert not asked_of(cloud, cleo)


def test_the_standing_cache_fetches_for_all(tmp_path: FilePath) -> None:
    cloud, ben = office(tmp_path / "one", Role.READ_WRITE)
    cache = Device(tmp_path / "two", 7, FolderSettings(office=OfficeSettings(is_cache=True))).join(cloud)
    connect(cloud, cache)
    far(cloud, ben)
    far(cloud, cache)
    connect(ben, cache)
    settle(cloud, ben, cache)
    cloud.put("film", FILM)
    cloud.looks()
    settle(cloud, ben, cache)
    assert ben.tree() == cache.tree() == cloud.tree()
    assert not asked_of(cloud, ben)


def test_why_tells_whom_a_piece_is_asked_of_or_left_to(branch: tuple[Device, Device, Device]) -> None:
    cloud, ben, cleo = branch
    settle(cloud, ben, cleo)
    cloud.put("film", FILM)
    cloud.looks()
    seen = set[tuple[str, DeviceId | None]]()
    for _ in range(600):
        for one in (cloud, ben, cleo):
            one.turn()
        for a, b in ((cloud, ben), (cloud, cleo), (ben, cleo), (cleo, ben), (ben, cloud), (cleo, cloud)):
            deliver(a, b, 1)
        for one in (ben, cleo):
            place = one.replica.places.get(Path(b"film"))
            if place is not None and place.heads:
                now = time.monotonic()
                found = explained(one.replica, one.loop.applier, one.loop.courier, Path(b"film"), now=now)
                seen.update((piece.why, piece.device) for piece in found.pieces)
        time.sleep(0.001)
    neighbours_of = {ben.key.device_id, cleo.key.device_id}
    assert ("asked for", cloud.key.device_id) in seen
    assert any(why == "left to a neighbour" and device in neighbours_of for why, device in seen)


def test_a_neighbour_that_leaves_is_waited_for_no_more(branch: tuple[Device, Device, Device]) -> None:
    cloud, ben, cleo = branch
    settle(cloud, ben, cleo)
    cloud.put("film", FILM)
    cloud.looks()
    for _ in range(6):
        for one in (cloud, ben, cleo):
            one.turn()
        for a, b in ((cloud, ben), (cloud, cleo), (ben, cleo), (cleo, ben)):
            deliver(a, b)
    disconnect(ben, cleo)
    disconnect(cloud, cleo)
    settle(cloud, ben)
    assert ben.tree() == cloud.tree()


def test_neighbours_agree_among_themselves_though_a_benched_one_has_everything(tmp_path: FilePath) -> None:
    cloud, ben, cleo, liar = office(tmp_path, Role.READ_WRITE, Role.READ_WRITE, Role.READ_WRITE)
    for one in (ben, cleo, liar):
        far(cloud, one)
    settle(cloud, ben, cleo, liar)
    cloud.put("film", FILM)
    cloud.looks()
    settle(cloud, liar)
    for one in (ben, cleo):
        one.loop.courier._questions._benched[liar.key.device_id] = time.monotonic() + 60.0
    settle(cloud, ben, cleo, liar)
    assert ben.tree() == cleo.tree() == cloud.tree()
    assert set(asked_of(cloud, ben, cleo).values()) == {1}


def test_tidings_go_into_one_message_or_as_many_as_it_takes() -> None:
    ids = [ChunkId(number.to_bytes(32, "big")) for number in range(MAX_TIDINGS)]
    some = Tidings(
        missing=dict.fromkeys(ids[:3]),
        held=dict.fromkeys(ids[3:5]),
        fetching={ids[5]: DeviceId(b"c" * 32), ids[6]: DeviceId(b"d" * 32)},
        expected=dict.fromkeys(ids[7:8]),
        dropped=dict.fromkeys(ids[8:10]),
    )
    (message,) = _messages(FOLDER, some)
    assert _tidings(message) == some
    many = Tidings(missing=dict.fromkeys(ids), held=dict.fromkeys(ids[:2]), fetching={ids[0]: DeviceId(b"c" * 32)})
    messages = list(_messages(FOLDER, many))
    assert len(messages) == 4
    assert [id_ for message in messages for id_ in message.missing] == ids


def test_what_a_stranger_tells_is_not_heard(branch: tuple[Device, Device, Device]) -> None:
    cloud, ben, cleo = branch
    settle(cloud, ben, cleo)
    told = ben.loop.office
    link = ben.peers[cloud.key.device_id.hex()]
    circle = Circle(ben.replica.folder, True, True, ())
    claims = Availability(ben.replica.folder, missing=(ChunkId(b"x" * 32),))
    for message in (circle, claims):
        assert told.heard(link.as_peer, message, lambda _: True, now=0.0) == []
    assert cloud.key.device_id not in told
    assert cleo.key.device_id in told
