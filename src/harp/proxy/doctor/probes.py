# SPDX-License-Identifier: AGPL-3.0-or-later
"""Looks at both ways. For the public one an app of its own stands behind Harp for as long as that takes.

It has a random name and a random path, listens on loopback, answers with nothing but the path and X-Forwarded-For, and
is forgotten at the end: there is no lasting door.
"""

import asyncio
import contextlib
import secrets
import socket
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import aiohttp
from aiohttp import web

from harp.proxy.deploy.docker.call import is_here
from harp.proxy.doctor.diagnosis import Answered, Arrival, Frp, Reach, Through, Upstream
from harp.proxy.edge import bans
from harp.proxy.edge.frp.authority import Authority
from harp.proxy.edge.frp.server import CONFIGURATION, folder_of
from harp.proxy.edge.listening import listens
from harp.proxy.edge.runtime import RuntimeSocket, RuntimeSocketError
from harp.proxy.settings import ProxySettings

WAIT_S = 5.0
PAUSE_S = 1.0
_DAY_S = 86_400.0
MAX_BODY = 1 << 16
NO_APP = "404 Not Found"
"""What Harp itself says, as text, of a path that does not begin with ``/exapps/`` (contract, 2.1)."""
_EXPIRED, _OTHER_NAME = 10, (62, 64)
"""X509_V_ERR_* of OpenSSL."""


class Probes:
    """Everything that is looked at; ``public`` is Nextcloud's address for browsers."""

    def __init__(self, settings: ProxySettings, public: str) -> None:
        self._settings = settings
        self._public = public
        self._direct = "http://" + _reachable(settings.http)
        self._key = {"harp-shared-key": settings.key}
        self._context = ssl.create_default_context()
        if settings.ca_file:
            self._context.load_verify_locations(settings.ca_file)

    @contextlib.asynccontextmanager
    async def _session(self) -> AsyncIterator[aiohttp.ClientSession]:
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._context),
            timeout=aiohttp.ClientTimeout(total=WAIT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
        ) as session:
            yield session

    async def control(self) -> Answered:
        """``/info``, asked as AppAPI does."""
        async with self._session() as session:
            return await self._asked(session, self._direct + "/exapps/app_api/info", self._key)

    def frp(self) -> Frp:
        """frps, its authority, and the engines that need both."""
        asked = self._settings
        ends = Authority(folder_of(asked), asked.frp_certificate_days).ends() if asked.frp_has_tls else None
        return Frp(
            address=asked.frp,
            runs=(asked.run / CONFIGURATION).exists(),
            listens=listens(asked.frp),
            ends=None if ends is None else (ends - time.time()) / _DAY_S,
            elsewhere=tuple(engine.url for engine in asked.engines if not is_here(engine)),
        )

    async def nextcloud(self, app: str | None) -> Answered:
        """AppAPI, asked about an app that it knows; without one the key cannot be judged, and is not sent.

        AppAPI says the same of an unknown app as of a wrong key, and counts it against Harp (contract, 2.7).
        """
        url, headers = self._settings.nextcloud + "/index.php/apps/app_api/harp/exapp-meta?appId=", self._key
        if app is None:
            url, headers = self._settings.nextcloud + "/index.php/login", {}
        async with self._session() as session:
            return await self._asked(session, url + (app or ""), headers)

    async def upstreams(self, found: list[tuple[str, str, int]]) -> list[Upstream]:
        """Each app that is known, by a connection."""
        return [
            Upstream(app=app, address=f"{host}:{port}", reach=await _connected(host, port)) for app, host, port in found
        ]

    async def through(self) -> Through:
        """The public way, with an app of its own at its end."""
        app, token = "harpdoctor" + secrets.token_hex(4), secrets.token_hex(16)
        async with self._session() as session, _echo(token) as port:
            record = {
                "exapp_token": token,
                "exapp_version": "1.0.0",
                "host": "127.0.0.1",
                "port": port,
                "routes": [{"url": f"^/{token}/", "access_level": 0, "bruteforce_protection": []}],
            }
            storage = f"{self._direct}/exapps/app_api/exapp_storage/{app}"
            try:
                async with session.post(storage, json=record, headers=self._key) as stored:
                    if stored.status != 204:
                        return Through(front=Answered(address=self._public, reach=Reach.BROKEN))
                return await self._looked(session, app, token)
            finally:
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    await session.delete(storage, headers=self._key)

    async def _looked(self, session: aiohttp.ClientSession, app: str, token: str) -> Through:
        path = f"/exapps/{app}/{token}/"
        front, seen = await self._echoed(session, path)
        if seen is None:
            # What takes /exapps/ away once, takes away the first of two.
            _again, twice = await self._echoed(session, "/exapps" + path)
            if twice is not None:
                return Through(front=front, arrival=Arrival.STRIPPED)
            return Through(front=front, arrival=Arrival.PREFIXED if front.version == NO_APP else Arrival.NOT_AT_ALL)
        return Through(
            front=front,
            arrival=Arrival.WHOLE,
            websocket=await self._upgrades(session, path),
            streams=await self._streams(session, path),
            forwarded_for=seen[1],
            counted=await self._counted(session, f"/exapps/{app}/nowhere"),
            trusts=bool(self._settings.trusted),
        )

    async def _echoed(self, session: aiohttp.ClientSession, path: str) -> tuple[Answered, tuple[str, str] | None]:
        front = Answered(address=self._public, reach=Reach.BROKEN)
        try:
            async with session.get(self._public + path + "echo", allow_redirects=False) as response:
                front = Answered(address=self._public, reach=Reach.ANSWERED, status=response.status)
                if response.status == 404 and response.content_type == "text/plain":
                    said_no = (await response.content.read(MAX_BODY)).decode("ascii", "replace")
                    return replace(front, version=said_no), None
                if response.status != 200 or response.content_type != "application/json":
                    return front, None
                said = await response.json()
                return front, (str(said["path"]), str(said["forwarded_for"]))
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return Answered(address=self._public, reach=reach_of(error)), None
        except (ValueError, KeyError, TypeError):
            return front, None

    async def _upgrades(self, session: aiohttp.ClientSession, path: str) -> bool:
        try:
            async with session.ws_connect(self._public + path + "ws") as opened:
                await opened.send_str("there and back")
                return await opened.receive_str(timeout=WAIT_S) == "there and back"
        except (aiohttp.ClientError, OSError, TimeoutError, TypeError):
            return False

    async def _streams(self, session: aiohttp.ClientSession, path: str) -> bool:
        """Whether the second event is here before the third was sent: the first may come along with the headers."""
        try:
            async with session.get(self._public + path + "sse") as response:
                await response.content.readuntil(b"data: 2\n")
                second = time.monotonic()
                await response.content.read()
                return response.status == 200 and time.monotonic() - second > PAUSE_S / 2
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return False

    async def _counted(self, session: aiohttp.ClientSession, path: str) -> str | None:
        """Whom Harp holds responsible for a failure that is made for that."""
        runtime = RuntimeSocket(self._settings.run / "haproxy.sock")
        try:
            before = {bans.shown(each.client): each for each in await bans.read(runtime)}
            async with session.get(self._public + path):
                pass
            after = await bans.read(runtime)
        except (RuntimeSocketError, aiohttp.ClientError, OSError, TimeoutError):
            return None
        changed = [bans.shown(each.client) for each in after if before.get(bans.shown(each.client)) != each]
        return changed[0] if len(changed) == 1 else None

    async def _asked(self, session: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> Answered:
        address = url.partition("/exapps/")[0].partition("/index.php/")[0]
        try:
            # The key goes nowhere else.
            async with session.get(url, headers=headers, allow_redirects=False) as response:
                said = (await response.content.read(MAX_BODY)) if response.status == 200 else b""
                return Answered(address=address, reach=Reach.ANSWERED, status=response.status, version=_version(said))
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return Answered(address=address, reach=reach_of(error))


def reach_of(error: Exception) -> Reach:
    """What an error on the way to an address means."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
        code = cause.verify_code if isinstance(cause, ssl.SSLCertVerificationError) else 0
        if code == _EXPIRED:
            return Reach.EXPIRED
        return Reach.OTHER_NAME if code in _OTHER_NAME else Reach.UNTRUSTED
    if isinstance(error, TimeoutError):
        return Reach.TIMED_OUT
    cause = getattr(error, "os_error", error)
    if isinstance(cause, socket.gaierror) or isinstance(error, aiohttp.ClientConnectorDNSError):
        return Reach.UNRESOLVED
    return Reach.REFUSED if isinstance(cause, ConnectionRefusedError) else Reach.BROKEN


async def _connected(host: str, port: int) -> Reach:
    try:
        async with asyncio.timeout(WAIT_S):
            _reader, writer = await asyncio.open_connection(host, port)
        writer.close()
    except (OSError, TimeoutError) as error:
        return reach_of(error)
    return Reach.ANSWERED


def _version(body: bytes) -> str:
    import msgspec

    try:
        said = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return ""
    return str(said.get("version", ""))[:32] if isinstance(said, dict) else ""


def _reachable(address: str) -> str:
    """An address that is listened on, as one that can be connected to."""
    host, _, port = address.rpartition(":")
    if host in ("*", "0.0.0.0", "::"):  # noqa: S104
        host = "127.0.0.1"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextlib.asynccontextmanager
async def _echo(token: str) -> AsyncIterator[int]:
    """The app at the end of the way; gives its port on loopback."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if not secrets.compare_digest(request.path.rpartition("/")[0].rpartition("/")[2].encode(), token.encode()):
            return web.Response(status=404)
        verb = request.path.rpartition("/")[2]
        if verb == "ws":
            opened = web.WebSocketResponse()
            if not opened.can_prepare(request):
                return web.Response(status=426)
            await opened.prepare(request)
            await opened.send_str(await opened.receive_str(timeout=WAIT_S))
            await opened.close()
            return opened
        if verb == "sse":
            stream = web.StreamResponse(headers={"content-type": "text/event-stream", "cache-control": "no-cache"})
            await stream.prepare(request)
            for event in (b"data: 1\n\n", b"data: 2\n\n"):
                await stream.write(event)
                await asyncio.sleep(PAUSE_S)
            await stream.write(b"data: 3\n\n")
            return stream
        forwarded = ", ".join(request.headers.getall("x-forwarded-for", []))
        return web.json_response({"path": request.path, "forwarded_for": forwarded})

    runner = web.ServerRunner(web.Server(answer, access_log=None))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
