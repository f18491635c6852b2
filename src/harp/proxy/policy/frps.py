# SPDX-License-Identifier: AGPL-3.0-or-later
"""The text of ``frps.toml``, for frps 0.52 and newer (contract, 4.1). Same shape, same bytes."""

import json
from dataclasses import dataclass, field

from harp.proxy.model import APP_PORTS, ENGINE_PORTS

_LEVELS = {"warning": "warn"}
KEEPALIVE_S = 10
"""A client whose machine is gone keeps its port until it is missed: within twice as long. frps' own 30 s are long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrpsShape:
    """All that frps is told. ``tls`` is the folder with its certificates, or empty; ``door`` is the agent's URL."""

    host: str
    port: int
    door: str = field(repr=False)
    tls: str = ""
    log_level: str = "warning"


def frps_toml(shape: FrpsShape) -> str:
    """The whole of ``frps.toml``: ports on loopback alone, and no client or port that the agent was not asked about."""
    tls = ["transport.tls.force = false"]
    if shape.tls:
        tls = [
            "transport.tls.force = true",
            f"transport.tls.certFile = {_quoted(shape.tls + '/server.crt')}",
            f"transport.tls.keyFile = {_quoted(shape.tls + '/server.key')}",
            f"transport.tls.trustedCaFile = {_quoted(shape.tls + '/ca.crt')}",
        ]
    ports = ", ".join(f"{{ start = {ports[0]}, end = {ports[-1]} }}" for ports in (APP_PORTS, ENGINE_PORTS))
    lines = [
        f"bindAddr = {_quoted('0.0.0.0' if shape.host == '*' else shape.host)}",  # noqa: S104
        f"bindPort = {shape.port}",
        'proxyBindAddr = "127.0.0.1"',
        "maxPortsPerClient = 1",
        f"allowPorts = [{ports}]",
        *tls,
        f"transport.tcpMuxKeepaliveInterval = {KEEPALIVE_S}",
        'log.to = "console"',
        f"log.level = {_quoted(_LEVELS.get(shape.log_level, shape.log_level))}",
        "log.disablePrintColor = true",
        "",
        "[[httpPlugins]]",
        'name = "harp"',
        f"addr = {_quoted(shape.door)}",
        'path = "/frp_handler"',
        'ops = ["Login", "NewProxy", "CloseProxy"]',
    ]
    return "".join(f"{line}\n" for line in lines)


def _quoted(text: str) -> str:
    """A basic string of TOML. frps takes the file for a template of Go, too: no brace stays as it is."""
    return json.dumps(text, ensure_ascii=False).replace("{", "\\u007b").replace("\x7f", "\\u007f")
