# SPDX-License-Identifier: AGPL-3.0-or-later
"""The journal of a Nextcloud's app harpbridge, as far as somebody needs it who only wants to know when to look."""

from dataclasses import dataclass

import aiohttp

from harp.base.errors import CloudError
from harp.sync.cloud.dav import Login, asked, read_json


@dataclass(frozen=True, slots=True)
class Mark:
    """One of the two is another number as soon as anybody's file has changed: docs/reference/harpbridge.md.

    ``newest`` is the last row's id; ``recent`` counts the rows among the last thousand ids, because ids are given out
    before rows are committed.
    """

    newest: int
    recent: int


async def mark(session: aiohttp.ClientSession, login: Login) -> Mark:
    """How far the journal has come. Raises :class:`CloudError`, :class:`StaleError` where the server has none."""
    url = f"{login.url.rstrip('/')}/ocs/v2.php/apps/harpbridge/api/v1/journal/mark?format=json"
    async with asked(session, login, "GET", url) as response:
        told = await read_json(response)
    try:
        data = told["ocs"]["data"]
        found = Mark(data["newest"], data["recent"])
    except (KeyError, TypeError):
        found = None
    if found is None or type(found.newest) is not int or type(found.recent) is not int:
        raise CloudError(f"{login.url} does not answer as harpbridge does", hint="update the older of the two")
    return found
