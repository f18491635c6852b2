# SPDX-License-Identifier: AGPL-3.0-or-later
"""Small files of a home that only their owner may read; each is there whole, or as it was before."""

import os
import secrets
import stat
from pathlib import Path

from harp.base.errors import ConfigError


def replace(path: Path, body: str) -> None:
    """Writes ``path`` (0600) durably, whole or not at all. Raises :class:`ConfigError`."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"{path} cannot be written: {error}", hint="is the home there, with room on its disk?"
        ) from error


def secret(path: Path, most_bytes: int, what: str) -> str | None:
    """The text that ``path`` holds, at most so much of it; None where there is none. ``what`` says what it should be.

    Raises :class:`ConfigError` where others may read it, or nobody can.
    """
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise ConfigError(f"others can read {path}", hint=f"chmod 600 {path}")
            return file.read(most_bytes).decode()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", hint=f"it holds {what}") from error
