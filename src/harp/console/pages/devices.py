# SPDX-License-Identifier: AGPL-3.0-or-later
"""Devices: who there is and what flows between them; a ticket to give away, one to use, one to forget."""

import io
import time

from aiohttp import web

from harp.console import charts
from harp.console.client import Json, at
from harp.console.page import Page
from harp.console.pages import home

EXPIRES_S = (600, 3600, 86_400, 7 * 86_400, 30 * 86_400, 365 * 86_400)
USUAL_S = 3600


async def show(page: Page) -> web.StreamResponse:
    status = await page.client.get(at("status"))
    owned = [folder for folder in status["folders"] if folder["role"] == "owner"]
    return page.page(
        "devices.html",
        "devices",
        device=status["device"],
        peers=status["peers"],
        flows=charts.flows([peer for peer in status["peers"] if peer["is_connected"]]),
        folders=owned,
        chosen=page.query("folder"),
        expiries=EXPIRES_S,
        suggested=home.suggested(status["folders"]),
    )


async def invite(page: Page) -> web.StreamResponse:
    """Makes a ticket; it is shown on a page of its own, to this session alone."""
    folder = page.field("folder")
    made = await page.client.post(
        at("folders", folder, "invitations"),
        read_only=page.field("role") == "read-only",
        expires_s=next((s for s in EXPIRES_S if page.field("expires") == str(s)), USUAL_S),
    )
    status = await page.client.get(at("status"))
    page.memory.invitation = {**made, "made_at": time.time(), "before": _members(status, folder)}
    return page.to("/devices/invitation")


async def invitation(page: Page) -> web.StreamResponse:
    """The ticket as text and as a QR code, how long it is good, and who came."""
    made = page.memory.invitation
    if made is None:
        return page.to("/devices")
    status = await page.client.get(at("status"))
    came = [name for id_, name in _members(status, made["folder"]).items() if id_ not in made["before"]]
    return page.page(
        "invitation.html", "devices", invitation=made, came=came, code=qr(made["ticket"]), device=status["device"]
    )


def _members(status: Json, folder: str) -> dict[str, str]:
    return {
        peer["id"]: peer["name"]
        for peer in status["peers"]
        if any(shared["id"] == folder for shared in peer["folders"])
    }


def qr(text: str) -> str:
    """The path data of a QR code's dark modules (ISO/IEC 18004), and its size: an SVG path on a square."""
    import segno  # only this page pays for it

    code = segno.make(text, error="l", micro=False)
    out = io.BytesIO()
    code.save(out, kind="svg", xmldecl=False, svgns=True, svgclass="qr", lineclass=None, border=4, omitsize=True)
    return out.getvalue().decode()


async def join(page: Page) -> web.StreamResponse:
    path = home.absolute(page.field("path"))
    ticket = "".join(page.field("ticket").split())
    joined = await page.client.post(at("join"), ticket=ticket, path=path, merge=bool(page.field("merge")))
    page.note(page.words.gettext("%(name)s has been joined; its files are on their way.") % {"name": joined["name"]})
    return page.to(f"/folders/{joined['id']}")


async def forget(page: Page) -> web.StreamResponse:
    gone = await page.client.post(at("peers", page.field("device"), "forget"))
    page.note(page.words.gettext("The device is forgotten."))
    if gone["still_in"]:
        text = page.words.gettext("It is still a member of %(folders)s: only an owner can end that.")
        page.note(text % {"folders": ", ".join(gone["still_in"])}, is_bad=True)
    return page.to("/devices")
