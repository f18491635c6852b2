# SPDX-License-Identifier: AGPL-3.0-or-later
"""The governor and the doors: who is let in, by which word, and who is not any more."""

from pathlib import Path as FilePath

import pytest

from harp.base.errors import RemoteProtocolError, TrustError
from harp.identity.device import DeviceKey
from harp.sync.engine import details
from harp.sync.engine.chain import Draft
from harp.sync.model import Kind, Role
from harp.sync.service.doors import ByDevice, ByFolder, ByTicket, Doors
from harp.sync.service.governor import opened_by, sealed_for
from harp.sync.store.registry import OpenTicket, Registry
from tests.fakes.history import device_key
from tests.fakes.replicas import Device, connect, disconnect, office, settle

HERE = ("127.0.0.1", 8783)
NEVER = 4e9


@pytest.fixture
def three(tmp_path: FilePath) -> list[Device]:
    return office(tmp_path, Role.READ_WRITE, Role.READ_ONLY)


def doors(device: Device) -> Doors:
    return Doors(device.key, Registry(device.home / "registry.db"), lambda: [device.loop])


# --- members ----------------------------------------------------------------------------------------------------------


def test_a_proof_convinces_whoever_has_not_merged_it_yet(tmp_path: FilePath, three: list[Device]) -> None:
    anna, ben, _ = three
    new = device_key(9)
    anna.loop.governor.grant(new.device_id, Role.READ_WRITE, "new")
    proof = anna.loop.governor.proof(new.device_id)
    assert ben.replica.membership.role(new.device_id) is None
    assert ben.loop.governor.proves(new.device_id, proof)
    assert not ben.loop.governor.proves(device_key(10).device_id, proof)
    assert ben.loop.governor.proof(device_key(10).device_id) == []
    stranger = Device(tmp_path / "stranger", 11).found()
    with pytest.raises(RemoteProtocolError, match="another folder"):
        ben.loop.governor.proves(stranger.key.device_id, stranger.loop.governor.proof(stranger.key.device_id))


def test_only_an_owner_grants_and_cuts(three: list[Device]) -> None:
    anna, ben, cleo = three
    with pytest.raises(TrustError, match="does not own"):
        ben.loop.governor.grant(device_key(9).device_id, Role.READ_WRITE, "new")
    with pytest.raises(TrustError, match="does not own"):
        ben.loop.governor.cut(cleo.key.device_id)
    with pytest.raises(TrustError, match="no member"):
        anna.loop.governor.cut(device_key(9).device_id)


def test_a_cut_device_is_no_member_and_does_not_learn_the_new_secret(three: list[Device]) -> None:
    anna, ben, cleo = three
    anna.loop.published(anna.loop.governor.cut(cleo.key.device_id))
    settle(*three)
    assert ben.replica.membership.role(cleo.key.device_id) is None
    epochs = anna.replica.secrets.epochs
    assert len(epochs) == 2
    assert ben.replica.secrets.epochs == epochs
    assert ben.replica.ledger.keys().epochs == epochs, "also after a restart"
    assert epochs[-1] not in cleo.replica.secrets.epochs
    assert epochs[-1].hex() not in repr(ben.replica.secrets)


def test_in_a_folder_of_many_members_a_cut_is_accepted_and_each_learns_the_new_secret(tmp_path: FilePath) -> None:
    anna, ben = office(tmp_path, Role.READ_WRITE)
    strangers = [device_key(number).device_id for number in range(20, 170)]
    grants = [Draft(kind=Kind.GRANT, detail=details.grant_detail(one, Role.READ_ONLY, "")) for one in strangers]
    written, _ = anna.loop.author.write([grants], {})
    anna.replica.learn_members()
    anna.loop.published([*written, *anna.loop.governor.cut(strangers[0])])
    settle(anna, ben)
    assert ben.replica.ledger.vector() == anna.replica.ledger.vector()
    assert ben.replica.secrets.epochs == anna.replica.secrets.epochs
    assert len(ben.replica.secrets.epochs) == 2
    assert set(ben.replica.membership.members) == {*strangers[1:], anna.key.device_id, ben.key.device_id}


def test_a_secret_is_opened_by_whom_it_is_sealed_for_alone() -> None:
    anna, ben = device_key(1), device_key(2)
    sealed = sealed_for(anna.device_id, b"s" * 32)
    assert opened_by(anna.seed + anna.device_id, sealed) == b"s" * 32
    assert opened_by(ben.seed + ben.device_id, sealed) is None
    assert opened_by(anna.seed + anna.device_id, b"garbage") is None
    assert opened_by(anna.seed + anna.device_id, sealed_for(anna.device_id, b"short")) is None


def test_who_leaves_is_no_member_any_more(three: list[Device]) -> None:
    anna, ben, _ = three
    ben.loop.published(ben.loop.governor.leave())
    settle(*three)
    assert anna.replica.membership.role(ben.key.device_id) is None
    assert not ben.replica.may_write


def test_whoever_leaves_does_not_learn_the_secret_that_an_owner_makes_then(three: list[Device]) -> None:
    anna, ben, cleo = three
    ben.loop.published(ben.loop.governor.leave())
    settle(*three)
    epochs = anna.replica.secrets.epochs
    assert len(epochs) == 2, "one leave, one new secret"
    assert cleo.replica.secrets.epochs == epochs
    assert epochs[-1] not in ben.replica.secrets.epochs
    assert set(anna.replica.membership.members) == {anna.key.device_id, cleo.key.device_id}
    anna.reopen().rests()
    assert anna.replica.secrets.epochs == epochs, "a restart makes no other"


def test_an_owner_that_was_away_makes_it_when_it_hears_of_the_leave(three: list[Device]) -> None:
    anna, ben, cleo = three
    disconnect(anna, ben)
    disconnect(anna, cleo)
    ben.loop.published(ben.loop.governor.leave())
    settle(*three)
    assert len(cleo.replica.secrets.epochs) == 1
    connect(anna, cleo)
    settle(*three)
    assert len(cleo.replica.secrets.epochs) == 2


def test_whoever_left_and_was_invited_again_stays(three: list[Device]) -> None:
    anna, ben, cleo = three
    ben.loop.published(ben.loop.governor.leave())
    settle(anna, ben, cleo)
    anna.loop.published(anna.loop.governor.grant(ben.key.device_id, Role.READ_WRITE, "again"))
    settle(anna, ben, cleo)
    assert cleo.replica.membership.role(ben.key.device_id) is Role.READ_WRITE
    assert len(anna.replica.secrets.epochs) == 2


def test_owners_who_make_a_secret_at_once_agree_on_the_newest(tmp_path: FilePath) -> None:
    anna, ben, cleo, dora = office(tmp_path, Role.OWNER, Role.READ_WRITE, Role.READ_WRITE)
    for one, other in ((anna, ben), (anna, cleo), (ben, dora), (cleo, dora)):
        disconnect(one, other)
    # Anna and Dora hear of it apart from Ben and Cleo.
    connect(anna, dora)
    leave = dora.loop.governor.leave()
    dora.loop.published(leave)
    ben.loop.take([item.data for item in leave])
    settle(anna, ben, cleo, dora)
    assert anna.replica.secrets.epochs != ben.replica.secrets.epochs
    connect(anna, ben)
    connect(anna, cleo)
    settle(anna, ben, cleo)
    assert anna.replica.secrets.epochs == ben.replica.secrets.epochs == cleo.replica.secrets.epochs
    assert len(anna.replica.secrets.epochs) == 3


# --- doors ------------------------------------------------------------------------------------------------------------


def test_members_open_each_others_doors_by_the_key_they_share(three: list[Device]) -> None:
    anna, ben, _ = three
    knock = doors(ben).knock_for(anna.key.device_id)
    assert knock is not None
    assert doors(anna).admit(knock, HERE) == ByDevice(ben.key.device_id)


def test_a_knock_opens_once(three: list[Device]) -> None:
    anna, ben, _ = three
    knock = doors(ben).knock_for(anna.key.device_id)
    assert knock is not None
    door = doors(anna)
    assert door.admit(knock, HERE) is not None
    assert door.admit(knock, HERE) is None, "a recorded knock is worth nothing"


def test_a_member_that_found_an_address_knocks_with_the_folders_secret(three: list[Device]) -> None:
    anna, ben, _ = three
    knock = doors(ben).knock_at(ben.replica.folder, *HERE)
    assert knock is not None
    admission = doors(anna).admit(knock, HERE)
    assert isinstance(admission, ByFolder)
    assert admission.accepts(ben.key.device_id)
    assert not admission.accepts(anna.key.device_id)
    assert doors(anna).admit(knock, ("127.0.0.1", 1)) is None, "it is for that place alone"


def test_a_stranger_and_a_member_of_another_folder_stand_outside(tmp_path: FilePath, three: list[Device]) -> None:
    anna, *_ = three
    stranger = Device(tmp_path / "stranger", 11).found()
    assert doors(stranger).knock_for(anna.key.device_id) is None or (
        doors(anna).admit(doors(stranger).knock_for(anna.key.device_id) or b"", HERE) is None
    )
    assert doors(stranger).knock_at(anna.replica.folder, *HERE) is None
    assert doors(anna).admit(b"garbage", HERE) is None


def test_a_forgotten_device_stands_outside_with_either_key(three: list[Device]) -> None:
    anna, ben, _ = three
    door = doors(anna)
    Registry(anna.home / "registry.db").forget(ben.key.device_id, now=1.0)
    for_anna, at_annas = doors(ben).knock_for(anna.key.device_id), doors(ben).knock_at(ben.replica.folder, *HERE)
    assert for_anna is not None
    assert at_annas is not None
    for knock in (for_anna, at_annas):
        admission = door.admit(knock, HERE)
        assert admission is None or not admission.accepts(ben.key.device_id)


def test_who_left_stands_outside_with_the_secret_it_had(three: list[Device]) -> None:
    anna, ben, cleo = three
    at_annas = doors(ben).knock_at(ben.replica.folder, *HERE)
    assert at_annas is not None
    assert doors(anna).admit(at_annas, HERE) is not None
    ben.loop.published(ben.loop.governor.leave())
    settle(*three)
    for device in (anna, cleo):
        at_theirs = doors(ben).knock_at(ben.replica.folder, *HERE)
        for_them = doors(ben).knock_for(device.key.device_id)
        assert at_theirs is not None
        assert doors(device).admit(at_theirs, HERE) is None
        assert for_them is None or doors(device).admit(for_them, HERE) is None


def test_a_ticket_opens_the_door_to_anybody_who_holds_it(three: list[Device]) -> None:
    anna, *_ = three
    ticket = OpenTicket(b"h" * 32, b"k" * 32, anna.replica.folder, Role.READ_WRITE, NEVER)
    Registry(anna.home / "registry.db").add_ticket(ticket)
    new = Doors(DeviceKey.from_seed(b"n" * 32), Registry(anna.home.parent / "other.db"), list)
    admission = doors(anna).admit(new.knock_with(b"k" * 32, anna.key.device_id), HERE)
    assert admission == ByTicket(ticket)
    assert admission is not None
    assert admission.accepts(new._key.device_id)
