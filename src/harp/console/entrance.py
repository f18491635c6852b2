# SPDX-License-Identifier: AGPL-3.0-or-later
"""The console's own way in: a link that works once or a password, then a session; under its own names only."""

import asyncio
import time

from aiohttp import web

from harp.base.errors import HarpError
from harp.console.client import Client, Refused
from harp.console.door import Door
from harp.console.origin import Origins
from harp.console.page import Page, Visitor
from harp.console.password import LEAST_CHARACTERS, Password, Throttle
from harp.console.sessions import SESSION_S, Sessions


class Entrance:
    """Implements :class:`harp.console.door.Way`."""

    def __init__(self, client: Client, sessions: Sessions, password: Password, origins: Origins) -> None:
        self._client = client
        self._sessions = sessions
        self._password = password
        self._origins = origins
        self._password_mark = password.mark
        self._throttle = Throttle()
        self.prefixes = frozenset({"", origins.front.base})

    def add_to(self, app: web.Application, door: Door) -> None:
        self._door = door
        for prefix in sorted(self.prefixes):
            app.router.add_get(f"{prefix}/in/{{token}}", self._enter, allow_head=False)
            app.router.add_get(f"{prefix}/login", self._login_page)
            app.router.add_post(f"{prefix}/login", self._login)
            app.router.add_post(f"{prefix}/logout", door.inside(self._logout))
            app.router.add_get(f"{prefix}/password", door.inside(self._password_page))
            app.router.add_post(f"{prefix}/password", door.inside(self._set_password))

    # --- every request ------------------------------------------------------------------------------------------------

    def demand_ours(self, request: web.Request) -> None:
        if not self._origins.knows_host(request.host):
            raise web.HTTPMisdirectedRequest(text="The console does not answer under this name.\n")
        if request.method not in ("GET", "HEAD") and not self._origins.may_change(
            request.host, request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
        ):
            raise web.HTTPForbidden(text="This was sent by another page than the console's own.\n")

    def base(self, request: web.Request) -> str:
        return self._origins.base(request.host)

    def visitor(self, request: web.Request) -> Visitor | None:
        if self._password.mark != self._password_mark:
            # Who sets another password may have lost the old one to somebody.
            self._password_mark = self._password.mark
            self._sessions.end_all()
        return Visitor(self._token(request), self._client) if self.is_still_in(request) else None

    def is_still_in(self, request: web.Request) -> bool:
        return self._sessions.knows(self._token(request), now=time.time())

    def _token(self, request: web.Request) -> str:
        return request.cookies.get(self._sessions.cookie, "")

    # --- the way in ---------------------------------------------------------------------------------------------------

    def shut(self, page: Page, *, status: int = 401, message: str = "", wait_s: float = 0.0) -> web.Response:
        has_password = self._password.is_set
        response = page.page("entry.html", "", status=status, has_password=has_password, message=message)
        if wait_s:
            response.headers["Retry-After"] = str(int(wait_s) + 1)
        return response

    async def _enter(self, request: web.Request) -> web.StreamResponse:
        page = self._door.page(request)
        if request.headers.get("Sec-Purpose", "").startswith("prefetch"):
            # A browser that looks ahead must not use up what works once.
            raise web.HTTPForbidden(text="Not yet.\n")
        if not self._sessions.redeem(request.match_info["token"], now=page.now):
            said = page.words.gettext("This link was used already, or is too old.")
            return self.shut(page, status=403, message=said)
        # A page and not a redirect: a chain that began at another site would not be given the cookie (SameSite=Strict).
        return self._let_in(request, page.page("welcome.html", ""))

    async def _login_page(self, request: web.Request) -> web.StreamResponse:
        page = self._door.page(request)
        return page.to("/") if page.visitor else self.shut(page, status=200)

    async def _login(self, request: web.Request) -> web.StreamResponse:
        page = self._door.page(request, await request.post())
        gettext = page.words.gettext
        wait_s = self._throttle.wait_s(now=page.now)
        if wait_s:
            said = gettext("Too many wrong passwords. Wait a moment before the next one.")
            return self.shut(page, status=429, message=said, wait_s=wait_s)
        # Counted before it is looked at: many at once are not many free ones.
        self._throttle.failed(now=page.now)
        if not self._password.is_set or not await self._password.is_right(page.field("password")):
            await asyncio.sleep(0.2)
            return self.shut(page, status=403, message=gettext("That is not the password."))
        self._throttle.succeeded()
        return self._let_in(request, page.page("welcome.html", ""))

    def _let_in(self, request: web.Request, response: web.Response) -> web.Response:
        return self._with_cookie(request, response, self._sessions.begin(now=time.time()))

    def _with_cookie(self, request: web.Request, response: web.Response, token: str) -> web.Response:
        response.set_cookie(
            self._sessions.cookie,
            token,
            max_age=int(SESSION_S),
            path=f"{self.base(request)}/",
            httponly=True,
            samesite="Strict",
            secure=self._origins.is_secure(request.host),
        )
        return response

    async def _password_page(self, page: Page) -> web.StreamResponse:
        has_password = self._password.is_set
        return page.page("password.html", "settings", has_password=has_password, least=LEAST_CHARACTERS)

    async def _set_password(self, page: Page) -> web.StreamResponse:
        """As ``harp console --set-password`` does; who knows the cookie alone cannot change a password that is set."""
        gettext, response = page.words.gettext, page.to("/password")
        if page.field("password") != page.field("again"):
            page.note(gettext("The two are not the same."), is_bad=True)
            return response
        if self._password.is_set:
            if self._throttle.wait_s(now=page.now):
                raise Refused("Too many wrong passwords. Wait a moment before the next one.", "", 429)
            self._throttle.failed(now=page.now)
            if not await self._password.is_right(page.field("current")):
                raise Refused("That is not the password.", "", 403)
            self._throttle.succeeded()
        try:
            await self._password.set(page.field("password"))
        except HarpError as error:
            raise Refused(error.message, error.hint, 400) from error
        self._sessions.end_all()
        self._password_mark = self._password.mark
        page.note(gettext("The password is set."))
        token = self._sessions.begin(now=page.now)
        self._door.carry_over(page.memory, token)
        return self._with_cookie(page.request, page.to("/settings"), token)

    async def _logout(self, page: Page) -> web.StreamResponse:
        if page.field("everyone"):
            self._sessions.end_all()
        self._sessions.end(self._token(page.request))
        response = page.to("/login")
        response.del_cookie(self._sessions.cookie, path=f"{page.base}/")
        return response
