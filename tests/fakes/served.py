# SPDX-License-Identifier: AGPL-3.0-or-later
"""An HTTP server on loopback with a thread and an event loop of its own, so that tests can be plain functions."""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Self, TypeVar

from aiohttp import web

Answerer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
_Result = TypeVar("_Result")


class Served:
    """Serves ``answer`` until :meth:`stop`; :attr:`port` stays the same through :meth:`down`.

    With ``socket`` it listens on that Unix socket alone.
    """

    def __init__(self, answer: Answerer, *, host: str = "127.0.0.1", port: int = 0, socket: Path | None = None) -> None:
        self._socket = socket
        self.host = host
        self.port = port
        self._answer = answer
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="stand-in", daemon=True)
        self._runner: web.ServerRunner | None = None

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def start(self) -> Self:
        self._thread.start()
        self._run(self._listen())
        return self

    def stop(self) -> None:
        self._run(self._close())
        self._run(self._loop.shutdown_asyncgens())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """Nobody listens here; open connections are closed."""
        self._run(self._close())
        try:
            yield
        finally:
            self._run(self._listen())

    def soon(self, act: Callable[[], object]) -> None:
        """Do it in the server's own thread."""
        self._loop.call_soon_threadsafe(act)

    def _run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _listen(self) -> None:
        server = web.Server(self._answer, handler_cancellation=True, max_line_size=1 << 17, max_field_size=1 << 17)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await self._runner.setup()
        if self._socket is not None:
            await web.UnixSite(self._runner, self._socket).start()
            return
        site = web.TCPSite(self._runner, self.host, self.port, backlog=1024)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _close(self) -> None:
        if self._runner is not None:
            await ended(self._runner)
            self._runner = None


async def ended(runner: web.BaseRunner) -> None:
    """Its connections are closed too: those that were being taken when it stopped to listen, and that nobody reads."""
    server = runner.server
    open_ones: list[asyncio.Transport] = []

    def note_connections() -> None:
        if isinstance(server, web.Server):
            open_ones.extend(one.transport for one in server.connections if one.transport is not None)

    note_connections()
    await runner.cleanup()
    for _ in range(2):
        await asyncio.sleep(0.01)
        if server is not None:
            note_connections()
            await server.shutdown(0.1)
    for one in open_ones:
        # What was closed waits until all of it is sent: to somebody who does not read, for ever.
        one.abort()
    await asyncio.sleep(0)
