# SPDX-License-Identifier: AGPL-3.0-or-later
"""The sentry and the decisions: mass deletions and trips back in time wait for a person, here and at others."""

from dataclasses import replace
from pathlib import Path as FilePath

import pytest

from harp.base.errors import UsageError
from harp.daemon import portraits
from harp.sync.engine.guard import Limits
from harp.sync.model import Path, Role
from harp.sync.service.sentry import LOCAL, REMOTE
from harp.sync.service.settings import FolderSettings
from harp.sync.store.holdings import Holding
from tests.fakes.folder import no_more_files
from tests.fakes.replicas import Device, connect, disconnect, office, settle

MANY = 40
STRICT = FolderSettings(guard=Limits(files=10, share=0.25, whole_folder_files=10))
LAX = FolderSettings(guard=Limits(files=10_000, share=1.0, whole_folder_files=10_000))


def two(at: FilePath, anna_settings: FolderSettings = STRICT) -> tuple[Device, Device]:
    anna, ben = office(at, Role.READ_WRITE, settings=STRICT)
    for number in range(MANY):
        anna.put(f"{number:02}.txt", b"content %d" % number)
    anna.looks()
    settle(anna, ben)
    assert len(ben.tree()) == MANY
    if anna_settings is not STRICT:
        disconnect(anna, ben)
        anna.settings = anna_settings
        anna.reopen()
        connect(anna, ben)
        settle(anna, ben)
    return anna, ben


def the_only(device: Device) -> Holding:
    [holding] = device.loop.sentry.held
    return holding


def remove(device: Device, first: int, last: int) -> None:
    for number in range(first, last):
        device.remove(f"{number:02}.txt")


# --- here -------------------------------------------------------------------------------------------------------------


def test_a_few_deletions_pass(tmp_path: FilePath) -> None:
    anna, ben = two(tmp_path)
    remove(anna, 0, 5)
    anna.looks()
    settle(anna, ben)
    assert len(ben.tree()) == MANY - 5
    assert not anna.loop.sentry.held


def test_a_mass_deletion_here_is_held_and_said_to_nobody(tmp_path: FilePath) -> None:
    anna, ben = two(tmp_path)
    remove(anna, 0, 30)
    anna.looks()
    settle(anna, ben)
    holding = the_only(anna)
    assert (holding.origin, len(holding.paths)) == (LOCAL, 30)
    assert "30 of 40 files lost" in holding.reason
    assert len(ben.tree()) == MANY
    assert not anna.loop.is_settled


def test_what_is_held_is_held_over_a_restart_and_a_growing_set_gets_another_id(tmp_path: FilePath) -> None:
    anna, ben = two(tmp_path)
    remove(anna, 0, 30)
    anna.looks()
    before = the_only(anna)
    disconnect(anna, ben)
    anna.reopen().rests()
    assert the_only(anna) == before
    remove(anna, 30, 35)
    anna.looks()
    after = the_only(anna)
    assert after.id != before.id
    assert set(before.paths) < set(after.paths)
    assert after.since_s == before.since_s
    with pytest.raises(UsageError, match="nothing is held"):
        anna.decisions.approve(before.id)


def test_an_approved_deletion_reaches_the_others_without_being_held_there(tmp_path: FilePath) -> None:
    anna, ben = two(tmp_path)
    remove(anna, 0, 30)
    anna.looks()
    anna.decisions.approve(the_only(anna).id)
    settle(anna, ben)
    assert len(ben.tree()) == MANY - 30
    assert not anna.loop.sentry.held
    assert not ben.loop.sentry.held
    assert anna.loop.is_settled
    assert ben.loop.is_settled


def test_a_rejected_deletion_brings_the_files_back(tmp_path: FilePath) -> None:
    anna, ben = two(tmp_path)
    remove(anna, 0, 30)
    anna.looks()
    anna.decisions.reject(the_only(anna).id)
    settle(anna, ben)
    anna.looks()
    settle(anna, ben)
    assert len(anna.tree()) == len(ben.tree()) == MANY
    assert anna.tree() == ben.tree()
    assert not anna.loop.sentry.held


def test_what_is_put_back_is_not_held_again_by_a_second_look(tmp_path: FilePath) -> None:
    anna, ben = two(tmp_path)
    for number in range(MANY):
        anna.put(f"{number:02}.txt", b"newer %d" % number)
    anna.looks()
    settle(anna, ben)
    for number in range(MANY):
        anna.put(f"{number:02}.txt", b"content %d" % number)
    # What was hashed a moment after its last change is looked at again, whatever its times say.
    with anna.replica.ledger.db.transaction():
        anna.replica.places.put([replace(anna.place(f"{n:02}.txt"), is_racy=True) for n in range(MANY)])
    anna.looks()
    anna.decisions.reject(the_only(anna).id)
    anna.loop.observer.look(place.path for place in anna.replica.places.racy())
    settle(anna, ben)
    assert not anna.loop.sentry.held
    assert (anna.files / "07.txt").read_bytes() == b"newer 7"


def test_moved_files_are_no_loss(tmp_path: FilePath) -> None:
    anna, ben = two(tmp_path)
    (anna.files / "moved").mkdir()
    for number in range(MANY):
        (anna.files / f"{number:02}.txt").rename(anna.files / "moved" / f"{number:02}.txt")
    anna.looks()
    settle(anna, ben)
    assert not anna.loop.sentry.held
    assert not ben.loop.sentry.held
    assert anna.tree() == ben.tree()
    assert len(ben.tree()) == MANY + 1


def test_a_folder_that_went_back_in_time_is_held_and_can_be_approved_or_rejected(tmp_path: FilePath) -> None:
    for verdict in ("approve", "reject"):
        anna, ben = two(tmp_path / verdict)
        for number in range(30):
            anna.put(f"{number:02}.txt", b"a newer content %d" % number)
        anna.looks()
        settle(anna, ben)
        for number in range(30):
            anna.put(f"{number:02}.txt", b"content %d" % number)
        anna.looks()
        settle(anna, ben)
        holding = the_only(anna)
        assert "30 back to an earlier version" in holding.reason
        assert ben.tree()["00.txt"] == b"a newer content 0"
        if verdict == "approve":
            anna.decisions.approve(holding.id)
        else:
            anna.decisions.reject(holding.id)
        settle(anna, ben)
        expected = b"content 0" if verdict == "approve" else b"a newer content 0"
        assert anna.tree()["00.txt"] == ben.tree()["00.txt"] == expected
        assert not anna.loop.sentry.held
        assert not ben.loop.sentry.held
        assert anna.tree() == ben.tree()


def test_a_missing_marker_is_never_a_deletion(tmp_path: FilePath) -> None:
    anna, ben = two(tmp_path)
    (anna.files / ".harp").rename(anna.files.parent / "elsewhere")
    remove(anna, 0, 5)
    before = anna.replica.ledger.vector()
    anna.loop.observer.scan()
    for _ in range(5):
        anna.turn()
    assert anna.replica.ledger.vector() == before
    assert anna.loop.trouble
    (anna.files.parent / "elsewhere").rename(anna.files / ".harp")
    anna.loop._marker_is_there()
    settle(anna, ben)
    assert not anna.loop.trouble
    assert len(ben.tree()) == MANY - 5


def test_without_descriptors_a_folder_says_so_and_goes_on_when_there_are_some_again(
    tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, ben = two(tmp_path)
    remove(anna, 0, 5)
    (anna.files / "new").write_bytes(b"new")
    before = anna.replica.ledger.vector()
    with no_more_files():
        anna.loop._marker_is_there()
        said, [held] = anna.loop.trouble, portraits.held(anna.loop)
        anna.loop.observer.scan()
        for _ in range(5):
            anna.turn()
    assert said == ".harp/folder: Harp may open no more files (LimitNOFILE=, or ulimit -n)"
    assert (held.what, held.can_be_approved) == (said, False)
    assert "mount" not in held.remedy
    assert anna.replica.ledger.vector() == before
    watched: list[object] = []
    monkeypatch.setattr(anna.loop._watcher, "renew", watched.append)
    anna.loop._marker_is_there()
    assert not anna.loop.trouble
    assert watched == [anna.replica.ignore], "directories that came meanwhile could not be watched"
    settle(anna, ben)
    assert anna.tree() == ben.tree()
    assert len(ben.tree()) == MANY - 5 + 1


def test_nothing_can_be_decided_while_the_folder_is_not_there(tmp_path: FilePath) -> None:
    anna, ben = two(tmp_path)
    remove(anna, 0, 30)
    anna.looks()
    holding = the_only(anna)
    before = anna.replica.ledger.vector()
    (anna.files / ".harp").rename(anna.files.parent / "elsewhere")
    for decide in (anna.decisions.approve, anna.decisions.reject):
        with pytest.raises(UsageError, match="not there"):
            decide(holding.id)
    (anna.files.parent / "elsewhere").rename(anna.files / ".harp")
    assert the_only(anna) == holding
    assert anna.replica.ledger.vector() == before
    anna.decisions.reject(holding.id)
    settle(anna, ben)
    assert len(anna.tree()) == len(ben.tree()) == MANY


# --- at others --------------------------------------------------------------------------------------------------------


def deleting(at: FilePath) -> tuple[Device, Device]:
    """Anna, whose guard is asleep, has deleted most; Ben's guard is awake."""
    anna, ben = two(at, LAX)
    remove(anna, 0, 30)
    anna.looks()
    settle(anna, ben)
    return anna, ben


def test_a_peers_mass_deletion_is_held_here(tmp_path: FilePath) -> None:
    anna, ben = deleting(tmp_path)
    holding = the_only(ben)
    assert (holding.origin, len(holding.paths)) == (REMOTE, 30)
    assert len(holding.entries) == 30
    assert len(ben.tree()) == MANY
    anna.put("new.txt", b"life goes on")
    anna.looks()
    settle(anna, ben)
    assert ben.tree()["new.txt"] == b"life goes on"
    assert the_only(ben) == holding


def test_a_peers_held_deletion_is_approved_here(tmp_path: FilePath) -> None:
    anna, ben = deleting(tmp_path)
    ben.decisions.approve(the_only(ben).id)
    settle(anna, ben)
    assert ben.tree() == anna.tree()
    assert len(ben.trashed()) == 30
    assert not ben.loop.sentry.held


def test_a_peers_held_deletion_is_rejected_here_and_the_files_come_back_there(tmp_path: FilePath) -> None:
    anna, ben = deleting(tmp_path)
    ben.decisions.reject(the_only(ben).id)
    settle(anna, ben)
    assert anna.tree() == ben.tree()
    assert len(anna.tree()) == MANY
    assert not ben.loop.sentry.held


def test_who_may_only_read_cannot_reject_and_the_set_stays_held(tmp_path: FilePath) -> None:
    anna, ben = office(tmp_path, Role.READ_ONLY, settings=LAX)
    for number in range(MANY):
        anna.put(f"{number:02}.txt", b"content %d" % number)
    anna.looks()
    settle(anna, ben)
    disconnect(anna, ben)
    ben.settings = STRICT
    ben.reopen()
    connect(anna, ben)
    remove(anna, 0, 30)
    anna.looks()
    settle(anna, ben)
    holding = the_only(ben)
    with pytest.raises(UsageError, match="may only read"):
        ben.decisions.reject(holding.id)
    assert the_only(ben) == holding


def test_a_held_remote_set_grows_over_a_restart_too(tmp_path: FilePath) -> None:
    anna, ben = deleting(tmp_path)
    before = the_only(ben)
    disconnect(anna, ben)
    ben.reopen().rests()
    assert the_only(ben) == before
    connect(anna, ben)
    remove(anna, 30, 38)
    anna.looks()
    settle(anna, ben)
    assert the_only(ben).id != before.id
    assert len(the_only(ben).paths) == 38


def test_a_deletion_that_has_to_be_tried_again_is_counted_once(
    tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, ben = two(tmp_path, LAX)
    monkeypatch.setattr(type(ben.replica.trash), "take", refused)
    remove(anna, 0, 5)
    anna.looks()
    settle(anna, ben)
    for _ in range(10):
        ben.loop.applier.resume()
        settle(anna, ben)
    assert len(ben.tree()) == MANY
    assert not ben.loop.sentry.held, "five files, tried ten times, are five"


def refused(*_: object, **__: object) -> None:
    raise PermissionError(1, "not permitted")


def test_what_is_held_is_not_looked_at_until_a_person_has_decided(tmp_path: FilePath) -> None:
    anna, _ = two(tmp_path)
    remove(anna, 0, 30)
    anna.looks()
    assert anna.loop.sentry.is_held(Path(b"00.txt"))
    assert not anna.loop.sentry.is_held(Path(b"39.txt"))
    before = anna.replica.ledger.vector()
    anna.looks()
    assert anna.replica.ledger.vector() == before
