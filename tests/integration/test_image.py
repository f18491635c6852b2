# SPDX-License-Identifier: AGPL-3.0-or-later
"""The image of ``Dockerfile``, really built, and run by ``compose.yaml`` on an engine of the test's own.

What the Dockerfile begins from, a Debian with ``python`` and ``pip``, is ``HARP_TEST_BASE``, a tar of its files::

    debootstrap --variant=minbase --include=python3,python3-pip,python3-venv,ca-certificates bookworm root
    ln -s python3 root/usr/bin/python; rm root/usr/lib/python3*/EXTERNALLY-MANAGED
    tar -C root -cf base.tar . && HARP_TEST_BASE=$PWD/base.tar python -m pytest tests/integration/test_image.py
"""

import http.client
import json
import os
import resource
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.contract.docked import environment
from tests.fakes.certificates import certificate
from tests.fakes.compose import compose
from tests.fakes.exapp import route
from tests.fakes.nextcloud import Nextcloud
from tests.fakes.served import Served
from tests.integration.engine import IMAGE, DockerEngine, why_not

ROOT = Path(__file__).parents[2]
BASE = os.environ.get("HARP_TEST_BASE", "")
KEY = "the-key-of-the-image"
OWNER = 8780
APP = "/exapps/imaged/cgi-bin/env"


def _why_not() -> str:
    if not BASE:
        return "HARP_TEST_BASE names no tar of a Debian with Python to build the image on"
    if not shutil.which("docker") or not compose():
        return "docker and its compose are not installed (apt install docker.io docker-compose)"
    return why_not()


pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(_why_not()), reason=_why_not() or "it can"),
]


@dataclass(slots=True)
class Composed:
    """``compose.yaml`` on an engine; ``given`` are its variables."""

    engine: DockerEngine
    folder: Path
    given: dict[str, str]

    def compose(self, *arguments: str, patience_s: float = 120.0) -> str:
        """What it wrote; AssertionError with it where it failed."""
        command = [*compose(), "-p", "harptest", "-f", str(self.folder / "compose.yaml"), *arguments]
        done = subprocess.run(command, env=self.given, capture_output=True, text=True, timeout=patience_s, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def inside(self, *command: str) -> tuple[int, str]:
        return self.engine.run(self.name, *command)

    @property
    def name(self) -> str:
        listed = self.engine.call("GET", "/containers/json?all=true").json
        [found] = [each["Names"][0] for each in listed if each["Image"] == "harp"]
        return str(found).lstrip("/")

    @property
    def inspected(self) -> Any:
        return self.engine.inspect(self.name)

    @property
    def address(self) -> str:
        [network] = self.inspected["NetworkSettings"]["Networks"].values()
        return str(network["IPAddress"])

    def post(self, verb: str, form: dict[str, Any], headers: dict[str, str]) -> int:
        """One of AppAPI's calls of the engine."""
        connection = http.client.HTTPConnection(self.address, 8780, timeout=90)
        try:
            connection.request("POST", f"/exapps/app_api/docker/exapp/{verb}", json.dumps(form), headers)
            return connection.getresponse().status
        finally:
            connection.close()

    def get(self, path: str, headers: dict[str, str] | None = None, *, tls: bool = False) -> int:
        """The status; 0 for no answer."""
        connection: http.client.HTTPConnection
        if tls:
            context = ssl._create_unverified_context()
            connection = http.client.HTTPSConnection(self.address, 8781, timeout=10, context=context)
        else:
            connection = http.client.HTTPConnection(self.address, 8780, timeout=10)
        try:
            connection.request("GET", path, headers=headers or {})
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()


def until(is_so: Callable[[], bool], patience_s: float, what: str, log: Callable[[], str]) -> None:
    deadline = time.monotonic() + patience_s
    while not is_so():
        assert time.monotonic() < deadline, f"{what}:\n{log()}"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerEngine]:
    """An engine that has the image ``harp``."""
    engine = DockerEngine(tmp_path_factory.mktemp("engine"))
    try:
        engine.start()
        engine.make_image()
        imported = engine.call(
            "POST", "/images/create?fromSrc=-&repo=base&tag=latest", body=Path(BASE).read_bytes(), patience_s=300
        )
        assert imported.status == 200, imported
        # The machine's own certificates and registry count within the build too.
        trust = {name: os.environ[name] for name in ("PIP_CERT", "PIP_INDEX_URL") if name in os.environ}
        done = subprocess.run(
            ["docker", "build", "--network", "host", "--build-arg", "BASE=base", "--tag", "harp"]
            + [word for name, value in trust.items() for word in ("--build-arg", f"{name}={value}")]
            + [str(ROOT)],
            env={"PATH": os.environ["PATH"], "DOCKER_HOST": engine.url, "DOCKER_BUILDKIT": "0", "HOME": "/nonexistent"},
            capture_output=True,
            text=True,
            timeout=800,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        yield engine
    finally:
        engine.remove()


def test_from_compose_to_a_reboot(built: DockerEngine, tmp_path: Path) -> None:
    cloud = Nextcloud(key=KEY)
    served = Served(cloud.answer, host="0.0.0.0").start()
    # An engine that may not raise limits, as in a sandbox, gives what it has.
    files = min(65_536, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    text = (ROOT / "compose.yaml").read_text()
    (tmp_path / "compose.yaml").write_text(text.replace("nofile: 65536", f"nofile: {files}"))
    (tmp_path / "certs").mkdir()
    given = {
        "PATH": os.environ["PATH"],
        "DOCKER_HOST": built.url,
        "HP_SHARED_KEY": KEY,
        "NC_INSTANCE_URL": f"http://{_gateway(built)}:{served.port}",
        "DOCKER_SOCKET": str(built.socket),
        "DOCKER_GID": str(built.socket.stat().st_gid or 4242),
    }
    os.chown(built.socket, 0, int(given["DOCKER_GID"]))
    harp = Composed(built, tmp_path, given)
    try:
        harp.compose("up", "--detach", "--no-build")

        def is_healthy() -> bool:
            return bool(harp.inspected["State"].get("Health", {}).get("Status") == "healthy")

        def log() -> str:
            return built.logs(harp.name) + json.dumps(harp.inspected["State"])

        until(is_healthy, 90, "never healthy", log)

        assert harp.inside("id", "-u")[1].strip() == str(OWNER)
        assert given["DOCKER_GID"] in harp.inside("id", "-G")[1].split()
        privileges = harp.inside("grep", "-E", "^(CapEff|NoNewPrivs)", "/proc/1/status")[1].split()
        assert privileges == ["CapEff:", "0" * 16, "NoNewPrivs:", "1"]

        key = {"harp-shared-key": KEY, "docker-engine-port": "24000"}
        assert harp.get("/exapps/app_api/_ping", key) == 200, "the engine is reached through the group"
        assert harp.get("/exapps/app_api/info", {"harp-shared-key": "another"}) == 401

        cloud.apps["imaged"] = {
            "exapp_token": "a-secret",
            "exapp_version": "1.0.0",
            "host": "imaged",
            "port": 23_000,
            "routes": [route("^/cgi-bin/")],
        }
        form = {"name": "imaged", "image_id": IMAGE, "network_mode": "harp"}
        made = harp.post("create", {**form, "environment_variables": environment("imaged", direct=True)}, key)
        assert (made, harp.post("start", form, key)) == (201, 204)
        until(lambda: harp.get(APP) == 200, 30, "the app is not reached", log)

        code, said = harp.inside("harp", "proxy", "doctor", "--json")
        checks = {check["name"]: check for check in json.loads(said)["checks"]}
        assert checks["engine 24000"]["ok"], said
        assert checks["control port"]["ok"], said
        assert checks["shared key"]["ok"], (code, said)

        assert harp.get("/", tls=True) == 0, "there is no certificate yet"
        paper = tmp_path / "certs" / "cert.pem"
        shutil.copy(certificate(tmp_path, "cloud.example.org").path, paper)
        os.chown(paper, OWNER, OWNER)
        harp.compose("kill", "-s", "HUP", "appapi-harp")
        until(lambda: harp.get("/", tls=True) == 404, 30, "no TLS after HUP", log)
        assert harp.inspected["State"]["Running"]

        began = harp.inspected["State"]["StartedAt"]
        built.stop()
        built.start()
        os.chown(built.socket, 0, int(given["DOCKER_GID"]))
        until(is_healthy, 90, "it did not come back", log)
        assert harp.inspected["State"]["StartedAt"] != began, "it was away"
        until(lambda: harp.get(APP) == 200, 30, "the app did not come back", log)
        assert harp.get("/exapps/app_api/_ping", key) == 200
        assert harp.get("/", tls=True) == 404
    finally:
        built.call("DELETE", "/containers/nc_app_imaged?force=true")
        harp.compose("down", "--volumes")
        served.stop()


def _gateway(engine: DockerEngine) -> str:
    """The machine, as containers reach it."""
    [configured] = engine.call("GET", "/networks/bridge").json["IPAM"]["Config"]
    return str(configured.get("Gateway") or configured["Subnet"].rpartition(".")[0] + ".1")
