# SPDX-License-Identifier: AGPL-3.0-or-later
"""An ExApp with nothing but Python's own library: it runs beside the tests, and in a container that they make.

It is set by the variables that AppAPI gives to a container, and answers ``/heartbeat``, ``/init`` (it reports back) and
``/enabled``. ``/quick`` says "ok", ``/upload`` counts and hashes a body, ``/events`` sends three, half a second between
them, any WebSocket is echoed; all else is answered with who asked and what arrived.
"""

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import signal
import struct
import urllib.request
from collections.abc import Mapping
from typing import Any

ID = os.environ.get("APP_ID", "hello")
VERSION = os.environ.get("APP_VERSION", "1.0.0")
SECRET = os.environ.get("APP_SECRET", "")
CLOUD = os.environ.get("NEXTCLOUD_URL", "")
STORE = os.environ.get("APP_PERSISTENT_STORAGE", "")
_SOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
EVENTS = 3
PAUSE_S = 0.5
_PIECE = 1 << 20
_told: list[asyncio.Task[None]] = []


class Request:
    """One, as it arrived; header names are lower case."""

    def __init__(self, method: str, target: str, headers: Mapping[str, str], reader: asyncio.StreamReader) -> None:
        self.method = method
        self.path, _, self.query = target.partition("?")
        self.headers = headers
        self.reader = reader

    async def body(self) -> tuple[int, str]:
        """How long it is, and its SHA-256; with the query ``unread``, of nothing."""
        digest, size = hashlib.sha256(), 0
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            while left := int((await self.reader.readline()).split(b";")[0], 16):
                size += left
                digest.update(await self.reader.readexactly(left))
                await self.reader.readline()
            await self.reader.readline()
        left = int(self.headers.get("content-length", 0))
        while left:
            piece = await self.reader.read(min(left, _PIECE))
            if not piece:
                raise ConnectionError("the body ends early")
            if self.query != "unread":
                digest.update(piece)
            size += len(piece)
            left -= len(piece)
        return size, digest.hexdigest()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection, request after request."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError, ValueError):
        while head := await reader.readuntil(b"\r\n\r\n"):
            first, *lines = head.decode("latin-1").rstrip().split("\r\n")
            method, target, _ = first.split(" ")
            headers = {name.strip().lower(): text.strip() for name, _, text in (line.partition(":") for line in lines)}
            request = Request(method, target, headers, reader)
            if headers.get("expect", "").lower() == "100-continue":
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if headers.get("upgrade", "").lower() == "websocket":
                await echo(request, writer)
                break
            if request.path == "/events":
                await events(writer)
                break
            writer.write(answer(*(await said(request))))
            await writer.drain()
            if headers.get("connection", "").lower() == "close":
                break
    writer.close()


def answer(status: int, content: bytes, kind: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status} -\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


async def said(request: Request) -> tuple[int, bytes, str] | tuple[int, bytes]:
    size, digest = await request.body()
    if request.path in ("/quick", "/user-quick"):
        return 200, b"ok", "text/plain"
    if request.path == "/heartbeat":
        return 200, b'{"status": "ok"}'
    if request.path == "/init":
        _told.append(asyncio.create_task(asyncio.to_thread(report_ready)))
        return 200, b"{}"
    if request.path == "/enabled":
        note(request.query)
        return 200, b'{"error": ""}'
    if request.path in ("/upload", "/user-upload"):
        return 200, json.dumps({"size": size, "sha256": digest}).encode()
    return 200, json.dumps(arrived(request)).encode()


def arrived(request: Request) -> dict[str, Any]:
    user, _, secret = base64.b64decode(request.headers.get("authorization-app-api", "")).decode().partition(":")
    return {
        "method": request.method,
        "path": request.path,
        "query": request.query,
        "user": user,
        "is_signed": secret == SECRET,
        "version": VERSION,
        "headers": dict(request.headers),
        "enabled": noted(),
    }


def note(query: str) -> None:
    """Write down, where a container's data outlives it, how it was enabled and disabled."""
    if STORE:
        with contextlib.suppress(OSError), open(f"{STORE}/enabled", "a") as file:
            file.write(f"{query}\n")


def noted() -> list[str]:
    if STORE:
        with contextlib.suppress(OSError), open(f"{STORE}/enabled") as file:
            return file.read().split()
    return []


def report_ready() -> None:
    """Tell Nextcloud that there is nothing more to prepare."""
    token = base64.b64encode(f":{SECRET}".encode()).decode()
    request = urllib.request.Request(
        f"{CLOUD}/ocs/v1.php/apps/app_api/ex-app/status",
        b'{"progress": 100}',
        {
            "Content-Type": "application/json",
            "OCS-APIRequest": "true",
            "AA-VERSION": os.environ.get("AA_VERSION", "4.0.0"),
            "EX-APP-ID": ID,
            "EX-APP-VERSION": VERSION,
            "AUTHORIZATION-APP-API": token,
        },
        method="PUT",
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        reply.read()


async def events(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 -\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n")
    writer.write(b"Connection: close\r\n\r\n")
    for number in range(EVENTS):
        writer.write(f"data: {number}\n\n".encode())
        await writer.drain()
        await asyncio.sleep(PAUSE_S)


async def echo(request: Request, writer: asyncio.StreamWriter) -> None:
    """A WebSocket (RFC 6455) that sends back what it gets, until it is closed."""
    digest = hashlib.sha1(request.headers["sec-websocket-key"].encode() + _SOCKET_GUID, usedforsecurity=False)
    accept = base64.b64encode(digest.digest()).decode()
    writer.write(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
    )
    while True:
        first, second = await request.reader.readexactly(2)
        length = second & 0x7F
        if length >= 126:
            form = ">H" if length == 126 else ">Q"
            (length,) = struct.unpack(form, await request.reader.readexactly(struct.calcsize(form)))
        mask = await request.reader.readexactly(4)
        masked = await request.reader.readexactly(length)
        key = int.from_bytes((mask * (length // 4 + 1))[:length], "big")
        content = (int.from_bytes(masked, "big") ^ key).to_bytes(length, "big")
        short = length if length < 126 else 126 if length < 1 << 16 else 127
        more = b"" if short < 126 else struct.pack(">H" if short == 126 else ">Q", length)
        writer.write(bytes([first, short]) + more + content)
        await writer.drain()
        if first & 0x0F == 8:
            return


async def main() -> None:
    host, port = os.environ.get("APP_HOST", "127.0.0.1"), int(os.environ.get("APP_PORT", "23000"))
    server = await asyncio.start_server(serve, host, port, limit=1 << 20)
    # The first process of a container gets no signal that it did not ask for.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, os._exit, 0)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
