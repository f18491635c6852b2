# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real daemon reads the journal of a Nextcloud: what comes through a web node without its socket is soon here.

Names harp.daemon.journals and harp.sync.cloud.journal.
"""

from pathlib import Path

import pytest

from harp.bridge import model
from harp.cli.client import at
from harp.sync.service.journalloop import ABSENT_S
from tests.fakes.cloudserver import standing
from tests.fakes.webdav import PASSWORD, Account
from tests.integration.office import Desk, Office, until

EVERY_S = 0.5
PATIENCE_S = 20.0
assert PATIENCE_S < ABSENT_S


@pytest.fixture
def account() -> Account:
    made = Account()
    made.write("Documents/plan.txt", b"from the cloud")
    made.journal = [1, 2, 3]
    return made


@pytest.fixture
def hub(office: Office) -> Desk:
    """Without a journal it would notice anything ten minutes later."""
    return office.desk("hub", account_poll_s="600", journal_poll_s=str(EVERY_S)).start()


def log_in(hub: Desk, url: str, password: str) -> None:
    hub.do("account", "add", "work", url, "--user", "alice", typed=f"{password}\n")


def reaches(hub: Desk, name: str) -> None:
    [folder] = hub.client.get(at("status"), model.Status).folders
    until((Path(folder.location) / name).exists, f"the hub has {name}", PATIENCE_S)


def test_what_comes_through_a_web_node_without_the_socket_is_seen_by_the_journal(hub: Desk, account: Account) -> None:
    with standing(account) as url:
        log_in(hub, url, PASSWORD)
        hub.do("share", "work:/Documents")
        reaches(hub, "plan.txt")
        for row in (5, 4, 6):
            account.write(f"Documents/{row}.txt", b"saved")
            account.journal = [*(account.journal or ()), row]
            reaches(hub, f"{row}.txt")


def test_a_server_without_harpbridge_is_said_and_the_account_is_mirrored_all_the_same(
    hub: Desk, account: Account
) -> None:
    account.journal = None
    with standing(account) as url:
        log_in(hub, url, PASSWORD)
        hub.do("share", "work:/Documents")
        reaches(hub, "plan.txt")

        def problems() -> list[str]:
            return hub.client.get(at("status"), model.Status).problems

        until(lambda: any(f"{url} has no harpbridge" in one for one in problems()), "it is said", PATIENCE_S)
        hub.do("leave", "Documents")
        until(lambda: problems() == [], "nobody reads there any more", PATIENCE_S)


def test_a_password_that_is_refused_is_asked_with_once_and_a_new_one_at_once(hub: Desk, account: Account) -> None:
    with standing(account) as url:
        log_in(hub, url, PASSWORD)
        hub.do("share", "work:/Documents")
        reaches(hub, "plan.txt")
        account.passwords = {"another"}
        until(lambda: account.refused, "the journal is asked for with what is not good any more", PATIENCE_S)
        log_in(hub, url, "another")
        account.write("Documents/new.txt", b"saved")
        account.journal = [7]
        reaches(hub, "new.txt")
        assert account.refused == 1
