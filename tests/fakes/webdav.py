# SPDX-License-Identifier: AGPL-3.0-or-later
"""Nextcloud's WebDAV in memory: it refuses what the real one refuses (checked on 32.0.1), on a port of loopback."""

import base64
import hashlib
from datetime import UTC, datetime
from email.utils import format_datetime
from urllib.parse import quote, unquote, urlsplit
from xml.sax.saxutils import escape

from aiohttp import web

PASSWORD = "app-password"


class Account:
    """The files of alice. ``meddles`` is called before each PUT, MOVE and DELETE: somebody else at work."""

    def __init__(self) -> None:
        self.files: dict[str, tuple[bytes, int]] = {}
        self.folders: set[str] = {""}
        self.etags: dict[str, str] = {"": "root0"}
        self.numbers: dict[str, int] = {"": 1}
        self.count = 1
        self.log: list[str] = []
        self.fails: int = 0
        self.passwords = {PASSWORD}
        self.is_in_maintenance = False
        self.is_full = False
        self.agrees_to: str | None = None
        """The app password that a browser's login yields, once somebody has agreed."""
        self.bulk_refuses: set[str] | None = set()
        """Paths that a bulk request answers with an error; None: an administrator has switched it off."""
        self.meddles = lambda method, path: None

    def touch(self, path: str, *, renew: bool = True) -> None:
        self.count += 1
        if renew or path not in self.etags:
            self.etags[path] = f"etag{self.count}"
        self.numbers.setdefault(path, self.count)
        while path:
            path = path.rpartition("/")[0]
            self.etags[path] = f"etag{self.count}"

    def write(self, path: str, content: bytes, mtime: int = 1_700_000_000) -> None:
        above = path.rpartition("/")[0]
        if above and above not in self.folders:
            self.make(above)
        self.files[path] = (content, mtime)
        self.touch(path)

    def make(self, path: str) -> None:
        self.folders.add(path)
        self.touch(path)

    def remove(self, path: str) -> None:
        for one in [one for one in [*self.files, *self.folders] if one == path or one.startswith(path + "/")]:
            self.files.pop(one, None)
            self.folders.discard(one)
            del self.etags[one], self.numbers[one]
        self.touch(path.rpartition("/")[0])

    def move(self, source: str, target: str) -> None:
        for one in [one for one in [*self.files, *self.folders] if one == source or one.startswith(source + "/")]:
            new = target + one[len(source) :]
            if one in self.files:
                self.files[new] = self.files.pop(one)
            else:
                self.folders.remove(one)
                self.folders.add(new)
            self.etags[new], self.numbers[new] = self.etags.pop(one), self.numbers.pop(one)
        self.touch(source.rpartition("/")[0])
        self.touch(target, renew=False)

    def has(self, path: str) -> bool:
        return path in self.files or path in self.folders

    def _whole_number(self, path: str) -> str:
        return f"{self.numbers[path]:08}ocabc"

    # --- HTTP ---

    def application(self) -> web.Application:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_get("/status.php", self._status)
        app.router.add_post("/index.php/login/v2", self._begin_login)
        app.router.add_post("/index.php/login/v2/poll", self._poll)
        app.router.add_get("/ocs/v2.php/cloud/user", self._user)
        app.router.add_delete("/ocs/v2.php/core/apppassword", self._take_back)
        app.router.add_route("*", "/remote.php/dav/files/alice{path:.*}", self._files)
        app.router.add_post("/remote.php/dav/bulk", self._bulk)
        return app

    def _password(self, request: web.Request) -> str:
        """The app password that somebody named alice gave; empty for any that is not good."""
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        name, _, password = base64.b64decode(token).decode().partition(":") if kind == "Basic" else ("", "", "")
        return password if name == "alice" and password in self.passwords else ""

    async def _status(self, request: web.Request) -> web.Response:
        told = {"installed": True, "maintenance": self.is_in_maintenance, "needsDbUpgrade": False}
        return web.json_response(told | {"versionstring": "32.0.1", "productname": "Nextcloud"})

    async def _begin_login(self, request: web.Request) -> web.Response:
        self.log.append(f"LOGIN {request.headers['User-Agent']}")
        where = f"http://{request.host}/index.php/login/v2"
        return web.json_response(
            {"poll": {"token": "to-poll", "endpoint": f"{where}/poll"}, "login": f"{where}/flow/open-me"}
        )

    async def _poll(self, request: web.Request) -> web.Response:
        if (await request.post()).get("token") != "to-poll" or self.agrees_to is None:
            return web.json_response([], status=404)
        self.passwords.add(self.agrees_to)
        return web.json_response(
            {"server": f"http://{request.host}", "loginName": "alice", "appPassword": self.agrees_to}
        )

    async def _take_back(self, request: web.Request) -> web.Response:
        password = self._password(request)
        self.passwords.discard(password)
        return web.json_response({"ocs": {"data": []}}, status=200 if password else 401)

    async def _user(self, request: web.Request) -> web.Response:
        if not self._password(request):
            return web.Response(status=401)
        return web.json_response({"ocs": {"data": {"id": "alice"}}})

    async def _bulk(self, request: web.Request) -> web.Response:
        if self.bulk_refuses is None:
            return web.Response(status=404)
        told: dict[str, dict[str, object]] = {}
        async for part in await request.multipart():
            path = part.headers["X-File-Path"].strip().strip("/")
            content = bytes(await part.read())
            if part.headers["OC-Checksum"] != f"SHA256:{hashlib.sha256(content).hexdigest()}":
                return web.json_response(told, status=400)
            if path in self.bulk_refuses:
                told["/" + path] = {"error": True, "message": "no"}
                continue
            self.write(path, content, int(part.headers["X-OC-Mtime"]))
            told["/" + path] = {"error": False, "etag": self.etags[path], "fileid": self._whole_number(path)}
        self.log.append(f"BULK {len(told)}")
        return web.json_response(told)

    async def _files(self, request: web.Request) -> web.StreamResponse:
        path = unquote(request.match_info["path"]).strip("/")
        self.log.append(f"{request.method} {path}")
        if self.is_in_maintenance:
            return web.Response(status=503, headers={"Retry-After": "1"})
        if not self._password(request) or self.fails:
            return web.Response(status=self.fails or 401)
        if request.method in ("PUT", "MOVE", "DELETE"):
            self.meddles(request.method, path)
        expected = request.headers.get("If-Match")
        # sabre compares a folder's etag with nothing, so that it never matches.
        if expected and (path not in self.files or expected != f'"{self.etags[path]}"'):
            return web.Response(status=412)
        if request.headers.get("If-None-Match") == "*" and self.has(path):
            return web.Response(status=412)
        return await getattr(self, f"_{request.method.lower()}")(request, path)

    async def _get(self, request: web.Request, path: str) -> web.Response:
        if path not in self.files:
            return web.Response(status=404)
        return web.Response(body=self.files[path][0], headers={"ETag": f'"{self.etags[path]}"'})

    async def _put(self, request: web.Request, path: str) -> web.Response:
        content = await request.read()
        if self.is_full:
            return web.Response(status=507)
        if path.rpartition("/")[0] not in self.folders:
            return web.Response(status=409)
        self.write(path, content, int(request.headers.get("X-OC-Mtime", 1)))
        headers = {
            "OC-FileId": self._whole_number(path),
            "OC-ETag": f'"{self.etags[path]}"',
            "X-Hash-SHA256": hashlib.sha256(content).hexdigest(),
        }
        return web.Response(status=201, headers=headers)

    async def _mkcol(self, request: web.Request, path: str) -> web.Response:
        if self.has(path):
            return web.Response(status=405)
        if path.rpartition("/")[0] not in self.folders:
            return web.Response(status=409)
        self.make(path)
        return web.Response(status=201)

    async def _delete(self, request: web.Request, path: str) -> web.Response:
        if not self.has(path):
            return web.Response(status=404)
        self.remove(path)
        return web.Response(status=204)

    async def _move(self, request: web.Request, path: str) -> web.Response:
        target = unquote(urlsplit(request.headers["Destination"]).path).removeprefix("/remote.php/dav/files/alice/")
        if not self.has(path):
            return web.Response(status=404)
        if self.has(target) and request.headers.get("Overwrite") == "F":
            return web.Response(status=412)
        self.move(path, target)
        return web.Response(status=201)

    async def _propfind(self, request: web.Request, path: str) -> web.Response:
        if not self.has(path):
            return web.Response(status=404)
        below = [one for one in [*self.files, *self.folders] if one and one.rpartition("/")[0] == path]
        listed = [path, *(below if request.headers["Depth"] == "1" and path in self.folders else ())]
        body = "".join(self._described(one) for one in listed)
        text = (
            '<?xml version="1.0"?><d:multistatus xmlns:d="DAV:" xmlns:oc="http://owncloud.org/ns">'
            f"{body}</d:multistatus>"
        )
        return web.Response(status=207, text=text, content_type="application/xml")

    def _described(self, path: str) -> str:
        is_folder = path in self.folders
        content, mtime = self.files.get(path, (b"", 0))
        when = format_datetime(datetime.fromtimestamp(mtime, UTC), usegmt=True)
        kind = "<d:collection/>" if is_folder else ""
        letters = "RGDNVCK" if is_folder else "RGDNVW"
        return (
            f"<d:response><d:href>{escape(quote('/remote.php/dav/files/alice/' + path))}</d:href><d:propstat><d:prop>"
            f'<d:getetag>"{self.etags[path]}"</d:getetag><d:resourcetype>{kind}</d:resourcetype>'
            f"<d:getcontentlength>{len(content)}</d:getcontentlength><d:getlastmodified>{when}</d:getlastmodified>"
            f"<oc:id>{self._whole_number(path)}</oc:id><oc:fileid>{self.numbers[path]}</oc:fileid>"
            f"<oc:permissions>{letters}</oc:permissions></d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat>"
            "</d:response>"
        )
