# SPDX-License-Identifier: AGPL-3.0-or-later
"""One account's line to the app notify_push of its Nextcloud: a WebSocket over which it says that files have changed.

Who listens is said by a token that is good once and for fifteen seconds; the Nextcloud gives it to whoever has the app
password. The password itself goes to the Nextcloud and nowhere else.
"""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager, suppress
from types import SimpleNamespace

import aiohttp

from harp.base.errors import CloudError
from harp.sync.cloud import dav, push, server
from harp.sync.cloud.dav import Login
from harp.sync.cloud.push import Heard

HEARTBEAT_S = 30.0
"""After so long a silence the server is asked for a sign; without one for half as long the line is dead."""
PATIENCE_S = 15.0
"""For the line to stand, and then to be let in: notify_push waits as long for whoever comes to say who it is."""
CLOSE_S = 1.0
"""For a farewell."""
MOST_BYTES = 64 * 1024
"""Of one message. Those about files have 11 bytes, but other apps send messages of their own over the same line."""
MOST_A_SECOND = 50
"""Messages that are read; more of them wait with the server, which speaks once a second of files."""
_TOKEN_BYTES = 256
_TOKEN = re.compile(r"[A-Za-z0-9+/=._~-]{16,255}")
"""Nextcloud's are 32 letters of Base64."""


async def news(login: Login, ca_file: str) -> AsyncGenerator[None]:
    """Yields once as soon as the server listens and speaks, then each time that it says that files may have changed.

    Ends when the server hangs up. ``ca_file`` as in :func:`harp.sync.cloud.server.session`. Raises :class:`CloudError`;
    its kinds :class:`StaleError` where the server does not have this, :class:`ElsewhereError` where it must not be
    used, :class:`LoginError` where the app password is refused.
    """
    # A WebSocket that is sent on to another place is not asked for there.
    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(_refuse)
    async with server.session(ca_file, trace) as session:
        where = str(push.address((await dav.told_capabilities(session, login)).push, login.url))
        with dav.reaching(where):
            async with _line(session, where) as line, aclosing(_messages(line)) as messages:
                async with asyncio.timeout(PATIENCE_S):
                    await line.send_str("")
                    await line.send_str(await _token(session, login))
                    welcome = await anext(messages, "")
                if push.heard(welcome) is not Heard.WELCOME:
                    said = push.refusal(welcome)
                    raise CloudError(f"{where} lets nobody listen: {said}", hint="occ notify_push:self-test says more")
                yield
                async for message in messages:
                    if push.heard(message) is Heard.FILES:
                        yield


async def _refuse(_: aiohttp.ClientSession, __: SimpleNamespace, told: aiohttp.TraceRequestRedirectParams) -> None:
    where = push.refusal(told.response.headers.get("Location", ""))
    raise CloudError(f"{told.url} sends on to {where}", hint="its web server has to lead to notify_push itself")


@asynccontextmanager
async def _line(session: aiohttp.ClientSession, where: str) -> AsyncGenerator[aiohttp.ClientWebSocketResponse]:
    try:
        async with asyncio.timeout(PATIENCE_S):
            line = await session.ws_connect(where, autoping=False, heartbeat=HEARTBEAT_S, max_msg_size=MOST_BYTES)
    except aiohttp.WSServerHandshakeError as error:
        hint = "its web server has to lead to notify_push there"
        raise CloudError(f"{where} is no WebSocket: {error.status}", hint=hint) from error
    try:
        yield line
    finally:
        # aiohttp waits for the other's farewell for as long as it goes on to speak.
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await line.close()


async def _token(session: aiohttp.ClientSession, login: Login) -> str:
    """Good once, for this account."""
    url = f"{login.url.rstrip('/')}/index.php/apps/notify_push/pre_auth"
    async with dav.asked(session, login, "POST", url) as response:
        token = (await response.content.read(_TOKEN_BYTES)).decode("latin-1")
    if not _TOKEN.fullmatch(token):
        raise CloudError(f"{login.url} does not answer as notify_push does", hint="update that app there")
    return token


async def _messages(line: aiohttp.ClientWebSocketResponse) -> AsyncGenerator[str]:
    """The texts, until the server hangs up. Raises :class:`CloudError` where it keeps to no rule."""
    clock = asyncio.get_running_loop()
    since, count = clock.time(), 0
    while True:
        message = await line.receive()
        match message.type:
            case aiohttp.WSMsgType.PING:
                await line.pong(message.data)
            case aiohttp.WSMsgType.TEXT:
                yield message.data
            case aiohttp.WSMsgType.PONG | aiohttp.WSMsgType.BINARY:
                pass
            case aiohttp.WSMsgType.ERROR:
                raise CloudError(f"the line broke: {message.data}", hint="it is tried again")
            case _:
                return
        count += 1
        if count >= MOST_A_SECOND:
            await asyncio.sleep(max(0.0, since + 1.0 - clock.time()))
            since, count = clock.time(), 0
