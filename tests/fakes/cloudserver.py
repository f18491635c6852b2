# SPDX-License-Identifier: AGPL-3.0-or-later
"""An :class:`tests.fakes.webdav.Account` behind a port of loopback, in a thread of its own."""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

from aiohttp import web

from tests.fakes.served import ended
from tests.fakes.webdav import Account


@contextlib.contextmanager
def standing(account: Account, certificate: Path | None = None, port: int = 0) -> Iterator[str]:
    """The address of the server until the block ends; with ``certificate``, of one that speaks TLS."""
    context = None
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(account.application(), access_log=None, shutdown_timeout=0.1)

    async def start() -> str:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=context)
        await site.start()
        bound = runner.addresses[0][1]
        return f"{'http' if context is None else 'https'}://127.0.0.1:{bound}"

    thread = threading.Thread(target=loop.run_forever, name="cloud server", daemon=True)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(start(), loop).result(30)
    finally:
        asyncio.run_coroutine_threadsafe(ended(runner), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()
