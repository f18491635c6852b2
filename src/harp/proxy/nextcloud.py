# SPDX-License-Identifier: AGPL-3.0-or-later
"""Nextcloud's AppAPI over HTTP: ``exapp-meta`` and ``user-info`` (contract, 2.5 and 2.7)."""

import asyncio
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import aiohttp
import msgspec
from yarl import URL

from harp import __version__
from harp.base.runtime import Counters
from harp.proxy.model import AppId, Credentials, ExApp, Identity, Level, NextcloudUnsure
from harp.proxy.policy import record
from harp.proxy.settings import trusting

TOTAL_S = 25.0
CONNECT_S = 5.0
MAX_BODY = 1 << 20
REDIRECTS = 5
_REDIRECTED = (301, 302, 303, 307, 308)


class _UserForm(msgspec.Struct):
    user_id: str
    access_level: int


class NextcloudClient:
    """Both questions, with the shared key. Nothing of what is sent or answered is logged."""

    def __init__(self, url: str, key: str, ca_file: str, counters: Counters) -> None:
        self._base = url + "/index.php/apps/app_api/harp/"
        self._key = key
        self._session = aiohttp.ClientSession(
            # Cookies belong to the clients, never to this session.
            cookie_jar=aiohttp.DummyCookieJar(),
            connector=aiohttp.TCPConnector(ssl=trusting(ca_file), limit=100),
            timeout=aiohttp.ClientTimeout(total=TOTAL_S, connect=CONNECT_S),
            skip_auto_headers=("User-Agent",),
            trust_env=False,
        )
        self._counters = counters

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._session.close()

    def rekey(self, key: str) -> None:
        """From now on Nextcloud is asked with this key."""
        self._key = key

    async def exapp(self, app: AppId) -> ExApp | None:
        """The record of an app; ``None`` for 401 and 404. Raises :class:`NextcloudUnsure`."""
        status, body = await self._get("exapp-meta", app, {"user-agent": f"Harp/{__version__}"})
        if status in (401, 404):
            return None
        if status != 200:
            raise NextcloudUnsure(f"exapp-meta answered {status}")
        try:
            return record.read(app, body)
        except (record.InvalidRecord, msgspec.DecodeError) as error:
            raise NextcloudUnsure(f"exapp-meta is not as it has to be: {type(error).__name__}") from None

    async def identify(self, app: AppId, credentials: Credentials) -> Identity | None:
        """Who has these credentials; ``None`` for any 4xx. Raises :class:`NextcloudUnsure`."""
        given = {
            "cookie": credentials.cookie,
            "authorization": credentials.authorization,
            "user-agent": credentials.user_agent,
            "accept-language": credentials.language,
            "x-forwarded-for": credentials.client,
        }
        status, body = await self._get("user-info", app, {name: value for name, value in given.items() if value})
        if 400 <= status < 500:
            return None
        if status != 200:
            raise NextcloudUnsure(f"user-info answered {status}")
        try:
            form = msgspec.json.decode(body, type=_UserForm)
            return Identity(form.user_id, Level(form.access_level))
        except (ValueError, RecursionError):
            raise NextcloudUnsure("user-info is not as it has to be") from None

    async def _get(self, what: str, app: AppId, headers: Mapping[str, str]) -> tuple[int, bytes]:
        started = time.monotonic()
        outcome = "error"
        try:
            status, body = await self._followed(
                URL(self._base + what).with_query({"appId": app}), _sendable({**headers, "harp-shared-key": self._key})
            )
            outcome = str(status)
            return status, body
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise NextcloudUnsure(f"{what}: {type(error).__name__}") from None
        finally:
            spent = time.monotonic() - started
            self._counters.counter(
                "harp_proxy_nextcloud_calls_total", "Calls of Nextcloud.", call=what, outcome=outcome
            ).add()
            self._counters.counter(
                "harp_proxy_nextcloud_microseconds_total", "Time spent waiting for Nextcloud.", call=what
            ).add(int(spent * 1_000_000))

    async def _followed(self, url: URL, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Redirects are followed within the host only: the key and a person's cookies go nowhere else."""
        for _ in range(REDIRECTS):
            async with self._session.get(url, headers=headers, allow_redirects=False) as response:
                if response.status in _REDIRECTED and "location" in response.headers:
                    following = url.join(URL(response.headers["location"]))
                    if following.host != url.host or (url.scheme == "https" and following.scheme != "https"):
                        raise NextcloudUnsure("a redirect leads to another host")
                    url = following
                    continue
                body = await response.content.read(MAX_BODY + 1)
                while len(body) <= MAX_BODY and (more := await response.content.read(MAX_BODY)):
                    body += more
                if len(body) > MAX_BODY:
                    raise NextcloudUnsure("the answer is too long")
                return response.status, body
        raise NextcloudUnsure("too many redirects")


def _sendable(headers: Mapping[str, str]) -> dict[str, str]:
    """Bytes that are no UTF-8 cannot have been meant for Nextcloud: they are sent as something that matches nothing."""
    return {name: value.encode("utf-8", "replace").decode("utf-8") for name, value in headers.items()}


class SystemResolver:
    """The system's own resolver, under a time limit."""

    async def address(self, host: str) -> str | None:
        """An address as text, IPv4 first; ``None`` after ten seconds, or where there is none."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(10.0):
                found = await loop.getaddrinfo(host, None)
        except (OSError, TimeoutError, UnicodeError):
            return None
        addresses = [str(entry[4][0]) for entry in found]
        return next((address for address in addresses if ":" not in address), next(iter(addresses), None))
