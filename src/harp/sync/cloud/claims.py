# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who mirrors an account: a note of every mirror, kept in the account itself, so that two daemons learn of one another.

It is a dead property (RFC 4918, 4) of the account's top folder. Nextcloud keeps such for each user, shows them to that
user alone and leaves the folder's etag as it is (seen on 32.0.1), so that no other client is woken by it.
"""

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from urllib.parse import quote
from xml.sax.saxutils import escape

import aiohttp

from harp.base.errors import StaleError
from harp.sync.cloud import multistatus
from harp.sync.cloud.dav import Login, asked, moment
from harp.sync.cloud.nodes import CloudPath, is_below
from harp.sync.cloud.refusals import RefusedError

MOST = 32
"""So many are kept; whoever comes then takes the place of the one that ends first."""
_MOST_TEXT = 400
LONGEST_S = 7 * 86_400
"""A note that says it holds for longer was written by a clock, or by somebody, that is not to be believed."""


@dataclass(frozen=True, slots=True)
class Claim:
    """``mirror`` (any text that no two folders of Harp have) keeps ``path`` the same as a folder on ``device``.

    ``run`` is another one each time that the daemon starts; ``until`` is when the note ends, in seconds by the
    server's clock.
    """

    mirror: str
    run: str
    device: str
    path: str
    until: int

    def meets(self, other: "Claim") -> bool:
        """Whether both are about the same files, or one about some of the other's."""
        mine, theirs = CloudPath(self.path.strip("/")), CloudPath(other.path.strip("/"))
        return mine == theirs or is_below(mine, theirs) or is_below(theirs, mine)


def read(text: str, *, now: int) -> tuple[Claim, ...]:
    """The notes that hold at ``now``; whatever of ``text`` is not as it should be counts as not said."""
    try:
        told = json.loads(text) if text else []
    except (ValueError, RecursionError):
        return ()
    found = [one for item in told if (one := _claim(item)) is not None] if isinstance(told, list) else []
    return tuple(one for one in found if now < one.until <= now + LONGEST_S)[:MOST]


def _claim(told: object) -> Claim | None:
    if not isinstance(told, dict):
        return None
    texts = [told.get(name) for name in ("mirror", "run", "device", "path")]
    until = told.get("until")
    if not all(isinstance(one, str) and len(one) <= _MOST_TEXT for one in texts) or type(until) is not int:
        return None
    mirror, run, device, path = map(str, texts)
    return Claim(mirror, run, device, path, until)


def written(claims: Iterable[Claim]) -> str:
    """As :func:`read` takes it."""
    latest = sorted(claims, key=lambda one: -one.until)[:MOST]
    return json.dumps([asdict(one) for one in latest], ensure_ascii=True)


class Register:
    """The notes in one account. Its methods raise a :class:`CloudError`."""

    def __init__(self, session: aiohttp.ClientSession, login: Login, user_id: str) -> None:
        self._session = session
        self._login = login
        self._url = f"{login.url.rstrip('/')}/remote.php/dav/files/{quote(user_id, safe='')}/"

    async def read(self) -> tuple[Sequence[Claim], int]:
        """The notes that hold, and the time by the server's clock (by this one's, where it does not say)."""
        raw, now = await self._told("PROPFIND", multistatus.ASK_CLAIMS, {"Depth": "0"})
        return read(multistatus.top_properties(raw).get("claims", ""), now=now), now

    async def write(self, claims: Iterable[Claim]) -> None:
        """Takes the place of all notes. Raises :class:`RefusedError` where the server keeps no such property."""
        body = multistatus.KEEP_CLAIMS.format(claims=escape(written(claims))).encode()
        raw, _ = await self._told("PROPPATCH", body, {})
        if "claims" not in multistatus.top_properties(raw):
            raise RefusedError("the server keeps no properties of a client")

    async def _told(self, method: str, body: bytes, headers: dict[str, str]) -> tuple[bytes, int]:
        headers = {**headers, "Content-Type": "application/xml"}
        async with asked(self._session, self._login, method, self._url, headers=headers, data=body) as response:
            if response.status != 207:
                raise StaleError(f"{method} of the account's folder answered {response.status}")
            return await response.read(), moment(response) or int(time.time())
