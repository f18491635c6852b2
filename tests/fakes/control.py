# SPDX-License-Identifier: AGPL-3.0-or-later
"""A fake daemon behind the real control socket, in a thread of its own, so that the blocking client can ask it."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from harp.base.runtime import Tasks
from harp.bridge import doorway
from harp.bridge.api import ControlServer
from tests.fakes.daemon import FakeDaemon


@contextlib.contextmanager
def served(home: Path) -> Iterator[FakeDaemon]:
    """Serve a new fake daemon in ``home`` until the block ends, or until it is told to go down."""
    home.mkdir(mode=0o700, exist_ok=True)
    ready = threading.Event()
    stop: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
    daemons: list[FakeDaemon] = []

    async def serve() -> None:
        daemon = FakeDaemon()
        with doorway.claimed(home):
            async with Tasks("fake") as tasks:
                server = ControlServer(daemon, home, tasks=tasks)
                await server.start()
                daemons.append(daemon)
                stop.append((asyncio.get_running_loop(), daemon.stopping))
                ready.set()
                await daemon.stopping.wait()
                await server.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="fake daemon", daemon=True)
    thread.start()
    assert ready.wait(30), "the fake daemon did not start"
    try:
        yield daemons[0]
    finally:
        loop, stopping = stop[0]
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(stopping.set)
        thread.join(30)
        assert not thread.is_alive()
