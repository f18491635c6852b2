# SPDX-License-Identifier: AGPL-3.0-or-later
"""Nothing that the command line can do is missing from the console, nor the other way round.

Held against the command line's own tree of verbs, arguments and options, and against the table of ``/v1``; the pages
are those of a console before a fake daemon. The verbs: harp.cli.main and the modules that it names.
"""

from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

import click
import pytest

from harp.bridge.routes import ROUTES
from harp.cli.main import harp
from harp.console import pages
from tests.fakes.daemon import ENTRY, PHOTOS, FakeDaemon
from tests.unit.test_api import CALLS
from tests.unit.test_console_server import PATH_KEY, Browser, browser, daemon

__all__ = ["browser", "daemon"]

FOLDER, FILE = f"/folders/{PHOTOS}", f"/folders/{PHOTOS}/file?p={PATH_KEY}"


class On(NamedTuple):
    """A page of the console, and what stands on it: a field of a form, or the address that a form or link leads to."""

    page: str
    field: str = ""
    leads_to: str = ""


LIVE = "an open page follows by itself, for as long as it is open"
TERMINAL = "is about the terminal"

# Each verb, argument and option, and where the console has it; or, in words, why it has not.
CONSOLE: Mapping[str, On | str] = {
    "up PATH": On("/folders", "path"),
    "up --listen": On("/settings", "listen"),
    "up --websocket": On("/settings", "websocket"),
    "up --no-discovery": On("/settings", "discovery"),
    "up --lan-only": On("/settings", "lan_only"),
    "up --console": On("/settings", "console"),
    "up --no-console": On("/settings", "console"),
    "down": On("/health", leads_to="/health/stop"),
    "console": "whoever reads this is in",
    "console --print": TERMINAL,
    "console --set-password": On("/password", "password"),
    "id": On("/devices"),
    "share PATH": On("/folders", "path"),
    "share --name": On("/folders", "name"),
    "share --make": "the console always makes it",
    "share --at": On("/accounts", "place"),
    "share --merge": On("/accounts", "merge"),
    "folders": On("/folders"),
    "pause NAME": On(FOLDER, leads_to=f"{FOLDER}/pause"),
    "resume NAME": "the button takes the place of Pause; the browser's tests press it",
    "leave NAME": On(FOLDER, leads_to=f"{FOLDER}/leave"),
    "leave --for-all": On(FOLDER, "for_all"),
    "wait NAME": LIVE,
    "wait --timeout": LIVE,
    "verify NAME": On(FOLDER, leads_to=f"{FOLDER}/verify"),
    "account add NAME": On("/accounts", "name"),
    "account add URL": On("/accounts", "url"),
    "account add --user": On("/accounts", "user"),
    "account add --ca": On("/accounts", "ca_file"),
    "account list": On("/accounts"),
    "account remove NAME": On("/accounts", "account"),
    "invite NAME": On("/devices", "folder"),
    "invite --read-only": On("/devices", "role"),
    "invite --expires": On("/devices", "expires"),
    "invite --qr": On("/devices", leads_to="/devices/invite"),
    "join TICKET": On("/devices", "ticket"),
    "join PATH": On("/devices", "path"),
    "join --merge": On("/devices", "merge"),
    "peers": On("/devices"),
    "forget DEVICE": On("/devices", "device"),
    "status": On("/"),
    "status --follow": LIVE,
    "history NAME": On(FILE),
    "history PATH": On(FOLDER, leads_to=FILE),
    "files NAME": On(FOLDER, leads_to=f"{FOLDER}/files"),
    "files PATH": On(f"{FOLDER}/files", leads_to=f"{FOLDER}/files"),
    "files --find": On(FOLDER, "find"),
    "files --deleted": On(f"{FOLDER}/files", leads_to=f"{FOLDER}/files?in=&deleted=1"),
    "files --limit": "there are as many pages as it takes",
    "changes NAME": On(FOLDER),
    "changes --limit": "“Older ones too”, up to a thousand; shown where there are any",
    "cat NAME": On(FILE),
    "cat PATH[@ENTRY]": On(f"{FILE}&e={ENTRY}", leads_to=f"{FOLDER}/download?p={PATH_KEY}&e={ENTRY}&name=a.txt"),
    "why NAME": On(FILE),
    "why PATH": On(FOLDER, leads_to=FILE),
    "conflicts NAME": On(FOLDER, leads_to=f"{FOLDER}/conflicts"),
    "restore NAME": On(FILE, leads_to=f"{FOLDER}/restore"),
    "restore PATH@ENTRY": On(FILE, "entry"),
    "resolve NAME": On(f"{FOLDER}/conflicts", leads_to=f"{FOLDER}/resolve"),
    "resolve PATH": On(f"{FOLDER}/conflicts", "p"),
    "resolve --keep": On(f"{FOLDER}/conflicts", "keep"),
    "held NAME": On(FOLDER),
    "approve NAME": On(FOLDER, leads_to=f"{FOLDER}/held"),
    "approve HELD_ID": On(FOLDER, "held"),
    "reject NAME": On(FOLDER, leads_to=f"{FOLDER}/held"),
    "reject HELD_ID": On(FOLDER, "held"),
    "proxy": "a service of its own, or of `harp up`",
    "proxy agent": "HAProxy's, not a person's",
    "proxy status": On("/apps"),
    "proxy deployments": On("/apps"),
    "proxy bans": On("/apps"),
    "proxy unban IP": On("/apps", "client"),
    "proxy log CONTAINER": On("/apps", leads_to="/apps/log?container=nc_app_x"),
    "proxy log --lines": "“Show 1,000”, shown where there are as many",
    "proxy config": On("/apps", leads_to="/apps/config"),
    "proxy doctor": On("/apps", leads_to="/apps/doctor"),
    "proxy doctor --public": On("/apps/doctor", "public"),
    "proxy doctor --control": On("/apps/doctor", "control"),
    "ignore NAME": On("/settings", leads_to=f"{FOLDER}/ignore"),
    "ignore --set": On(f"{FOLDER}/ignore", "shared"),
    "ignore --local": On(f"{FOLDER}/ignore", "local"),
    "traffic": On("/", leads_to="/traffic"),
    "traffic --days": On("/traffic", leads_to="/traffic?days=92"),
    "log": On("/health"),
    "log --lines": "“Show 1,000”, shown where there are as many",
    "config get KEY": On("/settings", "trash_days"),
    "config set KEY": On("/settings", "trash_days"),
    "config set VALUE": On("/settings", "trash_days"),
    "backup FILE": On("/health", "path"),
    "restore-backup FILE": "only where no daemon runs, and so no console",
    "completion SHELL": TERMINAL,
    "doctor": On("/health"),
}
EVERYWHERE = {"home", "as_json", "help"}

# Routes of /v1 that no page asks, each with the reason.
UNASKED = {
    "get_peers": "the status says it",
    "post_folders_folder_wait": LIVE,
    "post_folders_folder_resume": "test_console_server.py presses it; it takes the place of Pause",
    "post_accounts": "with an app password; test_accounts.py in the browser gives one",
    "post_console": "whoever reads this is in",
    "post_console_guests": "harpbridge asks it",
}


def commands(group: click.Group, before: str = "") -> Iterator[str]:
    """The name of each verb that takes nothing, and each verb with one of its arguments or options."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        verb = f"{before}{name}"
        taken = [one for one in command.params if one.name not in EVERYWHERE]
        if isinstance(command, click.Group):
            yield from commands(command, f"{verb} ")
            if not command.invoke_without_command:
                continue
        has_argument = any(isinstance(one, click.Argument) for one in taken)
        if not has_argument:
            yield verb
        for one in taken:
            yield f"{verb} {one.opts[-1] if isinstance(one, click.Option) else (one.metavar or str(one.name)).upper()}"


class Found(HTMLParser):
    """The fields and addresses of a page, and each form with what it would send."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fields: set[str] = set()
        self.addresses: set[str] = set()
        self.forms: list[tuple[str, dict[str, str]]] = []
        self._is_open = False
        self._select = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        self.addresses |= {named[name] for name in ("href", "action") if name in named}
        if tag == "form":
            self._is_open = named.get("method") == "post"
            if self._is_open:
                self.forms.append((named["action"], {}))
        if name := named.get("name", "") if tag in ("input", "select", "textarea", "button") else "":
            self.fields.add(name)
            self._select = name if tag == "select" else ""
            # What a person would tick stays as it is; of several buttons the last one is pressed.
            if self._is_open and named.get("type") != "checkbox":
                self.forms[-1][1][name] = named.get("value", "x" if "required" in named else "")
        if tag == "option" and self._select and self._is_open and not self.forms[-1][1][self._select]:
            self.forms[-1][1][self._select] = named.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._is_open = False


async def page(browser: Browser, path: str) -> Found:
    status, text, _ = await browser.get(path)
    assert status == 200, (path, status)
    return Found(text)


def test_each_verb_and_option_has_a_place_in_the_console_or_a_reason() -> None:
    assert set(commands(harp)) == set(CONSOLE)


@pytest.mark.parametrize("path", sorted({where.page for where in CONSOLE.values() if isinstance(where, On)}))
async def test_what_has_a_place_stands_there(browser: Browser, path: str) -> None:
    await browser.enters()
    found = await page(browser, path)
    for verb, where in CONSOLE.items():
        if isinstance(where, On) and where.page == path:
            assert not where.field or where.field in found.fields, verb
            assert not where.leads_to or where.leads_to in found.addresses, (verb, sorted(found.addresses))


async def test_the_console_asks_for_all_that_can_be_asked(
    browser: Browser, daemon: FakeDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    await browser.enters()
    for pattern in pages.SHOWN:
        path = pattern.format(folder=PHOTOS)
        if path in ("/devices/invitation", f"{FOLDER}/picture"):
            continue
        found = await page(browser, f"{path}?p={PATH_KEY}&container=nc_app_x&e={ENTRY}")
        for action, form in found.forms:
            if action not in ("/logout", "/language", "/health/stop"):
                status, _, _ = await browser.sends(action, **{**form, "csrf": browser.csrf()})
                assert status in (200, 303), (path, action, status)
    await browser.get("/events")
    await browser.sends("/health/stop")
    asked = {call[0] for call in daemon.calls}
    unasked = {route.name for route in ROUTES if CALLS[route.name][0] not in asked}
    assert unasked == set(UNASKED)
