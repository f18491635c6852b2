# SPDX-License-Identifier: AGPL-3.0-or-later
"""What ``harp proxy doctor`` says of a real Docker Engine and its containers, by harp.proxy.doctor.inspection.

The connections are those of harp.proxy.doctor.probes.
"""

import asyncio
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from harp.proxy.deploy.docker.call import Surroundings
from harp.proxy.deploy.port import NoTunnels
from harp.proxy.doctor import hosting, inspection, probes
from harp.proxy.doctor.diagnosis import Finding, upstream
from harp.proxy.doctor.seen import Reach, Upstream
from harp.proxy.model import EngineAddress
from tests.contract.docked import environment
from tests.fakes.certificates import certificate
from tests.fakes.haproxy import needs_haproxy
from tests.fakes.ports import free_port
from tests.integration.engine import DockerEngine, why_not
from tests.integration.frontdoor import FrontDoor, needs_nginx

pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(why_not()), reason=why_not()), pytest.mark.timeout(180)]
NOBODY = 65_534


class TlsEngine(DockerEngine):
    """It listens on a port with TLS too."""

    tls = 0

    def _command(self) -> list[str]:
        paper = certificate(self.folder, "127.0.0.1").path
        self.tls = self.tls or free_port()
        papers = [f"--{name}={paper}" for name in ("tlscacert", "tlscert", "tlskey")]
        return [*super()._command(), "-H", f"tcp://127.0.0.1:{self.tls}", "--tls", *papers]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsEngine]:
    made = TlsEngine(tmp_path_factory.mktemp("engine"))
    try:
        made.start()
        made.make_image()
        yield made
    finally:
        made.remove()


def said(place: EngineAddress, *, is_named: bool = True) -> Finding:
    return hosting.engine(asyncio.run(inspection.engine(place, is_named=is_named)))


def unix(path: Path) -> EngineAddress:
    return EngineAddress(24_000, "unix", str(path))


def test_an_engine_that_answers(engine: DockerEngine) -> None:
    finding = said(unix(engine.socket))
    assert (finding.ok, finding.name) == (True, "engine 24000")
    assert "is Docker 2" in finding.text


def test_an_engine_that_cannot_be_reached(engine: TlsEngine, tmp_path: Path) -> None:
    missing = unix(tmp_path / "docker.sock")
    assert "is not there" in said(missing).text
    assert said(missing, is_named=False).ok

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(missing.place)
    assert "no engine behind it" in said(missing).text

    assert "refuses" in said(EngineAddress(24_001, "tcp", f"127.0.0.1:{free_port()}")).text
    assert "does not resolve" in said(EngineAddress(24_001, "tcp", "engine.invalid:2375")).text
    assert "speaks TLS" in said(EngineAddress(24_001, "tcp", f"127.0.0.1:{engine.tls}")).text


def test_an_engine_whose_socket_is_for_others(engine: DockerEngine) -> None:
    os.chmod(engine.socket.parent, 0o711)
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        finding = said(unix(engine.socket))
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.chmod(engine.socket.parent, 0o700)
    assert "is for others" in finding.text
    assert "usermod -aG docker" in finding.remedy


def test_what_is_no_engine(tmp_path: Path) -> None:
    async def look() -> Finding:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1000)
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
            writer.close()

        async with await asyncio.start_unix_server(answer, tmp_path / "docker.sock"):
            return hosting.engine(await inspection.engine(unix(tmp_path / "docker.sock"), is_named=True))

    finding = asyncio.run(look())
    assert not finding.ok
    assert "Status 404" in finding.text


def runs(
    engine: DockerEngine, name: str, host: str, *, port: int = 23_000, command: Sequence[str] = (), **configured: object
) -> None:
    lines = [
        line if not line.startswith("APP_HOST=") else f"APP_HOST={host}"
        for line in environment(name, port, direct=True)
    ]
    asked = {
        "Image": "harp-test-app",
        "Env": lines,
        "ExposedPorts": {f"{port}/tcp": {}},
        "HostConfig": configured,
        **({"Cmd": command} if command else {}),
    }
    made = engine.call("POST", f"/containers/create?name=nc_app_{name}", asked)
    assert made.status == 201, made
    assert engine.call("POST", f"/containers/nc_app_{name}/start").status == 204


def findings(engine: DockerEngine, name: str) -> tuple[Finding, Finding | None]:
    """Of one app: whether it is reached, and whether the world reaches it."""

    async def look() -> tuple[Finding, Finding | None]:
        around = Surroundings((), NoTunnels())
        containers, own = await inspection.containers(unix(engine.socket), around)
        assert own == ()
        [found] = [each for each in containers if each.app == name]
        host, _, port = found.address.rpartition(":")
        reach = await probes.connected(host, int(port)) if host else Reach.TIMED_OUT
        return (
            upstream(Upstream(app=name, address=found.address, reach=reach, container=found)),
            hosting.published(found),
        )

    return asyncio.run(look())


def until_heard(engine: DockerEngine, name: str) -> None:
    for _ in range(100):
        if "listening" in engine.logs(f"nc_app_{name}") and engine.run(f"nc_app_{name}", "cat", "/proc/net/tcp")[
            1
        ].count(" 0A "):
            return
    raise AssertionError(engine.logs(f"nc_app_{name}"))


def test_an_app_that_listens_on_loopback_inside_its_container(engine: DockerEngine) -> None:
    runs(engine, "inside", "127.0.0.1")
    until_heard(engine, "inside")

    reached, published = findings(engine, "inside")

    assert "it listens on 127.0.0.1:23000 inside its container nc_app_inside" in reached.text
    assert "APP_HOST (0.0.0.0)" in reached.remedy
    assert published is None


def test_an_app_that_is_well_and_one_that_ended(engine: DockerEngine) -> None:
    runs(engine, "well", "0.0.0.0")
    until_heard(engine, "well")
    assert findings(engine, "well")[0].ok

    engine.call("POST", "/containers/nc_app_well/kill")
    reached, _published = findings(engine, "well")
    assert "its container nc_app_well does not run: exited, exit code 137" in reached.text
    assert "docker logs nc_app_well" in reached.remedy


def test_an_app_that_listens_on_another_port(engine: DockerEngine) -> None:
    runs(engine, "elsewhere", "0.0.0.0", command=("busybox", "httpd", "-f", "-p", "9999"))

    reached, _published = findings(engine, "elsewhere")

    assert "nothing listens on port 23000 in its container nc_app_elsewhere" in reached.text


def test_an_app_that_is_published_to_the_world(engine: DockerEngine) -> None:
    for name, address in (("open", "0.0.0.0"), ("shut", "127.0.0.1")):
        binding = {"23000/tcp": [{"HostIp": address, "HostPort": str(free_port())}]}
        runs(engine, name, "0.0.0.0", PortBindings=binding)
    _reached, published = findings(engine, "open")
    assert published is not None
    assert "published at 0.0.0.0:" in published.text
    assert findings(engine, "shut")[1] is None


def test_an_app_in_the_hosts_network(engine: DockerEngine) -> None:
    for name, host in (("everywhere", "0.0.0.0"), ("loopback", "127.0.0.1")):
        runs(engine, name, host, port=free_port(), NetworkMode="host")
        until_heard(engine, name)
    reached, published = findings(engine, "everywhere")
    assert reached.ok
    assert published is not None
    assert "listens on port" in published.text
    reached, published = findings(engine, "loopback")
    assert (reached.ok, published) == (True, None)


@needs_haproxy
@needs_nginx
def test_the_doctor_looks_at_them_all(engine: DockerEngine, tmp_path: Path) -> None:
    runs(engine, "whole", "127.0.0.1")
    until_heard(engine, "whole")
    door = FrontDoor(tmp_path / "door", HP_DOCKER_ENGINES=f"24000={engine.url},24001=unix://{tmp_path}/none")
    try:
        found = door.failed(f"http://127.0.0.1:{door.serve()}")
    finally:
        door.close()
    assert "is not there" in found["engine 24001"]["text"]
    assert "inside its container nc_app_whole" in found["app whole"]["text"]
    assert found.keys() >= {"engine 24001", "app whole"}
    assert "engine 24000" not in found
