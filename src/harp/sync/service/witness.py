# SPDX-License-Identifier: AGPL-3.0-or-later
"""A note beside the files of how far this device's own chain was: a ledger that is behind it went back in time.

``.harp/chain`` holds the incarnation and the last sequence. It is written after the ledger and not waited for, so it
may be older than the ledger, and is newer only where the ledger was put back from a copy.
"""

import os
import struct

from harp.base.errors import FolderError
from harp.sync.folder.fs import Root, refused
from harp.sync.folder.names import PRIVATE
from harp.sync.model import INCARNATION_BYTES, Incarnation, Path

PATH = Path(PRIVATE + b"/chain")
_FORM = struct.Struct(f">{INCARNATION_BYTES}sQ")


class Witness:
    """For the folder's thread."""

    def __init__(self, root: Root) -> None:
        try:
            directory = root.make_private(Path(PRIVATE))
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fd = os.open(b"chain", flags, 0o600, dir_fd=directory.fd)
        except OSError as error:
            raise refused(PATH, error) from error

    def contradicts(self, incarnation: Incarnation, sequence: int) -> bool:
        """Whether this device has said more on that chain than its ledger knows of."""
        try:
            noted = os.pread(self._fd, _FORM.size, 0)
        except OSError as error:
            raise refused(PATH, error) from error
        if len(noted) != _FORM.size:
            return False
        noted_incarnation, noted_sequence = _FORM.unpack(noted)
        return bool(noted_incarnation == incarnation and noted_sequence > sequence)

    def note(self, incarnation: Incarnation, sequence: int) -> None:
        """What the ledger durably holds by now. Raises :class:`FolderError` where the disk refuses."""
        try:
            os.pwrite(self._fd, _FORM.pack(incarnation, sequence), 0)
        except OSError as error:
            raise FolderError(f"the folder cannot be written to: {error.strerror}") from error

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
