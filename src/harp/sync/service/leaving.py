# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a folder leaves out, as texts: the rules for all its devices and those for this one, read and written."""

import os
from contextlib import suppress
from dataclasses import dataclass

from harp.base.errors import FolderError, UsageError
from harp.sync.folder import read
from harp.sync.folder.fs import LOCAL_IGNORE, Root, refused
from harp.sync.folder.ignore import MAX_BYTES, IgnoreRules
from harp.sync.folder.names import SYNCED_IGNORE
from harp.sync.model import Path

_NEW = b".harp/tmp/rules.new"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """The rules in gitignore's form; ``problems`` are lines that are not followed, and why."""

    shared: bytes
    local: bytes
    problems: tuple[str, ...]


def left_out(root: Root) -> LeftOut:
    """Both texts as they are on the disk; a file that is not there is an empty one. Raises :class:`FolderError`."""
    shared, local = _content(root, SYNCED_IGNORE), _content(root, LOCAL_IGNORE)
    return LeftOut(shared, local, IgnoreRules.parse(shared, local).problems)


def leave_out(root: Root, *, shared: bytes | None, local: bytes | None) -> None:
    """Writes the texts that are given, each whole or not at all.

    Raises :class:`UsageError` for one that is too long, :class:`FolderError` where the disk refuses.
    """
    for path, text in ((SYNCED_IGNORE, shared), (LOCAL_IGNORE, local)):
        if text is not None and len(text) > MAX_BYTES:
            raise UsageError(f"rules have at most {MAX_BYTES} bytes", hint="fewer rules, or wider ones")
        if text is not None and text != _content(root, path):
            _write(root, path, text)


def _write(root: Root, path: Path, text: bytes) -> None:
    """In one step, by a name in the folder's own corner: a symlink that lies at ``path`` is replaced, not followed."""
    try:
        corner = root.make_private(Path(_NEW.rpartition(b"/")[0]))
        name, here = _NEW.rpartition(b"/")[2], root.directory(Path(path.rpartition(b"/")[0]))
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=corner.fd)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(name, flags, 0o644, dir_fd=corner.fd), "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.rename(name, path.rpartition(b"/")[2], src_dir_fd=corner.fd, dst_dir_fd=here.fd)
    except OSError as error:
        raise refused(path, error) from error


def _content(root: Root, path: Path) -> bytes:
    found = read.read_whole(root, path, MAX_BYTES)
    if isinstance(found, read.Gone):
        if root.lstat(path) is None:
            return b""
        raise FolderError(f"{path.decode()} cannot be read: {found.why}", hint="is it a file, and not too large?")
    return found[1]
