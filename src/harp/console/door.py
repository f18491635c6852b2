# SPDX-License-Identifier: AGPL-3.0-or-later
"""The door before every page: host, origin, session and form are looked at here, and nowhere else."""

import asyncio
import hmac
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Protocol

from aiohttp import web
from multidict import CIMultiDict, MultiDict, MultiMapping

from harp.base.errors import HarpError
from harp.console import pages, render, sessions
from harp.console.client import Client, Json, Refused
from harp.console.origin import HEADERS, Origins
from harp.console.page import Handler, Memory, Page
from harp.console.password import Password, Throttle
from harp.console.sessions import SESSION_S, Sessions
from harp.console.stream import Stream
from harp.console.words import Words, chosen, words

_log = logging.getLogger(__name__)

MOST_REMEMBERED = 200
LANGUAGE_COOKIE = "harp-language"


class House(Protocol):
    """What the door guards."""

    client: Client
    sessions: Sessions
    password: Password
    origins: Origins

    def start_verify(self, folder: str) -> None: ...

    def verification(self, folder: str) -> Json | None: ...


_Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Door:
    """On the console's event loop."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._throttle = Throttle()
        self._memories: dict[str, Memory] = {}
        self._password_mark = house.password.mark
        self._stream = Stream(house.client, house.sessions)

    def add_to(self, app: web.Application) -> None:
        """Adds every address, under the root and under the path of the reverse proxy."""
        app.middlewares.append(self._guarded)
        for base in sorted({"", self._house.origins.front.base}):
            app.router.add_get(f"{base}/static/{{digest}}/{{name}}", self._static)
            app.router.add_get(f"{base}/in/{{token}}", self._enter, allow_head=False)
            app.router.add_get(f"{base}/login", self._login_page)
            app.router.add_post(f"{base}/login", self._login)
            app.router.add_post(f"{base}/logout", self._inside(self._logout))
            app.router.add_post(f"{base}/language", self._language)
            app.router.add_get(f"{base}/events", self._events)
            for path, handler in pages.SHOWN.items():
                app.router.add_get(f"{base}{path}", self._inside(handler))
            for path, handler in pages.DONE.items():
                app.router.add_post(f"{base}{path}", self._inside(handler))

    # --- every request ------------------------------------------------------------------------------------------------

    @web.middleware
    async def _guarded(self, request: web.Request, handler: _Answer) -> web.StreamResponse:
        origins = self._house.origins
        try:
            if not origins.knows_host(request.host):
                raise web.HTTPMisdirectedRequest(text="The console does not answer under this name.\n")
            if request.method not in ("GET", "HEAD") and not origins.may_change(
                request.host, request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
            ):
                raise web.HTTPForbidden(text="This was sent by another page than the console's own.\n")
            response = await handler(request)
        except web.HTTPNotFound:
            response = self._refused(request, Refused(self._words(request).gettext("There is no such page."), "", 404))
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
            response = self._refused(request, Refused("Something went wrong inside the console.", "", 500))
        if not response.prepared:
            _add_headers(response.headers)
        return response

    def _refused(self, request: web.Request, refused: Refused) -> web.StreamResponse:
        page = self._page(request, MultiDict())
        message, hint = self._said(page, refused)
        return page.page("refused.html", "", status=refused.status, message=message, hint=hint)

    @staticmethod
    def _said(page: Page, refused: Refused) -> tuple[str, str]:
        """Of the daemon's own words those are translated that a catalogue has."""
        gettext = page.words.gettext
        return refused.message and gettext(refused.message), refused.hint and gettext(refused.hint)

    def _inside(self, handler: Handler) -> _Answer:
        """A page for who is in; the others are shown the way in."""

        async def answer(request: web.Request) -> web.StreamResponse:
            page = self._page(request, MultiDict())
            if not page.token:
                return self._shut(page)
            if request.method != "POST":
                return await handler(page)
            page = replace(page, form=await request.post())
            if not sessions.is_csrf(page.token, page.field("csrf")):
                raise web.HTTPForbidden(text="This form is not of your session: load the page anew.\n")
            try:
                return await handler(page)
            except Refused as refused:
                page.note(*self._said(page, refused), is_bad=True)
                return page.to(page.field("back"))

        return answer

    def _page(self, request: web.Request, form: MultiMapping[Any]) -> Page:
        house = self._house
        if house.password.mark != self._password_mark:
            # Who sets another password may have lost the old one to somebody.
            self._password_mark = house.password.mark
            house.sessions.end_all()
        token = request.cookies.get(house.sessions.cookie, "")
        if not house.sessions.knows(token, now=time.time()):
            token = ""
        return Page(
            request=request,
            house=house,
            words=self._words(request),
            base=house.origins.base(request.host),
            memory=self._memory(token) if token else Memory(),
            token=token,
            form=form,
        )

    def _memory(self, token: str) -> Memory:
        key = sessions.csrf(token)
        while len(self._memories) >= MOST_REMEMBERED and key not in self._memories:
            del self._memories[next(iter(self._memories))]
        return self._memories.setdefault(key, Memory())

    @staticmethod
    def _words(request: web.Request) -> Words:
        return words(chosen(request.cookies.get(LANGUAGE_COOKIE), request.headers.get("Accept-Language", "")))

    # --- the way in ---------------------------------------------------------------------------------------------------

    def _shut(self, page: Page, *, status: int = 401, message: str = "", wait_s: float = 0.0) -> web.Response:
        response = page.page(
            "entry.html",
            "",
            status=status,
            has_password=self._house.password.is_set,
            message=message,
            wait_s=wait_s,
        )
        if wait_s:
            response.headers["Retry-After"] = str(int(wait_s) + 1)
        return response

    async def _enter(self, request: web.Request) -> web.StreamResponse:
        page = self._page(request, MultiDict())
        if request.headers.get("Sec-Purpose", "").startswith("prefetch"):
            # A browser that looks ahead must not use up what works once.
            raise web.HTTPForbidden(text="Not yet.\n")
        if not self._house.sessions.redeem(request.match_info["token"], now=page.now):
            said = page.words.gettext("This link was used already, or is too old.")
            return self._shut(page, status=403, message=said)
        # A page and not a redirect: a chain that began at another site would not be given the cookie (SameSite=Strict).
        return self._let_in(request, page.page("welcome.html", ""))

    async def _login_page(self, request: web.Request) -> web.StreamResponse:
        page = self._page(request, MultiDict())
        return page.to("/") if page.token else self._shut(page, status=200)

    async def _login(self, request: web.Request) -> web.StreamResponse:
        page = self._page(request, await request.post())
        gettext = page.words.gettext
        wait_s = self._throttle.wait_s(now=page.now)
        if wait_s:
            said = gettext("Too many wrong passwords. Wait a moment before the next one.")
            return self._shut(page, status=429, message=said, wait_s=wait_s)
        # Counted before it is looked at: many at once are not many free ones.
        self._throttle.failed(now=page.now)
        if not self._house.password.is_set or not await self._house.password.is_right(page.field("password")):
            await asyncio.sleep(0.2)
            return self._shut(page, status=403, message=gettext("That is not the password."))
        self._throttle.succeeded()
        return self._let_in(request, page.page("welcome.html", ""))

    def _let_in(self, request: web.Request, response: web.Response) -> web.Response:
        origins, kept = self._house.origins, self._house.sessions
        response.set_cookie(
            kept.cookie,
            kept.begin(now=time.time()),
            max_age=int(SESSION_S),
            path=f"{origins.base(request.host)}/",
            httponly=True,
            samesite="Strict",
            secure=origins.is_secure(request.host),
        )
        return response

    async def _logout(self, page: Page) -> web.StreamResponse:
        if page.field("everyone"):
            self._house.sessions.end_all()
        self._house.sessions.end(page.token)
        response = page.to("/login")
        response.del_cookie(self._house.sessions.cookie, path=f"{page.base}/")
        return response

    async def _language(self, request: web.Request) -> web.StreamResponse:
        page = self._page(request, await request.post())
        response = page.to(page.field("back"))
        response.set_cookie(
            LANGUAGE_COOKIE, page.field("language")[:8], max_age=365 * 86_400, path=f"{page.base}/", samesite="Strict"
        )
        return response

    # --- what is no page ----------------------------------------------------------------------------------------------

    async def _static(self, request: web.Request) -> web.StreamResponse:
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

    async def _events(self, request: web.Request) -> web.StreamResponse:
        page = self._page(request, MultiDict())
        if not page.token:
            return web.Response(status=401, text="You are not in.\n")
        return await self._stream.answer(request, page.token, _add_headers)


def _add_headers(headers: CIMultiDict[str]) -> None:
    # No Strict-Transport-Security: it would hold for whatever else this host serves, on any port.
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
    headers.setdefault("Cache-Control", "no-store")
