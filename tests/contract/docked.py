# SPDX-License-Identifier: AGPL-3.0-or-later
"""A HaRP with a real Docker Engine behind it, and the calls that AppAPI makes."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.contract.instance import Harp
from tests.contract.talk import Reply, next_name
from tests.integration.engine import DockerEngine


@dataclass(slots=True)
class Docked:
    """``port`` is the engine's number in docker-engine-port; ``given`` the folder that HP_BIND_MOUNTS names."""

    harp: Harp
    engine: DockerEngine
    port: int
    given: Path

    def call(self, verb: str, *, patience_s: float = 60.0, **said: Any) -> Reply:
        """``POST /docker/exapp/VERB``."""
        return self.harp.control("POST", f"/docker/exapp/{verb}", said, headers=[self.header], patience_s=patience_s)

    def through(self, method: str, path: str, *, patience_s: float = 60.0) -> Reply:
        """A call of the engine's own API, through HaRP."""
        return self.harp.control(method, path, headers=[self.header], patience_s=patience_s)

    @property
    def header(self) -> tuple[str, str]:
        return "docker-engine-port", str(self.port)

    def made(self, **said: Any) -> str:
        """An app's container that does not run; the app's id."""
        name = said.pop("name", None) or next_name("Dock")
        asked = {"image_id": "harp-test-app", "environment_variables": environment(name), **said}
        reply = self.call("create", name=name, **asked)
        assert reply.status == 201, reply.text
        return str(name)

    def runs(self, **said: Any) -> str:
        name = self.made(**said)
        assert self.call("start", name=name).status == 204
        return name

    def inspect(self, name: str) -> Any:
        return self.engine.inspect(f"nc_app_{name}")

    def has_volume(self, name: str) -> bool:
        return self.engine.call("GET", f"/volumes/nc_app_{name}_data").status == 200

    def holds(self, name: str, path: str) -> bool:
        """Whether there is such a file in an app's container."""
        return self.engine.call("HEAD", f"/containers/nc_app_{name}/archive?path={path}").status == 200


def environment(name: str, port: int = 23000, *, direct: bool = False) -> list[str]:
    """AppAPI's own variables in its own order, for an app that comes through FRP unless it is ``direct``."""
    host = "0.0.0.0" if direct else "127.0.0.1"
    frp = [] if direct else ["HP_FRP_ADDRESS=harp", "HP_FRP_PORT=8782", "HP_SHARED_KEY=the-key-of-all"]
    return [
        "AA_VERSION=32.0.0",
        "APP_SECRET=a-secret",
        f"APP_ID={name}",
        f"APP_DISPLAY_NAME={name}",
        "APP_VERSION=1.0.0",
        f"APP_HOST={host}",
        f"APP_PORT={port}",
        f"APP_PERSISTENT_STORAGE=/nc_app_{name}_data",
        "NEXTCLOUD_URL=http://127.0.0.1",
        "COMPUTE_DEVICE=CPU",
        *frp,
    ]


@contextlib.contextmanager
def relayed(target: Path) -> Iterator[int]:
    """A Unix socket on a port of loopback, among those that HaRP knows engines by: the way of an engine behind FRP."""
    listener = next(_bound(24_050, 24_100))
    thread = threading.Thread(target=_relay, args=(listener, target), daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def _bound(least: int, most: int) -> Iterator[socket.socket]:
    for port in range(least, most):
        listener = socket.socket()
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            listener.close()
            continue
        listener.listen(64)
        yield listener


def _relay(listener: socket.socket, target: Path) -> None:
    while True:
        try:
            accepted, _peer = listener.accept()
        except OSError:
            return
        threading.Thread(target=_carry, args=(accepted, target), daemon=True).start()


def _carry(accepted: socket.socket, target: Path) -> None:
    with accepted, socket.socket(socket.AF_UNIX) as engine:
        engine.connect(str(target))
        back = threading.Thread(target=_pump, args=(engine, accepted), daemon=True)
        back.start()
        _pump(accepted, engine)
        back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
