# SPDX-License-Identifier: AGPL-3.0-or-later
"""Makes HAProxy follow the registry: commands where they do, a reload where they do not."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from harp.base.runtime import Clock, Counters
from harp.proxy.edge import bans, files
from harp.proxy.edge.runtime import RuntimeSocket, RuntimeSocketError
from harp.proxy.model import AppId
from harp.proxy.policy import compile as policy
from harp.proxy.policy.shape import Shape, map_file

_log = logging.getLogger(__name__)

RELOADS_APART_S = 6.0
"""HAProxy 2.6 needs a worker to have run for five seconds; more reloads than that are gathered."""
GATHER_S = 0.002
PUBLISHED_S = 10.0
"""The longest that whoever changes an app waits for HAProxy to follow."""
AGAIN_S = 1.0
NEW_WORKER_S = 10.0
"""What a new worker may take once the master answers: while it reads the configuration, that of 2.6 answers nobody."""
READ_MOST_S = 300.0
"""What reading the configuration may take. To ask for another reload meanwhile would begin it anew."""

KnownApps = Callable[[], Mapping[AppId, policy.Known]]


class Publisher:
    """Holds the state that HAProxy has, and leads it to the one that is wanted."""

    def __init__(self, run: Path, shape: Shape, apps: KnownApps, clock: Clock, counters: Counters) -> None:
        self.socket = RuntimeSocket(run / "haproxy.sock")
        self._master = RuntimeSocket(run / "master.sock")
        self._run = run
        self._shape = shape
        self._apps = apps
        self._clock = clock
        self._woken = asyncio.Event()
        self._told = asyncio.Condition()
        self._wanted = self._done = self._failures = 0
        self._written: dict[str, str] = {}
        self._state: policy.State | None = None
        self._seeds = True
        self._wants_reload = ""
        self._reloaded_at = float("-inf")
        self._reloads = counters.counter("harp_proxy_reloads_total", "Reloads of HAProxy.")
        self._commands = counters.counter("harp_proxy_commands_total", "Changes told to a running HAProxy.")

    def wake(self) -> None:
        """Something is known anew."""
        self._wanted += 1
        self._woken.set()

    def seed(self) -> None:
        """Nobody knows what HAProxy holds: tell it everything."""
        self._seeds = True
        self._woken.set()

    def reshape(self, shape: Shape) -> None:
        """The settings or the certificate changed: a reload, even where the text of the configuration stays."""
        self._shape = shape
        self._wants_reload = "the settings or the certificate were read again"
        self._woken.set()

    def pools(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """The apps of several instances that HAProxy has, which after :meth:`reshape` may be others than are wanted."""
        return () if self._state is None else self._state.shape.pools

    def write_files(self) -> None:
        """The files for a HAProxy that is about to start."""
        state = policy.placed(self._state, self._shape, self._apps())
        with self._kept():
            self._write(state)
        self._state = state

    async def published(self) -> None:
        """Until HAProxy does as is known now, or cannot be told: it may be about to be started."""
        goal, failures = self._wanted, self._failures
        with contextlib.suppress(TimeoutError):
            async with self._told, asyncio.timeout(PUBLISHED_S):
                await self._told.wait_for(lambda: self._done >= goal or self._failures > failures)

    async def _tell(self, goal: int, *, failures: int = 0) -> None:
        """Those who wait in :meth:`published`."""
        async with self._told:
            self._done = max(self._done, goal)
            self._failures += failures
            self._told.notify_all()

    async def follow(self) -> None:
        """Until it is cancelled."""
        while True:
            await self._woken.wait()
            await asyncio.sleep(GATHER_S)
            self._woken.clear()
            goal = self._wanted
            try:
                await self._publish(goal)
                await self._tell(goal)
            except (RuntimeSocketError, OSError) as error:
                _log.info("HAProxy cannot be told just now: %s", error)
                self._seeds = True
                await self._tell(0, failures=1)
                await asyncio.sleep(AGAIN_S)
                self._woken.set()

    async def _publish(self, goal: int) -> None:
        wanted = policy.placed(self._state, self._shape, self._apps())
        assert self._state is not None
        step = policy.changes(self._state, wanted)
        if isinstance(step, policy.Reload) or self._wants_reload:
            await self._withdraw(policy.withdrawals(self._state, wanted))
            # From here on nothing that HAProxy decides is out of date: nobody has to wait for the reload.
            await self._tell(goal)
            await self._reload(step.why if isinstance(step, policy.Reload) else self._wants_reload)
            return
        seeds, self._seeds = self._seeds, False
        if seeds:
            # Numbers of an earlier agent mean nothing to this one.
            await self.socket.do(policy.ForgetSessions())
            step = policy.seeding(wanted)
        if step.commands:
            with self._kept():
                await asyncio.to_thread(self._write, wanted)
        for command in step.commands:
            await self.socket.do(command)
            self._commands.add()
        self._state = wanted

    async def _withdraw(self, dropped: tuple[policy.DropEntry, ...]) -> None:
        """What would be wrong until the reload is asked of the agent meanwhile."""
        assert self._state is not None
        for entry in dropped:
            await self.socket.do(entry)
        gone = {entry.key for entry in dropped}
        left = {name: known for name, known in self._state.apps.items() if policy.record_key(known.app) not in gone}
        self._state = replace(self._state, apps=left, slots={name: self._state.slots[name] for name in left})

    def _kept(self) -> contextlib.AbstractContextManager[None]:
        """A HAProxy that runs is told all the same, and one that starts without these files is told anew."""
        return files.for_the_next_start(self._run / "haproxy.cfg")

    def _write(self, state: policy.State) -> None:
        """Hundreds of apps are megabytes and thousands of files: the agent answers HAProxy meanwhile."""
        texts = policy.files(state)
        files.write_all(self._run, {name: text for name, text in texts.items() if self._written.get(name) != text})
        self._written = texts

    async def _reload(self, why: str) -> None:
        wait = self._reloaded_at + RELOADS_APART_S - self._clock.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        self._wants_reload = ""
        # What was learnt during the wait goes along.
        wanted = policy.placed(self._state, self._shape, self._apps())
        known = await bans.read(self.socket)
        before = (await self.socket.info()).get("Pid")
        await asyncio.to_thread(self._write, wanted)
        _log.warning("HAProxy is reloaded: %s", why)
        # From 2.7 on the answer comes when the configuration was read.
        await self._master.ask("reload", READ_MOST_S)
        await self._new_worker(before)
        await bans.give_back(self._run, known)
        self._state, self._reloaded_at = wanted, self._clock.monotonic()
        self._reloads.add()

    async def _new_worker(self, before: str | None) -> None:
        """Waits for another worker to answer. Raises :class:`RuntimeSocketError`."""
        now = self._clock.monotonic()
        latest, deadline = now + READ_MOST_S, now + NEW_WORKER_S
        while now < min(deadline, latest):
            await asyncio.sleep(0.05)
            with contextlib.suppress(RuntimeSocketError):
                if (await self.socket.info()).get("Pid") not in (None, before):
                    return
            now = self._clock.monotonic()
            try:
                await self._master.ask("show version")
            except RuntimeSocketError:
                deadline = now + NEW_WORKER_S
        self._wants_reload = "the last reload led to no new worker"
        raise RuntimeSocketError("HAProxy has no new worker after a reload", hint="look at its messages")

    async def drop_numbers(self, left: Mapping[int, str]) -> None:
        """The users' map without those that nobody has any more."""
        lines = tuple(f"{number} {text}" for number, text in left.items())
        await self.socket.do(policy.SwitchMap(map_file(self._shape, "users"), lines))
