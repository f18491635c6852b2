# SPDX-License-Identifier: AGPL-3.0-or-later
"""The app at the end of the public way: on loopback, for as long as the doctor looks.

It answers one random path, with nothing but that path and X-Forwarded-For, with a WebSocket's echo, or with events.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator

from aiohttp import WSMsgType, web

WAIT_S = 5.0
PAUSE_S = 1.0
"""Between two events."""
_HEAD_OF_EVENTS = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\nconnection: close\r\n\r\n"
)


@contextlib.asynccontextmanager
async def opened(token: str) -> AsyncIterator[int]:
    """Gives its port on loopback; ``token`` is the last but one part of every path that is answered."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if not secrets.compare_digest(request.path.rpartition("/")[0].rpartition("/")[2].encode(), token.encode()):
            return web.Response(status=404)
        verb = request.path.rpartition("/")[2]
        if verb == "ws":
            opened = web.WebSocketResponse()
            if not opened.can_prepare(request):
                return web.Response(status=426)
            await opened.prepare(request)
            with contextlib.suppress(TimeoutError, ConnectionError):
                said = await opened.receive(timeout=WAIT_S)
                if said.type is WSMsgType.TEXT:
                    await opened.send_str(said.data)
            await opened.close()
            return opened
        if verb == "sse":
            return await _streamed(request)
        forwarded = ", ".join(request.headers.getall("x-forwarded-for", []))
        return web.json_response({"path": request.path, "forwarded_for": forwarded})

    runner = web.ServerRunner(web.Server(answer, access_log=None))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def _streamed(request: web.BaseRequest) -> web.StreamResponse:
    """Three events that end with the connection (RFC 9112, 6.3): chunks are passed on by some that hold back these."""
    transport = request.transport
    assert transport is not None
    transport.write(_HEAD_OF_EVENTS)
    for event in (b"data: 1\n\n", b"data: 2\n\n"):
        transport.write(event)
        await asyncio.sleep(PAUSE_S)
    transport.write(b"data: 3\n\n")
    transport.close()
    return web.Response()
