# SPDX-License-Identifier: AGPL-3.0-or-later
"""Nextcloud accounts: log in by a browser or with an app password, share a folder of one, forget one."""

from aiohttp import web

from harp.console.client import at
from harp.console.page import Page
from harp.console.pages import home

WAITING_S = 2
"""How often an open page looks whether a person has agreed."""


async def show(page: Page) -> web.StreamResponse:
    found = await page.client.get(at("accounts"))
    waiting = [login for login in found["logins"] if not login["error"]]
    return page.page(
        "accounts.html",
        "folders",
        accounts=found["accounts"],
        logins=found["logins"],
        every=WAITING_S if waiting else 0,
    )


async def log_in(page: Page) -> web.StreamResponse:
    """With an app password at once; without one a login is begun that ends on a page of the Nextcloud."""
    name, url = page.field("name").strip(), page.field("url").strip()
    user, password = page.field("user").strip(), page.field("password")
    ca_file = home.absolute(page.field("ca_file")) if page.field("ca_file").strip() else ""
    if user or password:
        await page.client.post(at("accounts"), name=name, url=url, user=user, password=password, ca_file=ca_file)
        page.note(page.words.gettext("%(name)s is there now. Share a folder of it.") % {"name": name})
    else:
        await page.client.post(at("accounts", name, "login"), url=url, ca_file=ca_file)
    return page.to("/accounts")


async def share(page: Page) -> web.StreamResponse:
    """Makes a folder that mirrors one of the account."""
    path = "/" + page.field("path").strip().strip("/")
    place = home.absolute(page.field("place")) if page.field("place").strip() else None
    shared = await page.client.post(
        at("folders"),
        account=page.field("account"),
        path=path,
        name=page.field("name").strip() or None,
        place=place,
        merge=bool(page.field("merge")),
    )
    page.note(page.words.gettext("%(name)s is shared now.") % {"name": shared["name"]})
    return page.to(f"/folders/{shared['id']}")


async def forget(page: Page) -> web.StreamResponse:
    done = await page.client.delete(at("accounts", page.field("account")))
    page.note(page.words.said(done["message"]))
    return page.to("/accounts")
