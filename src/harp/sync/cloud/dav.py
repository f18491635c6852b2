# SPDX-License-Identifier: AGPL-3.0-or-later
"""One Nextcloud account over WebDAV: every write is conditional, every refusal a kind of its own."""

import asyncio
import base64
import hashlib
import json
import secrets
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, BinaryIO
from urllib.parse import quote, unquote, urlsplit

import aiohttp

from harp.base.errors import CloudError, StaleError
from harp.sync.cloud import capabilities, multistatus, parcels, refusals
from harp.sync.cloud.capabilities import Capabilities
from harp.sync.cloud.multistatus import Found
from harp.sync.cloud.nodes import MOUNT, CloudPath, Etag, FileId, Remote
from harp.sync.cloud.parcels import Made, Parcel, SmallFile
from harp.sync.cloud.refusals import LoginError, RefusedError

CHUNK_BYTES = 16 * 1024 * 1024
CAPABILITIES_S = 3600.0
HINTED_S = 60.0
"""Who hears of files that changed may hear of another server's: after so long the one without Harp Bridge is asked."""
BLOCK_BYTES = 256 * 1024
BYTES = "application/octet-stream"
_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=20, sock_read=300)


@dataclass(frozen=True, slots=True)
class Login:
    """Who asks; ``password`` is an app password and shown nowhere."""

    url: str
    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Written:
    """What the server has after a write. ``is_proved``: it hashed what it got, and that is what was sent."""

    fileid: FileId
    etag: Etag
    sha256: str = ""
    is_proved: bool = False


class Dav:
    """The folder ``top`` of one account. Methods raise a :class:`CloudError`, :class:`StaleError` for 404, 409, 412."""

    def __init__(self, session: aiohttp.ClientSession, login: Login, user_id: str, top: str) -> None:
        self._session = session
        self._login = login
        self._base = login.url.rstrip("/")
        self._user_id = user_id
        self._top = top.strip("/")
        prefix = unquote(urlsplit(self._base).path)
        self._root = f"{prefix}/remote.php/dav/files/{user_id}" + (f"/{self._top}" if self._top else "")
        self.instance = ""
        """The id of the server, as far as a listing has shown it."""
        self._capabilities: tuple[float, Capabilities] | None = None
        self._is_hinted = False
        self._can_hash = False
        """Whether the server said, with its last listing, that it hashes what it has where it is asked to."""
        self.skew_s = 0.0
        """How far the server's clock is ahead of this device's, by its last listing."""

    async def capabilities(self) -> Capabilities:
        """What the server can, asked once an hour, and sooner after :meth:`heard_bridge` and :meth:`missed_bridge`."""
        now = asyncio.get_running_loop().time()
        good_for_s = HINTED_S if self._is_hinted else CAPABILITIES_S
        if self._capabilities is None or now - self._capabilities[0] > good_for_s:
            self._capabilities = now, await told_capabilities(self._session, self._login)
            self._is_hinted = False
        return self._capabilities[1]

    def heard_bridge(self) -> None:
        """Harp Bridge has spoken: a server that did not have it by its last word may have it now."""
        self._is_hinted = self._capabilities is not None and not self._capabilities[1].has_new_files

    def missed_bridge(self) -> None:
        """Harp Bridge did not do what the server had said that it can."""
        self._capabilities = None

    # --- reading ------------------------------------------------------------------------------------------------------

    async def listing(self, path: CloudPath, depth: int) -> list[Found]:
        """``path`` itself, and with depth 1 what lies in it."""
        found, _ = await self._listed(self._at(path), self._root, depth)
        if found and found[0].remote.fileid:
            self.instance = found[0].whole_id.removeprefix(found[0].remote.fileid.rjust(8, "0"))
        return found

    async def _listed(self, url: str, root: str, depth: int) -> tuple[list[Found], int]:
        """What ``parsed`` says of ``url``, and the server's clock; 0 where it says none."""
        headers = {"Depth": str(depth), "Content-Type": "application/xml"}
        async with self._asked("PROPFIND", url, headers=headers, data=multistatus.REQUEST) as response:
            raw = await response.read()
            self._can_hash = "nextcloud-checksum-update" in response.headers.get("DAV", "")
            second = moment(response)
            self.skew_s = second - time.time() if second else 0.0
        return await asyncio.to_thread(multistatus.parsed, raw, root), second

    async def get(self, path: CloudPath, expected: Remote, target: BinaryIO) -> str:
        """Writes the version ``expected`` into ``target``; its SHA-256 in hexadecimal."""
        digest = hashlib.sha256()
        size = 0
        async with self._asked("GET", self._at(path), headers={"Accept-Encoding": "identity"}) as response:
            if _etag(response) != expected.etag:
                raise StaleError(f"{path} changed while it was read")
            async for block in response.content.iter_chunked(BLOCK_BYTES):
                digest.update(block)
                size += len(block)
                await asyncio.to_thread(target.write, block)
        if size != expected.size:
            raise StaleError(f"{path} has {size} bytes, and {expected.size} were told")
        return digest.hexdigest()

    async def hashed(self, path: CloudPath, expected: Remote) -> str:
        """The SHA-256 in hexadecimal of exactly that version, as the server reads it now; empty where it does not.

        It costs the server a whole read of the file; Nextcloud notes what it found as the file's checksum.
        """
        headers = {"If-Match": f'"{expected.etag}"', "X-Recalculate-Hash": "sha256"}
        if not self._can_hash:
            return ""
        try:
            async with self._asked("PATCH", self._at(path), headers=headers) as response:
                kind, _, digest = response.headers.get("OC-Checksum", "").partition(":")
        except LoginError:
            raise
        except CloudError:
            # Whatever keeps it from that, such as a proxy's patience, may not keep it from giving the content.
            return ""
        return digest.lower() if kind == "SHA256" else ""

    # --- writing ------------------------------------------------------------------------------------------------------

    async def outlast(self, path: CloudPath, over: Remote, seen_s: float) -> None:
        """Waits until the etag of a young version cannot come for another any more; StaleError where it has come.

        ``seen_s`` is when ``over`` was seen, by the server's clock.
        """
        now_s = time.time() + self.skew_s
        if not over.is_young(seen_s, now_s):
            return
        await asyncio.sleep(max(over.mtime_s + 1 - now_s, 0.0))
        found = (await self.listing(path, 0))[0].remote
        if (found.etag, found.fileid, found.size) != (over.etag, over.fileid, over.size):
            raise StaleError(f"{path} was written twice within a second")

    async def put(self, path: CloudPath, source: BinaryIO, size: int, mtime_s: int, over: Remote | None) -> Written:
        """The content of ``source`` at ``path``, over exactly that version, or where nothing lies."""
        digest = hashlib.sha256()
        headers = {**_condition(over), "X-OC-Mtime": str(max(mtime_s, 1))}
        async with self._sent(self._at(path), source, size, headers, digest.update) as response:
            written = self._written(response, digest.hexdigest(), is_proved="X-Hash-SHA256" in response.headers)
        if not written.fileid or not written.etag:
            written = await self._looked_up(path, written.sha256)
        return await self._told_apart(path, written, mtime_s, over)

    @asynccontextmanager
    async def _sent(
        self, url: str, source: BinaryIO, size: int, headers: Mapping[str, str], note: Callable[[bytes], None]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer to a PUT; an error where the server says that it received other bytes than were sent."""
        digest = hashlib.sha256()

        def took(block: bytes) -> None:
            digest.update(block)
            note(block)

        headers = {**headers, "X-Hash": "sha256", "Content-Length": str(size)}
        body = _blocks(source, size, took) if size else b""
        async with self._asked("PUT", url, headers=headers, data=body) as response:
            told = response.headers.get("X-Hash-SHA256", "")
            if told and told.lower() != digest.hexdigest():
                raise CloudError("the server received other bytes than were sent", hint="is a proxy in between?")
            yield response

    async def _told_apart(self, path: CloudPath, written: Written, mtime_s: int, over: Remote | None) -> Written:
        """Where the server's etag is made of second, size and inode, other clients may not see that a file changed."""
        if over is None or written.etag != over.etag:
            return written
        headers = {"If-Match": f'"{written.etag}"', "Content-Type": "application/xml"}
        body = multistatus.TOUCH.format(seconds=max(mtime_s, 1) + 1).encode()
        async with self._asked("PROPPATCH", self._at(path), headers=headers, data=body):
            pass
        return await self._looked_up(path, written.sha256)

    # --- large files --------------------------------------------------------------------------------------------------

    async def begin_chunks(self, path: CloudPath, size: int) -> str:
        """The name of a new place for the chunks of ``path``; Nextcloud removes it a day after its last change."""
        place = f"harp-{secrets.token_hex(12)}"
        headers = {"Destination": self._at(path), "OC-Total-Length": str(size)}
        async with self._asked("MKCOL", self._chunks_at(place), headers=headers):
            return place

    async def chunks(self, place: str) -> int:
        """How many whole chunks lie there without a gap. Raises :class:`StaleError` where the place is gone."""
        root = self._root.partition("/files/")[0] + f"/uploads/{self._user_id}/{place}"
        found, _ = await self._listed(self._chunks_at(place), root, 1)
        sizes = {one.path: one.remote.size for one in found}
        count = 0
        while sizes.get(CloudPath(_chunk_name(count))) == CHUNK_BYTES:
            count += 1
        return count

    async def put_chunk(
        self, path: CloudPath, place: str, number: int, source: BinaryIO, size: int, note: Callable[[bytes], None]
    ) -> None:
        """The chunk ``number`` (from 0) of a file of ``size`` bytes, from where ``source`` stands."""
        length = min(CHUNK_BYTES, size - number * CHUNK_BYTES)
        whole = {"Destination": self._at(path), "OC-Total-Length": str(size)}
        async with self._sent(f"{self._chunks_at(place)}/{_chunk_name(number)}", source, length, whole, note):
            pass

    async def join_chunks(
        self, path: CloudPath, place: str, size: int, sha256: str, mtime_s: int, over: Remote | None
    ) -> Written:
        """Puts the chunks together at ``path``, over exactly that version, or where nothing lies."""
        target = self._at(path)
        headers = {
            "Destination": target,
            "OC-Total-Length": str(size),
            "OC-Checksum": f"SHA256:{sha256}",
            "X-OC-Mtime": str(max(mtime_s, 1)),
        }
        if over is None:
            headers["Overwrite"] = "F"
        else:
            # If-Match on a MOVE is about its source; the If header names the target (RFC 4918, 10.4).
            headers["If"] = f'<{target}> (["{over.etag}"])'
        async with self._asked("MOVE", f"{self._chunks_at(place)}/.file", headers=headers):
            pass
        # The answer to an overwrite has the etag from before it.
        return await self._told_apart(path, await self._looked_up(path, sha256), mtime_s, over)

    async def drop_chunks(self, place: str) -> None:
        """Raises nothing: what stays there is removed by Nextcloud after a day."""
        with suppress(CloudError):
            async with self._asked("DELETE", self._chunks_at(place)):
                pass

    def _chunks_at(self, place: str) -> str:
        return f"{self._base}/remote.php/dav/uploads/{quote(self._user_id, safe='')}/{place}"

    # --- many at once, and the rest -----------------------------------------------------------------------------------

    async def bulk(self, files: Sequence[SmallFile]) -> Mapping[CloudPath, Written]:
        """Puts small files into a folder that the caller has just made: this call overwrites without asking.

        Answers with those that the server has taken, each proved: it compares the checksum with what arrived before it
        writes. Their names must be :func:`fit for it <harp.sync.cloud.parcels.is_fit>`.
        """
        boundary = f"harp{secrets.token_hex(16)}"
        parcel = self._parcel(files)
        body = parcels.bulk_body(parcel, boundary)
        told = await self._posted("/remote.php/dav/bulk", f"multipart/related; boundary={boundary}", body)
        return self._made(parcels.made_by_bulk(told, parcel))

    async def make_files(self, files: Sequence[SmallFile]) -> Mapping[CloudPath, Written]:
        """Makes small files where nothing lies, through Harp Bridge; answers as :meth:`bulk` does."""
        parcel = self._parcel(files)
        body = parcels.new_files_body(parcel)
        told = await self._posted("/ocs/v2.php/apps/harpbridge/api/v1/new-files?format=json", BYTES, body)
        return self._made(parcels.made_by_bridge(told, parcel))

    def _parcel(self, files: Iterable[SmallFile]) -> Parcel:
        return {"/".join(part for part in (self._top, one.path) if part): one for one in files}

    async def _posted(self, path: str, kind: str, body: bytes) -> Any:
        headers = {"Content-Type": kind, "Content-Length": str(len(body))}
        async with self._asked("POST", self._base + path, headers=headers, data=body) as response:
            return await read_json(response)

    def _made(self, made: Made) -> dict[CloudPath, Written]:
        found = ((one, self._number(number), etag) for one, number, etag in made)
        return {
            one.path: Written(number, etag, one.sha256, is_proved=True)
            for one, number, etag in found
            if number and etag
        }

    async def make_folder(self, path: CloudPath) -> bool:
        """Whether it was this call that made it."""
        try:
            async with self._asked("MKCOL", self._at(path), headers={}):
                return True
        except RefusedError as error:
            if error.status == 405:
                return False
            raise

    async def move(self, source: CloudPath, target: CloudPath, expected: Remote) -> None:
        """Renames exactly that version, where nothing lies at ``target``."""
        headers = {"Destination": self._at(target), "Overwrite": "F"}
        if not expected.is_directory:
            headers["If-Match"] = f'"{expected.etag}"'
        async with self._asked("MOVE", self._at(source), headers=headers):
            pass

    async def delete(self, path: CloudPath, expected: Remote) -> None:
        """Removes exactly that version; a folder only where nothing lies in it any more, or where it is a share."""
        headers = {}
        # Of a share Nextcloud only takes leave: what lies in it stays with whom it belongs to.
        is_folder = expected.is_directory and not expected.may(MOUNT)
        since = 0
        if is_folder:
            found, since = await self._listed(self._at(path), self._root, 1)
            if len(found) > 1:
                raise StaleError(f"{path} is not empty")
        elif not expected.is_directory:
            headers["If-Match"] = f'"{expected.etag}"'
        async with self._asked("DELETE", self._at(path), headers=headers) as response:
            until = moment(response)
        if is_folder and since:
            await self._rescue(path, range(until, since - 1, -1))

    async def _rescue(self, path: CloudPath, seconds: Iterable[int]) -> None:
        """No condition can be put on a folder's etag: what came into it in the moment between is brought back."""
        user = quote(self._user_id, safe="")
        for second in seconds:
            name = f"{path.rpartition('/')[2]}.d{second}"
            root = f"{self._root.partition('/files/')[0]}/trashbin/{self._user_id}/trash/{name}"
            bin_url = f"{self._base}/remote.php/dav/trashbin/{user}"
            try:
                found, _ = await self._listed(f"{bin_url}/trash/{quote(name, safe='')}", root, 1)
            except StaleError:
                continue
            if len(found) > 1:
                headers = {"Destination": f"{bin_url}/restore/{quote(name, safe='')}"}
                async with self._asked("MOVE", f"{bin_url}/trash/{quote(name, safe='')}", headers=headers):
                    raise StaleError(f"somebody put something into {path} when it was removed")
            return

    def _written(self, response: aiohttp.ClientResponse, sha256: str, *, is_proved: bool) -> Written:
        return Written(self._number(response.headers.get("OC-FileId", "")), _etag(response), sha256, is_proved)

    def _number(self, whole: str) -> FileId:
        """The file's number in an ``OC-FileId``: at least eight digits, and the instance's id. Empty for none."""
        digits = whole.removesuffix(self.instance) if self.instance else ""
        return FileId(digits.lstrip("0") if digits.isascii() and digits.isdigit() else "")

    # --- asking -------------------------------------------------------------------------------------------------------

    async def _looked_up(self, path: CloudPath, sha256: str) -> Written:
        found = (await self.listing(path, 0))[0].remote
        return Written(found.fileid, found.etag, sha256)

    def _at(self, path: CloudPath) -> str:
        parts = [part for part in (self._top, path) if part]
        return f"{self._base}/remote.php/dav/files/{quote(self._user_id, safe='')}/" + quote("/".join(parts), safe="/")

    @asynccontextmanager
    async def _asked(self, method: str, url: str, **named: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        async with asked(self._session, self._login, method, url, **named) as response:
            yield response


@asynccontextmanager
async def asked(
    session: aiohttp.ClientSession, login: Login, method: str, url: str, **named: Any
) -> AsyncIterator[aiohttp.ClientResponse]:
    """As :func:`opened`, by name and app password."""
    secret = base64.b64encode(f"{login.user}:{login.password}".encode()).decode()
    headers = {
        "Authorization": f"Basic {secret}",
        "OCS-APIRequest": "true",
        **(named.pop("headers", None) or {}),
    }
    async with opened(session, login.url, method, url, headers=headers, **named) as response:
        yield response


@asynccontextmanager
async def opened(
    session: aiohttp.ClientSession, server: str, method: str, url: str, **named: Any
) -> AsyncIterator[aiohttp.ClientResponse]:
    """A good response (2xx); everything else is raised, as a :class:`CloudError` or :class:`StaleError`."""
    with reaching(server):
        async with session.request(method, url, allow_redirects=False, timeout=_TIMEOUT, **named) as response:
            if not 200 <= response.status < 300:
                raise await refusals.said(response)
            yield response


@contextmanager
def reaching(server: str) -> Iterator[None]:
    """A server that is not reached, or not trusted, is a :class:`CloudError`."""
    try:
        yield
    except aiohttp.ClientConnectorCertificateError as error:
        raise CloudError(
            f"the certificate of {server} is not trusted",
            hint="name the authority that signed it: harp account add NAME URL --ca FILE",
        ) from error
    except (aiohttp.ClientError, TimeoutError, ssl.SSLError) as error:
        raise CloudError(f"{server} cannot be reached: {type(error).__name__}", hint="is it up?") from error


async def told_capabilities(session: aiohttp.ClientSession, login: Login) -> Capabilities:
    """What the server can, asked now. Raises :class:`CloudError`."""
    url = f"{login.url.rstrip('/')}/ocs/v2.php/cloud/capabilities?format=json"
    async with asked(session, login, "GET", url) as response:
        return capabilities.read(await read_json(response))


async def user_id(session: aiohttp.ClientSession, login: Login) -> str:
    """The account's id, which WebDAV paths begin with and which may be another than the name to log in with."""
    url = f"{login.url.rstrip('/')}/ocs/v2.php/cloud/user?format=json"
    async with asked(session, login, "GET", url) as response:
        told = await read_json(response)
    try:
        found = told["ocs"]["data"]["id"]
    except (KeyError, TypeError):
        found = None
    if not isinstance(found, str) or not found or "/" in found or found in (".", ".."):
        raise CloudError(f"{login.url} does not answer as a Nextcloud does", hint="look at the address")
    return found


def _condition(over: Remote | None) -> dict[str, str]:
    return {"If-None-Match": "*"} if over is None else {"If-Match": f'"{over.etag}"'}


def _chunk_name(number: int) -> str:
    """Nextcloud takes 1 to 10000, and puts them together in the order of their names."""
    return f"{number + 1:05}"


def moment(response: aiohttp.ClientResponse) -> int:
    """When the server answered, by its own clock; 0 where it does not say."""
    return multistatus.seconds(response.headers.get("Date", ""))


def _etag(response: aiohttp.ClientResponse) -> Etag:
    return Etag((response.headers.get("OC-Etag") or response.headers.get("ETag") or "").strip('"'))


async def read_json(response: aiohttp.ClientResponse) -> Any:
    """The answer, parsed. Raises :class:`CloudError` where it is no JSON."""
    try:
        return json.loads(await response.read())
    except (ValueError, RecursionError) as error:
        raise CloudError("the server's answer is not understood", hint="is it a Nextcloud?") from error


async def _blocks(source: BinaryIO, size: int, note: Callable[[bytes], None]) -> AsyncIterator[bytes]:
    left = size
    while left:
        block = await asyncio.to_thread(source.read, min(BLOCK_BYTES, left))
        if not block:
            raise StaleError("the file became shorter while it was read")
        note(block)
        left -= len(block)
        yield block
