# SPDX-License-Identifier: AGPL-3.0-or-later
"""Ports for programs that are told where to listen."""

import os
import secrets
import socket

_FIRST, _COUNT = 10_300, 12_000
"""Below those that Linux gives to connections that go out (ip(7), ip_local_port_range), and those of apps (23000)."""
_given: set[int] = set()


def _share() -> range:
    """What this process may give: those who test beside it (xdist) have shares of their own."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    size = _COUNT // workers
    return range(_FIRST + number * size, _FIRST + (number + 1) * size)


def free_port() -> int:
    """A port on which nobody listens, and which no other test is given: who had it may come back to it."""
    share = _share()
    if len(_given) > len(share) // 2:
        _given.clear()
    while True:
        port = secrets.choice(share)
        with socket.socket() as tried:
            try:
                tried.bind(("", port))
            except OSError:
                continue
        if port not in _given:
            _given.add(port)
            return port
