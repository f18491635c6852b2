# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who listens on this machine's TCP ports, without a connection to anybody (proc(5), ``/proc/net/tcp``)."""

from pathlib import Path

from harp.proxy.edge import files

_LISTEN = "0A"


def listening() -> frozenset[int]:
    """The TCP ports on which this machine listens, as far as its network namespace goes."""
    found = set()
    for name in ("tcp", "tcp6"):
        for line in (files.read(Path("/proc/net") / name) or "").splitlines()[1:]:
            words = line.split()
            if words[3] == _LISTEN:
                found.add(int(words[1].rpartition(":")[2], 16))
    return frozenset(found)


def listens(address: str) -> bool:
    """Whether anybody listens on the port of ``HOST:PORT``."""
    return int(address.rpartition(":")[2]) in listening()
