# SPDX-License-Identifier: AGPL-3.0-or-later
"""Home: each folder in a word, what needs a person first, and what the office saved. And where folders are added."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from harp.console import charts
from harp.console.client import Json, Refused, at
from harp.console.page import Page

SHOWN_DAYS = 31
MOST_DAYS = (31, 92)
SHORTAGES = ("the disk is full", "the disk quota is used up", "the disk is read-only")
"""Why files wait until a person makes room, as :func:`harp.sync.folder.fs.sentence` says it."""


async def show(page: Page) -> web.StreamResponse:
    if not page.may_all:
        return await _show_own(page)
    status, traffic = await asyncio.gather(
        page.client.get(at("status")), page.client.get(at("traffic"), days=SHOWN_DAYS)
    )
    if not status["folders"] and not page.query("skip"):
        return page.to("/guide")
    today = charts.total([day for day in traffic["days"] if day["day"] == traffic["today"]])
    return page.page(
        "home.html",
        "home",
        status=200,
        device=status["device"],
        folders=[entry(folder, status["peers"]) for folder in status["folders"]],
        peers=status["peers"],
        problems=status["problems"],
        columns=charts.columns(traffic["days"], traffic["today"], SHOWN_DAYS),
        month=charts.total(traffic["days"]),
        today=today,
        day_bars=charts.strip(today),
        share=charts.share,
    )


async def _show_own(page: Page) -> web.StreamResponse:
    """The same for a person of a Nextcloud: the folders that are theirs."""
    status = await page.client.get(at("status"))
    shown = [entry(folder, status["peers"]) for folder in status["folders"]]
    return page.page("own.html", "home", folders=shown)


async def traffic(page: Page) -> web.StreamResponse:
    """Where content came from, day by day."""
    found = await page.client.get(at("traffic"), days=page.count("days", MOST_DAYS))
    return page.page("traffic.html", "home", days=found["days"], total=charts.total(found["days"]), counts=MOST_DAYS)


async def folders(page: Page) -> web.StreamResponse:
    """Where a folder is shared, or the ticket of one used."""
    status = await page.client.get(at("status"))
    shown = [entry(folder, status["peers"]) for folder in status["folders"]]
    return page.page("folders.html", "folders", folders=shown, suggested=suggested(status["folders"]))


async def share(page: Page) -> web.StreamResponse:
    path = absolute(page.field("path"))
    shared = await page.client.post(at("folders"), path=path, name=page.field("name").strip() or None, make=True)
    page.note(page.words.gettext("%(name)s is shared now.") % {"name": shared["name"]})
    return page.to("/guide?step=pair" if page.field("guide") else f"/folders/{shared['id']}")


def entry(folder: Json, peers: list[Json]) -> Mapping[str, Any]:
    """A folder with its progress, and with whether it waits for a person, for a list."""
    rate_in = sum(peer["rate_in"] for peer in peers if any(one["id"] == folder["id"] for one in peer["folders"]))
    short = (text for problem in folder["problems"] for text in SHORTAGES if problem["why"].endswith(text))
    shortage = next(short, "")
    waits = bool(folder["held"] or folder["conflicts"] or folder["error"] or shortage)
    return {
        **folder,
        "advance": charts.advance(folder, rate_in),
        "rate_in": rate_in,
        "shortage": shortage,
        "waits": waits,
    }


def suggested(folders: Sequence[Json]) -> str:
    """Where one more folder could lie: in the person's own, under the first name that none of these has."""
    taken = {folder["location"] for folder in folders}
    names = ("Harp" if number == 1 else f"Harp {number}" for number in range(1, len(taken) + 2))
    return next(path for name in names if (path := str(Path.home() / name)) not in taken)


def absolute(text: str) -> str:
    """A path as a person writes it; one that says nothing of where it begins is in their own folder."""
    if not text.strip():
        raise Refused("A path is missing.", "Name a place on this device.", 400)
    try:
        path = Path(text.strip()).expanduser()
    except RuntimeError as error:
        raise Refused("There is nobody of that name on this device.", "Begin with / or with ~/", 400) from error
    return str(path if path.is_absolute() else Path.home() / path)
