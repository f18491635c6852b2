# SPDX-License-Identifier: AGPL-3.0-or-later
"""Health: the self-test with its remedies, what was logged, versions; a backup; and where the daemon is stopped."""

import asyncio
import platform
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web

from harp.console.client import at
from harp.console.page import Page
from harp.console.pages import home

SHOWN_LINES = (200, 1000)
PORTS = ("console", "websocket")
"""Settings that say where else the daemon is reached."""


async def show(page: Page) -> web.StreamResponse:
    count = page.count("lines", SHOWN_LINES)
    report, log, status, known = await asyncio.gather(
        page.client.get(at("doctor")),
        page.client.get(at("log"), lines=count),
        page.client.get(at("status")),
        page.client.get(at("config")),
    )
    stamp = datetime.now(UTC).strftime("%Y-%m-%d")
    return page.page(
        "health.html",
        "health",
        checks=report["checks"],
        faults=sum(not check["ok"] for check in report["checks"]),
        lines=list(reversed(log["lines"])),
        counts=SHOWN_LINES,
        ports={setting["key"]: setting["value"] for setting in known["settings"] if setting["key"] in PORTS},
        device=status["device"],
        started_at=status["started_at"],
        machine=f"Python {platform.python_version()}, {platform.system()} {platform.release()}",
        suggested=str(Path.home() / f"harp-{stamp}.backup"),
    )


async def backup(page: Page) -> web.StreamResponse:
    made = await page.client.post(at("backup"), path=home.absolute(page.field("path")))
    text = page.words.gettext("The backup is %(path)s (%(size)s).")
    page.note(
        text % {"path": made["location"], "size": page.words.size(made["size_bytes"])},
        page.words.gettext("Keep it as secret as a key: whoever has it can be this device."),
    )
    return page.to("/health")


async def stop(page: Page) -> web.StreamResponse:
    """The answer is sent before the daemon has ended."""
    answer = page.page("stopped.html", "health")
    await page.client.post(at("down"))
    return answer
