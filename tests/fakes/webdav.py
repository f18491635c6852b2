# SPDX-License-Identifier: AGPL-3.0-or-later
"""Nextcloud's WebDAV in memory: it refuses what the real one refuses (checked on 32.0.1), on a port of loopback."""

import base64
import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from urllib.parse import quote, unquote, urlsplit
from xml.sax.saxutils import escape, unescape

from aiohttp import BodyPartReader, web

from tests.fakes import bridgeapp
from tests.fakes.clientpush import ClientPush

PASSWORD = "app-password"
AWAY = (
    '<?xml version="1.0" encoding="utf-8"?>\n<d:error xmlns:d="DAV:" xmlns:s="http://sabredav.org/ns">\n'
    "  <s:exception>Sabre\\DAV\\Exception\\ServiceUnavailable</s:exception>\n"
    "  <s:message>File by id 39 not found</s:message>\n</d:error>\n"
)
FORBIDDEN_ENDS = [".filepart", ".part"]


class Account:
    """The files of ``name``. Before each PUT, MOVE, DELETE and request of Harp Bridge somebody else ``meddles``."""

    def __init__(self, name: str = "alice") -> None:
        self.name = name
        self.files: dict[str, tuple[bytes, int]] = {}
        self.folders: set[str] = {""}
        self.etags: dict[str, str] = {"": "root0"}
        self.numbers: dict[str, int] = {"": 1}
        self.checksums: dict[str, str] = {}
        self.count = 1
        self.log: list[str] = []
        self.fails: int = 0
        self.passwords = {PASSWORD}
        self.is_in_maintenance = False
        self.owners: dict[str, str] = {}
        self.unseen: dict[str, Callable[[], object]] = {}
        """What happened to a federated share on its own server: here nobody sees it before the share is asked for."""
        self.mounted: set[str] = set()
        """Where external storage is mounted; all that lies in it is said to be external as well."""
        self.away: set[str] = set()
        """Shares whose storage is away: each is listed under its old etag and without anything in it, and what is asked
        of what lies in it is answered 503 (seen on 32.0.1)."""
        self.is_full = False
        self.agrees_to: str | None = None
        """The app password that a browser's login yields, once somebody has agreed."""
        self.uploads: dict[str, dict[str, bytes]] = {}
        self.locked: dict[str, int] = {}
        """Files that somebody has locked, for so many requests."""
        self.room = 1 << 40
        """Bytes that may still be written."""
        self.letters: dict[str, str] = {}
        """Permissions that are not those of one's own files; with ``m``, a share begins here."""
        self.refuses_moves = False
        self.clock_off_s = 0
        """How far the server's clock is ahead of the right time."""
        self.claims: str | None = ""
        """The property of the account's folder in which its mirrors know one another; None: it keeps none."""
        self.trash: dict[str, tuple[str, dict[str, tuple[bytes, int]]]] = {}
        self.loses_answers = False
        """The connection breaks once chunks are put together."""
        self.has_weak_etags = False
        """A file's etag is made of its time in seconds and its size, as where it lies on the server's own disk."""
        self.features = "1, 3, extended-mkcol, nextcloud-checksum-update"
        """What the server says in its DAV header that it can."""
        self.refuses_hashing = False
        """As behind a proxy whose patience ends before the server has read a large file."""
        self.bulk_refuses: set[str] | None = set()
        """Paths that a bulk request answers with an error; None: an administrator has switched it off, and says so only
        in the capabilities."""
        self.has_bridge = False
        self.capabilities_asked = 0
        """Whether Harp Bridge is there, which makes many files at once where nothing lies."""
        self.bridge_answers = 200
        self.journal: list[int] | None = None
        """The ids of harpbridge's rows that are committed; None: the app is not there."""
        self.push: ClientPush | None = None
        """The app notify_push; None: it is not there."""
        self.refused = 0
        """How often the journal was asked for with a password that is not good."""
        self.meddles: Callable[[str, str], object] = lambda method, path: None

    def touch(self, path: str, *, renew: bool = True) -> None:
        self.count += 1
        if renew or path not in self.etags:
            self.etags[path] = f"etag{self.count}"
        self.numbers.setdefault(path, self.count)
        if self.has_weak_etags and path in self.files:
            content, mtime = self.files[path]
            self.etags[path] = f"weak{mtime}-{len(content)}-{self.numbers[path]}"
        while path:
            path = path.rpartition("/")[0]
            self.etags[path] = f"etag{self.count}"

    def write(self, path: str, content: bytes, mtime: int = 1_700_000_000) -> None:
        above = path.rpartition("/")[0]
        if above and above not in self.folders:
            self.make(above)
        self.files[path] = (content, mtime)
        self.checksums.pop(path, None)
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

    def copy(self, source: str, target: str) -> None:
        """Each copy has its source's etag and time, a number of its own, and no checksum (seen on 32.0.1)."""
        for one in [one for one in [*self.files, *self.folders] if one == source or one.startswith(source + "/")]:
            new = target + one[len(source) :]
            if one in self.files:
                self.write(new, *self.files[one])
                self.etags[new] = self.etags[one]
            else:
                self.make(new)

    def has(self, path: str) -> bool:
        return path in self.files or path in self.folders

    def state(self) -> dict[str, object]:
        """All that a backup holds."""
        names = ("files", "folders", "etags", "numbers", "checksums")
        return {name: getattr(self, name) for name in names}

    def bring_back(self, state: dict[str, object]) -> None:
        """As from a backup; numbers and etags that come from now on are none of those that were since."""
        for name, value in state.items():
            setattr(self, name, value)

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
        app.router.add_get("/ocs/v2.php/cloud/capabilities", self._capabilities)
        app.router.add_post("/index.php/apps/notify_push/pre_auth", self._pre_auth)
        app.router.add_get("/push/ws", self._pushed)
        app.router.add_route("*", f"/remote.php/dav/files/{self.name}{{path:.*}}", self._files)
        app.router.add_post("/remote.php/dav/bulk", self._bulk)
        bridgeapp.added_to(app, self)
        app.router.add_route("*", f"/remote.php/dav/trashbin/{self.name}/trash/{{name}}", self._trashbin)
        app.router.add_route("*", f"/remote.php/dav/uploads/{self.name}/{{place}}{{number:.*}}", self._uploads)
        return app

    def password_of(self, request: web.Request) -> str:
        """The app password that somebody of that name gave; empty for any that is not good."""
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        name, _, password = base64.b64decode(token).decode().partition(":") if kind == "Basic" else ("", "", "")
        return password if name == self.name and password in self.passwords else ""

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
            {"server": f"http://{request.host}", "loginName": self.name, "appPassword": self.agrees_to}
        )

    async def _take_back(self, request: web.Request) -> web.Response:
        password = self.password_of(request)
        self.passwords.discard(password)
        return web.json_response({"ocs": {"data": []}}, status=200 if password else 401)

    async def _user(self, request: web.Request) -> web.Response:
        if not self.password_of(request):
            return web.Response(status=401)
        return web.json_response({"ocs": {"data": {"id": self.name}}})

    async def _capabilities(self, request: web.Request) -> web.Response:
        self.capabilities_asked += 1
        if "Authorization" in request.headers and not self.password_of(request):
            return web.Response(status=401)
        dav = {"chunking": "1.0"} if self.bulk_refuses is None else {"chunking": "1.0", "bulkupload": "1.0"}
        files = {
            "forbidden_filenames": [".htaccess"],
            "forbidden_filename_basenames": [],
            "forbidden_filename_characters": ["\\", "/"],
            "forbidden_filename_extensions": FORBIDDEN_ENDS,
        }
        told: dict[str, object] = {"dav": dav, "files": files}
        if self.has_bridge:
            told["harpbridge"] = {"version": "0.1.0", "journal": 1, "newFiles": 1, "hub": None}
        if self.push is not None:
            told["notify_push"] = self.push.told(request)
        return web.json_response({"ocs": {"data": {"capabilities": told}}})

    async def _pre_auth(self, request: web.Request) -> web.Response:
        if self.push is None:
            return web.Response(status=404)
        return web.Response(text=self.push.token()) if self.password_of(request) else web.Response(status=401)

    async def _pushed(self, request: web.Request) -> web.StreamResponse:
        return web.Response(status=404) if self.push is None else await self.push.listened(request)

    async def _bulk(self, request: web.Request) -> web.Response:
        told: dict[str, dict[str, object]] = {}
        async for part in await request.multipart():
            assert isinstance(part, BodyPartReader)
            path = part.headers["X-File-Path"].strip().strip("/")
            content = bytes(await part.read())
            if part.headers["OC-Checksum"] != f"SHA256:{hashlib.sha256(content).hexdigest()}":
                return web.json_response(told, status=400)
            if path.endswith(tuple(FORBIDDEN_ENDS)):
                return web.Response(status=500)
            if path in (self.bulk_refuses or ()):
                told["/" + path] = {"error": True, "message": "no"}
                continue
            self.write(path, content, int(part.headers["X-OC-Mtime"]))
            told["/" + path] = {"error": False, "etag": self.etags[path], "fileid": self._whole_number(path)}
        self.log.append(f"BULK {len(told)}")
        return web.json_response(told)

    async def _uploads(self, request: web.Request) -> web.StreamResponse:
        place, number = request.match_info["place"], request.match_info["number"].strip("/")
        self.log.append(f"{request.method} uploads {number}".strip())
        if self.fails:
            return web.Response(status=self.fails)
        if request.method == "MKCOL":
            return web.Response(status=201 if self.uploads.setdefault(place, {}) == {} else 405)
        if place not in self.uploads:
            return web.Response(status=404)
        if request.method == "PUT":
            self.meddles("PUT", f"uploads {number}")
            content = await request.read()
            is_new = number not in self.uploads[place]
            self.uploads[place][number] = content
            headers = {"X-Hash-SHA256": hashlib.sha256(content).hexdigest()}
            return web.Response(status=201 if is_new else 204, headers=headers)
        if request.method == "MOVE":
            return self._join(request, place)
        if request.method == "DELETE":
            del self.uploads[place]
            return web.Response(status=204)
        body = "".join(
            f"<d:response><d:href>/remote.php/dav/uploads/{self.name}/{place}/{name}</d:href><d:propstat><d:prop>"
            f"<d:getcontentlength>{len(content)}</d:getcontentlength></d:prop><d:status>HTTP/1.1 200 OK</d:status>"
            "</d:propstat></d:response>"
            for name, content in self.uploads[place].items()
        )
        return web.Response(
            status=207,
            text=f'<?xml version="1.0"?><d:multistatus xmlns:d="DAV:">{body}</d:multistatus>',
            content_type="application/xml",
        )

    def _join(self, request: web.Request, place: str) -> web.Response:
        target = self._target(request)
        self.meddles("MOVE", target)
        condition = request.headers.get("If")
        if condition is not None and condition != f'<{request.headers["Destination"]}> (["{self.etags.get(target)}"])':
            return web.Response(status=412)
        is_there = self.has(target)
        if is_there and request.headers.get("Overwrite") == "F":
            return web.Response(status=412)
        content = b"".join(chunk for _, chunk in sorted(self.uploads[place].items()))
        if len(content) != int(request.headers["OC-Total-Length"]):
            return web.Response(status=400)
        # The answer has the etag from before it.
        headers = {"OC-ETag": f'"{self.etags[target]}"'} if is_there else {}
        self.write(target, content, int(request.headers["X-OC-Mtime"]))
        self.checksums[target] = request.headers["OC-Checksum"]
        del self.uploads[place]
        if self.loses_answers and request.transport is not None:
            request.transport.close()
        return web.Response(status=204 if is_there else 201, headers=headers)

    def _target(self, request: web.Request) -> str:
        return unquote(urlsplit(request.headers["Destination"]).path).removeprefix(self._place)

    @property
    def _place(self) -> str:
        return f"/remote.php/dav/files/{self.name}/"

    async def _files(self, request: web.Request) -> web.StreamResponse:
        path = unquote(request.match_info["path"]).strip("/")
        self.log.append(f"{request.method} {path}")
        if self.is_in_maintenance:
            return web.Response(status=503, headers={"Retry-After": "1"})
        if not self.password_of(request) or self.fails:
            return web.Response(status=self.fails or 401)
        if any(path.startswith(one + "/") for one in self.away):
            return web.Response(status=503, text=AWAY, content_type="application/xml")
        if request.method in ("PUT", "MOVE", "DELETE"):
            self.meddles(request.method, path)
        if request.method in ("PUT", "MOVE", "DELETE") and self.locked.get(path, 0) > 0:
            self.locked[path] -= 1
            return web.Response(status=423)
        expected = request.headers.get("If-Match")
        # sabre compares a folder's etag with nothing, so that it never matches.
        if expected and (path not in self.files or expected != f'"{self.etags[path]}"'):
            return web.Response(status=412)
        if request.headers.get("If-None-Match") == "*" and self.has(path):
            return web.Response(status=412)
        response: web.StreamResponse = await getattr(self, f"_{request.method.lower()}")(request, path)
        now = datetime.fromtimestamp(time.time() + self.clock_off_s, UTC)
        response.headers["Date"] = format_datetime(now, usegmt=True)
        return response

    async def _get(self, request: web.Request, path: str) -> web.Response:
        if path not in self.files:
            return web.Response(status=404)
        return web.Response(body=self.files[path][0], headers={"ETag": f'"{self.etags[path]}"'})

    async def _patch(self, request: web.Request, path: str) -> web.Response:
        if path not in self.files or "nextcloud-checksum-update" not in self.features:
            return web.Response(status=501)
        if self.refuses_hashing:
            return web.Response(status=504)
        kind = request.headers["X-Recalculate-Hash"]
        self.checksums[path] = f"{kind.upper()}:{hashlib.new(kind, self.files[path][0]).hexdigest()}"
        return web.Response(status=204, headers={"OC-Checksum": self.checksums[path]})

    async def _put(self, request: web.Request, path: str) -> web.Response:
        content = await request.read()
        if self.is_full:
            return web.Response(status=507)
        if path.endswith(tuple(FORBIDDEN_ENDS)):
            return web.Response(status=400)
        if len(content) > self.room:
            return web.Response(status=507)
        if path.rpartition("/")[0] not in self.folders:
            return web.Response(status=404)
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
        inside = {one: self.files[one] for one in self.files if one.startswith(path + "/")}
        self.trash[f"{path.rpartition('/')[2]}.d{int(time.time())}"] = (path, inside)
        self.remove(path)
        return web.Response(status=204)

    async def _trashbin(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self.trash:
            return web.Response(status=404)
        path, inside = self.trash[name]
        if request.method == "MOVE":
            del self.trash[name]
            self.make(path)
            for one, (content, mtime) in inside.items():
                self.write(one, content, mtime)
            return web.Response(status=201)
        at = f"/remote.php/dav/trashbin/{self.name}/trash/{quote(name)}"
        hrefs = [at, *(f"{at}{quote(one.removeprefix(path))}" for one in inside)]
        body = "".join(f"<d:response><d:href>{href}</d:href></d:response>" for href in hrefs)
        return web.Response(
            status=207,
            text=f'<?xml version="1.0"?><d:multistatus xmlns:d="DAV:">{body}</d:multistatus>',
            content_type="application/xml",
        )

    async def _move(self, request: web.Request, path: str) -> web.Response:
        target = self._target(request)
        if self.refuses_moves:
            return web.Response(status=403)
        if not self.has(path):
            return web.Response(status=404)
        if self.has(target) and request.headers.get("Overwrite") == "F":
            return web.Response(status=412)
        self.move(path, target)
        return web.Response(status=201)

    async def _proppatch(self, request: web.Request, path: str) -> web.Response:
        asked = await request.text()
        if "<h:claims>" in asked:
            return self._keep_claims(unescape(asked.partition("<h:claims>")[2].partition("</h:claims>")[0]))
        seconds = asked.partition("<d:lastmodified>")[2].partition("<")[0]
        self.files[path] = (self.files[path][0], int(seconds))
        self.touch(path)
        return web.Response(status=207)

    def _keep_claims(self, text: str) -> web.Response:
        """No etag changes by it."""
        is_kept = self.claims is not None
        self.claims = text if is_kept else None
        status = "200 OK" if is_kept else "403 Forbidden"
        return self._multistatus(f'<h:claims xmlns:h="urn:harp"/></d:prop><d:status>HTTP/1.1 {status}</d:status>')

    async def _propfind(self, request: web.Request, path: str) -> web.Response:
        if "<h:claims/>" in await request.text():
            status = "200 OK" if self.claims else "404 Not Found"
            claims = f'<h:claims xmlns:h="urn:harp">{escape(self.claims or "")}</h:claims>'
            return self._multistatus(f"{claims}</d:prop><d:status>HTTP/1.1 {status}</d:status>")
        if not self.has(path):
            return web.Response(status=404)
        self.unseen.pop(path, lambda: None)()
        below = [one for one in [*self.files, *self.folders] if one and one.rpartition("/")[0] == path]
        has_listing = request.headers["Depth"] == "1" and path in self.folders and path not in self.away
        listed = [path, *(below if has_listing else ())]
        body = "".join(self._described(one) for one in listed)
        text = (
            '<?xml version="1.0"?><d:multistatus xmlns:d="DAV:" xmlns:oc="http://owncloud.org/ns" '
            'xmlns:nc="http://nextcloud.org/ns">'
            f"{body}</d:multistatus>"
        )
        return web.Response(status=207, text=text, content_type="application/xml", headers={"DAV": self.features})

    def _described(self, path: str) -> str:
        is_folder = path in self.folders
        content, mtime = self.files.get(path, (b"", 0))
        when = format_datetime(datetime.fromtimestamp(mtime, UTC), usegmt=True)
        kind = "<d:collection/>" if is_folder else ""
        told = self.checksums.get(path)
        checksum = f"<oc:checksums><oc:checksum>{told}</oc:checksum></oc:checksums>" if told else ""
        letters = self.letters.get(path, "RGDNVCK" if is_folder else "RGDNVW")
        is_mount = "true" if "m" in letters else "false"
        is_external = any(path == one or not one or path.startswith(one + "/") for one in self.mounted)
        mount_type = "external" if is_external else ""
        return (
            f"<d:response><d:href>{escape(quote(self._place + path))}</d:href><d:propstat><d:prop>"
            f'<d:getetag>"{self.etags[path]}"</d:getetag><d:resourcetype>{kind}</d:resourcetype>'
            f"<d:getcontentlength>{len(content)}</d:getcontentlength><d:getlastmodified>{when}</d:getlastmodified>"
            f"<oc:id>{self._whole_number(path)}</oc:id><oc:fileid>{self.numbers[path]}</oc:fileid>"
            f"<oc:permissions>{letters.strip('m')}</oc:permissions>{checksum}"
            f"<oc:owner-id>{self.owners.get(path, self.name)}</oc:owner-id>"
            f"<nc:is-mount-root>{is_mount}</nc:is-mount-root><nc:mount-type>{mount_type}</nc:mount-type></d:prop>"
            "<d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response>"
        )

    def _multistatus(self, properties: str) -> web.Response:
        """Of the account's folder."""
        text = (
            f'<?xml version="1.0"?><d:multistatus xmlns:d="DAV:"><d:response><d:href>{self._place}</d:href>'
            f"<d:propstat><d:prop>{properties}</d:propstat></d:response></d:multistatus>"
        )
        return web.Response(status=207, text=text, content_type="application/xml")
