# SPDX-License-Identifier: AGPL-3.0-or-later
"""The first start, in three steps: name this device, choose a folder, pair a second device."""

from aiohttp import web

from harp.console.client import at
from harp.console.page import Page
from harp.console.pages import devices, home

STEPS = ("name", "folder", "pair")


async def show(page: Page) -> web.StreamResponse:
    status = await page.client.get(at("status"))
    step = page.query("step")
    if step not in STEPS:
        step = "name"
    return page.page(
        "guide.html",
        "home",
        step=step,
        expiries=devices.EXPIRES_S,
        steps=STEPS,
        device=status["device"],
        folders=[folder for folder in status["folders"] if folder["role"] == "owner"],
        suggested=home.suggested(status["folders"]),
    )


async def name(page: Page) -> web.StreamResponse:
    wanted = page.field("name").strip()
    if wanted:
        await page.client.put(at("config", "device_name"), value=wanted)
    return page.to("/guide?step=folder")
