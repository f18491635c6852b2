# SPDX-License-Identifier: AGPL-3.0-or-later
"""What HAProxy's configuration is made from, and how its words are written."""

import ipaddress
import re
from dataclasses import dataclass

from harp.proxy.model import EngineAddress

ASK = 3
"""In the place of a route's level: the agent has to match this one and all behind it."""
ASKED = "?"
"""Before the key of an app with such a route: no path begins so, and none of its requests is taken for a usual one."""
SLOT_KINDS = ("slot", "ask")
"""A slot has two backends: for what HAProxy decides alone, and for what the agent may be asked about."""
INTERNAL = 4
"""In the place of a route's level: only Nextcloud may."""
TIMES = "times"
"""HAProxy's ring of log lines, which says how long each of the last requests waited for its app."""
RING_MOST = 100
"""The most failures that a table remembers one by one."""
MODULUS = 2_000_000_000
"""Times in tables are milliseconds modulo this (23 days): tables hold 32 bits."""
LIFETIME_MOST_MS = 10_500
CONTROL_MS = 2_800
ASK_S = 2
WAIT_S = 1.5
"""After this long the agent says "wait", before HAProxy's own time-out of :data:`ASK_S` ends the question."""
ASKED_AGAIN = 17
"""Times 1.5 s is 25 s and a little, the time that Nextcloud is given."""

TEXTS = {
    401: "401 Unauthorized",
    403: "403 Forbidden",
    404: "404 Not Found",
    429: "429 Too Many Requests",
    503: "503 Service Unavailable (Harp)",
}
AS_ASKED = r"http-request replace-path ^/exapps/[^/]*+/?+(.*+)$ /\1"
"""From here on ``path`` is what the app, or the control API, is asked for."""
NOW = f"date(0,ms),mod({MODULUS})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """All that the configuration is made from; a change of any of it is a reload."""

    run: str
    binds: tuple[str, ...]
    certificate: str = ""
    tls_binds: tuple[str, ...] = ()
    agent: str
    control: str
    key_digest: str
    """SHA-256 of the shared key in capital hexadecimal digits: the key itself is in no file."""
    trusted: tuple[str, ...] = ()
    timeout_connect: str = "30s"
    timeout_client: str = "30s"
    timeout_server: str = "1800s"
    timeout_tunnel: str = "1800s"
    ban_count: int = 10
    ban_window_s: int = 300
    maxconn: int = 2000
    threads: int = 0
    slots: int = 16
    bufsize: int = 16_384
    access_log: bool = False
    forward_credentials: bool = False
    control_via_proxy: bool = False
    has_exporter: bool = True
    hard_stop_s: int = 86_400
    engines: tuple[EngineAddress, ...] = ()
    pools: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Apps of several instances, each with ``host:port``. The n-th has slots 2n and 2n + 1 for itself."""


def quoted(text: str) -> str:
    """One word of the configuration, whatever is in it (Configuration Manual, 2.2). Newlines cannot be there."""
    if any(c in text for c in "\n\r\0"):
        raise ValueError("a line's end cannot be written into HAProxy's configuration")
    return '"' + "".join("\\" + c if c in '"\\$' else c for c in text) + '"'


def quoted_argument(text: str) -> str:
    """What stands in ``'…'`` within ``"…"``: an argument of a converter."""
    if "'" in text or not re.fullmatch(r"[ -~]*", text):
        raise ValueError("an argument that cannot be quoted")
    return "".join("\\" + c if c in '"\\$' else c for c in text)


def map_file(shape: Shape, name: str) -> str:
    """Where a map lies; it is also the map's name on the runtime socket."""
    return f"{shape.run}/{name}.map"


def is_literal(instance: str) -> bool:
    """Whether ``host:port`` has an address for a host, and no name that has to be looked up."""
    try:
        ipaddress.ip_address(instance.rpartition(":")[0].strip("[]"))
    except ValueError:
        return False
    return True


def pool_slots(shape: Shape, app: str) -> tuple[int, int] | None:
    """The two slots of an app of several instances: its routes change from one to the other."""
    for place, (name, _instances) in enumerate(shape.pools):
        if name == app:
            return 2 * place, 2 * place + 1
    return None


def ring_of(shape: Shape) -> int:
    """How many failures of one client are remembered."""
    return min(shape.ban_count, RING_MOST)
