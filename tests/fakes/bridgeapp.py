# SPDX-License-Identifier: AGPL-3.0-or-later
"""The app Harp Bridge in the Nextcloud of an account in memory: many new files at once, and its journal's mark."""

import hashlib
import json
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from tests.fakes.webdav import Account

_API = "/ocs/v2.php/apps/harpbridge/api/v1"


def added_to(app: web.Application, account: "Account") -> None:
    app.router.add_get(f"{_API}/journal/mark", partial(_mark, account))
    app.router.add_post(f"{_API}/new-files", partial(_new_files, account))


async def _new_files(account: "Account", request: web.Request) -> web.Response:
    """As ``harpbridge/lib/NewFiles`` has it."""
    account.meddles("POST", "new-files")
    if account.bridge_answers != 200:
        return web.Response(status=account.bridge_answers)
    line, _, contents = (await request.read()).partition(b"\n")
    made: list[dict[str, str]] = []
    for one in json.loads(line):
        path, size = one["path"], one["size"]
        content, contents = contents[:size], contents[size:]
        is_free = not account.has(path) and path.rpartition("/")[0] in account.folders
        is_whole = hashlib.sha256(content).hexdigest() == one["sha256"]
        if is_free and is_whole and path not in (account.bulk_refuses or ()):
            account.write(path, content, one["mtime"])
            made.append({"path": path, "fileid": str(account.numbers[path]), "etag": account.etags[path]})
    account.log.append(f"NEW {len(made)}")
    return web.json_response({"ocs": {"data": {"made": made}}})


async def _mark(account: "Account", request: web.Request) -> web.Response:
    if not account.password_of(request):
        account.refused += 1
        return web.Response(status=401)
    if account.journal is None:
        return web.Response(status=404)
    newest = max(account.journal, default=0)
    recent = len([row for row in account.journal if row > newest - 1000])
    return web.json_response({"ocs": {"data": {"newest": newest, "recent": recent}}})
