# SPDX-License-Identifier: AGPL-3.0-or-later
"""Unix sockets at paths that are longer than a socket's address."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

# unix(7): sun_path has 108 bytes, the last of them NUL.
_MAX_SOCKET_PATH = 107


@contextlib.contextmanager
def short_name(path: Path) -> Iterator[str]:
    """A name for ``path`` that fits into a socket address, however deep it lies; it holds within the block."""
    if len(os.fsencode(path)) <= _MAX_SOCKET_PATH:
        yield os.fspath(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
