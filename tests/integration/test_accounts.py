# SPDX-License-Identifier: AGPL-3.0-or-later
"""``harp account`` with a real daemon, against a stand-in for Nextcloud on loopback.

Names harp.cli.account, harp.daemon.accountanswers and harp.bridge.accountroutes.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from harp.bridge import accountview
from harp.cli.client import at
from tests.fakes.certificates import certificate
from tests.fakes.cloudserver import standing
from tests.fakes.webdav import PASSWORD, Account
from tests.integration.office import Desk, Office, Said


@pytest.fixture
def account() -> Account:
    return Account()


@pytest.fixture
def url(account: Account) -> Iterator[str]:
    with standing(account) as address:
        yield address


@pytest.fixture
def ada(office: Office) -> Desk:
    return office.desk("ada").start()


def added(desk: Desk, url: str, *options: str, name: str = "work") -> str:
    return desk.do("account", "add", name, url, "--user", "alice", *options, typed=PASSWORD + "\n")


def refused(desk: Desk, url: str, *options: str, password: str = PASSWORD) -> str:
    said = desk.refuses("account", "add", "work", url, "--user", "alice", *options, typed=password + "\n")
    assert not password or password not in said.err
    return said.err


def test_an_account_is_added_with_an_app_password_listed_and_removed(ada: Desk, url: str, account: Account) -> None:
    assert "no account yet" in ada.do("account", "list")
    assert added(ada, url) == f"work: alice at {url}\n"
    listed = {"name": "work", "url": url, "user": "alice", "folders": [], "error": ""}
    assert ada.ask("account", "list") == {
        "accounts": [listed | {"is_pushed": False, "push_error": ""}],
        "logins": [],
    }
    ada.stop()
    ada.start()
    assert "work" in ada.do("account", "list")
    assert "still is good" in ada.do("account", "remove", "work"), "it was not made for Harp"
    assert PASSWORD in account.passwords
    assert ada.refuses("account", "remove", "work").code == 2
    assert PASSWORD not in ada.log.read_text()


def test_a_login_in_a_browser_yields_a_password_that_goes_with_the_account(
    ada: Desk, url: str, account: Account
) -> None:
    account.agrees_to = "made-for-harp"
    said = ada.do("account", "add", "work", url)
    assert f"  {url}/index.php/login/v2/flow/open-me\n" in said
    assert said.endswith(f"work: alice at {url}\n")
    assert any(line.startswith("LOGIN Harp (") for line in account.log)
    assert "taken back" in ada.do("account", "remove", "work")
    assert account.passwords == {PASSWORD}


def test_who_logs_in_again_gets_a_new_password_and_the_old_one_is_taken_back(
    ada: Desk, url: str, account: Account
) -> None:
    account.agrees_to = "first"
    ada.do("account", "add", "work", url)
    account.agrees_to = "second"
    ada.do("account", "add", "work", url)
    assert account.passwords == {PASSWORD, "second"}


def test_what_is_wrong_is_said_in_one_line(ada: Desk, url: str, account: Account) -> None:
    assert "the name or the app password is refused" in refused(ada, url, password="wrong")
    assert "no app password on standard input" in refused(ada, url, password="")
    assert "must begin with https://" in refused(ada, "http://cloud.example")
    assert "cannot be reached" in refused(ada, "http://127.0.0.1:9")
    assert "is not a Nextcloud" in refused(ada, f"{url}/elsewhere")
    account.is_in_maintenance = True
    assert "is in maintenance" in refused(ada, url)
    account.is_in_maintenance = False
    assert ada.do("account", "list").startswith("no account yet")
    added(ada, url)
    with standing(Account()) as other:
        assert f"there is an account 'work' already: alice at {url}" in refused(ada, other)


def test_a_certificate_that_nobody_vouches_for_is_refused_unless_its_authority_is_named(
    ada: Desk, account: Account, tmp_path: Path
) -> None:
    pem = certificate(tmp_path, "127.0.0.1").path
    with standing(account, pem) as address:
        said = refused(ada, address)
        assert f"the certificate of {address} is not trusted" in said
        assert "--ca FILE" in said
        assert "is no file of certificates" in refused(ada, address, "--ca", str(tmp_path / "none.pem"))
        added(ada, address, "--ca", str(pem))
        ada.stop()
        ada.start()
        assert "work" in ada.do("account", "list")


def test_without_a_daemon_nobody_is_sent_to_a_browser(office: Office, url: str, account: Account) -> None:
    said: Said = office.desk("ben").refuses("account", "add", "work", url)
    assert said.code == 4
    assert not any(line.startswith("LOGIN") for line in account.log)


def test_the_api_takes_what_the_command_line_takes(ada: Desk, url: str) -> None:
    asked = {"name": "work", "url": url, "user": "alice", "password": PASSWORD}
    made = ada.client.post(at("accounts"), accountview.AccountStatus, asked)
    assert (made.name, made.user) == ("work", "alice")
    assert PASSWORD not in json.dumps(ada.ask("account", "list"))
