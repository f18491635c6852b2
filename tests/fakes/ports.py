# SPDX-License-Identifier: AGPL-3.0-or-later
"""Ports for programs that are told where to listen."""

import secrets
import socket

_FIRST, _COUNT = 10_300, 12_000
"""Below those that Linux gives to connections that go out (ip(7), ip_local_port_range), and those of apps (23000)."""


def free_port() -> int:
    """A port on which nobody listens, and which no connection of another test is given meanwhile."""
    while True:
        port = _FIRST + secrets.randbelow(_COUNT)
        with socket.socket() as tried:
            try:
                tried.bind(("", port))
            except OSError:
                continue
            return port
