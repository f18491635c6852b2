# SPDX-License-Identifier: AGPL-3.0-or-later
"""A folder on the disk, an account in memory, and the mirror between them over real HTTP on loopback."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path as OsPath

import aiohttp
from aiohttp.test_utils import TestServer

from harp.base.runtime import Backoff
from harp.sync.cloud.claims import Register
from harp.sync.cloud.dav import Dav, Login, user_id
from harp.sync.model import Path
from harp.sync.service import mirrordisk
from harp.sync.service.mirror import Mirror
from harp.sync.store.agreements import Agreements
from tests.fakes.webdav import PASSWORD, Account


class FixedRules:
    """Rules that leave out some names, and no file on the disk says so."""

    def __init__(self, *names: str) -> None:
        self.names = names

    @property
    def digest(self) -> bytes:
        return "/".join(("", *self.names)).encode()

    def ignores(self, path: Path, is_directory: bool) -> bool:
        return os.path.basename(path).decode() in self.names


class Desk:
    """The folder, the account and the mirror between them."""

    def __init__(self, place: OsPath, account: Account, to_account: Dav, register: Register) -> None:
        self.place = place
        self.account = account
        self.folder = place / "folder"
        self.dav = to_account
        self.register = register
        (self.folder / ".harp").mkdir(parents=True)
        self.rules = FixedRules()
        self.disk = mirrordisk.MirrorDisk(self.folder, self.rules)
        self.open()

    def open(self) -> None:
        self.store = Agreements(self.place / "agreements.db")
        self.mirror = Mirror(self.dav, self.disk, self.store)
        self.mirror.backoff = Backoff(first_s=0.001)

    def here(self) -> dict[str, bytes]:
        files = (path for path in self.folder.rglob("*") if path.is_file())
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in files
            if path.relative_to(self.folder).parts[0] != ".harp"
        }

    def there(self) -> dict[str, bytes]:
        return {path: content for path, (content, _) in self.account.files.items()}

    def again(self) -> None:
        """As after a restart of the daemon."""
        self.store.close()
        self.open()


@asynccontextmanager
async def opened(place: OsPath) -> AsyncIterator[Desk]:
    """Until the block ends; the folder is marked by nothing but its ``.harp``."""
    account = Account()
    async with TestServer(account.application()) as server, aiohttp.ClientSession() as session:
        login = Login(str(server.make_url("")).rstrip("/"), "alice", PASSWORD)
        name = await user_id(session, login)
        made = Desk(place, account, Dav(session, login, name, ""), Register(session, login, name))
        yield made
        made.store.close()
