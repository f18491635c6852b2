# SPDX-License-Identifier: AGPL-3.0-or-later
"""The daemon as the console sees it: ``/v1`` on the home's Unix socket, answers as JSON objects."""

import contextlib
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec

from harp.base.sockets import short_name

Json = dict[str, Any]
SOCKET_NAME = "harp.sock"
ANSWER_S = 60.0
LONGEST_S = 900.0
"""A join or a backup may take its time."""


class Refused(Exception):
    """What the daemon answered in place of what was asked; all of it may be shown."""

    def __init__(self, message: str, hint: str = "", status: int = 502) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.status = status


class Client:
    """On one event loop; every method raises :class:`Refused`."""

    def __init__(self, home: Path, on_behalf: Mapping[str, object] | None = None) -> None:
        self._home = home
        self._socket = home / SOCKET_NAME
        self._headers = {"Content-Type": "application/json"}
        if on_behalf is not None:
            self._headers["Harp-For"] = json.dumps(on_behalf)

    def on_behalf(self, name: str, folders: Iterable[str]) -> "Client":
        """One that may do only what a user of a Nextcloud may who has these folders (docs/reference/api.md)."""
        return Client(self._home, {"name": name, "folders": sorted(folders)})

    async def get(self, path: str, /, **query: str | int) -> Json:
        """What ``GET /v1/<path>`` answers; make ``path`` with :func:`at`."""
        return await self._ask("GET", path, query=query)

    async def post(self, path: str, /, **body: object) -> Json:
        """What ``POST`` answers."""
        return await self._ask("POST", path, body=body)

    async def put(self, path: str, /, **body: object) -> Json:
        """What ``PUT`` answers."""
        return await self._ask("PUT", path, body=body)

    async def delete(self, path: str, /) -> Json:
        """What ``DELETE`` answers."""
        return await self._ask("DELETE", path)

    async def lines(self, method: str, path: str) -> AsyncIterator[Json]:
        """The objects of a long answer, as they come."""
        async with self._answered(method, path, None, None, total_s=None) as response:
            while line := await response.content.readline():
                yield msgspec.json.decode(line, type=Json)

    async def _ask(
        self, method: str, path: str, *, query: Mapping[str, str | int] | None = None, body: object = None
    ) -> Json:
        total_s = ANSWER_S if method == "GET" else LONGEST_S
        async with self._answered(method, path, query, body, total_s=total_s) as response:
            return msgspec.json.decode(await response.read(), type=Json)

    @contextlib.asynccontextmanager
    async def _answered(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | int] | None,
        body: object,
        *,
        total_s: float | None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            with short_name(self._socket) as name:
                async with (
                    aiohttp.ClientSession(
                        connector=aiohttp.UnixConnector(name, force_close=True),
                        timeout=aiohttp.ClientTimeout(total=total_s),
                        read_bufsize=1 << 20,
                    ) as session,
                    session.request(
                        method,
                        f"http://localhost{path}",
                        params=query,
                        data=None if body is None else msgspec.json.encode(body),
                        headers=self._headers,
                    ) as response,
                ):
                    if response.status >= 300:
                        raise _told(await response.read(), response.status)
                    yield response
        except (aiohttp.ClientError, OSError, msgspec.MsgspecError) as error:
            raise Refused("The daemon does not answer.", "Is it being started again? Try once more.") from error


def at(*parts: str) -> str:
    """The path of a route under ``/v1``, each part quoted whole."""
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)


def _told(raw: bytes, status: int) -> Refused:
    try:
        answer = msgspec.json.decode(raw, type=Json)
    except msgspec.MsgspecError:
        return Refused("The daemon's answer is not understood.", "Is it of another version?", status)
    return Refused(str(answer.get("message", "")), str(answer.get("hint", "")), status)
