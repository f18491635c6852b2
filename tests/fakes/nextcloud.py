# SPDX-License-Identifier: AGPL-3.0-or-later
"""What HaRP asks of Nextcloud: which ExApp has which routes, and who a credential is. It counts what it is asked.

``python -m tests.fakes.nextcloud SETTINGS.json`` serves it alone, for the bench: ``{"port": 8080, "key": "…", "apps":
{id: record}, "people": {credential: [user_id, level]}, "delay_s": 0.03}``; ``GET /stand-in/calls`` then says how many
calls of each kind came, and ``/stand-in/forget`` begins to count anew.
"""

import asyncio
import http.cookies
import json
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.fakes.served import Served

META, USER = "exapp-meta", "user-info"
ANONYMOUS, ORDINARY, ADMIN = 0, 1, 2
PASSPHRASE = "oc_sessionPassphrase"
_ROOT = "/index.php/apps/app_api/harp/"


@dataclass(frozen=True, slots=True)
class Call:
    """One question: ``kind`` is :data:`META` or :data:`USER`, ``app`` the ``appId`` of the query."""

    kind: str
    app: str
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    at: float

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def credential(self) -> str:
        """The passphrase cookie or, without one, the Authorization."""
        for line in self.values("cookie"):
            if (found := http.cookies.SimpleCookie(line).get(PASSPHRASE)) is not None:
                return found.value
        return next(iter(self.values("authorization")), "")


@dataclass(slots=True)
class Nextcloud:
    """``apps``: by id a record, a status to answer with, or a text to send as it is. ``people``: by credential a user
    id with its level, a status, or a text. ``slow``: by app id or credential the seconds that an answer takes, besides
    ``delay_s`` that each takes. ``throttled``: addresses that get 429, as after too many attempts."""

    key: str
    apps: dict[str, Mapping[str, Any] | int | str] = field(default_factory=dict)
    people: dict[str, tuple[str, int] | int | str] = field(default_factory=dict)
    slow: dict[str, float] = field(default_factory=dict)
    throttled: set[str] = field(default_factory=set)
    delay_s: float = 0.0
    calls: list[Call] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def asked(self, kind: str, app: str | None = None, credential: str | None = None) -> list[Call]:
        """What came so far, oldest first."""
        with self._lock:
            calls = list(self.calls)
        return [
            call
            for call in calls
            if call.kind == kind and app in (None, call.app) and credential in (None, call.credential)
        ]

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        call = Call(
            kind=request.path.removeprefix(_ROOT),
            app=request.query.get("appId", ""),
            method=request.method,
            target=request.raw_path,
            headers=tuple(request.headers.items()),
            at=time.monotonic(),
        )
        with self._lock:
            self.calls.append(call)
        known: object = None
        if request.method == "GET" and request.path == _ROOT + META:
            known = self.apps.get(call.app, 401)
        elif request.method == "GET" and request.path == _ROOT + USER:
            known = self.people.get(call.credential, ("", ANONYMOUS)) if call.app in self.apps else 401
        await asyncio.sleep(self.delay_s + self.slow.get(call.app, 0.0) + self.slow.get(call.credential, 0.0))
        return self._said(call, known)

    def _said(self, call: Call, known: object) -> web.Response:
        if known is None:
            return web.json_response({"message": "no such page"}, status=404)
        if self.throttled.intersection(call.values("x-forwarded-for")):
            return web.json_response({"message": "too many requests"}, status=429)
        if call.values("harp-shared-key") != [self.key]:
            return web.json_response({"message": "Harp shared key is not valid"}, status=401)
        match known:
            case int():
                return web.json_response({"message": f"a {known}"}, status=known)
            case str():
                return web.Response(text=known, content_type="application/json")
            case (user, level):
                return web.json_response({"user_id": user, "access_level": level})
            case _:
                return web.json_response(known)

    def counts(self) -> Counter[str]:
        with self._lock:
            return Counter(call.kind for call in self.calls)

    def forget(self) -> None:
        with self._lock:
            self.calls.clear()


def main(settings: Path) -> int:
    """Serve until TERM."""
    asked = json.loads(settings.read_text())
    nextcloud = Nextcloud(
        key=asked["key"],
        apps=asked["apps"],
        people={credential: (user, level) for credential, (user, level) in asked["people"].items()},
        delay_s=asked.get("delay_s", 0.0),
    )

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/stand-in/calls":
            return web.json_response(nextcloud.counts())
        if request.path == "/stand-in/forget":
            nextcloud.forget()
            return web.Response(status=204)
        return await nextcloud.answer(request)

    served = Served(answer, port=asked["port"])
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    served.start()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    served.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
