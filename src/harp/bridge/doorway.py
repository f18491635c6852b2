# SPDX-License-Identifier: AGPL-3.0-or-later
"""The door of a home: one daemon at a time holds it, and its socket ``HOME/harp.sock`` is for its owner alone."""

import contextlib
import fcntl
import os
import secrets
import socket
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

from harp.base.errors import ConfigError
from harp.base.sockets import short_name

SOCKET_NAME = "harp.sock"
LOCK_NAME = "harp.lock"
_BACKLOG = 64
_CREDENTIALS = struct.Struct("3i")


@contextlib.contextmanager
def claimed(home: Path) -> Iterator[None]:
    """Hold the home for this process: first thing a daemon does, before it opens anything in there.

    The claim ends with the process, however that ends. Raises :class:`ConfigError` where someone else holds it.
    """
    path = home / LOCK_NAME
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"{path} cannot be opened: {error.strerror}", hint="name another home with --home") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"a daemon runs in {home} already", hint="`harp status` shows it, `harp down` stops it"
            ) from error
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be locked: {error.strerror}", hint="is the home on a local disk?"
            ) from error
        yield
    finally:
        os.close(handle)


def is_claimed(home: Path) -> bool:
    """Whether a process holds the home now."""
    try:
        handle = os.open(home / LOCK_NAME, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def bound(home: Path) -> socket.socket:
    """The listening socket, 0600, in place of one that a dead daemon left behind; call it while the home is claimed.

    Raises :class:`ConfigError` where something else has its name, which is left alone, or something answers there.
    """
    path = home / SOCKET_NAME
    _demand_free(path)
    temporary = home / f".{secrets.token_hex(4)}.sock"
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        with short_name(temporary) as name:
            door.bind(name)
        # Under its own name from the first moment on, the socket is private and listens: nobody meets it half-made.
        temporary.chmod(0o600)
        door.listen(_BACKLOG)
        temporary.replace(path)
    except OSError as error:
        door.close()
        temporary.unlink(missing_ok=True)
        raise ConfigError(f"{path} cannot be made: {error.strerror}", hint="is the home on a local disk?") from error
    door.setblocking(False)
    return door


def remove(home: Path) -> None:
    """Take the socket away at the end, if that is what it is."""
    path = home / SOCKET_NAME
    with contextlib.suppress(OSError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()


def connected(home: Path, timeout_s: float | None) -> socket.socket:
    """A connection to the daemon of this home. Raises ``OSError``: it is for the caller to say what that means."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        link.settimeout(timeout_s)
        with short_name(home / SOCKET_NAME) as name:
            link.connect(name)
    except BaseException:
        link.close()
        raise
    return link


def peer_uid(link: socket.socket) -> int:
    """Who is at the other end, by the kernel's word (unix(7), SO_PEERCRED)."""
    raw = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(raw)
    return int(uid)


def _demand_free(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"{path} cannot be looked at: {error.strerror}", hint="whose home is this?") from error
    if not stat.S_ISSOCK(found.st_mode):
        raise ConfigError(f"{path} is not a socket", hint="move it away; harp removes only sockets")
    with contextlib.suppress(OSError):
        connected(path.parent, 1.0).close()
        raise ConfigError(f"something answers on {path} already", hint="`harp down` stops a daemon")
