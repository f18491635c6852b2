# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the app plane shows: Prometheus' page, ``/healthz`` and ``/readyz``, on an address of its own."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import aiohttp
from aiohttp import web

from harp.base.errors import ConfigError
from harp.base.runtime import Clock, Counters
from harp.base.sockets import short_name
from harp.proxy.edge import bans
from harp.proxy.edge.runtime import RuntimeSocket, RuntimeSocketError

_SCRAPE_S = 5.0


class Figures:
    """One page of HAProxy's exporter and the agent's counters."""

    def __init__(
        self,
        run: Path,
        counters: Counters,
        clock: Clock,
        ban_window_s: int,
        is_ready: Callable[[], bool],
        remark: Callable[[], str] = str,
    ) -> None:
        self._run = run
        self._counters = counters
        self._clock = clock
        self._window_s = ban_window_s
        self._is_ready = is_ready
        self._remark = remark
        self._socket = RuntimeSocket(run / "haproxy.sock")
        self._runner: web.AppRunner | None = None

    async def start(self, address: str) -> None:
        """Listens on ``HOST:PORT``. Raises :class:`ConfigError`."""
        app = web.Application()
        app.add_routes(
            [web.get("/metrics", self._metrics), web.get("/healthz", self._healthz), web.get("/readyz", self._readyz)]
        )
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        host, _, port = address.rpartition(":")
        try:
            await web.TCPSite(self._runner, None if host == "*" else host, int(port), reuse_address=True).start()
        except OSError as error:
            raise ConfigError(
                f"{address} is not free for figures: {error.strerror}", hint="set HP_METRICS_ADDRESS to another"
            ) from None

    async def close(self) -> None:
        """Ends what is under way."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        try:
            await self._socket.info()
        except RuntimeSocketError:
            return web.Response(status=503, text="HAProxy does not answer\n")
        if not self._is_ready():
            return web.Response(status=503, text="not yet\n")
        return web.Response(text=f"ready\n{self._remark()}")

    async def _metrics(self, _request: web.Request) -> web.Response:
        own, haproxy, refused, banned = await asyncio.gather(
            asyncio.to_thread(self._counters.text), self._exporter(), self._refusals(), self._banned()
        )
        return web.Response(
            body=(own + refused + banned).encode() + haproxy,
            headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"},
        )

    async def _exporter(self) -> bytes:
        with short_name(self._run / "inside.sock") as name, contextlib.suppress(aiohttp.ClientError, OSError):
            async with (
                aiohttp.ClientSession(
                    connector=aiohttp.UnixConnector(name), timeout=aiohttp.ClientTimeout(total=_SCRAPE_S)
                ) as session,
                session.get("http://inside/metrics?scope=global&scope=frontend&scope=backend") as response,
            ):
                if response.status == 200:
                    return await response.read()
        return b""

    async def _refusals(self) -> str:
        try:
            reasons = await self._socket.table("reasons")
        except RuntimeSocketError:
            return ""
        lines = [
            "# HELP harp_proxy_refused_total Requests refused by HAProxy, by reason, since its last reload.",
            "# TYPE harp_proxy_refused_total counter",
            *(f'harp_proxy_refused_total{{reason="{key}"}} {data["gpc0"]}' for key, data in sorted(reasons)),
        ]
        return "\n".join(lines) + "\n"

    async def _banned(self) -> str:
        try:
            known = await bans.read(self._socket)
        except RuntimeSocketError:
            return ""
        now = self._clock.now()
        count = sum(1 for failures in known if failures.remaining_s(now, self._window_s))
        return (
            "# HELP harp_proxy_banned Clients that are banned just now.\n"
            f"# TYPE harp_proxy_banned gauge\nharp_proxy_banned {count}\n"
        )
