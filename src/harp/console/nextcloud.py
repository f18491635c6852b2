# SPDX-License-Identifier: AGPL-3.0-or-later
"""The way in from Nextcloud's menu: who asks says the proxy for External Apps, what they may see says harpbridge.

There is no cookie and no login of the console's own: Nextcloud's proxy looks at Nextcloud's session, each time.
"""

import time
from collections.abc import Mapping
from typing import Protocol
from urllib.parse import quote, urlsplit

from aiohttp import web

from harp.console.client import Client
from harp.console.door import Door
from harp.console.guests import RENEW_S, Guests
from harp.console.page import Page, Visitor, own

PREFIX = "/console"


class Vouching(Protocol):
    """Who knows the proxy's word for a person: :class:`harp.bridge.exapp.ExApp`."""

    id: str

    def person(self, headers: Mapping[str, str]) -> str | None:
        """Their id; empty for nobody known, None where it is not the proxy's word."""

    def token(self, user: str) -> str:
        """What stands for this person in forms: a secret."""


class FromNextcloud:
    """Implements :class:`harp.console.door.Way`. A pass is renewed by a detour over Nextcloud, which nobody notices."""

    def __init__(self, vouching: Vouching, client: Client, guests: Guests) -> None:
        self._vouching = vouching
        self._client = client
        self._guests = guests
        self.prefixes = frozenset({PREFIX})

    def add_to(self, app: web.Application, door: Door) -> None:
        self._door = door
        app.router.add_get(f"{PREFIX}/in", self._enter)

    def demand_ours(self, request: web.Request) -> None:
        if self._vouching.person(request.headers) is None:
            raise web.HTTPForbidden(text="This is reached through Nextcloud alone.\n")
        if request.method not in ("GET", "HEAD") and not _is_own(request):
            raise web.HTTPForbidden(text="This was sent by another page than the console's own.\n")

    def base(self, request: web.Request) -> str:
        return f"/exapps/{self._vouching.id}{PREFIX}"

    def visitor(self, request: web.Request) -> Visitor | None:
        return self._known(request, left_s=RENEW_S if request.method == "GET" else 0.0)

    def is_still_in(self, request: web.Request) -> bool:
        return self._known(request) is not None

    def _known(self, request: web.Request, left_s: float = 0.0) -> Visitor | None:
        """Whose pass is good for so long."""
        user = self._vouching.person(request.headers)
        found = self._guests.of(user, now=time.time() + left_s) if user else None
        if not user or found is None:
            return None
        client = self._client if found.may_all else self._client.on_behalf(user, found.folders)
        return Visitor(self._vouching.token(user), client, found.may_all, self._guests.nextcloud)

    def shut(self, page: Page) -> web.Response:
        gettext, entry = page.words.gettext, self._guests.entry
        if not self._vouching.person(page.request.headers):
            return self._told(page, gettext("Log in to your Nextcloud first."))
        if not entry:
            return self._told(page, gettext("Open Harp from the menu of your Nextcloud."))
        if page.request.method != "GET":
            said = gettext("Nothing was done: your Nextcloud has to say again who you are. Go back, and try once more.")
            return self._told(page, said)
        return web.Response(status=303, headers={"Location": f"{entry}?to={quote(page.path, safe='')}"})

    async def _enter(self, request: web.Request) -> web.StreamResponse:
        """Where Nextcloud sends a person whom it has just vouched for; from here nobody is sent back to it."""
        page = self._door.page(request)
        if page.visitor is None:
            said = page.words.gettext(
                "Your Nextcloud has let you in, but told another daemon than this one: the control socket that"
                " harpbridge asks and the External App have to be of the same daemon."
            )
            return self._told(page, said, status=502)
        return page.to(own(page.query("to")))

    def _told(self, page: Page, message: str, status: int = 401) -> web.Response:
        back = self._guests.nextcloud
        return page.page("outside.html", "", status=status, message=message, entry=self._guests.entry, back_to=back)


def _is_own(request: web.Request) -> bool:
    """Whether a form was sent by a page of this very host: browsers say so, by ``Origin`` where by nothing better.

    Which scheme and port the outer web server has, nobody here knows for sure.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    origin = urlsplit(request.headers.get("Origin", ""))
    return origin.scheme in ("http", "https") and origin.hostname == urlsplit(f"//{request.host}").hostname
