# SPDX-License-Identifier: AGPL-3.0-or-later
"""A harp that runs, with a Nextcloud and one app, and the real nginx that browsers come to."""

import contextlib
import json
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from benchmarks.lab.namespace import Namespace
from tests.fakes.exapp import ExApp, route
from tests.fakes.nextcloud import Nextcloud
from tests.fakes.ports import free_port
from tests.fakes.served import Served
from tests.integration.test_proxy_command import KEY, Running, started

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
needs_nginx = pytest.mark.skipif(not Path(NGINX).exists(), reason="no nginx here: apt install nginx")

# nginx speaks from 127.0.0.9, so that it can be told from the person at 127.0.0.1.
GOOD = """
    proxy_pass http://127.0.0.1:HARP;
    proxy_bind 127.0.0.9;
    proxy_http_version 1.1;
    proxy_buffering off;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $connection_upgrade;
"""


class FrontDoor:
    """All of them on this machine; ``variables`` are the proxy's beside those of every test.

    ``cloud`` is another machine, at ``at``, for Nextcloud and nginx.
    """

    key = KEY

    def __init__(
        self, folder: Path, *, cloud: Namespace | None = None, at: str = "127.0.0.1", **variables: str
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.app = ExApp()
        self.cloud = Nextcloud(key=KEY)
        self.app.start()
        self.is_app_there = True
        self.cloud.apps["app"] = self.app.record(route("^/public"))
        self.at = at
        self._machine = cloud
        with self._there():
            self.served = Served(self.cloud.answer, host=at).start()
        self._server: subprocess.Popen[bytes] | None = None
        self.proxy: Running = started(folder, self.served, "proxy", **{"HP_TRUSTED_PROXY_IPS": "127.0.0.9"} | variables)
        if listen := variables.get("HP_EXAPPS_ADDRESS"):
            self.proxy.port = int(listen.rpartition(":")[2])
        self.proxy.until("/readyz", 200, self.proxy.metrics)
        assert self.proxy.get("/exapps/app/public") == 200

    def serve(self, location: str = GOOD, *, ssl: Path | None = None) -> int:
        """Browsers meet this ``location /exapps/`` from now on; its port."""
        self._stop()
        port = free_port()
        certificate = f"ssl_certificate {ssl}; ssl_certificate_key {ssl};" if ssl else ""
        text = (
            f"daemon off; pid {self.folder}/nginx.pid; error_log {self.folder}/nginx.log; events {{}}\n"
            "http { access_log off; map $http_upgrade $connection_upgrade { default upgrade; '' ''; }\n"
            f"server {{ listen {self.at}:{port}{' ssl' if ssl else ''}; {certificate}\n"
            f"location /exapps/ {{ {location.replace('HARP', str(self.proxy.port))} }} }} }}\n"
        )
        (self.folder / "nginx.conf").write_text(text)
        with self._there():
            self._server = subprocess.Popen([NGINX, "-c", str(self.folder / "nginx.conf")])
            deadline = time.monotonic() + 10
            while True:
                try:
                    socket.create_connection((self.at, port), timeout=1).close()
                    return port
                except OSError:
                    assert time.monotonic() < deadline, "nginx does not answer"
                    time.sleep(0.02)

    def _there(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self._machine is None else self._machine.entered()

    def failed(self, public: str, **variables: str) -> dict[str, dict[str, str]]:
        """What the doctor finds amiss, by name, where browsers come to ``public``; in an environment changed so."""
        told = self.told(public, **variables)
        return {name: check for name, check in told.items() if not check["ok"]}

    def told(self, public: str, **variables: str) -> dict[str, dict[str, str]]:
        """Each line of the doctor, by name; no secret is in any, and the exit code says whether one is ✗."""
        code, said = self.asking(**variables).run("doctor", "--json", "--public", public)
        assert KEY not in said
        assert said.startswith("{"), said
        checks: list[dict[str, str]] = json.loads(said)["checks"]
        assert code == (0 if all(check["ok"] for check in checks) else 1)
        return {check["name"]: check for check in checks}

    def asking(self, **variables: str) -> Running:
        """The commands of its home, in an environment changed so."""
        return Running(self.proxy.home, {**self.proxy.variables, **variables}, self.proxy.process, 0, 0)

    def lose_app(self) -> None:
        self.app.stop()
        self.is_app_there = False

    def _stop(self) -> None:
        if self._server is not None:
            self._server.terminate()
            self._server.wait(20)
            self._server = None

    def close(self) -> None:
        self._stop()
        self.proxy.process.terminate()
        self.proxy.process.wait(20)
        self.served.stop()
        if self.is_app_there:
            self.app.stop()
