# SPDX-License-Identifier: AGPL-3.0-or-later
"""Composition root: configuration → parts → wired → supervised → closed, in the order in which things happen."""

import asyncio
import contextlib
import dataclasses
import gc
import logging
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harp.base import config as settings_file
from harp.base.config import BRIDGE_SOCKET, Address, Config
from harp.base.errors import ConfigError, HarpError, UsageError
from harp.base.logbook import Logbook
from harp.base.runtime import Backoff, Counters, SystemClock, Tasks
from harp.bridge import doorway, exapp
from harp.bridge.adopted import Adopted
from harp.bridge.api import ControlServer
from harp.bridge.wakeup import Wakeup
from harp.console import words
from harp.console.checks import Checks
from harp.console.guests import Guests
from harp.console.server import Console, ConsoleSettings, inside_nextcloud
from harp.daemon.answers import Answers
from harp.daemon.appplane import AppPlane, environment, load_settings
from harp.daemon.mirrors import Mirrors
from harp.daemon.survey import Survey
from harp.identity import device as device_id
from harp.identity import keyring
from harp.proxy import settings as proxy_variables
from harp.sync.engine.guard import Limits
from harp.sync.model import FolderId
from harp.sync.protocol.messages import CloseCode
from harp.sync.service import opening, traffic
from harp.sync.service.dialler import Dialler
from harp.sync.service.doors import Doors
from harp.sync.service.folderloop import FolderLoop
from harp.sync.service.hub import Hub
from harp.sync.service.settings import FolderSettings, OfficeSettings
from harp.sync.service.sites import Sites
from harp.sync.service.traffic import Traffic
from harp.sync.store.accounts import Accounts
from harp.sync.store.registry import Registry, SharedFolder
from harp.sync.transport.beacon import Beacon
from harp.sync.transport.link import Link
from harp.sync.transport.listener import Listener
from harp.sync.transport.tls import Identity
from harp.sync.transport.webdoor import WebDoor

_log = logging.getLogger(__name__)

TICK_S = 2.0
GARBAGE_AFTER = 50_000
"""Objects made before cycles are looked for (default 700): entries and rows come by the thousand and hold none."""
SWITCH_INTERVAL_S = 0.0005
"""Python threads hand over this often (default 5 ms): links must not wait for a folder that is being scanned."""


def run(config: Config, shared: Path | None) -> int:
    """Runs the daemon in the foreground until it is told to end; 0 then. Raises :class:`HarpError` at the start."""
    logging.basicConfig(
        level=config.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.freeze()
    gc.set_threshold(GARBAGE_AFTER, 20, 100)
    keyring.make_home(config.home)
    with doorway.claimed(config.home):
        asyncio.run(_run(config, shared))
    return 0


async def _run(config: Config, shared: Path | None) -> None:
    loop = asyncio.get_running_loop()
    ending = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ending.set)
    daemon = Daemon(config, ending)
    try:
        await daemon.start(shared)
        await ending.wait()
    finally:
        await daemon.close()


class Daemon:
    """All parts of one running daemon, and the folders it has open."""

    def __init__(self, config: Config, ending: asyncio.Event) -> None:
        self.config = config
        self.ending = ending
        self.started_s = time.time()
        self.clock = SystemClock()
        self.counters = Counters()
        self.key = keyring.load_or_make(config.home)
        self.identity = Identity.of(self.key)
        self.registry = Registry(config.home / "registry.db")
        self.accounts = Accounts(config.home)
        self.survey = Survey(config)
        self.executor = ThreadPoolExecutor(max_workers=4, thread_name_prefix="harp work")
        self.diallers = ThreadPoolExecutor(max_workers=8, thread_name_prefix="harp dial")
        content = Traffic(self.counters, config.home / traffic.FILE_NAME)
        self.hub = Hub(self.key, self.registry, self.survey, self._wake, Sites(self.survey.limits), content)
        self.doors = Doors(self.key, self.registry, self.hub.loops)
        self.tasks = Tasks("harp")
        self.mirrors = Mirrors(
            config.home,
            self.accounts,
            self.hub.loop,
            self.tasks,
            poll_s=config.account_poll_s,
            journal_poll_s=config.journal_poll_s,
            data=config.nextcloud_data,
            device_name=lambda: self.config.device_name,
            clock=self.clock,
        )
        self.dialler: Dialler | None = None
        self.listener: Listener | None = None
        self.web_listener: Listener | None = None
        self.wakeup: Wakeup | None = None
        self.journal_readers: list[Callable[[int], None]] = [self.mirrors.journal_grew]
        """Who is told that harpbridge's journal has grown, and up to which row; on the event loop."""
        self.beacon: Beacon[FolderId] | None = None
        self.control: ControlServer | None = None
        self.app_plane: AppPlane | None = None
        self.checks = Checks(self.tasks)
        self.console: Console | None = None
        self.guests = Guests(config.home)
        self.from_nextcloud: Adopted | None = None
        """The console's pages for whom Nextcloud's proxy lets through."""
        self.logbook = Logbook()
        self.troubles: dict[FolderId, HarpError] = {}
        """Folders that could not be opened, and why."""
        self.is_ready = False

    async def start(self, shared: Path | None) -> None:
        """Opens the port, the folders and the control socket, in this order; then says so on standard output."""
        logging.getLogger().addHandler(self.logbook)
        self._check_room()
        listen = self.config.listen
        self.listener = Listener(listen.host, listen.port, self.identity, self.doors, self._link_made)
        self.survey.listening(self.listener.address)
        if (web := self.config.websocket) is not None:
            app = exapp.of_home(self.config.home, os.environ)
            pages = inside_nextcloud(self.config.home, app, self.guests, self.checks)
            self.from_nextcloud = Adopted(pages, tasks=self.tasks)
            await self.from_nextcloud.start()
            door = WebDoor(self.config.websocket_path, app, self.from_nextcloud.take)
            self.web_listener = Listener(web.host, web.port, self.identity, self.doors, self._link_made, door.manner())
        self.dialler = Dialler(self.hub, self.doors, self.identity, self.tasks, self.diallers)
        for folder in self.registry.folders():
            self._open_or_note(folder)
        if shared is not None:
            await asyncio.to_thread(self.share_made, shared, None)
        self.control = ControlServer(Answers(self), self.config.home, tasks=self.tasks, said=words.said)
        await self.control.start()
        self.mirrors.look()
        self._supervise()
        self._listen_to_harpbridge()
        await self._start_console()
        await self._start_app_plane()
        self.is_ready = True
        self._greet()

    async def close(self) -> None:
        """Ends everything in the opposite order; what is under way is finished or left for the next start."""
        self.is_ready = False
        for pages in (self.console, self.from_nextcloud):
            if pages is not None:
                await pages.close()
        if self.app_plane is not None:
            await self.app_plane.close()
        if self.control is not None:
            await self.control.close()
        if self.beacon is not None:
            self.beacon.close()
        if self.wakeup is not None:
            self.wakeup.close()
        for listener in (self.listener, self.web_listener):
            if listener is not None:
                listener.close()
        await self.tasks.close()
        self.hub.close_all(CloseCode.SHUTDOWN)
        self.hub.content.keep()
        await asyncio.gather(*(asyncio.to_thread(loop.stop) for loop in self.hub.loops()))
        self.executor.shutdown(cancel_futures=True)
        self.diallers.shutdown(wait=False, cancel_futures=True)
        self.registry.close()
        logging.getLogger().removeHandler(self.logbook)

    # --- folders ------------------------------------------------------------------------------------------------------

    def share(self, path: Path, name: str | None) -> SharedFolder:
        """Shares an existing folder; one that moved is taken up again where it is. Blocks."""
        if not path.is_dir():
            raise UsageError(f"{path} is not a folder", hint="name a folder that is there, or `harp up PATH` makes it")
        path = path.resolve()
        known = {folder.id: folder for folder in self.registry.folders()}
        marker = opening.marker_at(path)
        if marker is not None and marker.folder in known:
            return self._taken_up(known[marker.folder], path)
        opening.demand_apart(path, list(known.values()))
        chosen = name or self.free_name(path.name or "harp")
        if any(folder.name == chosen for folder in known.values()):
            raise UsageError(f"there is a folder named {chosen!r} already", hint="choose another with --name")
        shared = opening.found(self.config.home, self.key, path, chosen, self.config.device_name)
        self.registry.add_folder(shared)
        self.open(shared)
        return shared

    def open(self, shared: SharedFolder) -> FolderLoop:
        """Opens a folder and starts its loop. Raises :class:`HarpError`."""
        config = self.config
        limits = Limits(files=config.guard_files, share=config.guard_share)
        office = OfficeSettings(lan_only=config.lan_only, is_cache=config.office_cache)
        settings = FolderSettings(
            config.scan_interval_s, config.trash_days, config.trash_share, limits, config.guard_entries, office
        )
        replica = opening.opened(config.home, self.key, shared)
        loop = FolderLoop(replica, settings, self.executor, self.hub)
        loop.is_paused = shared.is_paused
        loop.start()
        self.hub.add_loop(loop)
        self.troubles.pop(shared.id, None)
        return loop

    def close_folder(self, folder: FolderId) -> None:
        """Stops a folder's loop; links go on without it."""
        loop = self.hub.drop_loop(folder)
        if loop is not None:
            loop.stop()

    def give_up(self, shared: SharedFolder) -> None:
        """The folder is this device's no more: its files stay, what Harp knew of it goes."""
        self.registry.remove_folder(shared.id)
        self.troubles.pop(shared.id, None)
        opening.abandon(self.config.home, shared)

    def _taken_up(self, shared: SharedFolder, path: Path) -> SharedFolder:
        if path == shared.path:
            return shared
        if shared.path.is_dir() and opening.marker_at(shared.path) is not None:
            raise UsageError(
                f"{path} is a copy of the shared folder {shared.name}, which still is at {shared.path}",
                hint="share the original, or remove the copy's .harp folder",
            )
        self.close_folder(shared.id)
        self.registry.move_folder(shared.id, path)
        moved = next(folder for folder in self.registry.folders() if folder.id == shared.id)
        self.open(moved)
        return moved

    def share_made(self, path: Path, name: str | None) -> SharedFolder:
        """As :meth:`share`, and makes the folder where it is not there yet. Blocks."""
        try:
            path.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise UsageError(f"{path} is not a folder", hint="name a folder") from error
        except OSError as error:
            raise UsageError(f"{path} cannot be made: {error.strerror}", hint="name another folder") from error
        return self.share(path, name)

    def rename(self) -> None:
        """This device has another name from now on: whom it meets is told so."""
        name = settings_file.get(self.config.home, "device_name", environ=os.environ)
        self.config = dataclasses.replace(self.config, device_name=name)
        self.survey.reconfigured(self.config)

    def _open_or_note(self, folder: SharedFolder) -> None:
        """One folder that cannot be opened keeps no other from being."""
        try:
            self.open(folder)
        except HarpError as error:
            _log.error("folder %s stands still: %s", folder.name, error)
            self.troubles[folder.id] = error

    def free_name(self, wanted: str) -> str:
        taken = {folder.name for folder in self.registry.folders()}
        names = (wanted if n == 1 else f"{wanted} {n}" for n in range(1, 10_000))
        return next(name for name in names if name not in taken)

    # --- the rest -----------------------------------------------------------------------------------------------------

    def _supervise(self) -> None:
        assert self.dialler is not None
        backoff = Backoff(first_s=1.0)
        self.tasks.supervise("dialler", self.dialler.run, backoff=backoff, jitter=random.random, clock=self.clock)
        self.tasks.supervise("links", self._tick, backoff=backoff, jitter=random.random, clock=self.clock)
        if self.config.discovery and self.listener is not None:
            self.beacon = Beacon(self.listener.address[1], self.doors.epochs, self.dialler.found)
            self.beacon.start()

    def _listen_to_harpbridge(self) -> None:
        """Where the default's folder is not there, nobody has set harpbridge up on this machine."""
        path = self.config.bridge_socket
        if path is None or (str(path) == BRIDGE_SOCKET and not path.parent.is_dir()):
            return
        self.wakeup = Wakeup(path, self.config.bridge_group, self._journal_grew)
        self.wakeup.look()

    def _journal_grew(self, journal_id: int) -> None:
        for tell in self.journal_readers:
            tell(journal_id)

    async def _start_console(self) -> None:
        """The pages for a browser. Raises :class:`ConfigError` where that would not be safe, or cannot be."""
        config = self.config
        if config.console is None:
            return
        # Several daemons on one machine with nothing set: each of them finds a port.
        may_move = config.console == settings_file.address(settings_file.DEFAULT_CONSOLE)
        settings = ConsoleSettings(config.console, may_move, config.console_certificate, config.console_url)
        self.console = Console(config.home, settings, self.checks)
        await self.console.start()

    async def _start_app_plane(self) -> None:
        """The proxy for External Apps, where the variables speak of one. Raises :class:`ConfigError`."""
        if not proxy_variables.is_wanted(environment(self.config.home)):
            return
        self.app_plane = AppPlane(self.config.home, load_settings(self.config.home))
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.app_plane.reload)
        await self.app_plane.start(self.tasks)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            await asyncio.to_thread(self.hub.tick)
            self.survey.refresh()
            if self.wakeup is not None:
                self.wakeup.look()
            for folder in self.registry.folders():
                if folder.id in self.troubles and self.troubles[folder.id].retryable:
                    with contextlib.suppress(HarpError):
                        await asyncio.to_thread(self.open, folder)
            self.mirrors.look()

    def _link_made(self, link: Link) -> None:
        self.hub.link_made(link)

    def _wake(self) -> None:
        if self.dialler is not None:
            self.dialler.wake()

    def _check_room(self) -> None:
        if shutil.disk_usage(self.config.home).free < 16 * 1024 * 1024:
            raise ConfigError(f"there is no room left on the disk of {self.config.home}", hint="free some space")

    def _greet(self) -> None:
        assert self.listener is not None
        where = Address(*self.listener.address)
        print(f"harp {device_id.short(self.key.device_id)} listens on {where}", flush=True)  # noqa: T201
        if self.web_listener is not None:
            print(f"and for a web server on {Address(*self.web_listener.address)}", flush=True)  # noqa: T201
        if self.console is not None:
            print(f"to open the console, once:  {self.console.link().url}", flush=True)  # noqa: T201
        if self.app_plane is not None:
            print(f"External Apps are served on {self.app_plane.address}", flush=True)  # noqa: T201
        for folder in self.registry.folders():
            if folder.id in self.troubles:
                print(f"folder {folder.name}: {self.troubles[folder.id]}", flush=True)  # noqa: T201
            else:
                print(f"folder {folder.name}: {folder.path}", flush=True)  # noqa: T201
                print(f"to invite a second device:  harp invite {folder.name!r}", flush=True)  # noqa: T201
