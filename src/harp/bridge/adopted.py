# SPDX-License-Identifier: AGPL-3.0-or-later
"""HTTP on connections that someone else has accepted, and of which the beginning has been read already."""

import asyncio
import socket

from aiohttp import web

from harp.base.runtime import Tasks

_SHUTDOWN_S = 0.25


class Adopted:
    """Serves an application from :meth:`start` to :meth:`close`, one request a connection.

    The next request on it may be for whoever accepted it: a proxy sends requests of all kinds on what it has open.
    """

    def __init__(self, app: web.Application, *, tasks: Tasks) -> None:
        app.on_response_prepare.append(_once)
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=_SHUTDOWN_S, handle_signals=False
        )
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()

    async def start(self) -> None:
        await self._runner.setup()

    async def close(self) -> None:
        await self._runner.cleanup()

    def take(self, connection: socket.socket, head: bytes) -> None:
        """Takes a connection over; from any thread. ``head`` is what was read of it."""
        try:
            connection.setblocking(False)
            self._loop.call_soon_threadsafe(self._receive, connection, head)
        except (OSError, RuntimeError):  # it is gone, or we are
            connection.close()

    def _receive(self, connection: socket.socket, head: bytes) -> None:
        server = self._runner.server
        if server is None:
            connection.close()
            return
        arriving = self._loop.connect_accepted_socket(lambda: _Greeting(server, head), connection)
        self._tasks.start("visitor", arriving)


class _Greeting(asyncio.Protocol):
    """Hands the connection to the server, with what was read before."""

    def __init__(self, server: web.Server, head: bytes) -> None:
        self._server = server
        self._head = head

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        handler = self._server()
        transport.set_protocol(handler)
        handler.connection_made(transport)
        handler.data_received(self._head)


async def _once(_request: web.Request, response: web.StreamResponse) -> None:
    response.force_close()
    # The headers are made by then.
    response.headers["Connection"] = "close"
