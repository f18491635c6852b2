# SPDX-License-Identifier: AGPL-3.0-or-later
"""Key, ledgers and accounts in one file, taken while the daemon runs, and put back into an empty home."""

import os
import secrets
import tarfile
import tempfile
from pathlib import Path

from harp.base.errors import FolderError, StoreError, UsageError
from harp.sync.model import INCARNATION_BYTES, Incarnation
from harp.sync.store import accounts
from harp.sync.store.database import Database
from harp.sync.store.ledger import Ledger

KEY = "device.key"
REGISTRY = "registry.db"
SETTINGS = "config.toml"
ACCOUNTS = accounts.FILE_NAME
FOLDERS = "folders"
_MAX_MEMBER_BYTES = 1 << 40


def make(home: Path, target: Path) -> int:
    """Writes the backup of ``home`` to ``target``, which must not be there yet; its size in bytes.

    Raises :class:`UsageError` where something lies there, :class:`FolderError` where it cannot be written.
    """
    try:
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise UsageError(f"{target} is there already", hint="name a file that is not") from error
    except OSError as error:
        raise FolderError(f"{target} cannot be written: {error.strerror}", hint="name another place") from error
    try:
        with (
            os.fdopen(handle, "wb") as file,
            tarfile.open(fileobj=file, mode="w") as archive,
            tempfile.TemporaryDirectory(dir=home, prefix=".backup-") as scratch,
        ):
            for name in _copied(home, Path(scratch)):
                archive.add(Path(scratch) / name, arcname=name, recursive=False)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, StoreError) as error:
        target.unlink(missing_ok=True)
        raise FolderError(f"{target} cannot be written: {error}", hint="is there room on its disk?") from error
    return target.stat().st_size


def restore(home: Path, source: Path) -> None:
    """Puts a backup into ``home``, which has no identity yet; whole or not at all.

    Each ledger gets a new chain for this device: what was said after the backup was made stays good, and nothing said
    from now on can contradict it. What a folder and an account last agreed on is not in a backup: both are put together
    by their content, and nothing is removed. Raises :class:`UsageError` for a file that is no backup.
    """
    with tempfile.TemporaryDirectory(dir=home, prefix=".restore-") as scratch_name:
        scratch = Path(scratch_name)
        try:
            with tarfile.open(source, mode="r:") as archive:
                for member in archive:
                    _extract(archive, member, scratch)
        except (tarfile.TarError, OSError, EOFError, ValueError) as error:
            raise UsageError(f"{source} is not a whole backup: {error}", hint="`harp backup FILE` makes one") from error
        if not (scratch / KEY).is_file() or not (scratch / REGISTRY).is_file():
            raise UsageError(f"{source} is not a backup of harp", hint="`harp backup FILE` makes one")
        ledgers = sorted((scratch / FOLDERS).glob("*.db"))
        for ledger in ledgers:
            _renew(ledger)
        (home / FOLDERS).mkdir(mode=0o700, exist_ok=True)
        for ledger in ledgers:
            ledger.rename(home / FOLDERS / ledger.name)
        for name in (REGISTRY, SETTINGS, ACCOUNTS, KEY):
            if (scratch / name).is_file():
                (scratch / name).rename(home / name)


def _copied(home: Path, scratch: Path) -> list[str]:
    """Consistent copies of all that counts, the key last; their names."""
    names = [REGISTRY]
    (scratch / FOLDERS).mkdir()
    database = Database(home / REGISTRY, "registry", read_only=True)
    database.copy_to(scratch / REGISTRY)
    database.close()
    for ledger in sorted((home / FOLDERS).glob("*.db")):
        database = Database(ledger, "ledger", read_only=True)
        database.copy_to(scratch / FOLDERS / ledger.name)
        database.close()
        names.append(f"{FOLDERS}/{ledger.name}")
    for name in (SETTINGS, ACCOUNTS, KEY):
        if (home / name).exists():
            (scratch / name).write_bytes((home / name).read_bytes())
            names.append(name)
    return names


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, scratch: Path) -> None:
    """One member, if its name is one that a backup has; a hostile archive writes nowhere else."""
    folder, _, name = member.name.rpartition("/")
    is_ledger = folder == FOLDERS and name.endswith(".db") and "/" not in name and not name.startswith(".")
    is_known = is_ledger or member.name in (KEY, REGISTRY, SETTINGS, ACCOUNTS)
    if not member.isfile() or not is_known or member.size > _MAX_MEMBER_BYTES:
        raise tarfile.TarError(f"{member.name!r} does not belong into a backup")
    target = scratch / member.name
    target.parent.mkdir(exist_ok=True)
    content = archive.extractfile(member)
    assert content is not None
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        while chunk := content.read(1 << 20):
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())


def _renew(path: Path) -> None:
    """A new incarnation: the old chain may have gone on after the backup, and must not fork."""
    ledger = Ledger(path)
    try:
        ledger.db.check()
        with ledger.db.transaction():
            # A ledger that names no folder is none.
            ledger.set_fact("folder", ledger.folder)
        ledger.renew(Incarnation(secrets.token_bytes(INCARNATION_BYTES)))
    finally:
        ledger.close()
