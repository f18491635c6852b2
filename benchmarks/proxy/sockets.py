# SPDX-License-Identifier: AGPL-3.0-or-later
"""Many WebSockets that say nothing: opened through a peer, with a server behind it that keeps them."""

import asyncio
import contextlib
import socket
from collections.abc import Callable

from benchmarks.figures import Undone

_HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_ANSWER = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_ANSWER)
        await reader.read()
    writer.close()


async def _open(port: int, path: str) -> asyncio.StreamWriter:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_HANDSHAKE.format(path=path).encode())
    async with asyncio.timeout(30):
        answer = await reader.readuntil(b"\r\n\r\n")
    if not answer.startswith(b"HTTP/1.1 101"):
        raise Undone(f"a WebSocket was refused: {answer[:60]!r}")
    return writer


def grown_bytes(
    listener: socket.socket, port: int, path: str, count: int, rss_bytes: Callable[[], int], settle_s: float = 3.0
) -> float:
    """How many bytes each of ``count`` WebSockets through ``port`` costs, by ``rss_bytes`` before and after.

    The first one is not counted: it teaches the peer the way. Behind the peer, ``listener`` is served meanwhile.
    """

    async def grown() -> float:
        # The stream's own objects on both sides are this process's, and not counted.
        server = await asyncio.start_server(_serve, sock=listener, backlog=1024)
        opened = [await _open(port, path)]
        try:
            await asyncio.sleep(settle_s)
            before = rss_bytes()
            # One after the other: the reference refuses some of 50 at once.
            for _ in range(count):
                opened.append(await _open(port, path))
            await asyncio.sleep(settle_s)
            return (rss_bytes() - before) / (len(opened) - 1)
        finally:
            for writer in opened:
                writer.close()
            await asyncio.gather(*(writer.wait_closed() for writer in opened), return_exceptions=True)
            await asyncio.sleep(settle_s)  # until the server's side has seen it too
            server.close()

    return asyncio.run(grown())
