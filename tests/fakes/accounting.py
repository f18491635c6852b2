# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the daemon in memory answers about Nextcloud accounts: it has one, of alice."""

from pathlib import Path

from harp.bridge import accountview, model
from tests.fakes.noting import Noting


class FakeAccounting(Noting):
    """Mixed into :class:`tests.fakes.daemon.FakeDaemon`."""

    async def accounts(self) -> accountview.AccountList:
        self._called("accounts")
        return accountview.AccountList(
            accounts=[
                accountview.AccountStatus(name="work", url="https://cloud.example", user="alice", folders=["Photos"]),
                accountview.AccountStatus(name="old", url="https://old.example", user="alice", error="revoked"),
                accountview.AccountStatus(name="told", url="https://c.example", user="alice", is_pushed=True),
                accountview.AccountStatus(
                    name="mute", url="https://d.example", user="alice", push_error="the server hangs up"
                ),
            ]
        )

    async def log_in(self, asked: accountview.LoginAsked) -> accountview.AccountLogin:
        self._called("log_in", asked.account, asked.url)
        return accountview.AccountLogin(name=asked.account, url=asked.url, address="https://cloud.example/login/v2/x")

    async def add_account(self, asked: accountview.AccountAsked) -> accountview.AccountStatus:
        self._called("add_account", asked.name, asked.url, asked.user, asked.password, asked.is_own)
        return accountview.AccountStatus(name=asked.name, url=asked.url, user=asked.user)

    async def share_account(
        self, account: str, path: str, name: str | None, place: Path | None, merge: bool
    ) -> model.FolderStatus:
        self._called("share_account", account, path, name, place, merge)
        return self._folder(next(iter(self.names)), "/home/alice/x")

    async def remove_account(self, account: str) -> model.Done:
        self._called("remove_account", account)
        return model.Done(message="forgotten")
