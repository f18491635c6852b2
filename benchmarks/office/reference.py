# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the links themselves carry, by iperf3: the measure of everything else in the run."""

import json
import subprocess
import time
from dataclasses import dataclass
from typing import Any

from benchmarks.figures import Undone
from benchmarks.lab.namespace import tied
from benchmarks.lab.site import Host, built

_LAN_S, _WAN_S = 5, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Payload of one TCP connection, in bytes a second."""

    lan: float
    down: float
    up: float


def measured() -> Reference:
    """In a laboratory of its own. Raises :class:`Undone` where iperf3 cannot."""
    with built(2) as lab:
        one, other = lab.site.hosts
        return Reference(
            lan=_rate(one, other, _LAN_S),
            down=_rate(lab.cloud, one, _WAN_S, "--reverse"),
            up=_rate(lab.cloud, one, _WAN_S),
        )


def _rate(server: Host, client: Host, seconds: int, *words: str) -> float:
    with server.namespace.entered():
        listening = subprocess.Popen(tied(["iperf3", "--server", "--one-off"]), stdout=subprocess.DEVNULL)
    try:
        found = _asked(server, client, ["--time", str(seconds), *words])
        return float(found["end"]["sum_received"]["bits_per_second"]) / 8
    finally:
        listening.kill()
        listening.wait()


def _asked(server: Host, client: Host, words: list[str]) -> dict[str, Any]:
    argv = ["iperf3", "--client", server.address, "--json", *words]
    deadline = time.monotonic() + 10
    while True:
        with client.namespace.entered():
            done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        found: dict[str, Any] = json.loads(done.stdout or "{}")
        if done.returncode == 0 and "error" not in found:  # with --json an error may end with 0
            return found
        if time.monotonic() > deadline:
            raise Undone(f"iperf3: {found.get('error') or done.stderr.strip()}")
        time.sleep(0.1)  # its server does not listen yet
