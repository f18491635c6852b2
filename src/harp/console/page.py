# SPDX-License-Identifier: AGPL-3.0-or-later
"""One request of a browser, as the pages see it: who asks, in which language, and how it is answered."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiohttp import web
from multidict import MultiMapping

from harp.console import render, sessions
from harp.console.client import Client, Json
from harp.console.words import Words

MOST_NOTES = 5


@dataclass(frozen=True, slots=True)
class Note:
    """What is said once at the top of the next page."""

    text: str
    hint: str = ""
    is_bad: bool = False


@dataclass(slots=True)
class Memory:
    """What the console remembers for one session, as long as it runs."""

    notes: list[Note] = field(default_factory=list)
    invitation: Json | None = None
    """The last one; its ticket is a secret."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who is in. ``token`` is a secret that stands for this one, ``client`` asks what this one may ask.

    ``may_all`` is the daemon's owner, or an administrator of the Nextcloud; others see their folders.
    ``back`` leads to the Nextcloud from which they came; empty for who did not.
    """

    token: str = field(repr=False)
    client: Client
    may_all: bool = True
    back: str = ""


class House(Protocol):
    """What a page may want of the console itself."""

    def start_verify(self, client: Client, folder: str) -> None:
        """Begins to check a folder, unless that is under way."""
        ...

    def verification(self, folder: str) -> Json | None:
        """How far the last check of a folder is, or how it ended."""
        ...


@dataclass(frozen=True, slots=True)
class Page:
    """One request. ``base`` is what every address begins with, ``path`` what follows it in this request's."""

    request: web.Request
    house: House
    words: Words
    base: str
    path: str
    memory: Memory
    visitor: Visitor | None
    form: MultiMapping[Any]
    now: float = field(default_factory=time.time)

    @property
    def client(self) -> Client:
        """For pages behind the door only."""
        assert self.visitor is not None
        return self.visitor.client

    @property
    def may_all(self) -> bool:
        return self.visitor is not None and self.visitor.may_all

    @property
    def folder(self) -> str:
        """The folder's id, of the address."""
        return self.request.match_info["folder"]

    def query(self, name: str) -> str:
        return self.request.query.get(name, "")

    def count(self, name: str, known: Sequence[int]) -> int:
        """One of the ``known`` numbers, that which the address asks for; else the first."""
        return next((number for number in known if self.query(name) == str(number)), known[0])

    def field(self, name: str) -> str:
        """A field of the form; empty where it is not there."""
        value = self.form.get(name, "")
        return value if isinstance(value, str) else ""

    def note(self, text: str, hint: str = "", *, is_bad: bool = False) -> None:
        """Says something on the next page."""
        self.memory.notes = [*self.memory.notes, Note(text, hint, is_bad)][-MOST_NOTES:]

    def page(self, template: str, here: str, *, status: int = 200, **values: Any) -> web.Response:
        """A page; ``here`` is the entry of the menu that it belongs to."""
        return web.Response(text=self.text(template, here=here, **values), content_type="text/html", status=status)

    def text(self, template: str, **values: Any) -> str:
        """A template, with what all of them need."""
        notes: list[Note] = []
        # What a page fetches to keep itself up to date is not the next one that a person sees (Fetch Metadata, 2.1).
        if self.request.headers.get("Sec-Fetch-Dest", "document") == "document":
            notes, self.memory.notes = self.memory.notes, []
        common: Mapping[str, Any] = {
            "base": self.base,
            "csrf": sessions.csrf(self.visitor.token) if self.visitor else "",
            "notes": notes,
            "now": self.now,
            "is_in": self.visitor is not None,
            "may_all": self.may_all,
            "nextcloud": self.visitor.back if self.visitor else "",
            "back": self.path,
            "every": 0,
        }
        return render.page(self.words.language, template, {**common, **values})

    def to(self, location: str) -> web.Response:
        """Goes on to another page (303), which is one of ours."""
        return web.Response(status=303, headers={"Location": f"{self.base}{own(location)}"})


def own(location: str) -> str:
    """A path of the console itself: whatever could lead elsewhere becomes the first page."""
    is_ours = location.startswith("/") and not location.startswith(("//", "/\\")) and location.isprintable()
    return location if is_ours and "\\" not in location else "/"


Handler = Callable[[Page], Awaitable[web.StreamResponse]]
