# SPDX-License-Identifier: AGPL-3.0-or-later
"""Opening a folder: what is founded, joined, moved, copied or taken away, and what is refused with a word."""

import shutil
from pathlib import Path as FilePath

import pytest

from harp.base.errors import CorruptStore, FolderError, UsageError
from harp.sync.folder.fs import Root
from harp.sync.model import Role
from harp.sync.protocol.linkmessages import Welcome
from harp.sync.service import opening
from harp.sync.service.witness import Witness
from harp.sync.store.ledger import Ledger
from harp.sync.store.registry import SharedFolder
from tests.fakes.history import device_key
from tests.fakes.replicas import Device, office


@pytest.fixture
def anna(tmp_path: FilePath) -> Device:
    return Device(tmp_path / "anna", 1).found()


def shared_of(device: Device) -> SharedFolder:
    assert device.shared is not None
    return device.shared


def test_the_founder_owns_the_folder_and_it_opens_again(anna: Device) -> None:
    assert anna.replica.role is Role.OWNER
    before = anna.replica.own_chain
    anna.reopen()
    assert anna.replica.own_chain == before
    assert opening.ledger_path(anna.home, shared_of(anna)).exists()


def test_a_member_knows_of_its_founder_and_role_only_when_history_has_come(tmp_path: FilePath) -> None:
    anna, ben = office(tmp_path, Role.READ_ONLY)
    assert ben.replica.role is Role.READ_ONLY
    assert not ben.replica.may_write
    assert set(ben.replica.membership.members) == {anna.key.device_id, ben.key.device_id}


def test_a_folder_that_is_shared_already_is_not_shared_again(tmp_path: FilePath, anna: Device) -> None:
    (tmp_path / "other").mkdir()
    with pytest.raises(UsageError, match="another device or home"):
        opening.found(tmp_path / "other", device_key(2), anna.files, "Mine")


def test_one_folder_inside_another_is_refused_both_ways(tmp_path: FilePath, anna: Device) -> None:
    others = [shared_of(anna)]
    for inside in (anna.files / "deep", anna.files.parent, anna.files):
        with pytest.raises(UsageError):
            opening.demand_apart(inside, others)
    opening.demand_apart(tmp_path / "folder-2", others)


def test_a_place_inside_another_homes_folder_is_refused(tmp_path: FilePath, anna: Device) -> None:
    (anna.files / "deep").mkdir()
    (tmp_path / "way in").symlink_to(anna.files / "deep")
    for inside in (anna.files / "deep", anna.files / "deep/er/still", tmp_path / "way in/new"):
        with pytest.raises(UsageError, match="another home or device shares") as caught:
            opening.demand_apart(inside, [])
        assert "outside" in caught.value.hint
    opening.demand_apart(anna.files.parent / "beside", [])


def test_a_folder_without_its_marker_is_not_opened(anna: Device) -> None:
    anna.close()
    (anna.files / ".harp/folder").unlink()
    with pytest.raises(FolderError, match="its marker is missing") as caught:
        anna.open()
    assert "mount" in caught.value.hint


def test_a_copy_of_a_folder_is_told_from_the_original(tmp_path: FilePath, anna: Device) -> None:
    shared = shared_of(anna)
    anna.close()
    shutil.copytree(anna.files, tmp_path / "copy", symlinks=True)
    moved = tmp_path / "moved"
    anna.files.rename(moved)
    there = opening.opened(anna.home, anna.key, SharedFolder(shared.id, "Photos", moved, shared.ledger))
    assert there.folder == shared.id
    again = Root.open(str(tmp_path / "copy"))
    marker = again.read_marker()
    assert marker is not None
    again.remove_marker()
    again.write_marker(type(marker)(marker.folder, b"x" * 16))
    with pytest.raises(FolderError, match="is a copy of the folder"):
        opening.opened(anna.home, anna.key, SharedFolder(shared.id, "Photos", tmp_path / "copy", shared.ledger))


def test_a_join_that_was_cut_is_done_again_and_what_lies_there_is_kept(tmp_path: FilePath, anna: Device) -> None:
    anna.put("a.txt", b"1")
    anna.looks().close(cleanly=False)
    said = len(anna.open().written())
    secrets = anna.replica.secrets
    proof = tuple(anna.loop.governor.proof(anna.key.device_id))
    welcome = Welcome(anna.replica.folder, "Photos", Role.READ_WRITE, secrets.content, tuple(secrets.epochs), proof)
    (tmp_path / "place").mkdir()
    shared = opening.enter(anna.home, tmp_path / "place", "Photos", welcome)
    path = opening.ledger_path(anna.home, shared)
    assert Ledger(path).incarnation != anna.replica.incarnation
    kept = Ledger(path.with_name(f"{path.name}.old"))
    assert len(list(kept.batches_beyond({}))) == said


def test_a_ledger_without_its_founding_is_corrupt(anna: Device) -> None:
    with anna.replica.ledger.db.transaction():
        anna.replica.ledger.db.execute("DELETE FROM governance")
    anna.close()
    with pytest.raises(CorruptStore, match="founding"):
        anna.open()


def test_a_ledger_that_is_behind_the_folders_own_note_begins_a_new_chain(anna: Device) -> None:
    ledger = opening.ledger_path(anna.home, shared_of(anna))
    anna.close()
    copy = ledger.read_bytes()
    anna.open()
    before = anna.replica.incarnation
    anna.put("a.txt", b"after the copy")
    anna.looks()
    anna.close()
    for suffix in ("-wal", "-shm"):
        ledger.with_name(ledger.name + suffix).unlink(missing_ok=True)
    ledger.write_bytes(copy)
    anna.open()
    assert anna.replica.incarnation != before


def test_the_witness_contradicts_only_its_own_chain_and_only_less(anna: Device) -> None:
    chain = anna.replica.incarnation
    witness = Witness(anna.replica.root)
    witness.note(chain, 7)
    assert witness.contradicts(chain, 6)
    assert not witness.contradicts(chain, 7)
    assert not witness.contradicts(type(chain)(b"o" * 16), 1)
    witness.close()


def test_a_left_folder_keeps_its_files_and_nothing_else(anna: Device) -> None:
    anna.put("a.txt", b"stays")
    anna.looks()
    anna.close()
    opening.abandon(anna.home, shared_of(anna))
    assert anna.tree() == {"a.txt": b"stays"}
    assert opening.marker_at(anna.files) is None
    assert not opening.ledger_path(anna.home, shared_of(anna)).exists()


def test_the_facts_that_a_ledger_needs_are_missed_with_a_word(tmp_path: FilePath) -> None:
    ledger = Ledger(tmp_path / "bare.db")
    for ask in (lambda: ledger.folder, lambda: ledger.incarnation, ledger.keys):
        with pytest.raises(CorruptStore) as caught:
            ask()
        assert caught.value.hint == "restore a backup"
