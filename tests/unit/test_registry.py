# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the device knows beside its ledgers: a ticket is redeemed once, addresses stay few, names are taken once."""

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from importlib import resources
from pathlib import Path

import pytest

from harp.base.errors import StoreError, UsageError
from harp.identity.device import DeviceId
from harp.sync.model import FolderId, Role
from harp.sync.store.registry import MAX_ADDRESSES, OpenTicket, Registry, SharedFolder

NOW = 1_795_400_000.0
FOLDER = FolderId(b"f" * 32)
ANNA, BEN = DeviceId(b"a" * 32), DeviceId(b"b" * 32)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "registry.db")


def ticket(secret: bytes = b"s", expires_s: float = NOW + 60) -> OpenTicket:
    return OpenTicket(secret.ljust(32), b"k" * 32, FOLDER, Role.READ_WRITE, expires_s)


# --- tickets ----------------------------------------------------------------------------------------------------------


def test_a_ticket_is_redeemed_by_one_device(registry: Registry) -> None:
    registry.add_ticket(ticket())
    assert registry.redeem(ticket().secret_hash, ANNA, now=NOW) == ticket()
    assert registry.redeem(ticket().secret_hash, BEN, now=NOW) == "used"


def test_whoever_redeemed_it_may_come_again_since_the_answer_may_be_lost(registry: Registry) -> None:
    registry.add_ticket(ticket())
    registry.redeem(ticket().secret_hash, ANNA, now=NOW)
    assert registry.redeem(ticket().secret_hash, ANNA, now=NOW + 1) == ticket()


@pytest.mark.parametrize(("expires_s", "why"), [(NOW, "expired"), (NOW - 1, "expired")])
def test_an_expired_ticket_is_redeemed_by_nobody(registry: Registry, expires_s: float, why: str) -> None:
    registry.add_ticket(ticket(expires_s=expires_s))
    assert registry.redeem(ticket().secret_hash, ANNA, now=NOW) == why


def test_a_ticket_that_was_never_given_out_is_unknown(registry: Registry) -> None:
    assert registry.redeem(b"x" * 32, ANNA, now=NOW) == "unknown"


def test_of_many_who_come_at_once_exactly_one_gets_it(registry: Registry) -> None:
    crowd = [DeviceId(bytes([number]) * 32) for number in range(8)]
    for turn in range(10):
        secret = b"%d" % turn
        registry.add_ticket(ticket(secret))
        gate = threading.Barrier(len(crowd))

        def come(device: DeviceId, secret: bytes = secret, gate: threading.Barrier = gate) -> object:
            gate.wait()
            return registry.redeem(ticket(secret).secret_hash, device, now=NOW)

        with ThreadPoolExecutor(len(crowd)) as threads:
            answers = list(threads.map(come, crowd))
        assert answers.count("used") == len(crowd) - 1


def test_of_two_processes_on_one_database_exactly_one_gets_it(tmp_path: Path, registry: Registry) -> None:
    registry.add_ticket(ticket())
    other = Registry(tmp_path / "registry.db")
    assert other.redeem(ticket().secret_hash, ANNA, now=NOW) == ticket()
    assert registry.redeem(ticket().secret_hash, BEN, now=NOW) == "used"


def test_used_and_expired_tickets_open_the_door_a_while_longer_so_that_they_can_be_told(registry: Registry) -> None:
    registry.add_ticket(ticket(b"old", NOW - 60))
    registry.add_ticket(ticket(b"ancient", NOW - 100_000))
    assert [one.secret_hash for one in registry.open_tickets(now=NOW)] == [ticket(b"old").secret_hash]


def test_neither_secret_nor_key_of_a_ticket_is_in_its_repr() -> None:
    assert "k" * 32 not in repr(ticket())
    assert "secret_hash" not in repr(ticket())


# --- folders ----------------------------------------------------------------------------------------------------------


def shared(name: str = "Photos", path: str = "/data/photos", letter: bytes = b"f") -> SharedFolder:
    return SharedFolder(FolderId(letter * 32), name, Path(path), f"{name}.db")


def test_folders_are_there_after_a_new_start_in_the_order_of_their_names(tmp_path: Path, registry: Registry) -> None:
    registry.add_folder(shared())
    registry.add_folder(shared("Notes", "/data/notes", b"n"))
    registry.set_paused(FOLDER, True)
    registry.move_folder(FOLDER, Path("/new/place"))
    registry.close()
    found = Registry(tmp_path / "registry.db").folders()
    assert [(one.name, str(one.path), one.is_paused) for one in found] == [
        ("Notes", "/data/notes", False),
        ("Photos", "/new/place", True),
    ]


def test_a_name_or_a_place_that_is_taken_is_refused(registry: Registry) -> None:
    registry.add_folder(shared())
    with pytest.raises(UsageError, match="named 'Photos' already"):
        registry.add_folder(shared(path="/else", letter=b"x"))
    with pytest.raises(StoreError):
        registry.add_folder(shared("Other", letter=b"x"))
    assert len(registry.folders()) == 1


def test_a_removed_folders_tickets_go_with_it(registry: Registry) -> None:
    registry.add_folder(shared())
    registry.add_ticket(ticket())
    registry.remove_folder(FOLDER)
    assert registry.folders() == []
    assert registry.redeem(ticket().secret_hash, ANNA, now=NOW) == "unknown"


# --- addresses --------------------------------------------------------------------------------------------------------


def test_addresses_stay_few_and_those_that_worked_come_first(registry: Registry) -> None:
    registry.add_addresses(ANNA, ["192.0.2.200:1"], worked_s=NOW)
    registry.add_addresses(ANNA, ["192.0.2.201:1"], worked_s=NOW + 5)
    for number in range(100):
        registry.add_addresses(ANNA, [f"192.0.2.{number}:{port}" for port in range(40)])
    found = registry.addresses(ANNA)
    assert found[:2] == ["192.0.2.201:1", "192.0.2.200:1"]
    assert len(found) == MAX_ADDRESSES


def test_hearing_an_address_again_does_not_unprove_it(registry: Registry) -> None:
    registry.add_addresses(ANNA, ["z:1"], worked_s=NOW)
    registry.add_addresses(ANNA, ["a:1", "z:1"])
    assert registry.addresses(ANNA) == ["z:1", "a:1"]
    assert registry.addresses(BEN) == []


def test_when_a_device_was_seen_last_outlives_a_start(registry: Registry, tmp_path: Path) -> None:
    assert registry.seen_s(ANNA) is None
    registry.saw([ANNA], now=NOW)
    registry.saw([ANNA], now=NOW + 5)
    registry.close()
    again = Registry(tmp_path / "registry.db")
    assert (again.seen_s(ANNA), again.seen_s(BEN)) == (NOW + 5, None)


def test_a_registry_of_version_1_knows_when_those_that_it_dialled_were_seen(tmp_path: Path) -> None:
    schema = resources.files("harp.sync.store.schema").joinpath("registry.sql").read_text()
    with closing(sqlite3.connect(tmp_path / "registry.db")) as old:
        old.executescript(schema)
        old.executemany(
            "INSERT INTO address (device, address, worked_s) VALUES (?, ?, ?)",
            [(ANNA, "a:1", NOW), (ANNA, "a:2", NOW + 5), (ANNA, "a:3", None), (BEN, "b:1", None)],
        )
        old.execute("PRAGMA user_version = 1")
        old.commit()
    for _ in range(2):
        registry = Registry(tmp_path / "registry.db")
        assert (registry.seen_s(ANNA), registry.seen_s(BEN)) == (NOW + 5, None)
        registry.close()


def test_a_forgotten_device_has_no_addresses_until_it_is_admitted_again(registry: Registry) -> None:
    registry.add_addresses(ANNA, ["a:1"])
    registry.forget(ANNA, now=NOW)
    assert registry.forgotten() == {ANNA}
    assert registry.addresses(ANNA) == []
    registry.readmit(ANNA)
    assert registry.forgotten() == set()


def test_a_copy_of_the_registry_is_one(tmp_path: Path, registry: Registry) -> None:
    registry.add_folder(shared())
    registry.check()
    registry.copy_to(tmp_path / "copy.db")
    assert Registry(tmp_path / "copy.db").folders() == [shared()]
