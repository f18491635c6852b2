# SPDX-License-Identifier: AGPL-3.0-or-later
"""Answers what people ask about Nextcloud accounts."""

import asyncio
from typing import TYPE_CHECKING

import msgspec

from harp.base.errors import HarpError, UsageError
from harp.bridge import accountview, model
from harp.daemon import mirrorportraits
from harp.sync.cloud import dav, server
from harp.sync.cloud.dav import Login
from harp.sync.model import FolderId
from harp.sync.store import accounts as store
from harp.sync.store.accounts import Account

if TYPE_CHECKING:
    from harp.daemon.composition import Daemon


MOST_LOGINS = 20


class AccountAnswers:
    """Implements :class:`harp.bridge.accountview.Accounting`; on the daemon's event loop."""

    def __init__(self, daemon: "Daemon") -> None:
        self._daemon = daemon
        self._logins: dict[str, accountview.AccountLogin] = {}

    async def accounts(self) -> accountview.AccountList:
        known = [self._account(account) for account in self._daemon.accounts.all()]
        return accountview.AccountList(accounts=known, logins=list(self._logins.values()))

    async def log_in(self, asked: accountview.LoginAsked) -> accountview.AccountLogin:
        store.check_name(asked.account)
        where = server.address(asked.url)
        async with server.session(asked.ca_file) as session:
            await server.demand(session, where)
            flow = await server.begin_login(session, where, self._daemon.config.device_name)
        begun = accountview.AccountLogin(name=asked.account, url=where, address=flow.address)
        self._logins.pop(asked.account, None)
        while len(self._logins) >= MOST_LOGINS:
            del self._logins[next(iter(self._logins))]
        self._logins[asked.account] = begun
        self._daemon.tasks.start(f"login of {asked.account}", self._logged_in(begun, flow, asked.ca_file))
        return begun

    async def _logged_in(self, begun: accountview.AccountLogin, flow: server.LoginFlow, ca_file: str) -> None:
        """Waits for the person; a login of the same name that was begun later counts in place of this one."""
        try:
            async with server.session(ca_file) as session:
                login = await server.awaited(session, begun.url, flow)
            if self._logins.get(begun.name) is not begun:
                return
            await self.add_account(
                accountview.AccountAsked(
                    name=begun.name,
                    url=begun.url,
                    user=login.user,
                    password=login.password,
                    ca_file=ca_file,
                    is_own=True,
                )
            )
            self._logins.pop(begun.name, None)
        except HarpError as error:
            if self._logins.get(begun.name) is begun:
                self._logins[begun.name] = msgspec.structs.replace(begun, error=str(error))

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
        self._daemon.mirrors.renewed(account.name)
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
        daemon = self._daemon
        names = {folder.id.hex(): folder.name for folder in daemon.registry.folders()}
        mirrored = [one for one in daemon.accounts.mirrored() if one.account == account.name and one.folder in names]
        errors = [error for one in mirrored if (error := daemon.mirrors.status(one).error)]
        push = daemon.mirrors.push(account.name)
        return accountview.AccountStatus(
            name=account.name,
            url=account.url,
            user=account.user,
            folders=sorted(names[one.folder] for one in mirrored),
            error=errors[0] if errors else "",
            is_pushed=push is not None and push.is_heard,
            push_error="" if push is None or push.is_heard or push.trouble is None else push.trouble.message,
        )

    # --- what a mirror asks -------------------------------------------------------------------------------------------

    def _asked(self, folder: str) -> list[model.HeldSet]:
        """What a person has to decide about the folder's mirror."""
        found = self._daemon.mirrors.of(FolderId(bytes.fromhex(folder)))
        if found is None or (loop := found[1]) is None or not loop.question:
            return []
        return [mirrorportraits.held(found[0], loop)]

    async def _answered(self, folder: str, held: str, how: str) -> model.Done | None:
        """None where ``held`` is nothing that the folder's mirror asks."""
        found = self._daemon.mirrors.of(FolderId(bytes.fromhex(folder)))
        if found is None or (loop := found[1]) is None or held != mirrorportraits.held_id(loop):
            return None
        await loop.answer(how)
        done = (
            "both sides are put together; nothing is removed" if how == "merge" else "what happened there is done here"
        )
        return model.Done(message=f"{found[0].account}:{found[0].path}: {done}")
