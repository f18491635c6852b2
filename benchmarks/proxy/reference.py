# SPDX-License-Identifier: AGPL-3.0-or-later
"""Runs the reference HaRP from a checkout, in the foreground and outside a container; the contract suite uses it too.

``python -m benchmarks.proxy.reference CHECKOUT``, with the variables that its image takes (``HP_*``,
``NC_INSTANCE_URL``). The checkout is only read: what it has fixed for its container (paths, the port of its control
API) is rewritten in a copy. frps is replaced by a listener that does nothing, and there is no Docker socket. Needs on
PATH: bash, curl, envsubst, nc, haproxy; and a Python with aiohttp, pydantic and haproxyspoa
(``HARP_REFERENCE_PYTHON``, by default ``CHECKOUT/.venv/bin/python``).
"""

import argparse
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

# What the image sets where its user does not.
_IMAGE_DEFAULTS = {
    "HP_EXAPPS_ADDRESS": "0.0.0.0:8780",
    "HP_EXAPPS_HTTPS_ADDRESS": "0.0.0.0:8781",
    "HP_FRP_ADDRESS": "0.0.0.0:8782",
    "HP_SPOA_ADDRESS": "127.0.0.1:9600",
    "HP_FRP_DISABLE_TLS": "false",
    "HP_TIMEOUT_CONNECT": "30s",
    "HP_TIMEOUT_CLIENT": "30s",
    "HP_TIMEOUT_SERVER": "1800s",
    "NC_INSTANCE_URL": "",
    "HP_TRUSTED_PROXY_IPS": "",
    "HP_LOG_LEVEL": "warning",
}
_PROGRAMS = ("bash", "curl", "envsubst", "nc", "haproxy")
_MODULES = ("aiohttp", "pydantic", "haproxyspoa")
_FRPS = """#!{python}
import signal, socket, sys, pathlib, re
text = pathlib.Path(sys.argv[2]).read_text()
host, port = re.search(r'bindAddr = "(.*)"', text)[1], int(re.search(r"bindPort = (.*)", text)[1])
with socket.create_server((host, port)):
    signal.pause()
"""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now.

    Below those that the kernel gives to clients: one of these could take it meanwhile, and even meet itself there.
    """
    while True:
        port = random.randrange(12_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def prepared(checkout: Path, work: Path, python: Path) -> Path:
    """A copy of the checkout's parts in ``work`` that needs no container; the script that starts it."""
    control = free_port()
    for folder in ("run", "certs", "bin"):
        (work / folder).mkdir()
    moved = {
        "127.0.0.1:8200": f"127.0.0.1:{control}",
        "port=8200": f"port={control}",
        "/etc/haproxy/spoe-agent.conf": f"{work}/spoe-agent.conf",
        "/usr/local/bin/haproxy_agent.py": f"{work}/haproxy_agent.py",
        "/haproxy.cfg.template": f"{work}/haproxy.cfg.template",
        "/var/run/docker.sock": f"{work}/no-docker.sock",
        "/run/harp": f"{work}/run",
        "/certs/": f"{work}/certs/",
        '"/haproxy.cfg"': f'"{work}/no-haproxy.cfg"',
    }
    for name in ("start.sh", "haproxy.cfg.template", "spoe-agent.conf", "haproxy_agent.py"):
        text = (checkout / name).read_text()
        for before, after in moved.items():
            text = text.replace(before, after)
        (work / name).write_text(text)
    # A script, not a link: a Python knows its venv by where it was called.
    for name, text in (
        ("python3", f'#!/bin/sh\nexec "{python}" "$@"\n'),
        ("frps", _FRPS.format(python=sys.executable)),
    ):
        (work / "bin" / name).write_text(text)
        (work / "bin" / name).chmod(0o755)
    return work / "start.sh"


def what_is_missing(checkout: Path, python: Path) -> str | None:
    """Why the reference cannot run here, or None."""
    if not (checkout / "haproxy_agent.py").is_file():
        return f"{checkout} is no checkout of the reference: it has no haproxy_agent.py"
    absent = [name for name in _PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"not on PATH: {', '.join(absent)} (Debian: gettext-base has envsubst, netcat-openbsd has nc)"
    if not python.exists():
        return f"{python} is not there: make a venv with {', '.join(_MODULES)}, or set HARP_REFERENCE_PYTHON"
    tried = subprocess.run([python, "-c", f"import {', '.join(_MODULES)}"], capture_output=True, text=True, check=False)
    return tried.stderr.strip().splitlines()[-1] if tried.returncode else None


def python_of(checkout: Path) -> Path:
    return Path(os.environ.get("HARP_REFERENCE_PYTHON") or checkout / ".venv" / "bin" / "python").absolute()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.proxy.reference", description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=Path)
    checkout = parser.parse_args(argv).checkout.resolve()
    python = python_of(checkout)
    if missing := what_is_missing(checkout, python):
        print(f"the reference cannot run: {missing}", file=sys.stderr)
        return 3
    with tempfile.TemporaryDirectory(prefix="reference-") as folder:
        script = prepared(checkout, Path(folder), python)
        environment = {**_IMAGE_DEFAULTS, **os.environ, "PATH": f"{folder}/bin:{os.environ['PATH']}"}
        running = subprocess.Popen(["bash", script], env=environment)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda received, _frame: running.send_signal(received))
        return running.wait()


if __name__ == "__main__":
    sys.exit(main())
