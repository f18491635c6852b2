# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a page is told while it is open: the daemon's events as server-sent events (HTML Standard, section 9.2)."""

import time
from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import web

from harp.console.client import Client, Refused, at
from harp.console.sessions import Sessions

MOST_STREAMS = 64


class Stream:
    """On the console's event loop. A page that loses its stream asks for it again."""

    def __init__(self, client: Client, sessions: Sessions) -> None:
        self._client = client
        self._sessions = sessions
        self._open = 0

    async def answer(self, request: web.Request, token: str, add_headers: Callable[[Any], None]) -> web.StreamResponse:
        """Sends events until the page, the session or the daemon is gone."""
        if self._open >= MOST_STREAMS:
            return web.Response(status=503, text="Too many pages are open.\n", headers={"Retry-After": "30"})
        self._open += 1
        try:
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
            add_headers(response.headers)
            await response.prepare(request)
            await self._tell(response, token)
            return response
        finally:
            self._open -= 1

    async def _tell(self, response: web.StreamResponse, token: str) -> None:
        try:
            async for event in self._client.lines("GET", at("events")):
                if not self._sessions.knows(token, now=time.time()):
                    return
                await response.write(b"data: " + msgspec.json.encode(event) + b"\n\n")
        except (Refused, ConnectionError):
            return
