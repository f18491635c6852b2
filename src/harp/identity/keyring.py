# SPDX-License-Identifier: AGPL-3.0-or-later
"""The device's key on the disk: ``HOME/device.key``, 32 bytes that only their owner can read, made once."""

import contextlib
import os
import secrets
import stat
from pathlib import Path

from harp.base.errors import ConfigError
from harp.identity.device import DeviceKey

KEY_NAME = "device.key"
SEED_BYTES = 32

_PRIVATE_FOLDER = 0o700
_PRIVATE_FILE = 0o600
_OTHERS = 0o077


def load_or_make(home: Path) -> DeviceKey:
    """The key of this home; made, with the home itself (0700), at the first call.

    Two processes that start at once end with one and the same key. Raises :class:`ConfigError` as :func:`load` does.
    """
    make_home(home)
    key = load(home)
    if key is None:
        _make(home / KEY_NAME)
        key = load(home)
    if key is None:
        raise ConfigError(f"{home / KEY_NAME} was removed while it was being made", hint="start once more")
    return key


def load(home: Path) -> DeviceKey | None:
    """The key of this home, or None where there is none yet.

    Raises :class:`ConfigError` where the file is a symlink or no plain file, belongs to someone else, can be read by
    others, or has not exactly 32 bytes. It is never replaced: whoever has lost it is another device.
    """
    path = home / KEY_NAME
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        if path.is_symlink():
            raise ConfigError(f"{path} is a symlink", hint="put the key file itself there") from error
        raise ConfigError(f"{path} cannot be read: {error.strerror}", hint="it must belong to you, 0600") from error
    try:
        _demand_private(path, os.fstat(handle))
        seed = os.read(handle, SEED_BYTES + 1)
    finally:
        os.close(handle)
    if len(seed) != SEED_BYTES:
        raise ConfigError(
            f"{path} is not a device key: it must have {SEED_BYTES} bytes",
            hint="put the key back from a backup (`harp restore-backup FILE`)",
        )
    return DeviceKey.from_seed(seed)


def make_home(home: Path) -> None:
    """Make the home, with its parents, for its owner alone.

    One that is there and open to others is closed to them, unless it holds other things (``/tmp``, say) and no key yet.
    """
    try:
        home.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)
        found = home.stat()
        if found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) & _OTHERS:
            if any(home.iterdir()) and not (home / KEY_NAME).exists():
                raise ConfigError(
                    f"{home} is open to others and holds other things",
                    hint="name an empty folder, or chmod 700 this one",
                )
            home.chmod(_PRIVATE_FOLDER)
    except FileExistsError as error:
        raise ConfigError(f"{home} is not a folder", hint="name another with --home") from error
    except OSError as error:
        raise ConfigError(f"{home} cannot be made: {error.strerror}", hint="name another with --home") from error
    if found.st_uid != os.geteuid():
        raise ConfigError(f"{home} belongs to someone else", hint="name another with --home")


def permission_fault(home: Path) -> str:
    """What is wrong with who may read the key, in one line; empty where nothing is, or where no key is yet."""
    try:
        load(home)
    except ConfigError as error:
        return error.message
    return ""


def _demand_private(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(f"{path} is not a plain file", hint="put the key file itself there")
    if found.st_uid != os.geteuid():
        raise ConfigError(f"{path} belongs to someone else", hint="start harp as its owner")
    if stat.S_IMODE(found.st_mode) & _OTHERS:
        raise ConfigError(f"{path} can be read by others", hint=f"if only you had access so far: chmod 600 {path}")


def _make(path: Path) -> None:
    """A whole key appears at ``path``, or none; one that is there already stays."""
    temporary = path.with_name(f".{KEY_NAME}.{secrets.token_hex(8)}")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _PRIVATE_FILE)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_bytes(SEED_BYTES))
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(temporary, path)
        finally:
            temporary.unlink()
        _sync_folder(path.parent)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be made: {error.strerror}", hint="the home needs a disk that has room and knows permissions"
        ) from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
