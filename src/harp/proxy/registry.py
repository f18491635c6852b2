# SPDX-License-Identifier: AGPL-3.0-or-later
"""The ExApps that are known, and those that are known not to be: asked for once, whoever waits (contract, 2.5)."""

import asyncio
import ipaddress
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from harp.base.runtime import Clock, Counters, Tasks
from harp.proxy.model import AppId, ExApp, Nextcloud, NextcloudUnsure, Resolver, Upstream

_log = logging.getLogger(__name__)

NEGATIVE_S = 15.0
REFRESH_S = 300.0
"""How old a record may be before Nextcloud is asked whether it still holds."""
RESOLVE_S = 1.0
"""How old an address may be: a container that was made anew has another one, and is reached within two seconds."""
PATIENCE = 4
"""A look-up that took long is repeated after so many times as long: slow names do not hold up the others."""
ROUND_S = 0.25
STORE_S = 1.0
RESOLVE_AGAIN_S = 2.0
NEGATIVE_MOST = 10_000


@dataclass(slots=True)
class _Entry:
    app: ExApp
    told_at: float
    upstream: Upstream | None = None
    resolved_at: float = float("-inf")
    resolve_s: float = 0.0
    is_lost: bool = False


async def _at_once(*_of: object) -> None:
    pass


class Registry:
    """Records by app. ``changed()`` is called after each change of what is known, ``published()`` is waited for.

    ``whereabouts(app)`` says where an app listens that was deployed here; ``None``: where its record says.
    ``listening(app)`` is waited for before the first request goes to one.
    """

    def __init__(
        self, nextcloud: Nextcloud, resolver: Resolver, clock: Clock, tasks: Tasks, counters: Counters
    ) -> None:
        self.changed: Callable[[], None] = lambda: None
        self.published: Callable[[], Awaitable[None]] = _at_once
        self.whereabouts: Callable[[ExApp], Upstream | None] = lambda _app: None
        self.listening: Callable[[ExApp], Awaitable[None]] = _at_once
        self._instances: dict[str, tuple[str, ...]] = {}
        self._nextcloud = nextcloud
        self._resolver = resolver
        self._clock = clock
        self._tasks = tasks
        self._entries: dict[AppId, _Entry] = {}
        self._absent: dict[AppId, float] = {}
        self._flights: dict[AppId, asyncio.Task[ExApp | None]] = {}
        self._looked_up: dict[AppId, asyncio.Task[None]] = {}
        self._hits = counters.counter("harp_proxy_record_hits_total", "Records of ExApps found in memory.")

    def known(self) -> dict[AppId, tuple[ExApp, Upstream | None]]:
        """All records, and where their apps listen as far as that is known."""
        return {name: (entry.app, entry.upstream) for name, entry in self._entries.items()}

    def place_instances(self, pools: Iterable[tuple[str, tuple[str, ...]]]) -> None:
        """``host:port`` of the apps that listen elsewhere than Nextcloud says; HAProxy chooses among them."""
        before, self._instances = self._instances, dict(pools)
        for name in self._entries:
            if before.get(name) != self._instances.get(name):
                self.moved(name)

    async def find(self, app: AppId) -> ExApp | None:
        """The record; ``None`` where Nextcloud knows no such app. Raises :class:`NextcloudUnsure`."""
        entry = self._entries.get(app)
        if entry is not None:
            self._hits.add()
            return entry.app
        if self._absent.get(app, float("-inf")) > self._clock.monotonic():
            return None
        flight = self._flights.get(app)
        if flight is None:
            flight = self._flights[app] = self._tasks.task(f"record of {app}", self._fetched(app))
        return await asyncio.shield(flight)

    async def store(self, app: ExApp) -> None:
        """A record that Nextcloud brought; it takes the place of any other at once (16, 34)."""
        self._absent.pop(app.id, None)
        self._entries[app.id] = _Entry(app, self._clock.monotonic())
        try:
            async with asyncio.timeout(STORE_S):
                await self._resolve(app.id)
        except TimeoutError:
            _log.warning("the address of the app %s is looked up too slowly to wait for it", app.id)
        self.changed()
        await self.published()

    async def forget(self, app: AppId) -> bool:
        """Whether there was a record to forget (24–26)."""
        was_known = self._entries.pop(app, None) is not None
        self._absent.pop(app, None)
        if was_known:
            self.changed()
            await self.published()
        return was_known

    def preload(self, apps: list[ExApp]) -> None:
        """Records of an earlier run: good until Nextcloud says otherwise."""
        for app in apps:
            self._entries.setdefault(app.id, _Entry(app, self._clock.monotonic()))
        self.changed()

    def expect(self, app: AppId) -> None:
        """An app is being deployed: Nextcloud is asked for its record meanwhile, so that its first request waits less.

        What is known already may be of a deployment that failed, with another port and another token.
        """
        self._tasks.start(f"expected record of {app}", self._expected(app))

    async def _expected(self, name: AppId) -> None:
        before = self._entries.get(name)
        try:
            app = await self._nextcloud.exapp(name)
        except NextcloudUnsure as error:
            _log.info("the record of %s could not be had before it is asked for: %s", name, error)
            return
        if app is not None and self._entries.get(name) is before:
            await self.store(app)

    async def upstream(self, app: AppId) -> Upstream | None:
        """Where an app listens; ``None`` where its host has no address (143)."""
        entry = self._entries.get(app)
        if entry is None:
            return None
        if entry.upstream is None and self._clock.monotonic() - entry.resolved_at > RESOLVE_AGAIN_S:
            found = await self._resolve(app)
            if found is not None:
                self.changed()
            return found
        return entry.upstream

    def moved(self, app: AppId) -> None:
        """An app listens elsewhere, or no more."""
        if app in self._entries:
            self._tasks.start(f"move of {app}", self._moved(app))

    async def _moved(self, name: AppId) -> None:
        entry = self._entries.get(name)
        if entry is not None:
            before = entry.upstream
            await self._resolve(name)
            if entry.upstream != before:
                self.changed()

    async def address_of(self, host: str, port: int) -> Upstream | None:
        """An upstream that is in no record (88)."""
        address = await self._resolved(host)
        return None if address is None else Upstream(address, port)

    async def keep_fresh(self) -> None:
        """Asks again for what is old, one app at a time, until it is cancelled."""
        while True:
            now = self._clock.monotonic()
            for name, entry in list(self._entries.items()):
                if now - entry.told_at > REFRESH_S:
                    await self._refresh(name, entry)
            await asyncio.sleep(1.0)

    async def keep_found(self) -> None:
        """Looks up again where the apps are, each by itself, until it is cancelled."""
        while True:
            now = self._clock.monotonic()
            for name, entry in list(self._entries.items()):
                is_due = now - entry.resolved_at > max(RESOLVE_S, PATIENCE * entry.resolve_s)
                is_fixed = _is_literal(entry.app.host) and name not in self._instances
                if is_due and not is_fixed and name not in self._looked_up:
                    self._looked_up[name] = self._tasks.task(f"address of {name}", self._find_again(name))
            await asyncio.sleep(ROUND_S)

    async def _find_again(self, name: AppId) -> None:
        try:
            entry = self._entries.get(name)
            before = None if entry is None else entry.upstream
            if entry is not None and await self._resolve(name) != before and self._entries.get(name) is entry:
                _log.info("the app %s is at another address now", name)
                self.changed()
        finally:
            self._looked_up.pop(name, None)

    async def _fetched(self, name: AppId) -> ExApp | None:
        try:
            app = await self._nextcloud.exapp(name)
            if app is None:
                self._remember_absent(name)
                return None
            if name not in self._entries:
                await self.store(app)
            return self._entries[name].app if name in self._entries else app
        finally:
            self._flights.pop(name, None)

    def _remember_absent(self, name: AppId) -> None:
        now = self._clock.monotonic()
        if len(self._absent) >= NEGATIVE_MOST:
            self._absent = {app: until for app, until in self._absent.items() if until > now}
            if len(self._absent) >= NEGATIVE_MOST:
                self._absent.clear()
        self._absent[name] = now + NEGATIVE_S

    async def _refresh(self, name: AppId, entry: _Entry) -> None:
        try:
            app = await self._nextcloud.exapp(name)
        except NextcloudUnsure as error:
            _log.info("the record of %s could not be refreshed: %s", name, error)
            entry.told_at = self._clock.monotonic() - REFRESH_S + 30.0
            return
        if self._entries.get(name) is not entry:
            return  # forgotten, or brought anew, meanwhile
        if app is None:
            _log.warning("Nextcloud no longer knows the app %s: it is withdrawn", name)
            await self.forget(name)
        elif app == entry.app:
            entry.told_at = self._clock.monotonic()
        else:
            await self.store(app)

    async def _resolve(self, name: AppId) -> Upstream | None:
        entry = self._entries[name]
        deployed = None if name in self._instances else self.whereabouts(entry.app)
        if deployed is not None:
            entry.upstream, entry.resolved_at = deployed, self._clock.monotonic()
            return deployed
        began = self._clock.monotonic()
        found = await self._place(entry.app)
        entry.resolved_at = self._clock.monotonic()
        entry.resolve_s = entry.resolved_at - began
        if found is not None:
            entry.upstream = found
        elif not entry.is_lost:
            _log.warning("the host of the app %s has no address: %r; it is looked up again", name, entry.app.host)
        entry.is_lost = found is None
        return entry.upstream

    async def _place(self, app: ExApp) -> Upstream | None:
        """The first of its instances that has an address; without any, where Nextcloud says that it is."""
        for instance in self._instances.get(app.id, ()):
            host, _colon, port = instance.rpartition(":")
            found = await self.address_of(host, int(port))
            if found is not None:
                return found
        return await self.address_of(app.host, app.port)

    async def _resolved(self, host: str) -> str | None:
        if _is_literal(host):
            return str(ipaddress.ip_address(host.strip("[]")))
        return await self._resolver.address(host) if host else None


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
