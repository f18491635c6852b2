# SPDX-License-Identifier: AGPL-3.0-or-later
"""One folder: who has it and how far they are, what changed, its files and their history, what is held."""

import asyncio
import base64

from aiohttp import web

from harp.console.client import Json, Refused, at
from harp.console.page import Page
from harp.console.pages import home, preview
from harp.console.render import path_key, path_of_key
from harp.console.words import Words

SHOWN_CHANGES = (20, 100, 1000)
SHOWN_FILES = 100
HERE = "here, as the folder has it"
"""What ``why`` answers of a file that waits for nothing."""


async def folder_of(page: Page) -> tuple[Json, list[Json]]:
    """The folder of the address, and the devices. Raises :class:`Refused` where there is none."""
    status = await page.client.get(at("status"))
    found = next((one for one in status["folders"] if one["id"] == page.folder), None)
    if found is None:
        raise Refused(page.words.gettext("This folder is not shared here."), "", 404)
    return home.entry(found, status["peers"]), status["peers"]  # type: ignore[return-value]


async def show(page: Page) -> web.StreamResponse:
    folder, peers = await folder_of(page)
    is_open = folder["state"] != "stopped"
    changes: list[Json] = []
    held: list[Json] = []
    if is_open or folder["role"] != "none":
        listed, waiting = await asyncio.gather(
            page.client.get(at("folders", page.folder, "changes"), limit=page.count("changes", SHOWN_CHANGES)),
            page.client.get(at("folders", page.folder, "held")),
        )
        changes = listed["changes"]
        held = [{**one, "decisions": decisions(one, page.words)} for one in waiting["held"]]
    members = [(peer, shared) for peer in peers for shared in peer["folders"] if shared["id"] == folder["id"]]
    return page.page(
        "folder.html",
        "folders",
        folder=folder,
        members=members,
        changes=changes,
        more=next((count for count in SHOWN_CHANGES if count > len(changes)), 0)
        if len(changes) in SHOWN_CHANGES
        else 0,
        held=held,
        verification=page.house.verification(page.folder),
    )


def decisions(held: Json, words: Words) -> list[tuple[str, str, str]]:
    """What a person may decide on a held set: verb, the button's text and its look."""
    _ = words.gettext
    reject = {
        "deletions": (_("Put the files back"), "primary"),
        "account": (_("Put both sides together"), "primary"),
        "rate": (_("End its membership"), "danger"),
    }
    approve = {
        "account": (_("Do here what happened there"), "danger"),
        "rate": (_("Let it write on"), "primary"),
        "fork": (_("One copy is stopped: go on"), "primary"),
    }
    found = [("reject", *reject[held["kind"]])] if held["kind"] in reject else []
    if held["can_be_approved"]:
        found.append(("approve", *approve.get(held["kind"], (_("Let it happen"), "danger"))))
    return found


async def files(page: Page) -> web.StreamResponse:
    """A directory, or what was found by a text in its path."""
    folder, _ = await folder_of(page)
    wanted = page.query("find").strip()[:1000]
    under = path_of_key(page.query("in"))
    listed = await page.client.get(
        at("folders", page.folder, "files"),
        find=wanted,
        path_b64=under,
        after_b64=path_of_key(page.query("after")),
        limit=SHOWN_FILES,
        deleted=1 if page.query("deleted") else 0,
    )
    return page.page(
        "files.html",
        "folders",
        folder=folder,
        files=listed["files"],
        has_more=listed["has_more"],
        last=path_key(listed["files"][-1]) if listed["files"] else "",
        find=wanted,
        key=page.query("in"),
        crumbs=crumbs(base64.b64decode(under)),
        deleted=page.query("deleted"),
    )


def crumbs(under: bytes) -> list[tuple[str, str]]:
    """(name, key) of each directory from the top to ``under``."""
    parts = [part for part in under.split(b"/") if part]
    found = []
    for count, name in enumerate(parts, start=1):
        path = b"/".join(parts[:count])
        shown = "".join(c if c.isprintable() else "\ufffd" for c in name.decode("utf-8", "replace"))
        found.append((shown, base64.urlsafe_b64encode(path).decode().rstrip("=")))
    return found


async def file(page: Page) -> web.StreamResponse:
    """One file: what it looks like, what it was, why it is not here."""
    folder, _ = await folder_of(page)
    path_b64 = path_of_key(page.query("p"))
    history = await page.client.get(at("folders", page.folder, "history"), path_b64=path_b64)
    versions = history["versions"]
    why: Json | None = None
    current = next((one for one in versions if one["is_current"]), None)
    if current is not None and current["kind"] != "tombstone":
        why = await page.client.get(at("folders", page.folder, "why"), path_b64=path_b64)
        why = None if why["state"] == HERE else why
    shown = next((one for one in versions if one["entry"] == page.query("e")), current)
    return page.page(
        "file.html",
        "folders",
        folder=folder,
        path=versions[0],
        versions=versions,
        current=current,
        why=why,
        shown=shown,
        look=None if shown is None else await preview.of(page, page.folder, path_b64, shown),
    )


async def left_out(page: Page) -> web.StreamResponse:
    """The rules for what is left out."""
    folder, _ = await folder_of(page)
    rules = await page.client.get(at("folders", page.folder, "ignore"))
    return page.page("ignore.html", "folders", folder=folder, rules=rules)


# --- what is done -----------------------------------------------------------------------------------------------------


async def _simply(page: Page, verb: str, said: str) -> web.StreamResponse:
    await page.client.post(at("folders", page.folder, verb))
    page.note(said)
    return page.to(f"/folders/{page.folder}")


async def pause(page: Page) -> web.StreamResponse:
    return await _simply(page, "pause", page.words.gettext("Paused: nothing is looked at or written until you go on."))


async def resume(page: Page) -> web.StreamResponse:
    return await _simply(page, "resume", page.words.gettext("It goes on."))


async def rescan(page: Page) -> web.StreamResponse:
    return await _simply(page, "rescan", page.words.gettext("The whole folder has been looked through."))


async def verify(page: Page) -> web.StreamResponse:
    page.house.start_verify(page.client, page.folder)
    return page.to(f"/folders/{page.folder}#verify")


async def leave(page: Page) -> web.StreamResponse:
    for_all = page.field("for_all") == "yes"
    done = await page.client.post(at("folders", page.folder, "leave"), for_all=for_all)
    page.note(page.words.said(done["message"]))
    return page.to("/folders")


async def leave_out(page: Page) -> web.StreamResponse:
    # Browsers send lines as the form's standard says, with CR and LF; a rule that ends in CR would mean another name.
    shared, local = (page.field(name).replace("\r\n", "\n") for name in ("shared", "local"))
    await page.client.put(at("folders", page.folder, "ignore"), shared=shared, local=local)
    page.note(page.words.gettext("Saved."), page.words.gettext("What is left out from now on stays where it lies."))
    return page.to(f"/folders/{page.folder}/ignore")


async def restore(page: Page) -> web.StreamResponse:
    path_b64 = path_of_key(page.field("p"))
    await page.client.post(at("folders", page.folder, "restore"), path_b64=path_b64, entry=page.field("entry"))
    page.note(page.words.gettext("The version is back."))
    return page.to(f"/folders/{page.folder}/file?p={page.field('p')}")


async def decide(page: Page) -> web.StreamResponse:
    """Approves or rejects exactly the held set that was shown."""
    verb = "approve" if page.field("decision") == "approve" else "reject"
    done = await page.client.post(at("folders", page.folder, "held", page.field("held"), verb))
    page.note(page.words.said(done["message"]))
    return page.to(f"/folders/{page.folder}")
