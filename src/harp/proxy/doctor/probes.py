# SPDX-License-Identifier: AGPL-3.0-or-later
"""Looks at both ways. For the public one an app of its own stands behind Harp for as long as that takes.

It has a random name and a random path, and is forgotten at the end: there is no lasting door.
"""

import asyncio
import contextlib
import errno
import secrets
import socket
import ssl
import time
from collections.abc import AsyncIterator, Coroutine
from dataclasses import replace
from typing import Any

import aiohttp

from harp.base.errors import ConfigError
from harp.proxy.deploy.docker.call import is_here
from harp.proxy.doctor import echo
from harp.proxy.doctor.echo import PAUSE_S, WAIT_S
from harp.proxy.doctor.seen import Answered, Arrival, Container, Frp, Reach, Through, Upstream
from harp.proxy.edge import bans
from harp.proxy.edge.frp.authority import Authority
from harp.proxy.edge.frp.server import CONFIGURATION, folder_of
from harp.proxy.edge.listening import listens
from harp.proxy.edge.runtime import RuntimeSocket, RuntimeSocketError
from harp.proxy.settings import ProxySettings

_DAY_S = 86_400.0
MAX_BODY = 1 << 16
NO_APP = "404 Not Found"
"""What Harp itself says, as text, of a path that does not begin with ``/exapps/`` (contract, 2.1)."""
_CERTIFICATE = {
    9: Reach.NOT_YET,
    10: Reach.EXPIRED,
    18: Reach.SELF_SIGNED,
    19: Reach.UNTRUSTED,
    20: Reach.INCOMPLETE,
    21: Reach.INCOMPLETE,
    62: Reach.OTHER_NAME,
    64: Reach.OTHER_NAME,
}
"""X509_V_ERR_* (openssl-verification-options(1))."""
_NO_TLS = ("WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE")
"""What OpenSSL says of an answer that is no TLS, by its version."""
_CAUSES = (
    (socket.gaierror, Reach.UNRESOLVED),
    (ConnectionRefusedError, Reach.REFUSED),
    (FileNotFoundError, Reach.MISSING),
    (PermissionError, Reach.FORBIDDEN),
    (TimeoutError, Reach.TIMED_OUT),
)


class Probes:
    """The ways from and to Nextcloud; ``public`` is its address for browsers.

    ``control`` is where AppAPI expects Harp, as a URL, where that is not the address it listens on here.
    """

    def __init__(self, settings: ProxySettings, public: str, control: str = "") -> None:
        self._settings = settings
        self._public = public
        self._direct = control or "http://" + reachable(settings.http)
        self._key = {"harp-shared-key": settings.key}
        self._context = ssl.create_default_context()
        if settings.ca_file:
            try:
                self._context.load_verify_locations(settings.ca_file)
            except OSError as error:  # ssl.SSLError is one
                why = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
                raise ConfigError(
                    f"HP_CA_FILE {settings.ca_file} cannot be read: {why}", hint="name the authority's PEM file"
                ) from None

    @contextlib.asynccontextmanager
    async def _session(self) -> AsyncIterator[aiohttp.ClientSession]:
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._context),
            timeout=aiohttp.ClientTimeout(total=3 * WAIT_S, sock_connect=WAIT_S, sock_read=WAIT_S),
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

    async def upstreams(self, found: list[tuple[str, str, int]], containers: list[Container]) -> list[Upstream]:
        """Each app that is known, by a connection."""
        inside = {container.app: container for container in containers}
        reaches = await asyncio.gather(*(connected(host, port) for _app, host, port in found))
        return [
            Upstream(app=app, address=f"{host}:{port}", reach=reach, container=inside.get(app))
            for (app, host, port), reach in zip(found, reaches, strict=True)
        ]

    async def through(self) -> Through:
        """The public way, with an app of its own at its end."""
        app, token = "harpdoctor" + secrets.token_hex(4), secrets.token_hex(16)
        async with self._session() as session, echo.opened(token) as port:
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
        return _CERTIFICATE.get(code, Reach.UNTRUSTED)
    if isinstance(error, aiohttp.SocketTimeoutError):
        return Reach.SILENT
    if isinstance(error, TimeoutError):
        return Reach.TIMED_OUT
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Reach.UNRESOLVED
    cause = getattr(error, "os_error", error)
    if isinstance(cause, ssl.SSLError):
        return Reach.PLAIN if cause.reason in _NO_TLS else Reach.BROKEN
    if isinstance(cause, OSError) and cause.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return Reach.PROHIBITED
    return next((reach for kind, reach in _CAUSES if isinstance(cause, kind)), Reach.BROKEN)


async def connected(host: str, port: int) -> Reach:
    """By a TCP connection, without a word on it."""
    return await _reached(asyncio.open_connection(host, port))


async def connected_unix(path: str) -> Reach:
    """The same for a Unix socket."""
    return await _reached(asyncio.open_unix_connection(path))


async def _reached(opening: Coroutine[Any, Any, tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> Reach:
    try:
        async with asyncio.timeout(WAIT_S):
            _reader, writer = await opening
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


def reachable(address: str) -> str:
    """An address that is listened on, as one that can be connected to."""
    host, _, port = address.rpartition(":")
    if host in ("*", "0.0.0.0", "::"):  # noqa: S104
        host = "127.0.0.1"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
