# SPDX-License-Identifier: AGPL-3.0-or-later
"""A browser without a screen: it keeps cookies, follows redirects and can fill in Nextcloud's login page."""

import http.cookiejar
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Any

_TOKEN = re.compile(r'data-requesttoken="([^"]+)"')


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back; ``url`` is where the last redirect led."""

    status: int
    headers: Message
    body: bytes
    url: str

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Browser:
    """Somebody's, at the server of ``base``."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.cookies = http.cookiejar.CookieJar()
        # No proxy of the tester's machine.
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(self.cookies)
        )

    @property
    def cookie_header(self) -> dict[str, str]:
        """The cookies as another client would send them."""
        return {"Cookie": "; ".join(f"{each.name}={each.value}" for each in self.cookies)}

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        return self.ask("GET", path, headers)

    def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        patience_s: float = 60.0,
    ) -> Reply:
        """The answer, whatever its status. Raises :class:`OSError` where there is none."""
        request = urllib.request.Request(self.base + path, body, dict(headers or {}), method=method)
        try:
            with self._opener.open(request, timeout=patience_s) as answer:
                return Reply(answer.status, answer.headers, answer.read(), answer.url)
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, error.headers, error.read(), error.url)

    def log_in(self, name: str, password: str) -> None:
        """Through the login page, as a person does."""
        found = _TOKEN.search(self.get("/index.php/login").text)
        assert found, "the login page has no request token"
        form = {"user": name, "password": password, "requesttoken": found[1], "timezone": "UTC", "timezone_offset": "0"}
        reply = self.ask(
            "POST",
            "/index.php/login",
            {"Origin": self.base, "Content-Type": "application/x-www-form-urlencoded"},
            urllib.parse.urlencode(form).encode(),
        )
        assert "/login" not in reply.url, f"{name} cannot log in: {reply.status} {reply.url}"
        assert any(cookie.name == "oc_sessionPassphrase" for cookie in self.cookies)

    @property
    def request_token(self) -> str:
        """What a script of a page would send as ``requesttoken``."""
        return str(self.get("/index.php/csrftoken").json["token"])
