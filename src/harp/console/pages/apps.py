# SPDX-License-Identifier: AGPL-3.0-or-later
"""Apps, where the proxy runs: their state, routes and figures; who is banned, and a way to lift that."""

from aiohttp import web

from harp.console.client import at
from harp.console.page import Page

LINES = (200, 1000)
"""How many of what a container has said are shown: as many as are asked for, among these."""
WORKING_S, IDLE_S = 2, 30
"""How often an open page looks anew: while an app is being deployed, and else. Events tell of folders alone."""


async def show(page: Page) -> web.StreamResponse:
    proxy = await page.client.get(at("proxy"))
    is_working = any(step["ended_at"] is None for step in proxy["steps"])
    every = 0 if not proxy["is_running"] else WORKING_S if is_working else IDLE_S
    return page.page("apps.html", "apps", proxy=proxy, every=every)


async def log(page: Page) -> web.StreamResponse:
    """What the container of a deployed app has said last."""
    name = page.query("container")
    found = await page.client.get(at("proxy", "containers", name, "log"), lines=page.count("lines", LINES))
    return page.page("applog.html", "apps", name=name, lines=found["lines"], counts=LINES)


async def configuration(page: Page) -> web.StreamResponse:
    """What HAProxy was given to follow."""
    found = await page.client.get(at("proxy", "config"))
    return page.page("proxyconfig.html", "apps", text=found["text"])


async def doctor(page: Page) -> web.StreamResponse:
    """The proxy's own self-test, which walks both ways and takes seconds."""
    public, control = (page.query(name).strip()[:1000] for name in ("public", "control"))
    checks = (await page.client.get(at("proxy", "doctor"), public=public, control=control))["checks"]
    faults = sum(not check["ok"] for check in checks)
    return page.page("proxydoctor.html", "apps", checks=checks, faults=faults, public=public, control=control)


async def lift(page: Page) -> web.StreamResponse:
    done = await page.client.post(at("proxy", "bans", page.field("client"), "lift"))
    page.note(page.words.said(done["message"]))
    return page.to("/apps")
