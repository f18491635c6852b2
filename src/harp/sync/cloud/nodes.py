# SPDX-License-Identifier: AGPL-3.0-or-later
"""What one path is: on this disk, in the account, and where both last agreed (pure).

A path is a relative, ``/``-separated ``str``: Nextcloud keeps names as UTF-8 in normal form C, and no others.
"""

from dataclasses import dataclass
from typing import NewType

CloudPath = NewType("CloudPath", str)
"""Relative to the folder that is mirrored; the folder itself is the empty one."""
FileId = NewType("FileId", str)
"""Nextcloud's number of a file: one within an instance, the same for all who see the file, kept by a move."""
Etag = NewType("Etag", str)
"""Without the quotes. Of a folder: another one after a change below it. Of a file: another one for each content, but on
the server's own disk it is made of the time in seconds, the size and the inode, and so may come again."""


ALL_LETTERS = "RGDNVWCK"
"""Share, read, delete, rename, move, write; in a folder also make files and folders."""
MOUNT = "m"
"""A letter of ours: here a share or a storage of somebody else begins, and who deletes it only takes leave of it."""

FEDERATED = "f"
"""A letter of ours: what is mounted here may lie on another server. Its owner's id has an ``@`` then, as some always
have."""


@dataclass(frozen=True, slots=True)
class Local:
    """A file or directory on this disk. Equal values are taken for the same content, as by the folder's scan."""

    is_directory: bool
    inode: int
    size: int = 0
    mtime_ns: int = 0

    @property
    def mtime_s(self) -> int:
        """As Nextcloud keeps it."""
        return self.mtime_ns // 1_000_000_000


@dataclass(frozen=True, slots=True)
class Remote:
    """A file or folder in the account; ``permissions`` are Nextcloud's letters, e.g. ``RGDNVW``, and those of ours."""

    is_directory: bool
    fileid: FileId
    etag: Etag
    size: int = 0
    mtime_s: int = 0
    permissions: str = ALL_LETTERS
    checksum: str = ""
    """What whoever wrote it says that it is, e.g. ``SHA256:…``; the server has not looked."""
    refusal: str = ""
    """Why it cannot be mirrored; empty for all that can."""

    def may(self, letter: str) -> bool:
        return letter in self.permissions

    def is_young(self, seen_s: float, now_s: float) -> bool:
        """Whether the second that it has as its time was not over when it was seen, and may have begun by now.

        Nextcloud keeps the etag of a file that is written in that second, and a condition on it proves nothing. Both
        times are the server's, and may be a second and what an answer takes on its way too early.
        """
        return seen_s < self.mtime_s + 1 and now_s > self.mtime_s - 2


@dataclass(frozen=True, slots=True)
class Agreed:
    """What both sides had when they last were the same. ``sha256`` is in hexadecimal, empty for a directory."""

    local: Local
    fileid: FileId
    etag: Etag
    sha256: str = ""
    permissions: str = ALL_LETTERS

    @property
    def is_directory(self) -> bool:
        return self.local.is_directory


def agreed_on(local: Local, remote: Remote, sha256: str = "") -> Agreed:
    """Both are the same now."""
    return Agreed(local, remote.fileid, remote.etag, sha256, remote.permissions)


def parent(path: CloudPath) -> CloudPath:
    return CloudPath(path.rpartition("/")[0])


def ancestors(path: CloudPath) -> list[CloudPath]:
    """The directories above, the outermost first; without the folder itself."""
    parts = path.split("/")[:-1]
    return [CloudPath("/".join(parts[:count])) for count in range(1, len(parts) + 1)]


def is_below(path: CloudPath, directory: CloudPath) -> bool:
    return not directory or path.startswith(directory + "/")


def moved(path: CloudPath, source: CloudPath, target: CloudPath) -> CloudPath:
    """Where ``path`` is after ``source`` became ``target``."""
    if path == source or is_below(path, source):
        return CloudPath(target + path[len(source) :])
    return path


def conflict_name(path: CloudPath, when: str, digits: str) -> CloudPath:
    """``stem (conflict 2026-11-23 041500Z 1a2b3c4d).ext``, as the folder itself names them."""
    directory, slash, name = path.rpartition("/")
    dot = name.rfind(".")
    has_extension = dot > 0 and len(name) - dot <= 32
    stem, extension = (name[:dot], name[dot:]) if has_extension else (name, "")
    tag = f" (conflict {when} {digits[:8]}){extension}"
    room = 250 - len(tag.encode())
    while len(stem.encode()) > room:
        stem = stem[:-1]
    return CloudPath(directory + slash + stem + tag)
