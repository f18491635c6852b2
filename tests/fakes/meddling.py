# SPDX-License-Identifier: AGPL-3.0-or-later
"""What happens meanwhile: a user who saves at the worst moment, and a disk that can do less than others."""

import errno
import os
from collections.abc import Callable

import pytest

from harp.sync.folder import syscalls
from tests.fakes.folder import Folder

LESSER_DISKS = ["renameat2", "hard links", "neither"]
"""What a disk has for putting a file where nothing lies: less and less."""


def weaken(monkeypatch: pytest.MonkeyPatch, disk: str) -> None:
    """Makes the disk under the tests one of :data:`LESSER_DISKS`."""

    def cannot(*_: object, **__: object) -> None:
        raise OSError(errno.EINVAL, "invalid")

    if disk != "renameat2":
        monkeypatch.setattr(syscalls, "rename", cannot)
    if disk == "neither":
        monkeypatch.setattr(os, "link", cannot)


def changed_by_write(folder: Folder) -> None:
    (folder.at / "file").write_bytes(b"the user's")


def changed_by_rename(folder: Folder) -> None:
    (folder.at / "new").write_bytes(b"the user's")
    os.utime(folder.at / "new", ns=(1, 1))
    (folder.at / "new").rename(folder.at / "file")


def changed_to_a_directory(folder: Folder) -> None:
    (folder.at / "file").unlink()
    (folder.at / "file").mkdir()
    (folder.at / "file" / "x").write_bytes(b"the user's")


CHANGES = [changed_by_write, changed_by_rename, changed_to_a_directory]


def user_has(folder: Folder) -> bool:
    """The user's latest is where the user put it."""
    at = folder.at / "file"
    return (at / "x" if at.is_dir() else at).read_bytes() == b"the user's"


class Between:
    """Lets something happen just before the n-th call of a function: in the gap between a look and a rename."""

    def __init__(self, real: Callable[..., None], happen: Callable[[], None], call: int = 1) -> None:
        self.real, self.happen, self.left = real, happen, call

    def __call__(self, *arguments: object) -> None:
        self.left -= 1
        if self.left == 0:
            self.happen()
        self.real(*arguments)
