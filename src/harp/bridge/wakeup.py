# SPDX-License-Identifier: AGPL-3.0-or-later
"""The socket on which harpbridge, the Nextcloud app, says that its journal has grown: one datagram, and no answer.

A datagram is ``harpbridge 1 ID`` and a newline, at most 64 bytes; ID is the last row of the journal. It is a hint and
nothing more: whoever may write here can make the mirrors look at their accounts once more. Without the socket nothing
is lost, since they look from time to time anyway, and where it is wanted the journal is read (``service/journalloop``).
"""

import asyncio
import contextlib
import fcntl
import grp
import os
import pwd
import re
import secrets
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from harp.base.errors import ConfigError
from harp.base.sockets import short_name

MAX_DATAGRAM_BYTES: Final = 64
MODE: Final = 0o660
DISORDER: Final = 1000
"""Ids are given out before rows are written: so far one may come behind a greater one."""
TOLD_S: Final = 3600.0
_FORM = re.compile(rb"harpbridge 1 (0|[1-9][0-9]{0,18})\n")
_DATAGRAMS_A_TURN = 256


def journal_id(datagram: bytes) -> int | None:
    """The journal's last row that a datagram names; None for anything else.

    >>> journal_id(b"harpbridge 1 4711\\n")
    4711
    """
    match = _FORM.fullmatch(datagram) if len(datagram) <= MAX_DATAGRAM_BYTES else None
    return int(match[1]) if match else None


class Wakeup:
    """The socket at ``path``, 0660 and of ``group``; to be used on one event loop.

    ``wake`` is called there with the greatest id of those that came at once. Its trouble is not the daemon's:
    :attr:`trouble` says it, and :meth:`look` tries again.
    """

    def __init__(self, path: Path, group: str, wake: Callable[[int], None]) -> None:
        self.path = path
        self.trouble = ""
        """Why harpbridge is not heard; empty while all is well."""
        self.remedy = ""
        """What to do about it."""
        self.heard = 0
        """Datagrams that said that the journal has grown."""
        self.ignored = 0
        """Datagrams of any other form."""
        self._greatest = 0
        self._went_back_s = float("-inf")
        """When (monotonic) the journal's numbers went back last."""
        self._group = group
        self._wake = wake
        self._socket: socket.socket | None = None
        self._inode = (0, 0)
        self._lock: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def note(self) -> str:
        """That somebody emptied the journal, for an hour after it; nothing depends on what was in it."""
        if time.monotonic() - self._went_back_s > TOLD_S:
            return ""
        return "Nextcloud's journal was emptied, or begun anew: nothing is lost, the mirrors look for themselves"

    def look(self) -> None:
        """Open the socket if it is not open, or is no longer the one that is found at its path."""
        if self._socket is not None and _inode(self.path) == self._inode:
            return
        try:
            self._close_socket()
            self._open()
        except ConfigError as error:
            self.trouble, self.remedy = f"harpbridge is not heard: {error.message}", error.hint

    def close(self) -> None:
        """Hear nothing more, and take the socket away if it still is this one."""
        if self._socket is not None and _inode(self.path) == self._inode:
            with contextlib.suppress(OSError):
                self.path.unlink()
        self._close_socket()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # --- opening ------------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        if self._lock is None:
            self._lock = _locked(self.path)
        _demand_free(self.path)
        one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        temporary = self.path.with_name(f".{secrets.token_hex(4)}.sock")
        try:
            with short_name(temporary) as name:
                one.bind(name)
            # Under its own name from the first moment on, it belongs to whom it shall: nobody meets it half-made.
            temporary.chmod(MODE)
            self._give(temporary)
            self._inode = _inode(temporary)
            temporary.replace(self.path)
        except OSError as error:
            one.close()
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise _unmade(self.path, error) from error
        self._socket = one
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(one, self._read, one)

    def _give(self, path: Path) -> None:
        """To the web server's group. Where that cannot be, this user's own programs are heard still."""
        self.trouble = self.remedy = ""
        group, user = self._group, _user(os.geteuid())
        try:
            os.chown(path, -1, grp.getgrnam(group).gr_gid)
        except KeyError:
            self.trouble = f"harpbridge is not heard: there is no group {group}"
            self.remedy = "harp config set bridge_group GROUP, the web server's"
        except PermissionError:
            self.trouble = f"harpbridge is not heard: {user} is not in the group {group}"
            self.remedy = f"sudo usermod -aG {group} {user}, and start harp anew"

    def _close_socket(self) -> None:
        if self._socket is not None:
            if self._loop is not None:
                self._loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    # --- hearing ------------------------------------------------------------------------------------------------------

    def _read(self, one: socket.socket) -> None:
        newest = -1
        for _ in range(_DATAGRAMS_A_TURN):
            try:
                datagram = one.recv(MAX_DATAGRAM_BYTES + 1)
            except OSError:
                break
            found = journal_id(datagram)
            if found is None:
                self.ignored += 1
            else:
                self.heard += 1
                newest = max(newest, found)
        if newest >= 0:
            if newest + DISORDER < self._greatest or newest == 0 < self._greatest:
                self._greatest, self._went_back_s = newest, time.monotonic()
            self._greatest = max(self._greatest, newest)
            self._wake(newest)


def _locked(path: Path) -> int:
    """A descriptor that holds the path for this process. Raises :class:`ConfigError` where another has it."""
    lock = path.with_name(f"{path.name}.lock")
    try:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unmade(path, error) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise ConfigError(
            f"another daemon listens on {path}", hint="give this one its own: harp config set bridge_socket PATH"
        ) from error
    return handle


def _demand_free(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unmade(path, error) from error
    if not stat.S_ISSOCK(found.st_mode):
        raise ConfigError(f"{path} is not a socket", hint="move it away; harp removes only sockets")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe, contextlib.suppress(ConnectionRefusedError):
        try:
            with short_name(path) as name:
                probe.connect(name)
        except (PermissionError, FileNotFoundError) as error:
            if found.st_uid != os.geteuid():
                raise ConfigError(
                    f"{path} belongs to {_user(found.st_uid)}", hint="run harp as that user, or remove the socket"
                ) from error
            return
        raise ConfigError(f"another program listens on {path}", hint="stop it, or: harp config set bridge_socket PATH")


def _unmade(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"{path} cannot be made: {error.strerror}",
        hint=f"{path.parent} must be there and belong to {_user(os.geteuid())}, 0755",
    )


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _inode(path: Path) -> tuple[int, int]:
    try:
        found = path.lstat()
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino
