# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a PROPFIND answers (RFC 4918, 13; Nextcloud's properties): text to nodes, hostile text to an error (pure)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import unquote
from xml.parsers import expat

from harp.base.errors import CloudError
from harp.sync.cloud.nodes import FEDERATED, MOUNT, CloudPath, Etag, FileId, Remote

MAX_BYTES = 256 * 1024 * 1024
_DAV, _OC, _NC, _HARP = "DAV:", "http://owncloud.org/ns", "http://nextcloud.org/ns", "urn:harp"
_EXTERNAL = frozenset(("external", "external-session"))

REQUEST = (
    b'<?xml version="1.0"?><d:propfind xmlns:d="DAV:" xmlns:oc="http://owncloud.org/ns" '
    b'xmlns:nc="http://nextcloud.org/ns"><d:prop><d:getetag/><d:resourcetype/><d:getcontentlength/>'
    b"<d:getlastmodified/><oc:id/><oc:fileid/><oc:permissions/><nc:is-encrypted/><nc:mount-type/><oc:data-fingerprint/>"
    b"<nc:is-mount-root/><oc:owner-id/><oc:checksums/>"
    b"</d:prop></d:propfind>"
)
"""The properties that a walk asks for."""

TOUCH = (
    '<?xml version="1.0"?><d:propertyupdate xmlns:d="DAV:"><d:set><d:prop>'
    "<d:lastmodified>{seconds}</d:lastmodified></d:prop></d:set></d:propertyupdate>"
)
"""Gives a file another time, and with it another etag."""

ASK_CLAIMS = (
    b'<?xml version="1.0"?><d:propfind xmlns:d="DAV:" xmlns:h="urn:harp"><d:prop><h:claims/></d:prop></d:propfind>'
)
KEEP_CLAIMS = (
    '<?xml version="1.0"?><d:propertyupdate xmlns:d="DAV:" xmlns:h="urn:harp"><d:set><d:prop>'
    "<h:claims>{claims}</h:claims></d:prop></d:set></d:propertyupdate>"
)
"""A property of Harp's own: see :mod:`harp.sync.cloud.claims`."""


@dataclass(frozen=True, slots=True)
class Found:
    """One thing of a listing; ``fingerprint`` is set by an administrator who brought the server back from a backup."""

    path: CloudPath
    remote: Remote
    fingerprint: str
    whole_id: str
    """The number and the instance's id: no other thing of any server has it."""


@dataclass(slots=True)
class _Response:
    href: str = ""
    status: str = ""
    pending: dict[str, str] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)


def parsed(raw: bytes, root: str) -> list[Found]:
    """The things that ``raw`` lists, by their path below ``root`` (decoded, without a slash at its end).

    Raises :class:`CloudError` for what is no multistatus, declares entities, or names something outside ``root``.
    """
    return [_found(response, root) for response in _responses(raw)]


def top_properties(raw: bytes) -> Mapping[str, str]:
    """The properties of the first thing in ``raw`` that the server has, or has just kept, by their names' last parts.

    Raises :class:`CloudError` as :func:`parsed` does.
    """
    first = next(iter(_responses(raw)), None)
    return {} if first is None else first.properties


def _responses(raw: bytes) -> Iterable[_Response]:  # noqa: C901 - three callbacks of one parser
    responses: list[_Response] = []
    text: list[str] = []
    inside: list[str] = []

    def start(name: str, _: dict[str, str]) -> None:
        inside.append(name)
        text.clear()
        if name == f"{_DAV} response":
            responses.append(_Response())
        elif name == f"{_DAV} propstat" and responses:
            responses[-1].pending = {}

    def end(name: str) -> None:
        inside.pop()
        if not responses:
            return
        current, said = responses[-1], "".join(text).strip()
        text.clear()
        space, _, word = name.partition(" ")
        if name == f"{_DAV} href" and inside[-1:] == [f"{_DAV} response"]:
            current.href = said
        elif name == f"{_DAV} status":
            current.status = said
        elif name == f"{_DAV} propstat":
            if " 200 " in f"{current.status} ":
                current.properties.update(current.pending)
        elif name == f"{_DAV} collection":
            current.pending["collection"] = "1"
        elif name == f"{_OC} checksum":
            current.pending["checksum"] = said
        elif inside[-1:] == [f"{_DAV} prop"] and space in (_DAV, _OC, _NC, _HARP):
            current.pending[word] = said

    def refuse(*_: Any) -> None:
        raise CloudError("the server's answer declares entities", hint="is it a Nextcloud?")

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = text.append
    # Entities are how a small answer becomes gigabytes; Nextcloud sends none.
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(raw, True)
    except expat.ExpatError as error:
        raise CloudError(f"the server's answer is no WebDAV: {error}", hint="is it a Nextcloud?") from error
    return responses


def _found(response: _Response, root: str) -> Found:
    href = unquote(response.href, errors="strict").rstrip("/")
    if href.startswith(("http://", "https://")):
        href = "/" + href.split("/", 3)[3]
    if href != root and not href.startswith(root + "/"):
        raise CloudError("the server lists something that lies outside the folder", hint="is it a Nextcloud?")
    path = href[len(root) + 1 :]
    if any(part in ("", ".", "..") for part in path.split("/")) and path:
        raise CloudError("the server lists a path that leads out of the folder", hint="is it a Nextcloud?")
    had = response.properties
    is_directory = "collection" in had
    remote = Remote(
        is_directory,
        FileId(had.get("fileid", "")),
        Etag(had.get("getetag", "").strip('"')),
        0 if is_directory else _number(had.get("getcontentlength", "")),
        seconds(had.get("getlastmodified", "")),
        had.get("permissions", "") + _mounted(had),
        had.get("checksum", ""),
        _refusal(had),
    )
    return Found(CloudPath(path), remote, had.get("data-fingerprint", ""), had.get("id", ""))


def _mounted(had: dict[str, str]) -> str:
    if had.get("is-mount-root") != "true":
        return ""
    return MOUNT + (FEDERATED if "@" in had.get("owner-id", "") else "")


def _refusal(had: dict[str, str]) -> str:
    if had.get("is-encrypted") == "1":
        return "end-to-end encrypted: only Nextcloud's own clients can read it"
    if had.get("mount-type") in _EXTERNAL:
        return "external storage, whose changes Nextcloud does not see by itself"
    if not had.get("getetag") or not had.get("fileid"):
        return "the server names no version of it"
    return ""


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0


def seconds(text: str) -> int:
    """A date of HTTP, in seconds since 1970; 0 for what is none."""
    try:
        return int(parsedate_to_datetime(text).timestamp())
    except (ValueError, TypeError, OverflowError):
        return 0
