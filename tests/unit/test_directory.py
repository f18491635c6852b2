# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where devices are found: each link is told what is news to it, and what was heard counts once it may."""

from pathlib import Path

import pytest

from harp.identity.device import DeviceId
from harp.sync.protocol.linkmessages import Addresses
from harp.sync.service.directory import Directory
from harp.sync.store.registry import Registry
from tests.fakes.peers import FakePeer

OWN, ANNA, BEN = (DeviceId(bytes([number]) * 32) for number in (1, 2, 3))
HERE = ["192.0.2.1:8783"]


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "registry.db")


@pytest.fixture
def directory(registry: Registry) -> Directory:
    return Directory(OWN, registry, lambda: HERE)


def test_each_link_is_told_what_is_news_to_it(directory: Directory, registry: Registry) -> None:
    anna, ben = FakePeer(ANNA), FakePeer(BEN)
    registry.add_addresses(ANNA, ["192.0.2.2:8783"])
    directory.tell(ben.as_peer, [OWN, ANNA, BEN])
    directory.tell(ben.as_peer, [OWN, ANNA, BEN])
    assert ben.sent == [Addresses(((OWN, ("192.0.2.1:8783",)), (ANNA, ("192.0.2.2:8783",))))]
    registry.add_addresses(ANNA, ["192.0.2.9:8783"], worked_s=1.0)
    directory.tell(ben.as_peer, [OWN, ANNA, BEN])
    assert ben.sent[1:] == [Addresses(((ANNA, ("192.0.2.9:8783", "192.0.2.2:8783")),))]
    directory.tell(anna.as_peer, [OWN, ANNA, BEN])
    assert anna.sent == [Addresses(((OWN, ("192.0.2.1:8783",)),))], "nobody is told of themselves"
    directory.ended(ben.as_peer, was_linked=True)
    directory.tell(ben.as_peer, [ANNA])
    assert len(ben.sent) == 3, "a new link has heard nothing"


def test_what_is_heard_of_members_counts_and_of_others_once_they_are(directory: Directory, registry: Registry) -> None:
    anna = FakePeer(ANNA)
    known = Addresses(((BEN, ("192.0.2.3:8783",)), (OWN, ("192.0.2.66:1",))))
    directory.hear(anna.as_peer, known, {ANNA})
    assert registry.addresses(BEN) == registry.addresses(OWN) == []
    directory.members_changed({ANNA, BEN, OWN})
    assert registry.addresses(BEN) == ["192.0.2.3:8783"]
    assert registry.addresses(OWN) == []


def test_who_came_through_a_web_server_is_not_told_to_be_there(directory: Directory, registry: Registry) -> None:
    anna = FakePeer(ANNA)
    anna.link.remote = ("wss://cloud.example/harp", 0)
    directory.note(anna.as_peer)
    assert registry.addresses(ANNA) == ["wss://cloud.example/harp"], "whoever dialled it knows it works"
    ben = FakePeer(BEN)
    ben.link.remote, ben.link.is_dialler = ("ws://127.0.0.1:4242", 0), False
    directory.note(ben.as_peer)
    assert registry.addresses(BEN) == []


def test_a_device_that_stays_linked_is_written_down_as_seen_now_and_then(
    directory: Directory, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, ben = FakePeer(ANNA), FakePeer(BEN)
    directory.keep([anna.as_peer])
    first = registry.seen_s(ANNA)
    assert first is not None
    directory.keep([anna.as_peer])
    assert registry.seen_s(ANNA) == first, "not with each look"
    directory.note(ben.as_peer)
    directory.keep([ben.as_peer])
    assert registry.seen_s(BEN), "whoever has just come is not waited for"
    monkeypatch.setattr("harp.sync.service.directory.SEEN_KEPT_S", 0.0)
    directory.note(anna.as_peer)
    directory.keep([anna.as_peer])
    directory.keep([anna.as_peer])
    assert (registry.seen_s(ANNA) or 0.0) > first


def test_a_registry_that_cannot_be_written_keeps_no_link_from_ending(
    directory: Directory, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    registry.close()
    directory.ended(FakePeer(ANNA).as_peer, was_linked=True)
    assert "which devices were seen" in caplog.text
