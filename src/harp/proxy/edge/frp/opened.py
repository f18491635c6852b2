# SPDX-License-Identifier: AGPL-3.0-or-later
"""The ports that frps was allowed to open: a file of the run's folder, for the next agent and for whoever asks."""

from pathlib import Path

import msgspec

from harp.proxy.edge import files
from harp.proxy.edge.listening import listening

FILE = "tunnels.json"


class Tunnel(msgspec.Struct, frozen=True):
    """A proxy that frps was allowed to open. ``run`` is the client's session."""

    name: str
    port: int
    run: str = ""


def remembered(run: Path) -> list[Tunnel]:
    """What frps was allowed to open, and has not said to be closed; none where the file is not good."""
    text = files.read(run / FILE)
    try:
        return [] if text is None else msgspec.json.decode(text, type=list[Tunnel])
    except msgspec.DecodeError:
        return []


def open_now(run: Path) -> list[Tunnel]:
    """Those of them whose port is open: frps may have ended since, or not have got the port."""
    ports = listening()
    return sorted((tunnel for tunnel in remembered(run) if tunnel.port in ports), key=lambda tunnel: tunnel.port)
