# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a page is told while it is open: the daemon's events as server-sent events (HTML Standard, section 9.2)."""

from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import web

from harp.console.client import Client, Refused, at

MOST_STREAMS = 64


class Stream:
    """On the console's event loop. A page that loses its stream asks for it again."""

    def __init__(self) -> None:
        self._open = 0

    async def answer(
        self, request: web.Request, client: Client, is_still_in: Callable[[], bool], add_headers: Callable[[Any], None]
    ) -> web.StreamResponse:
        """Sends events until the page, the visitor or the daemon is gone."""
        if self._open >= MOST_STREAMS:
            return web.Response(status=503, text="Too many pages are open.\n", headers={"Retry-After": "30"})
        self._open += 1
        try:
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
            add_headers(response.headers)
            await response.prepare(request)
            await self._tell(response, client, is_still_in)
            return response
        finally:
            self._open -= 1

    @staticmethod
    async def _tell(response: web.StreamResponse, client: Client, is_still_in: Callable[[], bool]) -> None:
        try:
            async for event in client.lines("GET", at("events")):
                if not is_still_in():
                    return
                await response.write(b"data: " + msgspec.json.encode(event) + b"\n\n")
        except (Refused, ConnectionError):
            return
