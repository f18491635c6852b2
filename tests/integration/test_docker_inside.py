# SPDX-License-Identifier: AGPL-3.0-or-later
"""Harp in a container beside the apps, as HaRP's users have it: it finds its own network, and puts apps there.

The container sees this machine's programs and this checkout, so that no image has to be built.
"""

import io
import json
import sys
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.docked import environment
from tests.fakes.haproxy import needs_haproxy
from tests.fakes.nextcloud import Nextcloud
from tests.fakes.served import Served
from tests.integration.engine import DockerEngine, opened, why_not

pytestmark = [
    needs_haproxy,
    pytest.mark.root,
    pytest.mark.timeout(180),
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
    pytest.mark.skipif(not Path("/bin").is_symlink(), reason="this machine keeps /bin beside /usr/bin"),
]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerEngine]:
    with opened(tmp_path_factory.mktemp("engine")) as started:
        yield started


def made_host_image(engine: DockerEngine) -> None:
    """An image with nothing in it but the links that lead to /usr."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name in ("bin", "sbin", "lib", "lib64"):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, f"usr/{name}"
            tar.addfile(link)
    assert engine.call("POST", "/images/create?fromSrc=-&repo=host", body=packed.getvalue()).status == 200


@pytest.fixture
def inside(engine: DockerEngine) -> Iterator[tuple[str, Nextcloud]]:
    """Where Harp in its container is reached, and its Nextcloud."""
    made_host_image(engine)
    assert engine.call("POST", "/networks/create", {"Name": "harpnet"}).status == 201
    gateway = engine.call("GET", "/networks/harpnet").json["IPAM"]["Config"][0]["Gateway"]
    nextcloud = Nextcloud(key="the-key")
    served = Served(nextcloud.answer, host=gateway).start()
    said = {
        "Image": "host",
        "Cmd": [str(Path(sys.executable).parent / "harp"), "proxy"],
        "Env": ["HP_SHARED_KEY=the-key", f"NC_INSTANCE_URL={served.url}", "HOME=/tmp", "HP_LOG_LEVEL=info"],
        "HostConfig": {
            "NetworkMode": "harpnet",
            "Binds": [
                "/usr:/usr:ro",
                *(f"{place}:{place}:ro" for place in {sys.base_prefix, str(ROOT)} if not place.startswith("/usr")),
                f"{engine.socket}:/var/run/docker.sock",
            ],
            "Tmpfs": {"/tmp": ""},
        },
    }
    assert engine.call("POST", "/containers/create?name=appapi-harp", said).status == 201
    assert engine.call("POST", "/containers/appapi-harp/start").status == 204
    address = engine.inspect("appapi-harp")["NetworkSettings"]["Networks"]["harpnet"]["IPAddress"]
    yield f"http://{address}:8780/exapps", nextcloud
    engine.call("DELETE", "/containers/appapi-harp?force=true")
    served.stop()


def asked(url: str, said: object = None) -> tuple[int, str]:
    request = urllib.request.Request(url, headers={"harp-shared-key": "the-key", "docker-engine-port": "24000"})
    if said is not None:
        request.data = json.dumps(said).encode()
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def until(url: str, expected: int, engine: DockerEngine) -> str:
    deadline = time.monotonic() + 40
    while (found := asked(url))[0] != expected:
        assert time.monotonic() < deadline, (found, engine.logs("appapi-harp")[-3000:])
        time.sleep(0.2)
    return found[1]


def test_an_app_for_the_hosts_network_goes_where_this_container_reaches_it(
    engine: DockerEngine, inside: tuple[str, Nextcloud]
) -> None:
    url, nextcloud = inside
    routes = [{"url": "^/", "access_level": 0}]
    nextcloud.apps["x"] = {
        "exapp_token": "t",
        "exapp_version": "1",
        "host": "127.0.0.1",
        "port": 23_000,
        "routes": routes,
    }
    assert until(f"{url}/app_api/v1.44/_ping", 200, engine) == "OK"

    said = {"name": "x", "image_id": "harp-test-app", "network_mode": "host", "environment_variables": environment("x")}
    assert asked(f"{url}/app_api/docker/exapp/create", said)[0] == 201
    assert asked(f"{url}/app_api/docker/exapp/start", {"name": "x"})[0] == 204

    found = until(f"{url}/x/cgi-bin/env", 200, engine)
    assert "APP_ID=x\n" in found
    assert "the-key" not in found
    assert list(engine.inspect("nc_app_x")["NetworkSettings"]["Networks"]) == ["harpnet"]
    assert "an app goes into the network harpnet in place of host" in engine.logs("appapi-harp")
