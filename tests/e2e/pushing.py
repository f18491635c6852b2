# SPDX-License-Identifier: AGPL-3.0-or-later
"""The real notify_push ("Client Push") for a Nextcloud of a test's own: Redis, its server and its app.

::

    with pushing.opened(nextcloud) as push:                # its capabilities say where to listen
        with push.down(): ...

``HARP_TEST_NOTIFY_PUSH`` names the program, ``HARP_TEST_NOTIFY_PUSH_APP`` the folder of the app, which is called
notify_push too.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.lab.namespace import tied
from tests.e2e.cloud import START_S, Cloud, as_web_user, has_php
from tests.fakes.ports import free_port

APP = "notify_push"
_CAPABILITIES = "/ocs/v2.php/cloud/capabilities?format=json"


def why_not() -> str:
    """Why there can be none here; empty if there can."""
    program, app = os.environ.get("HARP_TEST_NOTIFY_PUSH", ""), os.environ.get("HARP_TEST_NOTIFY_PUSH_APP", "")
    if not program or not app:
        return "HARP_TEST_NOTIFY_PUSH and HARP_TEST_NOTIFY_PUSH_APP name no program and app of notify_push"
    if not os.access(program, os.X_OK) or not Path(app, "appinfo/info.xml").is_file() or Path(app).name != APP:
        return f"{program} is no program, or {app} no folder {APP} with an app"
    if shutil.which("redis-server") is None or not has_php("redis"):
        return "there is no redis-server, or PHP has no redis (apt install redis-server php-redis)"
    return ""


@dataclass(slots=True)
class Pushing:
    """The server of notify_push for ``cloud``, at ``port``; ``redis`` is the port of what both speak through."""

    cloud: Cloud
    place: Path
    redis: int = field(default_factory=free_port)
    port: int = field(default_factory=free_port)
    _server: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def start(self) -> None:
        program = [os.environ["HARP_TEST_NOTIFY_PUSH"], str(self.cloud.scratch / "config" / "config.php")]
        told = ["--redis-url", f"redis://127.0.0.1:{self.redis}", "--nextcloud-url", self.cloud.url]
        where = ["--bind", "127.0.0.1", "--port", str(self.port)]
        self._server.enter_context(_running(self.place, [*as_web_user(), *program, *told, *where], self.port))

    def stop(self) -> None:
        self._server.close()

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """Everybody's line breaks, and for the block nobody answers."""
        self.stop()
        try:
            yield
        finally:
            self.start()


@contextlib.contextmanager
def opened(cloud: Cloud) -> Iterator[Pushing]:
    """It runs until the block ends; then the Nextcloud is without it again."""
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="harp-push-")))
        push = Pushing(cloud, place)
        server = ["redis-server", "--bind", "127.0.0.1", "--port", str(push.redis), "--dir", str(place)]
        stack.enter_context(_running(place, [*server, "--save", "", "--appendonly", "no"], push.redis))
        cloud.occ("config:system:set", "notify_push_redis", "host", "--value=127.0.0.1")
        cloud.occ("config:system:set", "notify_push_redis", "port", f"--value={push.redis}", "--type=integer")
        stack.callback(cloud.occ, "config:system:delete", "notify_push_redis")
        cloud.install_app(Path(os.environ["HARP_TEST_NOTIFY_PUSH_APP"]))
        stack.callback(cloud.occ, "app:remove", APP)
        push.start()
        stack.callback(push.stop)
        stack.enter_context(cloud.led_to(_location(push.port), APP))
        cloud.occ("notify_push:setup", f"{cloud.url}/push")
        deadline = time.monotonic() + START_S
        # Its processes believe for some seconds what they have read of the settings, and say it without an address.
        while b"\\/push\\/ws" not in cloud.request(cloud.admin, "GET", _CAPABILITIES):
            assert time.monotonic() < deadline, "the capabilities do not name the push server"
            time.sleep(0.2)
        yield push


@contextlib.contextmanager
def _running(place: Path, command: Sequence[str], port: int) -> Iterator[None]:
    log = place / f"{port}.log"
    with log.open("ab") as said:
        process = subprocess.Popen(tied(command, by="TERM"), stdout=said, stderr=said, start_new_session=True)
    try:
        deadline = time.monotonic() + START_S
        while not _answers(port):
            assert process.poll() is None, f"{command[0]} ended:\n{log.read_text()}"
            assert time.monotonic() < deadline, f"{command[0]} does not listen:\n{log.read_text()}"
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(10)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return True
    except OSError:
        return False


def _location(port: int) -> str:
    """As its README has it for nginx."""
    return f"""
    location ^~ /push/ {{
      proxy_pass http://127.0.0.1:{port}/;
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection "Upgrade";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }}
    """
