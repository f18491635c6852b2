# SPDX-License-Identifier: AGPL-3.0-or-later
"""The door at which frps asks whom to let in, and which ports to open (frp, "Server Manage Plugin"; contract, 4.3).

frps takes HTTP on TCP alone. Any user of this machine reaches that port, and could have others banned by it: it asks
for a password, which stands in frps' configuration alone.
"""

import asyncio
import base64
import hmac
import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated

import msgspec
from aiohttp import web

from harp.base.runtime import Counters
from harp.proxy.edge import files
from harp.proxy.edge.frp.opened import FILE, Tunnel, remembered
from harp.proxy.model import AppId, ExApp, NextcloudUnsure, Upstream
from harp.proxy.policy import tunnels

_log = logging.getLogger(__name__)

_BODY_MOST = 1 << 16
_COUNT_S = 2.0
_LOOPBACK = "127.0.0.1"
_Text = Annotated[str, msgspec.Meta(max_length=4096)]


class _Login(msgspec.Struct, frozen=True):
    client_address: _Text = ""
    metas: dict[str, _Text] | None = None


class _User(msgspec.Struct, frozen=True):
    metas: dict[str, _Text] | None = None
    run_id: _Text = ""


class _Proxy(msgspec.Struct, frozen=True):
    user: _User = _User()
    proxy_name: _Text = ""
    proxy_type: _Text = ""
    remote_port: int = 0
    group: _Text = ""


class _Asked(msgspec.Struct, frozen=True):
    op: _Text
    content: msgspec.Raw


class Door:
    """Answers Login, NewProxy and CloseProxy; whatever it does not understand is refused.

    ``entrance`` is a socket that listens already, so that frps may wait there for an agent that is started anew, and
    the password. ``find`` asks for an app's record, ``known`` says where apps are looked for, ``failed`` counts a
    failure of an address.
    """

    def __init__(
        self,
        run: Path,
        entrance: tuple[socket.socket, str],
        secret: bytes,
        key: str,
        *,
        find: Callable[[AppId], Awaitable[ExApp | None]],
        known: Callable[[], Mapping[AppId, tuple[ExApp, Upstream | None]]],
        failed: Callable[[str], Awaitable[None]],
        engines: Collection[int],
        counters: Counters,
    ) -> None:
        self._file = run / FILE
        self._listener, password = entrance
        self._password = b"Basic " + base64.b64encode(f"harp:{password}".encode())
        self._secret = secret
        self._key = key
        self._find = find
        self._known = known
        self._failed = failed
        self._engines = engines
        self._counters = counters
        self._tunnels = {tunnel.name: tunnel for tunnel in remembered(run)}
        self._runner: web.AppRunner | None = None

    def rekey(self, key: str) -> None:
        """From now on this shared key opens, and no other; the apps' own tokens stay."""
        self._key = key

    async def start(self) -> None:
        """Answers from now on."""
        app = web.Application(client_max_size=_BODY_MOST)
        app.add_routes([web.post("/frp_handler", self._asked)])
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        await web.SockSite(self._runner, self._listener).start()

    async def close(self) -> None:
        """Ends what is under way; nobody comes in here any more."""
        if self._runner is not None:
            await self._runner.cleanup()
        self._listener.close()

    async def _asked(self, request: web.Request) -> web.Response:
        given = request.headers.get("authorization", "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(given, self._password):
            return web.Response(status=401, text="401 Unauthorized")
        try:
            asked = msgspec.json.decode(await request.read(), type=_Asked)
            why = await self.answer(asked.op, bytes(asked.content))
        except (msgspec.DecodeError, UnicodeError):
            why = "this is not understood"
        if why:
            return web.json_response({"reject": True, "reject_reason": why})
        return web.json_response({"reject": False, "unchange": True})

    async def answer(self, operation: str, content: bytes) -> str:
        """Why frps has to refuse; empty where it may go on. Raises :class:`msgspec.DecodeError`."""
        if operation == "Login":
            return await self._login(msgspec.json.decode(content, type=_Login))
        proxy = msgspec.json.decode(content, type=_Proxy)
        if operation == "NewProxy":
            return await self._opened(proxy)
        if operation == "CloseProxy":
            self._closed(proxy)
            return ""
        return "nothing of this kind is asked here"

    async def _login(self, login: _Login) -> str:
        token = (login.metas or {}).get("token", "")
        if self._holder(token) is not None:
            return ""
        client = login.client_address.rpartition(":")[0].strip("[]").partition("%")[0]
        self._count("login")
        _log.warning("a client of frps at %s comes with a wrong token", client or "?")
        if tunnels.is_guess(token) and _is_address(client):
            try:
                async with asyncio.timeout(_COUNT_S):
                    await self._failed(client)
            except (OSError, EOFError) as error:
                _log.info("the failure of %s is not counted, HAProxy does not answer: %s", client, error)
        return "the token is wrong: make the app's container anew, or write the shared key into an engine's frpc"

    async def _opened(self, proxy: _Proxy) -> str:
        holder = self._holder((proxy.user.metas or {}).get("token", ""))
        if holder is None:
            self._count("login")
            return "the token is wrong"
        claim = tunnels.Claim(proxy.proxy_name, proxy.proxy_type, proxy.remote_port, proxy.group)
        try:
            record = None if claim.is_engine else await self._find(claim.app)
        except NextcloudUnsure:
            self._count("unsure")
            return "Nextcloud cannot be asked about this app just now"
        others = [
            name
            for name, (_app, upstream) in self._known().items()
            if upstream == Upstream(_LOOPBACK, claim.port) and name != claim.app
        ]
        why = tunnels.refusal(holder, claim, record=record, others=others, named=self._engines)
        if why:
            self._count("claim")
            _log.warning("frps may not open %r on port %s: %s", claim.name[:100], claim.port, why)
            return why
        if isinstance(holder, tunnels.KeyHolder) and not claim.is_engine:
            _log.warning("the app %s comes with the shared key, as HaRP gave it: update it to have its own", claim.app)
        self._tunnels[claim.name] = Tunnel(claim.name, claim.port, proxy.user.run_id)
        self._remember()
        return ""

    def _closed(self, proxy: _Proxy) -> None:
        found = self._tunnels.get(proxy.proxy_name)
        # The end of a session may be told when the next one has the name already.
        if found is not None and found.run == proxy.user.run_id:
            del self._tunnels[proxy.proxy_name]
            self._remember()

    def _holder(self, token: str) -> tunnels.Holder | None:
        return tunnels.holder_of(token, secret=self._secret, key=self._key)

    def _remember(self) -> None:
        files.write(self._file, msgspec.json.encode(list(self._tunnels.values())).decode())

    def _count(self, reason: str) -> None:
        self._counters.counter(
            "harp_proxy_frp_refused_total", "What frps had to refuse: login, claim, unsure.", reason=reason
        ).add()


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
