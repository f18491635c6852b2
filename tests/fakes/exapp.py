# SPDX-License-Identifier: AGPL-3.0-or-later
"""An ExApp: it says what reached it, and answers slowly, in pieces, over a WebSocket or with any status."""

import asyncio
import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from tests.fakes.served import Served


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it arrived, ``target`` as it stood in the request line."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body_size: int
    body_sha256: str

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def only(self, name: str) -> str:
        [value] = self.values(name)
        return value


@dataclass(frozen=True, slots=True)
class Answer:
    """What one path is answered with, after ``delay_s``."""

    status: int = 200
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    delay_s: float = 0.0


@dataclass(slots=True)
class ExApp:
    """``answers`` by path, without the query. ``/sse`` sends one event for each :meth:`next_event`, ``/chunks`` the
    same in chunks without a type; an upgrade to a WebSocket is echoed; all else gets what was seen as JSON."""

    answers: dict[str, Answer] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    received_bytes: int = 0
    open_sockets: int = 0
    _served: Served | None = None
    _events: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        self._served = Served(self._answer).start()

    def stop(self) -> None:
        self.served.stop()

    @property
    def served(self) -> Served:
        assert self._served is not None, "not started"
        return self._served

    @property
    def port(self) -> int:
        return self.served.port

    def record(self, *routes: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
        """What Nextcloud says of this app, or AppAPI stores."""
        return {
            "exapp_token": "a-token",
            "exapp_version": "1.2.3",
            "host": "127.0.0.1",
            "port": self.port,
            "routes": list(routes),
            **fields,
        }

    @property
    def last(self) -> Seen:
        return self.seen[-1]

    def next_event(self, data: bytes | None) -> None:
        """Send it to whoever reads; None ends the stream."""
        self.served.soon(lambda: self._events.put_nowait(data))

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        seen = Seen(
            method=request.method,
            target=request.raw_path,
            headers=tuple(request.headers.items()),
            **await self._body(request),
        )
        with self._lock:
            self.seen.append(seen)
        path = request.raw_path.partition("?")[0]
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._echo(request)
        if path in ("/sse", "/chunks"):
            return await self._events_of(request, "text/event-stream" if path == "/sse" else "application/octet-stream")
        if (answer := self.answers.get(path)) is not None:
            await asyncio.sleep(answer.delay_s)
            response = web.Response(status=answer.status, body=answer.body)
            for name, value in answer.headers:
                response.headers.add(name, value)
            return response
        said = {"method": seen.method, "target": seen.target, "headers": seen.headers, "body_sha256": seen.body_sha256}
        return web.Response(text=json.dumps(said), content_type="application/json")

    async def _body(self, request: web.BaseRequest) -> dict[str, Any]:
        digest, size = hashlib.sha256(), 0
        if request.can_read_body:
            async for piece in request.content.iter_chunked(1 << 20):
                digest.update(piece)
                size += len(piece)
                self.received_bytes += len(piece)
        return {"body_size": size, "body_sha256": digest.hexdigest()}

    async def _echo(self, request: web.BaseRequest) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.open_sockets += 1
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await socket.send_str(message.data)
                elif message.type is WSMsgType.BINARY:
                    await socket.send_bytes(message.data)
        finally:
            self.open_sockets -= 1
        return socket

    async def _events_of(self, request: web.BaseRequest, content_type: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": content_type, "Cache-Control": "no-cache"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        while (data := await self._events.get()) is not None:
            await response.write(data)
        await response.write_eof()
        return response


def route(url: str, access_level: object = 0, *, protected: Sequence[int] = ()) -> dict[str, Any]:
    """A route as Nextcloud gives it: 0 for all, 1 for people, 2 for admins."""
    return {"url": url, "access_level": access_level, "bruteforce_protection": list(protected)}
