# SPDX-License-Identifier: AGPL-3.0-or-later
"""The door before every page: who asks, and what forms carry, is looked at here and nowhere else.

There are two ways in: :class:`harp.console.entrance.Entrance`, with a session of the console's own, and
:class:`harp.console.nextcloud.FromNextcloud`, with that of a Nextcloud.
"""

import hmac
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Protocol

from aiohttp import web
from multidict import CIMultiDict, MultiDict, MultiMapping

from harp.base.errors import HarpError
from harp.console import pages, render, sessions
from harp.console.client import Refused
from harp.console.origin import HEADERS
from harp.console.page import Handler, House, Memory, Page, Visitor
from harp.console.stream import Stream
from harp.console.words import Words, chosen, words

_log = logging.getLogger(__name__)

MOST_REMEMBERED = 200
LANGUAGE_COOKIE = "harp-language"

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Way(Protocol):
    """How browsers come to the pages."""

    prefixes: frozenset[str]
    """What the paths of requests begin with, before those of :data:`harp.console.pages.SHOWN`."""

    def demand_ours(self, request: web.Request) -> None:
        """Raises :class:`aiohttp.web.HTTPException` where a request is looked at no further."""

    def base(self, request: web.Request) -> str:
        """What every address of a page begins with, as the browser sees it."""

    def visitor(self, request: web.Request) -> Visitor | None:
        """Who asks, where they are in."""

    def is_still_in(self, request: web.Request) -> bool:
        """The same, for who has a page open."""

    def shut(self, page: Page) -> web.Response:
        """What is shown to who is not in."""

    def add_to(self, app: web.Application, door: "Door") -> None:
        """Adds the addresses that only this way has."""


class Door:
    """On the console's event loop."""

    def __init__(self, way: Way, house: House) -> None:
        self._way = way
        self._house = house
        self._memories: dict[str, Memory] = {}
        self._stream = Stream()

    def add_to(self, app: web.Application) -> None:
        """Adds every address of the console."""
        app.middlewares.append(self._guarded)
        self._way.add_to(app, self)
        for prefix in sorted(self._way.prefixes):
            app.router.add_get(f"{prefix}/static/{{digest}}/{{name}}", _static)
            app.router.add_post(f"{prefix}/language", self._language)
            app.router.add_get(f"{prefix}/events", self._events)
            for path, handler in pages.SHOWN.items():
                app.router.add_get(f"{prefix}{path}", self.inside(self._allowed(path, handler)))
            for path, handler in pages.DONE.items():
                app.router.add_post(f"{prefix}{path}", self.inside(self._allowed(path, handler)))

    def inside(self, handler: Handler) -> Answer:
        """A page for who is in; the others are shown the way in."""

        async def answer(request: web.Request) -> web.StreamResponse:
            page = self.page(request)
            visitor = page.visitor
            if visitor is None:
                return self._way.shut(page)
            if request.method != "POST":
                return await handler(page)
            page = replace(page, form=await request.post())
            if not sessions.is_csrf(visitor.token, page.field("csrf")):
                raise web.HTTPForbidden(text="This form is not of your session: load the page anew.\n")
            try:
                return await handler(page)
            except Refused as refused:
                page.note(*_said(page, refused), is_bad=True)
                return page.to(page.field("back"))

        return answer

    def page(self, request: web.Request, form: MultiMapping[Any] | None = None) -> Page:
        """The request as a page sees it."""
        visitor = self._way.visitor(request)
        base = self._way.base(request)
        path = request.rel_url.raw_path_qs
        for prefix in sorted({base, *self._way.prefixes}, key=len, reverse=True):
            if path.startswith(f"{prefix}/"):
                path = path.removeprefix(prefix)
                break
        return Page(
            request=request,
            house=self._house,
            words=_words(request),
            base=base,
            path=path,
            memory=self._memory(visitor.token) if visitor else Memory(),
            visitor=visitor,
            form=MultiDict() if form is None else form,
        )

    # --- parts --------------------------------------------------------------------------------------------------------

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Answer) -> web.StreamResponse:
        try:
            self._way.demand_ours(request)
            response = await handler(request)
        except web.HTTPNotFound:
            response = self._refused(request, Refused("There is no such page.", "", 404))
        except web.HTTPException as error:
            response = web.Response(status=error.status, text=error.text)
        except Refused as refused:
            response = self._refused(request, refused)
        except HarpError as error:
            response = self._refused(request, Refused(error.message, error.hint, 500))
        except ConnectionError:
            raise
        except Exception:  # noqa: BLE001 - logged whole; the browser gets a neutral text
            _log.exception("console: %s failed", request.match_info.handler)
            response = self._refused(
                request, Refused("Something went wrong inside the console.", "The log under Health says what.", 500)
            )
        if not response.prepared:
            _add_headers(response.headers)
        return response

    def _refused(self, request: web.Request, refused: Refused) -> web.StreamResponse:
        page = self.page(request)
        message, hint = _said(page, refused)
        return page.page("refused.html", "", status=refused.status, message=message, hint=hint)

    @staticmethod
    def _allowed(path: str, handler: Handler) -> Handler:
        """The page, for who may see it."""
        if path in pages.FOR_EVERYBODY:
            return handler

        async def shown(page: Page) -> web.StreamResponse:
            if not page.may_all:
                raise Refused("This page is for administrators.", "", 403)
            return await handler(page)

        return shown

    def carry_over(self, memory: Memory, token: str) -> None:
        """What is remembered of a session is remembered of the one that takes its place."""
        self._memory(token).notes = memory.notes

    def _memory(self, token: str) -> Memory:
        key = sessions.csrf(token)
        while len(self._memories) >= MOST_REMEMBERED and key not in self._memories:
            del self._memories[next(iter(self._memories))]
        return self._memories.setdefault(key, Memory())

    async def _language(self, request: web.Request) -> web.StreamResponse:
        page = self.page(request, await request.post())
        response = page.to(page.field("back"))
        response.set_cookie(
            LANGUAGE_COOKIE, page.field("language")[:8], max_age=365 * 86_400, path=f"{page.base}/", samesite="Strict"
        )
        return response

    async def _events(self, request: web.Request) -> web.StreamResponse:
        page = self.page(request)
        if page.visitor is None:
            return self._way.shut(page)
        return await self._stream.answer(request, page.client, lambda: self._way.is_still_in(request), _add_headers)


async def _static(request: web.Request) -> web.StreamResponse:
    statics = render.statics()
    body = statics.files.get(request.match_info["name"])
    if body is None or not hmac.compare_digest(request.match_info["digest"], statics.digest):
        raise web.HTTPNotFound
    kind = render.TYPES[f".{request.match_info['name'].rpartition('.')[2]}"]
    return web.Response(
        body=body,
        content_type=kind,
        charset="utf-8",
        headers={"Cache-Control": "public, max-age=31536000, immutable"},
    )


def _words(request: web.Request) -> Words:
    return words(chosen(request.cookies.get(LANGUAGE_COOKIE), request.headers.get("Accept-Language", "")))


def _said(page: Page, refused: Refused) -> tuple[str, str]:
    """Of the daemon's own words those are translated that a catalogue has."""
    return page.words.said(refused.message), page.words.said(refused.hint)


def _add_headers(headers: CIMultiDict[str]) -> None:
    # No Strict-Transport-Security: it would hold for whatever else this host serves, on any port.
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
    headers.setdefault("Cache-Control", "no-store")
