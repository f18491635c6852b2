# SPDX-License-Identifier: AGPL-3.0-or-later
"""``harp proxy doctor`` with a real HAProxy behind a real nginx, which is broken in one way after the other."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harp.proxy.doctor import probes
from harp.proxy.doctor.diagnosis import Reach
from tests.fakes.exapp import ExApp, route
from tests.fakes.haproxy import free_port, needs_haproxy
from tests.fakes.nextcloud import Nextcloud
from tests.fakes.served import Served
from tests.integration.test_proxy_command import KEY, Running, started

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
pytestmark = [needs_haproxy, pytest.mark.skipif(not Path(NGINX).exists(), reason="no nginx here: apt install nginx")]

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


class World:
    """A Nextcloud, a harp in front of it, and the nginx that browsers come to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gone = False
        self.app, nextcloud = ExApp(), Nextcloud(key=KEY)
        self.app.start()
        nextcloud.apps["app"] = self.app.record(route("^/public"))
        self.nextcloud = Served(nextcloud.answer).start()
        self.proxy: Running | None = None
        self.nginx: subprocess.Popen[bytes] | None = None

    def asked(self, *, location: str = GOOD, trusted: str = "127.0.0.9", key: str = KEY) -> dict[str, dict[str, str]]:
        """The doctor's failed findings, by their names."""
        self.proxy = started(self.folder, self.nextcloud, "proxy", HP_TRUSTED_PROXY_IPS=trusted)
        self.proxy.until("/readyz", 200, self.proxy.metrics)
        assert self.proxy.get("/exapps/app/public") == 200
        if self.gone:
            self.app.stop()
        port = free_port()
        self._serve(port, location.replace("HARP", str(self.proxy.port)))
        self.proxy.variables = dict(self.proxy.variables) | {"HP_SHARED_KEY": key}
        code, said = self.proxy.run("doctor", "--json", "--public", f"http://127.0.0.1:{port}")
        failed = {check["name"]: check for check in json.loads(said)["checks"] if not check["ok"]}
        assert KEY not in said
        assert code == (1 if failed else 0)
        return failed

    def _serve(self, port: int, location: str) -> None:
        text = (
            f"daemon off; pid {self.folder}/nginx.pid; error_log {self.folder}/nginx.log; events {{}}\n"
            "http { access_log off; map $http_upgrade $connection_upgrade { default upgrade; '' ''; }\n"
            f"server {{ listen 127.0.0.1:{port}; location /exapps/ {{ {location} }} }} }}\n"
        )
        (self.folder / "nginx.conf").write_text(text)
        self.nginx = subprocess.Popen([NGINX, "-c", str(self.folder / "nginx.conf")])
        assert self.proxy is not None
        deadline = time.monotonic() + 10
        while self.proxy.get("/", port) == 0:
            assert time.monotonic() < deadline, "nginx does not answer"
            time.sleep(0.05)

    def close(self) -> None:
        for process in (self.nginx, self.proxy.process if self.proxy else None):
            if process is not None:
                process.terminate()
                process.wait(20)
        self.nextcloud.stop()
        if not self.gone:
            self.app.stop()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def test_all_is_well(world: World) -> None:
    assert world.asked() == {}


def test_the_prefix_is_taken_away(world: World) -> None:
    failed = world.asked(location=GOOD.replace("HARP;", "HARP/;"))
    assert "takes /exapps/ away" in failed["path"]["text"]
    assert "nginx: in `location /exapps/`: `proxy_pass http://HARP:8780;`" in failed["path"]["remedy"]


def test_something_is_put_before_it(world: World) -> None:
    failed = world.asked(location=GOOD.replace("HARP;", "HARP/cloud/exapps/;"))
    assert "puts something before /exapps/" in failed["path"]["text"]


def test_it_is_not_passed_on_at_all(world: World) -> None:
    failed = world.asked(location="return 404;")
    assert "does not arrive" in failed["path"]["text"]


def test_the_upgrade_is_not_passed(world: World) -> None:
    failed = world.asked(location=GOOD.replace("proxy_set_header Upgrade $http_upgrade;", ""))
    assert list(failed) == ["WebSocket"]
    assert "nginx: `proxy_http_version 1.1; proxy_set_header Upgrade" in failed["WebSocket"]["remedy"]


def test_events_are_held_back_to_be_compressed(world: World) -> None:
    failed = world.asked(
        location=GOOD.replace(
            "proxy_buffering off;", "gzip on; gzip_proxied any; gzip_min_length 0; gzip_types text/event-stream;"
        )
    )
    assert list(failed) == ["SSE"]
    assert "nginx: `proxy_buffering off;` and `gzip off;`" in failed["SSE"]["remedy"]


def test_the_proxy_is_not_trusted(world: World) -> None:
    failed = world.asked(trusted="")
    assert "HP_TRUSTED_PROXY_IPS is empty" in failed["trusted proxies"]["text"]


def test_another_proxy_is_trusted(world: World) -> None:
    failed = world.asked(trusted="192.0.2.1")
    assert failed["trusted proxies"]["remedy"].startswith("add 127.0.0.9 to HP_TRUSTED_PROXY_IPS")


def test_the_person_is_not_named(world: World) -> None:
    failed = world.asked(location=GOOD.replace("proxy_set_header X-Forwarded-For $remote_addr;", ""))
    assert "no X-Forwarded-For" in failed["trusted proxies"]["text"]


def test_another_key(world: World) -> None:
    failed = world.asked(key="another-key")
    assert list(failed) == ["shared key", "Nextcloud's key"]


def test_an_app_is_gone(world: World) -> None:
    world.gone = True
    failed = world.asked()
    assert list(failed) == ["app app"]
    assert "listens on 127.0.0.1 inside its container" in failed["app app"]["text"]


def test_nobody_listens() -> None:
    assert probes.reach_of(ConnectionRefusedError()) is Reach.REFUSED
    assert probes.reach_of(TimeoutError()) is Reach.TIMED_OUT
