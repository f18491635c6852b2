# SPDX-License-Identifier: AGPL-3.0-or-later
"""The mirrors of this device: each folder that is kept the same as one of an account has a loop of its own."""

import asyncio
import contextlib
import hashlib
import logging
import os
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from harp.base.errors import CloudError, HarpError, StaleError, UsageError
from harp.base.runtime import Clock, Tasks
from harp.bridge import naming
from harp.bridge.model import MirrorStatus
from harp.daemon import mirrorportraits
from harp.daemon.journals import Journals
from harp.daemon.pushes import Pushes
from harp.sync.cloud import server
from harp.sync.cloud.claims import Claim, Register
from harp.sync.cloud.dav import Dav, Login
from harp.sync.cloud.nodes import CloudPath
from harp.sync.model import FolderId
from harp.sync.service.folderloop import FolderLoop
from harp.sync.service.mirror import Mirror
from harp.sync.service.mirrordisk import MirrorDisk
from harp.sync.service.mirrorhistory import FolderHistory
from harp.sync.service.mirrorloop import MirrorLoop
from harp.sync.service.mirrornear import Near
from harp.sync.service.mirrorrivals import Rivals
from harp.sync.service.pushloop import PushLoop
from harp.sync.store.accounts import Account, Accounts, Mirrored
from harp.sync.store.agreements import Agreements

_log = logging.getLogger(__name__)

FOLDER = "mirrors"
"""In the home: where each mirror keeps what both sides last agreed on."""
WITHDRAW_S = 5.0
PLACES = "cloud"
"""In the home: where folders lie for which nobody named a place."""


@dataclass(slots=True)
class _Running:
    mirrored: Mirrored
    folder_loop: FolderLoop
    loop: MirrorLoop
    task: "asyncio.Task[None]"
    nears: list[Near]
    """At most one: how it reads the server's own disk."""
    listener: Callable[[], None]


class Mirrors:
    """On the daemon's event loop. :meth:`look` brings what runs in line with accounts and open folders."""

    def __init__(
        self,
        home: Path,
        accounts: Accounts,
        loop_of: Callable[[FolderId], FolderLoop | None],
        tasks: Tasks,
        *,
        poll_s: float,
        journal_poll_s: float | None,
        data: Path | None,
        device_name: Callable[[], str],
        clock: Clock,
    ) -> None:
        self._home = home
        self._accounts = accounts
        self._loop_of = loop_of
        self._tasks = tasks
        self._poll_s = poll_s
        self._data = data
        """The data folder of a Nextcloud on this machine, which need not be that of any account."""
        self._device_name = device_name
        self._clock = clock
        self._run = os.urandom(8).hex()
        self._running: dict[str, _Running] = {}
        self._journals = Journals(tasks, self._grew_at, every_s=journal_poll_s)
        self._pushes = Pushes(tasks, self._changed_in, clock=clock)

    def look(self) -> None:
        """Starts a loop for each open folder that mirrors something, and ends those whose folder is closed or gone."""
        wanted = {one.folder: (one, self._loop_of(FolderId(bytes.fromhex(one.folder)))) for one in self._mirrored()}
        for folder, running in list(self._running.items()):
            if wanted.get(folder) != (running.mirrored, running.folder_loop):
                self._end(folder)
        for folder, (mirrored, folder_loop) in wanted.items():
            if folder_loop is not None and folder not in self._running:
                self._start(mirrored, folder_loop)
        names = {running.mirrored.account for running in self._running.values()}
        read = [one for one in self._accounts.all() if one.name in names]
        self._journals.look(read)
        self._pushes.look(read)

    def _mirrored(self) -> list[Mirrored]:
        return list(self._accounts.mirrored())

    def of(self, folder: FolderId) -> tuple[Mirrored, MirrorLoop | None] | None:
        """What a folder mirrors, and the loop, if it runs; None for a folder that mirrors nothing."""
        mirrored = next((one for one in self._mirrored() if one.folder == folder.hex()), None)
        return None if mirrored is None else (mirrored, self.loop(folder))

    def loop(self, folder: FolderId) -> MirrorLoop | None:
        """The loop of a folder that mirrors something, if it runs."""
        running = self._running.get(folder.hex())
        return None if running is None else running.loop

    def loops(self) -> list[MirrorLoop]:
        return [running.loop for running in self._running.values()]

    def mark(self, folder: FolderId) -> object:
        """What is another one whenever the mirror's status is."""
        running = self._running.get(folder.hex())
        if running is None:
            return None
        loop = running.loop
        return (
            loop.is_working,
            loop.question,
            str(loop.trouble),
            loop.standing,
            len(loop.problems),
            loop.steps,
            loop.rivals,
            loop.skew_s // 60,
        )

    def status(self, mirrored: Mirrored) -> MirrorStatus:
        running = self._running.get(mirrored.folder)
        accounts = {one.name: one for one in self._accounts.all()}
        account = accounts.get(mirrored.account)
        if running is None or account is None:
            return mirrorportraits.status(mirrored, account, None if running is None else running.loop)
        meeting = {
            accounts[other.mirrored.account].user_id: accounts[other.mirrored.account].user
            for other in self._running.values()
            if other.mirrored.account in accounts and running.loop.extent.meets(other.loop.extent)
        }
        meeting.pop(account.user_id, None)
        return mirrorportraits.status(mirrored, account, running.loop, sorted(meeting.values()))

    def journal_grew(self, _: int) -> None:
        """Nextcloud's app says that files have changed: whose, a walk finds out."""
        for running in self._running.values():
            running.loop.bridge_called()

    def unread(self) -> list[str]:
        """Addresses of servers whose journal was to be read, and cannot be."""
        return sorted(self._journals.absent)

    def _grew_at(self, url: str) -> None:
        """The same of one server, which its journal has said."""
        there = {one.name for one in self._accounts.all() if one.url == url}
        for running in self._running.values():
            if running.mirrored.account in there:
                running.loop.bridge_called()

    def _changed_in(self, account: str) -> None:
        """Its Nextcloud says, without Harp Bridge, that files of this account have changed."""
        for running in self._running.values():
            if running.mirrored.account == account:
                running.loop.called()

    def push(self, account: str) -> PushLoop | None:
        """What listens for the account's server, where anything of it is mirrored."""
        return self._pushes.of(account)

    def renewed(self, account: str) -> None:
        """The account has another password: what stood still because of the old one begins anew."""
        for folder, running in list(self._running.items()):
            if running.mirrored.account == account:
                self._end(folder)
        self._pushes.renewed(account)
        self.look()

    async def forget(self, folder: FolderId) -> None:
        """The folder mirrors nothing any more; its files stay on both sides. Blocks while a file is being written."""
        task = self._end(folder.hex())
        if task is not None:
            await asyncio.wait([task])
        await self._withdraw(folder)
        await asyncio.to_thread(self._accounts.unmirror, folder.hex())
        for path in self._home.joinpath(FOLDER).glob(f"{self._agreements(folder.hex()).name}*"):
            path.unlink(missing_ok=True)

    async def demand(self, account: Account, path: str) -> None:
        """Raises :class:`UsageError` where an account has no folder at ``path`` that can be mirrored."""
        top_path = CloudPath("")
        async with server.session(account.ca_file) as session:
            # Nextcloud mounts what was shared with somebody lately when they list what they have, and not before.
            await Dav(session, _login(account), account.user_id, "/").listing(top_path, 1)
            try:
                top, *_ = await Dav(session, _login(account), account.user_id, path).listing(top_path, 0)
            except StaleError as error:
                raise UsageError(
                    f"the account {account.name} has no folder {path}",
                    hint="make it in Nextcloud first, or accept it there: what is shared with you may wait for that",
                ) from error
        if not top.remote.is_directory:
            raise UsageError(f"{path} is a file; Harp shares folders", hint="name the folder that it is in")
        if top.remote.refusal:
            raise UsageError(f"{path} cannot be mirrored: {top.remote.refusal}", hint="name another folder")

    def place(self, account: str, name: str) -> Path:
        """Where a folder comes to lie for which nobody named a place: never on what lay there before."""
        above = self._home / PLACES / account
        names = (name if number == 1 else f"{name} {number}" for number in range(1, 10_000))
        return next(above / one for one in names if not _is_used(above / one))

    # --- one loop -----------------------------------------------------------------------------------------------------

    def _start(self, mirrored: Mirrored, folder_loop: FolderLoop) -> None:
        nears: list[Near] = []

        @contextlib.asynccontextmanager
        async def opened() -> AsyncIterator[Mirror]:
            account = self._accounts.named(mirrored.account)
            store = await asyncio.to_thread(Agreements, self._agreements(mirrored.folder))
            try:
                replica = folder_loop.replica
                place = Path(os.fsdecode(replica.root.path))
                disk = MirrorDisk(place, replica.ignore, FolderHistory(folder_loop))
                async with server.session(account.ca_file) as session:
                    dav = Dav(session, _login(account), account.user_id, mirrored.path)
                    near = await self._near(dav, account, mirrored.path)
                    nears[:] = [] if near is None else [near]
                    rivals = self._rivals(session, account, mirrored)
                    yield await asyncio.to_thread(Mirror, dav, disk, store, near, rivals)
            finally:
                store.close()

        def stands() -> str:
            if folder_loop.is_paused:
                return "the folder is paused"
            return "something in the folder is held: harp held NAME" if folder_loop.held else folder_loop.trouble

        loop = MirrorLoop(opened, stands, poll_s=self._poll_s, clock=self._clock, jitter=random.random)
        main = asyncio.get_running_loop()

        def at_rest() -> None:
            # The daemon's loop may be gone by the time that the folder's thread ends.
            with contextlib.suppress(RuntimeError):
                main.call_soon_threadsafe(loop.disk_changed)

        folder_loop.stillness.listeners.append(at_rest)
        task = self._tasks.task(f"mirror of {mirrored.account}:{mirrored.path}", loop.run())
        self._running[mirrored.folder] = _Running(mirrored, folder_loop, loop, task, nears, at_rest)

    def _rivals(self, session: aiohttp.ClientSession, account: Account, mirrored: Mirrored) -> Rivals:
        # Who reads the account's properties need not know the folder's id.
        mirror = hashlib.sha256(mirrored.folder.encode()).hexdigest()[:16]
        own = Claim(mirror, self._run, naming.printable(self._device_name()), mirrored.path, until=0)
        register = Register(session, _login(account), account.user_id)
        return Rivals(register, own, every_s=self._poll_s, clock=self._clock.monotonic)

    async def _withdraw(self, folder: FolderId) -> None:
        """Takes the mirror's note out of the account, where that can be done soon; else it ends by itself."""
        mirrored = next((one for one in self._mirrored() if one.folder == folder.hex()), None)
        if mirrored is None:
            return
        with contextlib.suppress(HarpError, TimeoutError):
            account = self._accounts.named(mirrored.account)
            async with asyncio.timeout(WITHDRAW_S), server.session(account.ca_file) as session:
                await self._rivals(session, account, mirrored).withdraw()

    async def _near(self, dav: Dav, account: Account, path: str) -> Near | None:
        """The account's files on this disk, where the data folder that is set is that of the account's very server."""
        if self._data is None:
            return None
        try:
            top, *_ = await dav.listing(CloudPath(""), 0)
            is_same = await asyncio.to_thread(_is_of, self._data, top.whole_id)
        except (CloudError, OSError) as error:
            _log.warning("%s is not read for %s: %s", self._data, account.name, error)
            return None
        return Near(dav, self._data / account.user_id / "files" / path.strip("/")) if is_same else None

    def near_trouble(self, folder: str) -> str:
        """Why large files of a mirror come through PHP although the server's disk is here; empty where all is well."""
        running = self._running.get(folder)
        return running.nears[0].trouble if running is not None and running.nears else ""

    def _end(self, folder: str) -> "asyncio.Task[None] | None":
        running = self._running.pop(folder, None)
        if running is None:
            return None
        running.folder_loop.stillness.listeners.remove(running.listener)
        running.task.cancel()
        return running.task

    def _agreements(self, folder: str) -> Path:
        return self._home / FOLDER / f"{folder[:32]}.db"


def _login(account: Account) -> Login:
    return Login(account.url, account.user, account.password)


def _is_of(data: Path, whole_id: str) -> bool:
    """Whether a data folder is that of the instance whose id a file's whole id ends with. Raises ``OSError``."""
    instances = [name.removeprefix("appdata_") for name in os.listdir(data) if name.startswith("appdata_")]
    return any(instance and whole_id.endswith(instance) for instance in instances)


def cloud_path(text: str) -> str:
    """``/``, ``/Documents``: a folder of an account as it is kept. Raises :class:`UsageError`."""
    parts = text.strip("/").split("/")
    if any(part in (".", "..") or (not part and len(parts) > 1) or not part.isprintable() for part in parts):
        raise UsageError(f"{text!r} is no folder of an account", hint="such as /Documents")
    return "/" + "/".join(parts)


def _is_used(path: Path) -> bool:
    try:
        return any(path.iterdir())
    except FileNotFoundError:
        return False
    except OSError:
        return True
