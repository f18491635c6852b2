# SPDX-License-Identifier: AGPL-3.0-or-later
"""Key and ledgers in one file: taken while in use, put back whole or not at all, and never a way out of the home."""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path as FilePath

import pytest

from harp.base.errors import FolderError, HarpError, UsageError
from harp.identity import keyring
from harp.sync.model import Role
from harp.sync.service import opening
from harp.sync.store import backup
from harp.sync.store.accounts import Account, Accounts, Mirrored
from harp.sync.store.ledger import Ledger
from harp.sync.store.registry import Registry, SharedFolder
from tests.fakes.replicas import connect, office, settle


def home_with_folder(at: FilePath) -> tuple[FilePath, SharedFolder]:
    home, place = at / "home", at / "folder"
    place.mkdir(parents=True)
    key = keyring.load_or_make(home)
    shared = opening.found(home, key, place, "Photos")
    registry = Registry(home / backup.REGISTRY)
    registry.add_folder(shared)
    registry.close()
    (home / backup.SETTINGS).write_text("device_name = 'laptop'\n")
    return home, shared


def archive(path: FilePath, members: Mapping[str, bytes] | list[tarfile.TarInfo]) -> FilePath:
    with tarfile.open(path, "w") as file:
        if isinstance(members, list):
            for member in members:
                file.addfile(member, io.BytesIO(bytes(member.size)))
        else:
            for name, content in members.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                file.addfile(member, io.BytesIO(content))
    return path


def test_a_backup_brings_back_key_settings_registry_and_history(tmp_path: FilePath) -> None:
    home, shared = home_with_folder(tmp_path)
    kept = Accounts(home)
    kept.add(Account("work", "https://cloud.example", "ada", "ada", "s3cret"))
    kept.mirror(Mirrored(shared.id.hex(), "work", "/Photos"))
    size = backup.make(home, tmp_path / "backup")
    assert size == (tmp_path / "backup").stat().st_size
    assert (tmp_path / "backup").stat().st_mode & 0o777 == 0o600
    new = tmp_path / "new"
    new.mkdir(mode=0o700)
    backup.restore(new, tmp_path / "backup")
    assert keyring.load_or_make(new).device_id == keyring.load_or_make(home).device_id
    assert (new / backup.SETTINGS).read_text() == (home / backup.SETTINGS).read_text()
    assert Registry(new / backup.REGISTRY).folders() == [shared]
    assert (new / backup.ACCOUNTS).stat().st_mode & 0o777 == 0o600
    again = Accounts(new)
    assert (again.all(), again.mirrored()) == (kept.all(), kept.mirrored())
    before, after = (Ledger(opening.ledger_path(at, shared)) for at in (home, new))
    assert after.vector() == before.vector()
    assert after.incarnation != before.incarnation, "what is said from now on cannot contradict what was said"
    assert after.fact("is_new") is not None
    assert not list(new.glob(".restore-*"))
    assert not list(home.glob(".backup-*"))


def test_a_restored_device_goes_on_and_nobody_sees_a_fork(tmp_path: FilePath) -> None:
    anna, ben = office(tmp_path, Role.READ_WRITE)
    (ben.home / backup.KEY).write_bytes(b"the fakes keep it elsewhere")
    Registry(ben.home / backup.REGISTRY).close()
    ben.put("early.txt", b"in the backup")
    ben.looks()
    settle(anna, ben)
    backup.make(ben.home, tmp_path / "backup")
    ben.put("late.txt", b"after the backup")
    ben.looks()
    settle(anna, ben)
    ben.close()
    ben.home = tmp_path / "new home"
    ben.home.mkdir()
    backup.restore(ben.home, tmp_path / "backup")
    ben.put("later.txt", b"while nobody looked")
    ben.peers.clear()
    anna.peers.clear()
    ben.open()
    connect(anna, ben)
    settle(anna, ben)
    assert anna.tree() == ben.tree()
    assert set(anna.tree()) == {"early.txt", "late.txt", "later.txt"}
    assert not anna.replica.ledger.forks()


def test_what_lies_at_the_target_is_not_overwritten(tmp_path: FilePath) -> None:
    home, _ = home_with_folder(tmp_path)
    (tmp_path / "backup").write_text("dear diary")
    with pytest.raises(UsageError, match="there already"):
        backup.make(home, tmp_path / "backup")
    assert (tmp_path / "backup").read_text() == "dear diary"
    with pytest.raises(FolderError, match="cannot be written"):
        backup.make(home, tmp_path / "missing" / "backup")


HOSTILE = {
    "outside": {"../escaped": b"x"},
    "absolute": {"/tmp/escaped": b"x"},
    "deeper": {"folders/sub/x.db": b"x"},
    "up and down": {"folders/../../escaped.db": b"x"},
    "hidden": {"folders/.hidden.db": b"x"},
    "another name": {"config.toml.bak": b"x"},
    "twice": None,
}


@pytest.mark.parametrize("members", HOSTILE.values(), ids=HOSTILE)
def test_an_archive_that_holds_anything_else_is_refused_whole(
    tmp_path: FilePath, members: Mapping[str, bytes] | None
) -> None:
    home, _ = home_with_folder(tmp_path)
    good = {name: (home / name).read_bytes() for name in (backup.KEY, backup.REGISTRY)}
    if members is None:
        source = archive(tmp_path / "hostile", good)
        with tarfile.open(source, "a") as file:
            file.add(home / backup.KEY, arcname=backup.KEY)
    else:
        source = archive(tmp_path / "hostile", {**good, **members})
    refused(tmp_path, source)


def test_links_devices_and_pipes_are_refused(tmp_path: FilePath) -> None:
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE):
        member = tarfile.TarInfo(backup.KEY)
        member.type = kind
        member.linkname = "/etc/passwd"
        refused(tmp_path / kind.hex(), archive(tmp_path / f"hostile-{kind.hex()}", [member]))


def test_what_is_no_archive_or_none_of_ours_is_refused(tmp_path: FilePath) -> None:
    (tmp_path / "text").write_text("hello " * 1000)
    (tmp_path / "empty").write_bytes(b"")
    refused(tmp_path / "1", tmp_path / "text")
    refused(tmp_path / "2", tmp_path / "empty")
    refused(tmp_path / "3", tmp_path / "missing")
    refused(tmp_path / "4", archive(tmp_path / "keyless", {backup.REGISTRY: b"x"}))
    refused(tmp_path / "5", archive(tmp_path / "huge", {backup.KEY: b"k", backup.REGISTRY: b"r", "folders/x.db": b"!"}))


def test_a_header_that_no_tar_writes_is_refused(tmp_path: FilePath) -> None:
    with tarfile.open(tmp_path / "nul", "w", format=tarfile.PAX_FORMAT) as file:
        member = tarfile.TarInfo("folders/a.db")
        member.pax_headers = {"path": "folders/a\0b.db"}
        file.addfile(member)
    refused(tmp_path / "1", tmp_path / "nul")
    with tarfile.open(tmp_path / "size", "w", format=tarfile.PAX_FORMAT) as file:
        member = tarfile.TarInfo("device.key")
        member.pax_headers = {"size": "many"}
        file.addfile(member)
    refused(tmp_path / "2", tmp_path / "size")


def test_a_backup_that_was_cut_off_is_refused_whole(tmp_path: FilePath) -> None:
    home, _ = home_with_folder(tmp_path)
    backup.make(home, tmp_path / "backup")
    whole = (tmp_path / "backup").read_bytes()
    (tmp_path / "cut").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path, tmp_path / "cut")


def test_one_damaged_ledger_leaves_the_home_as_it_was(tmp_path: FilePath) -> None:
    home, shared = home_with_folder(tmp_path)
    good = {name: (home / name).read_bytes() for name in (backup.KEY, backup.REGISTRY)}
    ledger = opening.ledger_path(home, shared)
    Ledger(ledger).close()
    source = archive(tmp_path / "half", {**good, "folders/a.db": ledger.read_bytes(), "folders/b.db": b"x" * 8192})
    refused(tmp_path, source)


def refused(at: FilePath, source: FilePath) -> None:
    """Nothing is put anywhere."""
    new = at / "new"
    new.mkdir(parents=True)
    with pytest.raises(HarpError) as caught:
        backup.restore(new, source)
    assert caught.value.hint
    assert [path for path in new.rglob("*") if path.is_file()] == []
    assert not (at / "escaped").exists()
