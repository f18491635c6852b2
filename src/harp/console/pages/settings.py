# SPDX-License-Identifier: AGPL-3.0-or-later
"""Settings, by what they are about; each says what it does, what it may be, and when it holds."""

import asyncio
from collections.abc import Mapping, Sequence

from aiohttp import web

from harp.console.client import Json, at
from harp.console.page import Page

GROUPS: Mapping[str, Sequence[str]] = {
    "device": ("device_name", "log_level"),
    "line": ("receive_limit", "send_limit", "lan_only", "office_cache"),
    "office": ("lan_subnets", "wan_subnets", "lan_round_trip_ms"),
    "safety": ("trash_days", "trash_share", "guard_files", "guard_share", "guard_entries", "scan_interval_s"),
    "network": ("listen", "discovery"),
    "nextcloud": (
        "websocket",
        "websocket_path",
        "websocket_url",
        "bridge_socket",
        "bridge_group",
        "account_poll_s",
        "journal_poll_s",
        "nextcloud_data",
    ),
    "console": ("console", "console_url", "console_certificate"),
}


async def show(page: Page) -> web.StreamResponse:
    known, shared = await asyncio.gather(page.client.get(at("config")), page.client.get(at("folders")))
    return page.page("settings.html", "settings", groups=grouped(known["settings"]), folders=shared["folders"])


def grouped(known: Sequence[Json]) -> list[tuple[str, list[Json]]]:
    """The settings by group; one that no group names comes last, so that none is missing."""
    by_key = {setting["key"]: setting for setting in known}
    groups = [(name, [by_key.pop(key) for key in keys if key in by_key]) for name, keys in GROUPS.items()]
    return [(name, found) for name, found in [*groups, ("other", list(by_key.values()))] if found]


async def change(page: Page) -> web.StreamResponse:
    """Changes what is another one on the form; the rest stays as it is."""
    gettext = page.words.gettext
    known = (await page.client.get(at("config")))["settings"]
    changed = [
        setting
        for setting in known
        if setting["key"] in page.form and page.field(setting["key"]).strip() != setting["value"]
    ]
    for setting in changed:
        await page.client.put(at("config", setting["key"]), value=page.field(setting["key"]).strip())
    if not changed:
        page.note(gettext("Nothing was changed."))
    elif any(setting["needs_restart"] for setting in changed):
        page.note(gettext("Saved."), gettext("It holds from the next start of the daemon on."))
    else:
        page.note(gettext("Saved."))
    return page.to("/settings")
