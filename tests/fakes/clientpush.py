# SPDX-License-Identifier: AGPL-3.0-or-later
"""Nextcloud's app notify_push and its server in one: what 1.4.0 was seen to do too, and what it never does."""

import asyncio
import base64
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from aiohttp import web

_Line = web.WebSocketResponse


class ClientPush:
    """What is told in the capabilities is ``address``; empty: where it really is. For the server's own thread.

    In place of what notify_push does once somebody is let in, a test may have something else ``done``.
    """

    def __init__(self, address: str = "", done: Callable[[_Line], Awaitable[object]] | None = None) -> None:
        self.address = address
        self.heard: list[str] = []
        """What was said by those who came."""
        self.lines: list[_Line] = []
        """Who is let in."""
        self.came = 0
        self.instead: Callable[[], web.StreamResponse] | None = None
        """The answer to whoever asks for a WebSocket."""
        self._tokens: set[str] = set()
        self._done = done
        self._loop: asyncio.AbstractEventLoop | None = None

    def told(self, request: web.Request) -> dict[str, object]:
        address = self.address or f"{request.scheme.replace('http', 'ws')}://{request.host}/push/ws"
        return {"type": ["files", "activities", "notifications"], "endpoints": {"websocket": address}}

    def token(self) -> str:
        token = base64.b64encode(secrets.token_bytes(24)).decode()
        self._tokens.add(token)
        return token

    async def listened(self, request: web.Request) -> web.StreamResponse:
        self.came += 1
        self._loop = asyncio.get_running_loop()
        if self.instead is not None:
            return self.instead()
        line = web.WebSocketResponse(autoping=False)
        await line.prepare(request)
        said = [await line.receive_str(), await line.receive_str()]
        self.heard += said
        if said[1] not in self._tokens:
            await line.send_str("err: Invalid credentials")
            return line
        self._tokens.remove(said[1])
        self.lines.append(line)
        await line.send_str("authenticated")
        try:
            await (self._done or _kept)(line)
        finally:
            self.lines.remove(line)
        return line

    def say(self, text: str) -> None:
        """To everybody who listens, soon; from any thread, as :meth:`hang_up`."""
        self._do(lambda line: line.send_str(text))

    def hang_up(self) -> None:
        """As when the server starts anew."""
        self._do(lambda line: line.close())

    def _do(self, what: Callable[[_Line], Coroutine[Any, Any, object]]) -> None:
        assert self._loop is not None, "nobody has come yet"
        for line in list(self.lines):
            asyncio.run_coroutine_threadsafe(what(line), self._loop)


async def _kept(line: _Line) -> None:
    """Until they hang up."""
    async for message in line:
        if message.type is web.WSMsgType.PING:
            await line.pong(message.data)
