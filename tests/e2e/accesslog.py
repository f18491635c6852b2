# SPDX-License-Identifier: AGPL-3.0-or-later
"""What Harp did to an account, as the web server noted it (:meth:`tests.e2e.cloud.Cloud` says in which form)."""

import re
from typing import NamedTuple

_WRITE = re.compile(
    r'"(PUT|DELETE) (\S+) HTTP/1\.1" 20\d \d+ "[^"]*aiohttp[^"]*" match=(\S+) none=(\S+) etag=(\S+) sha256=(\S+)'
)
_READ = re.compile(r'"GET \S+ HTTP/1\.1" 200 (\d+) "[^"]*aiohttp[^"]*" match=\S+ none=\S+ etag=(\S+)')


class Write(NamedTuple):
    """One request of Harp that changed the account; ``-`` is for nothing."""

    method: str
    path: str
    match: str
    none: str
    etag: str
    sha256: str


def writes(log: str, below: str) -> list[Write]:
    """What Harp has changed below a path, the earliest first."""
    found = (Write(*one) for one in _WRITE.findall(_plain(log)))
    return [one for one in found if one.path.startswith(f"{below}/")]


def reads(log: str) -> set[tuple[str, int]]:
    """Of each file that Harp has fetched the etag, and how many bytes it was."""
    return {(etag, int(size)) for size, etag in _READ.findall(_plain(log))}


def _plain(log: str) -> str:
    """nginx writes a quote as ``\\x22``."""
    return log.replace("\\x22", "")
