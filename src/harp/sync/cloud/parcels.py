# SPDX-License-Identifier: AGPL-3.0-or-later
"""Many small files in one request: its body, and what the answer says was made of them (pure).

``/dav/bulk`` is Nextcloud's own and overwrites whatever lies there; Harp Bridge makes files where nothing lies.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from harp.sync.cloud.nodes import CloudPath, Etag


@dataclass(frozen=True, slots=True)
class SmallFile:
    """A new file; ``sha256`` of the content in hexadecimal."""

    path: CloudPath
    content: bytes
    sha256: str
    mtime_s: int


Parcel: TypeAlias = Mapping[str, SmallFile]
"""By where each is to lie in the account, e.g. ``Documents/a.txt``."""

Made: TypeAlias = Iterator[tuple[SmallFile, str, Etag]]
"""Which of them were made, with the number as the server writes it, and the etag."""


def is_fit(path: CloudPath) -> bool:
    """Whether ``/dav/bulk`` would write to that very name: it takes the last blanks off a header."""
    return path == path.rstrip() and path.isprintable()


def bulk_body(parcel: Parcel, boundary: str) -> bytes:
    """For ``/dav/bulk``, whose names must be :func:`fit for it <is_fit>`."""
    parts: list[bytes] = []
    for place, one in parcel.items():
        # Nextcloud 32 looks at the SHA-256, older ones at the MD5.
        md5 = hashlib.md5(one.content, usedforsecurity=False).hexdigest()
        head = (
            f"--{boundary}\r\nX-File-Path: /{place}\r\nX-OC-Mtime: {max(one.mtime_s, 1)}\r\n"
            f"OC-Checksum: SHA256:{one.sha256}\r\nX-File-MD5: {md5}\r\nContent-Length: {len(one.content)}\r\n\r\n"
        )
        parts += [head.encode(), one.content, b"\r\n"]
    parts.append(f"--{boundary}--\r\n".encode())
    return b"".join(parts)


def made_by_bulk(told: Any, parcel: Parcel) -> Made:
    for place, one in parcel.items():
        said = told.get(f"/{place}") if isinstance(told, dict) else None
        if isinstance(said, dict) and said.get("error") is False:
            yield one, str(said.get("fileid", "")), _etag(said)


def new_files_body(parcel: Parcel) -> bytes:
    """For Harp Bridge: a line of JSON, and the contents one behind the other."""
    listed = [
        {"path": place, "size": len(one.content), "mtime": max(one.mtime_s, 1), "sha256": one.sha256}
        for place, one in parcel.items()
    ]
    return b"".join([json.dumps(listed).encode(), b"\n", *(one.content for one in parcel.values())])


def made_by_bridge(told: Any, parcel: Parcel) -> Made:
    try:
        found = told["ocs"]["data"]["made"]
    except (KeyError, TypeError):
        found = None
    for said in found if isinstance(found, list) else ():
        if isinstance(said, dict) and (one := parcel.get(str(said.get("path", "")))):
            yield one, str(said.get("fileid", "")), _etag(said)


def _etag(said: Mapping[str, Any]) -> Etag:
    return Etag(str(said.get("etag", "")).strip('"'))
