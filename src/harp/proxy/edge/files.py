# SPDX-License-Identifier: AGPL-3.0-or-later
"""The run folder: HAProxy's files, and what is remembered of one run for the next. Only its owner may read it."""

import contextlib
import logging
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path

from harp.base.errors import ConfigError

_log = logging.getLogger(__name__)

ROOM_BYTES = 1 << 19
"""What a start wants to have free: its files, up to eight apps, take half of it. With more apps they grow later, and a
disk that is full by then is said (:func:`for_the_next_start`)."""
_lost: set[Path] = set()


def make_run_folder(run: Path) -> None:
    """Makes the folder, for its owner alone, where there is room. Raises :class:`ConfigError`."""
    try:
        run.mkdir(parents=True, exist_ok=True, mode=0o700)
        run.chmod(0o700)
        write(run / "room", "x" * ROOM_BYTES)
        (run / "room").unlink()
    except OSError as error:
        raise ConfigError(
            f"{run} cannot be used: {error.strerror}",
            hint="set HP_RUN_DIR to a folder of your own, with room on its disk",
        ) from error


@contextlib.contextmanager
def for_the_next_start(path: Path) -> Iterator[None]:
    """What is written in here can be done without until then: on a full disk a line says so, once, and all goes on."""
    try:
        yield
    except OSError as error:
        if path not in _lost:
            _log.error("%s cannot be written, and a restart would not know it: %s", path, error.strerror)
        _lost.add(path)
    else:
        _lost.discard(path)


def write(path: Path, text: str) -> bool:
    """Replaces a file whole, if it says something else; whether it did."""
    try:
        if path.read_text(encoding="utf-8", errors="surrogateescape") == text:
            return False
    except FileNotFoundError:
        pass
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return True


def write_all(run: Path, texts: Mapping[str, str]) -> None:
    """Every file of a state; the configuration last, for it names the others."""
    for name in sorted(texts, key=lambda name: name == "haproxy.cfg"):
        write(run / name, texts[name])


def read(path: Path) -> str | None:
    """A file's text; ``None`` where there is none that can be read."""
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None
