# SPDX-License-Identifier: AGPL-3.0-or-later
"""Answers what people ask about Nextcloud accounts."""

import asyncio
from typing import TYPE_CHECKING

from harp.base.errors import UsageError
from harp.bridge import accountview, model
from harp.sync.cloud import dav, server
from harp.sync.cloud.dav import Login
from harp.sync.store import accounts as store
from harp.sync.store.accounts import Account

if TYPE_CHECKING:
    from harp.daemon.composition import Daemon


class AccountAnswers:
    """Implements :class:`harp.bridge.accountview.Accounting`; on the daemon's event loop."""

    _daemon: "Daemon"

    async def accounts(self) -> list[accountview.AccountStatus]:
        return [self._account(account) for account in self._daemon.accounts.all()]

    async def add_account(self, asked: accountview.AccountAsked) -> accountview.AccountStatus:
        store.check_name(asked.name)
        if not asked.user or ":" in asked.user:
            raise UsageError("this is not the name of a user", hint="the one that you log in to Nextcloud with")
        login = Login(server.address(asked.url), asked.user, asked.password)
        async with server.session(asked.ca_file) as session:
            await server.demand(session, login.url)
            user_id = await dav.user_id(session, login)
            account = Account(asked.name, login.url, asked.user, user_id, asked.password, asked.ca_file, asked.is_own)
            before = await asyncio.to_thread(self._daemon.accounts.add, account)
            if before is not None and before.is_own and before.password != account.password:
                await server.take_back(session, Login(before.url, before.user, before.password))
        return self._account(account)

    async def remove_account(self, account: str) -> model.Done:
        gone = await asyncio.to_thread(self._daemon.accounts.remove, account)
        if not gone.is_own:
            return model.Done(message=f"{account} is forgotten here; its app password still is good")
        async with server.session(gone.ca_file) as session:
            is_back = await server.take_back(session, Login(gone.url, gone.user, gone.password))
        if is_back:
            return model.Done(message=f"{account} is forgotten, and its app password taken back")
        return model.Done(message=f"{account} is forgotten; take its app password back on Nextcloud's page Security")

    def _account(self, account: Account) -> accountview.AccountStatus:
        names = {folder.id.hex(): folder.name for folder in self._daemon.registry.folders()}
        mirrors = [one for one in self._daemon.accounts.mirrored() if one.account == account.name]
        return accountview.AccountStatus(
            name=account.name,
            url=account.url,
            user=account.user,
            folders=sorted(names[one.folder] for one in mirrors if one.folder in names),
        )
