# SPDX-License-Identifier: AGPL-3.0-or-later
"""The file of accounts, and what an address of a Nextcloud is."""

import stat
from pathlib import Path

import pytest

from harp.base import privatefile
from harp.base.errors import ConfigError, UsageError
from harp.bridge.accountview import AccountAsked
from harp.sync.cloud import server
from harp.sync.store.accounts import FILE_NAME, Account, Accounts, Mirrored

WORK = Account("work", "https://cloud.example", "ada@example", "ada", "s3cret", is_own=True)


def test_accounts_and_what_mirrors_them_survive_a_restart_and_nobody_else_reads_them(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path)
    assert list(accounts.all()) == []
    accounts.add(WORK)
    accounts.mirror(Mirrored("ab" * 32, "work", "/Documents"))
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600
    again = Accounts(tmp_path)
    assert again.named("work") == WORK
    assert list(again.mirrored()) == [Mirrored("ab" * 32, "work", "/Documents")]
    again.unmirror("ab" * 32)
    again.remove("work")
    assert list(Accounts(tmp_path).all()) == []
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME], "nothing half-written stays"


def test_the_same_person_may_come_again_and_nobody_else_gets_the_name(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path)
    assert accounts.add(WORK) is None
    renewed = Account("work", "https://cloud.example", "ada", "ada", "another")
    assert accounts.add(renewed) == WORK
    assert accounts.named("work").password == "another"
    for other in (
        Account("work", "https://cloud.example", "ben", "ben", "x"),
        Account("work", "https://elsewhere.example", "ada", "ada", "x"),
    ):
        with pytest.raises(UsageError, match=r"there is an account .work. already"):
            accounts.add(other)
    for name in ("", "a b", "-x", "a/b", "a:b", "ä", "x" * 65):
        with pytest.raises(UsageError, match="no name for an account"):
            accounts.add(Account(name, "https://cloud.example", "ada", "ada", "x"))


def test_an_account_that_a_folder_mirrors_stays(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path)
    accounts.add(WORK)
    accounts.mirror(Mirrored("ab" * 32, "work", "/"))
    with pytest.raises(UsageError, match="a folder mirrors"):
        accounts.remove("work")
    with pytest.raises(UsageError, match="no account 'home'"):
        accounts.remove("home")


@pytest.mark.parametrize("damage", ["{", "[]", '{"accounts": [{"password": "s3cret"}]}', "\udcff"])
def test_a_damaged_file_is_said_without_what_it_holds(tmp_path: Path, damage: str) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(damage.encode("utf-8", "surrogateescape"))
    path.chmod(0o600)
    with pytest.raises(ConfigError) as told:
        Accounts(tmp_path)
    assert "s3cret" not in str(told.value)
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="others can read"):
        Accounts(tmp_path)


def test_a_private_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    privatefile.replace(path, "one\n")
    with pytest.raises(ConfigError, match="cannot be written"):
        privatefile.replace(path, "\ud800")
    with pytest.raises(ConfigError, match="cannot be written"):
        privatefile.replace(tmp_path / "nowhere" / "kept", "x")
    assert privatefile.secret(path, 100, "a word") == "one\n"
    assert privatefile.secret(tmp_path / "none", 100, "a word") is None
    assert [one.name for one in tmp_path.iterdir()] == ["kept"]


def test_nothing_that_is_shown_holds_the_password() -> None:
    assert "s3cret" not in repr(WORK)
    assert "s3cret" not in repr(AccountAsked(name="work", url="https://x", user="ada", password="s3cret"))


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("https://cloud.example/", "https://cloud.example"),
        (" https://cloud.example/nextcloud/index.php/apps/files/files ", "https://cloud.example/nextcloud"),
        ("https://cloud.example/apps/dashboard/", "https://cloud.example"),
        ("https://cloud.example/login", "https://cloud.example"),
        ("https://cloud.example/remote.php/dav/files/ada", "https://cloud.example"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
    ],
)
def test_an_address_is_what_a_browser_shows(typed: str, meant: str) -> None:
    assert server.address(typed) == meant


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("http://cloud.example", "must begin with https://"),
        ("http://192.168.1.2/nextcloud", "must begin with https://"),
        ("cloud.example", "must be an address such as"),
        ("https://ada:pw@cloud.example", "must be an address such as"),
        ("ftp://cloud.example", "must be an address such as"),
        ("https://", "must be an address such as"),
    ],
)
def test_an_address_that_would_give_the_password_away_is_refused(typed: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        server.address(typed)
