# SPDX-License-Identifier: AGPL-3.0-or-later
"""Conflicts, side by side: texts as texts, pictures as pictures, and which one to keep."""

import contextlib
from urllib.parse import quote

from aiohttp import web

from harp.console.client import Json, Refused, at
from harp.console.page import Page
from harp.console.pages import preview
from harp.console.pages.folder import folder_of
from harp.console.render import path_key, path_of_key

SHOWN = 10


async def show(page: Page) -> web.StreamResponse:
    folder, _ = await folder_of(page)
    conflicts = (await page.client.get(at("folders", page.folder, "conflicts")))["conflicts"]
    shown = [await _compared(page, conflict) for conflict in conflicts[:SHOWN]]
    return page.page("conflicts.html", "folders", folder=folder, conflicts=shown, count=len(conflicts))


async def _compared(page: Page, conflict: Json) -> Json:
    key = path_key(conflict)
    path_b64 = path_of_key(key)
    looks = [await preview.of(page, page.folder, path_b64, version) for version in conflict["versions"]]
    lines: list[list[tuple[str, bool]]] = [[] for _ in looks]
    if all(look.kind == "text" for look in looks):
        lines = preview.side_by_side([look.text for look in looks])
    versions = [
        {**version, "look": look, "lines": marked}
        for version, look, marked in zip(conflict["versions"], looks, lines, strict=True)
    ]
    return {**conflict, "key": key, "versions": versions}


async def picture(page: Page) -> web.StreamResponse:
    """A version that is a picture, as one; anything else is refused, whatever it calls itself."""
    path_b64 = path_of_key(page.query("p"))
    body = await preview.whole(page, page.folder, path_b64, page.query("e"), preview.MOST_PICTURE)
    media_type = preview.picture_type(body)
    if not media_type:
        raise Refused(page.words.gettext("This is no picture."), "", 415)
    headers = {"Content-Security-Policy": "default-src 'none'; sandbox", "Cache-Control": "private, max-age=3600"}
    return web.Response(body=body, content_type=media_type, headers=headers)


async def download(page: Page) -> web.StreamResponse:
    """A version as a file to be saved; no browser shows it as a page."""
    path_b64, entry = path_of_key(page.query("p")), page.query("e")
    first = await preview.piece(page, page.folder, path_b64, entry, 0, 1)
    name = page.query("name") or "file"
    response = web.StreamResponse(
        headers={
            "Content-Type": "application/octet-stream",
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name.rpartition('/')[2][:200], safe='')}",
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
        }
    )
    await response.prepare(page.request)
    offset, is_more = 0, bool(first)
    while is_more:
        try:
            data = await preview.piece(page, page.folder, path_b64, entry, offset, 512 * 1024)
        except Refused:
            # The head is sent: a connection that ends too early is all that can still tell of it.
            if page.request.transport is not None:
                page.request.transport.abort()
            break
        await response.write(data)
        offset, is_more = offset + len(data), len(data) == 512 * 1024
    with contextlib.suppress(ConnectionError):
        await response.write_eof()
    return response


async def resolve(page: Page) -> web.StreamResponse:
    path_b64 = path_of_key(page.field("p"))
    keep = page.field("keep")
    await page.client.post(at("folders", page.folder, "resolve"), path_b64=path_b64, keep=keep)
    said = page.words.gettext("Both are kept.") if keep == "both" else page.words.gettext("The conflict is settled.")
    page.note(said)
    return page.to(f"/folders/{page.folder}/conflicts")
