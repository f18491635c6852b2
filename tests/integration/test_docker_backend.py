# SPDX-License-Identifier: AGPL-3.0-or-later
"""The calls of a Docker backend, each on a real engine and on its stand-in: backend, call, engine, making, life, trust.

All of harp.proxy.deploy.docker.making, harp.proxy.deploy.docker.trust and their neighbours that act.
"""

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from harp.base.errors import ConfigError
from harp.base.sockets import short_name
from harp.proxy.deploy.docker import engine as engines
from harp.proxy.deploy.docker import life
from harp.proxy.deploy.docker.backend import DockerBackend
from harp.proxy.deploy.docker.call import Surroundings, is_here, needs_tunnel
from harp.proxy.deploy.port import NoTunnels, Outcome
from harp.proxy.model import AppId, BindFolder, EngineAddress
from tests.contract.docked import environment, relayed
from tests.fakes.dockerengine import FakeEngine
from tests.fakes.ports import free_port
from tests.integration import engine as real

pytestmark = pytest.mark.timeout(180)


class Tunnels(NoTunnels):
    """FRP, as the backend sees it."""

    def token(self, app: AppId, app_port: int) -> str | None:
        return f"token of {app} for {app_port}"

    def certificates(self, app: AppId) -> dict[str, bytes]:
        return {"ca.crt": b"authority"}


class Asked:
    """A backend, and how it is asked."""

    def __init__(self, socket: Path, **around: Any) -> None:
        self.address = EngineAddress(24_000, "unix", str(socket))
        self.around = Surroundings(**{"bind_mounts": (), "tunnels": NoTunnels(), **around})
        self.backend = DockerBackend((self.address,), self.around)

    async def __call__(self, verb: str, *, port: str = "24000", **said: Any) -> Outcome:
        return await self.backend.call(verb, port, json.dumps(said).encode())

    async def inspect(self, container: str) -> Any:
        async with engines.connected(self.address) as link:
            return await link.inspect(container)

    async def has_volume(self, name: str) -> bool:
        async with engines.connected(self.address) as link:
            return await link.has_volume(name)


@pytest.fixture(scope="module")
def dockerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[real.DockerEngine]:
    if reason := real.why_not():
        pytest.skip(reason)
    with real.opened(tmp_path_factory.mktemp("engine")) as started:
        yield started


@pytest.fixture(params=["the stand-in", pytest.param("a real engine", marks=pytest.mark.root)])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Path]:
    """An engine's socket."""
    if request.param == "a real engine":
        dockerd: real.DockerEngine = request.getfixturevalue("dockerd")
        yield dockerd.socket
        for each in dockerd.call("GET", "/containers/json?all=true").json:
            dockerd.call("DELETE", f"/containers/{each['Id']}?force=true")
        for each in dockerd.call("GET", "/volumes").json["Volumes"] or ():
            dockerd.call("DELETE", f"/volumes/{each['Name']}")
        return
    with short_name(tmp_path / "docker.sock") as name:
        fake = FakeEngine(Path(name))
        await fake.start()
        yield fake.socket
        await fake.stop()


async def test_an_app_is_made_started_and_taken_away(place: Path) -> None:
    asked = Asked(place)
    assert asked.backend.is_available()

    made = await asked("create", name="x", image_id="harp-test-app", environment_variables=["A=1"])
    assert made.status == 201
    assert made.body is not None
    assert made.body["name"] == "nc_app_x"
    assert (await asked.inspect("nc_app_x"))["Id"] == made.body["id"]
    assert await asked("exists", name="x") == Outcome(200, body={"exists": True, "image_ref": "harp-test-app"})
    assert (await asked("create", name="x", image_id="harp-test-app")).status == 409
    assert [(await asked("start", name="x")).status for _ in range(2)] == [204, 200]
    assert (await asked("wait_for_start", name="x")).body == {"started": True, "status": "running", "health": None}
    assert (await asked("image_remove", image_ref="harp-test-app")).body == {"deleted": False, "reason": "in_use"}
    assert [(await asked("stop", name="x")).status for _ in range(2)] == [204, 200]
    said = (await asked("wait_for_start", name="x")).body
    assert said is not None
    assert (said["started"], said["status"]) == (False, "exited")
    assert [(await asked("remove", name="x", remove_data=True)).status for _ in range(2)] == [204, 204]
    assert not await asked.has_volume("nc_app_x_data")
    assert await asked("exists", name="x") == Outcome(200, body={"exists": False})
    for verb in ("start", "stop", "install_certificates"):
        assert await asked(verb, name="x") == Outcome(404, "Container 'nc_app_x' not found.")


async def test_a_start_is_answered_as_soon_as_it_has_happened(place: Path) -> None:
    asked = Asked(place)
    await asked("create", name="x", image_id="harp-test-app")
    waiting = asyncio.create_task(asked("wait_for_start", name="x"))
    done, _ = await asyncio.wait({waiting}, timeout=1.0)
    assert not done, "it was only made"

    assert (await asked("start", name="x")).status == 204

    said = (await asyncio.wait_for(waiting, 1.0)).body
    assert said == {"started": True, "status": "running", "health": None}


async def test_one_that_never_starts_is_waited_for_a_while(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life, "WAIT_S", 0.5)
    asked = Asked(place)
    await asked("create", name="x", image_id="harp-test-app")

    said = (await asked("wait_for_start", name="x")).body

    assert said == {"started": False, "status": "created", "health": None, "reason": "timeout after max tries"}


async def test_an_image_that_there_is_not_leaves_nothing_behind(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    asked = Asked(place)

    refused = await asked("create", name="x", image_id="nowhere/nothing")

    assert refused.status == 503
    assert refused.text.startswith("Error creating x: Status 404: No such image: nowhere/nothing")
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        f"docker create is answered with 503: {refused.text}"
    ]
    assert not await asked.has_volume("nc_app_x_data")
    assert await asked.inspect("nc_app_x") is None


async def test_a_mount_that_is_not_allowed_leaves_nothing_behind(place: Path) -> None:
    asked = Asked(place, bind_mounts=(BindFolder("/srv"),))

    for source in ("/", "/etc", "/srv/../etc"):
        mount = {"source": source, "target": "/x", "mode": "ro"}
        refused = await asked("create", name="x", image_id="harp-test-app", mount_points=[mount])
        assert refused.status == 400
        assert "HP_BIND_MOUNTS" in refused.text
    assert not await asked.has_volume("nc_app_x_data")


async def test_a_link_within_an_allowed_folder_that_leads_out_of_it(place: Path, tmp_path: Path) -> None:
    folder = tmp_path.resolve()
    (folder / "away").symlink_to("/etc")
    asked = Asked(place, bind_mounts=(BindFolder(str(folder)),))

    mount = {"source": str(folder / "away"), "target": "/x"}
    refused = await asked("create", name="x", image_id="harp-test-app", mount_points=[mount])

    assert refused.status == 400
    assert "it leads to '/etc'" in refused.text


async def test_the_key_of_all_reaches_no_app(place: Path) -> None:
    asked = Asked(place)

    await asked("create", name="X", image_id="harp-test-app", environment_variables=environment("X"))

    kept = [line for line in environment("X") if not line.startswith("HP_")]
    kept[5] = "APP_HOST=0.0.0.0"
    found = (await asked.inspect("nc_app_X"))["Config"]["Env"]
    assert found[: len(kept)] == kept
    assert found[6] == "APP_PORT=23000", "AppAPI reads the seventh"
    assert not any("HP_" in line or "the-key-of-all" in line for line in found)


async def test_an_app_on_an_engine_behind_frp_gets_a_token_of_its_own(place: Path) -> None:
    with relayed(place) as port:
        made = await behind_frp(port, "create", image_id="harp-test-app", environment_variables=environment("X"))
    assert made.status == 201, made.text

    found = (await Asked(place).inspect("nc_app_X"))["Config"]["Env"]
    expected = [*environment("X")[:-1], "HP_SHARED_KEY=token of x for 23000"]
    assert found[: len(expected)] == expected
    assert "the-key-of-all" not in "".join(found)


@pytest.mark.root
async def test_certificates_are_for_who_comes_through_frp_alone(dockerd: real.DockerEngine) -> None:
    asked = Asked(dockerd.socket, tunnels=Tunnels())
    with relayed(dockerd.socket) as port:
        await behind_frp(port, "create", image_id="harp-test-app", environment_variables=environment("X"))
        await behind_frp(port, "install_certificates")
    await asked("create", name="Y", image_id="harp-test-app", environment_variables=environment("Y"))
    await asked("install_certificates", name="Y")

    async with engines.connected(asked.address) as link:
        assert await link.text_of("nc_app_X", "/certs/frp/ca.crt") == "authority"
        assert await link.text_of("nc_app_Y", "/certs/frp/ca.crt") is None
    for name in "XY":
        assert (await asked("remove", name=name, remove_data=True)).status == 204


async def test_certificates_that_cannot_be_made_are_one_line(place: Path) -> None:
    class Broken(Tunnels):
        def certificates(self, app: AppId) -> dict[str, bytes]:
            raise ConfigError("there is no authority", hint="restart harp")

    around = Surroundings((), Broken())
    with relayed(place) as port:
        await behind_frp(port, "create", image_id="harp-test-app", environment_variables=environment("X"))
        refused = await DockerBackend((), around).call("install_certificates", str(port), b'{"name": "X"}')

    assert refused == Outcome(500, "FRP's certificates cannot be put into 'nc_app_X': there is no authority")


async def behind_frp(port: int, verb: str, **said: Any) -> Outcome:
    """A call for the app X to an engine that came through FRP."""
    backend = DockerBackend((), Surroundings((), Tunnels()))
    return await backend.call(verb, str(port), json.dumps({"name": "X", **said}).encode())


async def test_frp_changes_nothing_for_an_app_on_an_engine_that_is_here(place: Path) -> None:
    asked, plain = Asked(place, tunnels=Tunnels()), Asked(place)

    for who, name in ((asked, "X"), (plain, "Y")):
        made = await who("create", name=name, image_id="harp-test-app", environment_variables=environment("same"))
        assert made.status == 201

    first, second = [(await asked.inspect(f"nc_app_{name}"))["Config"]["Env"] for name in "XY"]
    assert first == second


async def test_two_apps_do_not_get_one_port_of_the_host(place: Path) -> None:
    asked = Asked(place)
    said: dict[str, Any] = {"image_id": "harp-test-app", "network_mode": "host"}
    said["environment_variables"] = environment("x", 23_017)

    first = await asked("create", name="first", **said)
    second = await asked("create", name="second", **said)
    inside = await asked("create", name="third", **(said | {"network_mode": "bridge"}))

    assert (first.status, inside.status) == (201, 201)
    assert second.status == 409
    assert second.text.startswith("Port 23017 in the host's network is that of container 'nc_app_first'")
    assert not await asked.has_volume("nc_app_second_data")
    assert (await asked("remove", name="first", remove_data=True)).status == 204
    assert (await asked("create", name="second", **said)).status == 201


async def test_harp_in_a_container_has_apps_in_its_own_network(place: Path) -> None:
    plain = Asked(place)
    made = await plain("create", name="harp", image_id="harp-test-app", network_mode="bridge")
    await plain("start", name="harp")
    assert made.body is not None
    asked = Asked(place, own_container=made.body["id"])
    # The stand-in gives a created container no address.
    has_network = bool((await plain.inspect("nc_app_harp"))["NetworkSettings"]["Networks"])

    await asked(
        "create", name="x", image_id="harp-test-app", network_mode="host", environment_variables=environment("x")
    )

    mode = (await plain.inspect("nc_app_x"))["HostConfig"]["NetworkMode"]
    assert mode == ("bridge" if has_network else "host")


# --- engines that are none --------------------------------------------------------------------------------------------


async def test_an_engine_that_is_not_there(tmp_path: Path) -> None:
    asked = Asked(tmp_path / "no.sock")
    assert not asked.backend.is_available()

    for verb in ("exists", "create", "start", "stop", "wait_for_start", "remove", "install_certificates"):
        refused = await asked(verb, name="x", image_id="y")
        assert refused.status == 503
        assert refused.text.startswith("Could not connect to Docker Engine on port 24000: there is no ")
        assert refused.text.endswith("HP_DOCKER_ENGINES")
    assert (await asked("image_remove", image_ref="y")).status == 503


@pytest.mark.root
async def test_an_engine_on_a_port(dockerd: real.DockerEngine) -> None:
    with relayed(dockerd.socket) as port:
        backends = (
            DockerBackend((EngineAddress(24_001, "tcp", f"127.0.0.1:{port}"),), Surroundings((), NoTunnels())),
            # One that comes through FRP has its own number for a port, and no setting.
            DockerBackend((), Surroundings((), NoTunnels())),
        )
        for backend, number in zip(backends, ("24001", str(port)), strict=True):
            made = await backend.call("create", number, b'{"name": "x", "image_id": "harp-test-app"}')
            assert made.status == 201
            assert (await backend.call("remove", number, b'{"name": "x", "remove_data": true}')).status == 204


@pytest.mark.parametrize(
    ("port", "body", "said"),
    [
        (None, b"{}", "Missing 'docker-engine-port' header."),
        ("x", b"{}", "Invalid 'docker-engine-port' header value: x"),
        ("24000", b"{", "Invalid JSON body"),
        ("8080", b"{", "Invalid JSON body"),
        ("24000", b'{"image_id": "i"}', "Payload validation error: Object missing required field `name`"),
        ("8080", b'{"name": "x", "image_id": "i"}', "Could not connect to Docker Engine on port 8080: HP_DOCKER_EN"),
    ],
)
async def test_what_cannot_be_is_a_line_in_the_answer_and_in_the_log(
    caplog: pytest.LogCaptureFixture, port: str | None, body: bytes, said: str
) -> None:
    refused = await DockerBackend((), Surroundings((), NoTunnels())).call("create", port, body)

    assert refused.text.startswith(said)
    [line] = caplog.messages
    assert line == f"docker create is answered with {refused.status}: {refused.text}"


async def test_engines_that_nobody_names() -> None:
    asked = Asked(Path("/no"))

    refused = await asked("exists", name="x", port="8080")
    assert refused.text == "Could not connect to Docker Engine on port 8080: HP_DOCKER_ENGINES names no such engine"
    behind_frp = await asked("exists", name="x", port="24099")
    assert behind_frp.text.startswith(
        "Could not connect to Docker Engine on port 24099: nobody listens at tcp://127.0.0.1"
    )


async def test_a_name_without_an_address() -> None:
    backend = DockerBackend((EngineAddress(24_001, "tcp", "no-such-host.invalid:1"),), Surroundings((), NoTunnels()))

    refused = await backend.call("exists", "24001", b'{"name": "x"}')

    assert refused.status == 503
    assert "the name in tcp://no-such-host.invalid:1 has no address" in refused.text


async def test_what_is_no_engine(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = next(answers)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n")
        writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    answers = iter([b"[]", b"{", b"", b'{"ApiVersion": "1.41"}', b"[]"])
    path = tmp_path / "s"
    async with await asyncio.start_unix_server(answer, path):
        for _ in range(4):
            refused = await Asked(path)("exists", name="x")
            assert refused.status == 503
            assert "\n" not in refused.text


@pytest.mark.root
def test_a_socket_without_permission() -> None:
    """Root may everything, so somebody else is asked to try."""
    if reason := real.why_not():
        pytest.skip(reason)
    with socket.socket(socket.AF_UNIX) as listener, short_name(Path("/tmp/harp-test-permission.sock")) as name:
        Path(name).unlink(missing_ok=True)
        listener.bind(name)
        Path(name).chmod(0o600)
        said = subprocess.run(
            [sys.executable, "-c", _TRY, name], capture_output=True, text=True, check=False, timeout=60
        )
        Path(name).unlink()
    assert said.stdout.strip() == (
        "Could not connect to Docker Engine on port 24000: no permission for /tmp/harp-test-permission.sock:"
        " whoever runs Harp has to be in the group of that socket (docker)"
    ), said.stderr


_TRY = """
import asyncio, encodings.idna, os, sys
from harp.proxy.deploy.docker.backend import DockerBackend
from harp.proxy.deploy.docker.call import Surroundings
from harp.proxy.deploy.port import NoTunnels
from harp.proxy.model import EngineAddress
backend = DockerBackend((EngineAddress(24000, "unix", sys.argv[1]),), Surroundings((), NoTunnels()))
os.setgroups([]); os.setgid(65534); os.setuid(65534)
print(asyncio.run(backend.call("exists", "24000", b'{"name": "x"}')).text)
"""


async def test_an_engine_elsewhere_is_only_for_apps_that_are_reached_otherwise() -> None:
    elsewhere = EngineAddress(24_001, "tcp", "192.0.2.5:2375")
    assert not is_here(elsewhere)
    assert needs_tunnel(elsewhere)
    here = EngineAddress(24_001, "tcp", "127.0.0.1:2375")
    assert is_here(here)
    assert not needs_tunnel(here)
    assert needs_tunnel(EngineAddress(24_001, "tcp", "127.0.0.1:24001")), "frps has it there"
    backend = DockerBackend((elsewhere,), Surroundings((), NoTunnels()))
    said = {"name": "x", "image_id": "y", "environment_variables": environment("x")}

    refused = await backend.call("create", "24001", json.dumps(said).encode())

    assert refused.status == 503
    assert "reached through FRP alone" in refused.text


# --- what an engine refuses -------------------------------------------------------------------------------------------


@pytest.fixture
async def fake(tmp_path: Path) -> AsyncIterator[FakeEngine]:
    started = FakeEngine(tmp_path / "docker.sock")
    await started.start()
    yield started
    await started.stop()


async def test_an_app_behind_frp_has_started_when_its_tunnel_is_there(fake: FakeEngine) -> None:
    port = free_port()
    fake.runs("nc_app_x", "172.17.0.2", env=environment("x", port))
    waiting = asyncio.create_task(Asked(fake.socket)("wait_for_start", name="x"))
    done, _ = await asyncio.wait({waiting}, timeout=0.5)
    assert not done

    async with await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", port):
        said = (await asyncio.wait_for(waiting, 1.0)).body

    assert said == {"started": True, "status": "running", "health": None}


async def test_a_full_disk_is_one_line_and_leaves_nothing(fake: FakeEngine, tmp_path: Path) -> None:
    asked = Asked(fake.socket)
    fake.broken["POST /containers/create"] = (500, "mkdir /var/lib/docker/overlay2/x:\n no space left on device")

    refused = await asked("create", name="x", image_id="harp-test-app")

    said = "Error creating x: Status 500: mkdir /var/lib/docker/overlay2/x: no space left on device"
    assert (refused.status, refused.text) == (503, said)
    assert not fake.volumes


async def test_a_volume_that_was_there_stays_whatever_fails(fake: FakeEngine) -> None:
    fake.volumes.add("nc_app_x_data")
    fake.broken["POST /containers/create"] = (500, "no space left on device")

    assert (await Asked(fake.socket)("create", name="x", image_id="harp-test-app")).status == 503
    assert fake.volumes == {"nc_app_x_data"}


async def test_what_an_engine_says_does_nothing_to_a_log(fake: FakeEngine) -> None:
    fake.broken["POST /containers/nc_app_x/start"] = (500, "a\r\nERROR forged\x1b[2J" + "x" * 10_000)

    refused = await Asked(fake.socket)("start", name="x")

    assert refused.text.isprintable()
    assert len(refused.text) < 500


async def test_one_that_takes_too_long(fake: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object) -> Outcome:
        await asyncio.sleep(60)
        raise AssertionError

    monkeypatch.setitem(vars(sys.modules[DockerBackend.__module__])["_VERBS"], "start", (never, 0.05, "starting"))

    refused = await Asked(fake.socket)("start", name="x")

    assert (refused.status, refused.text) == (
        504,
        "Error starting x: Docker Engine on port 24000 took longer than 0.05 s",
    )


def test_what_appapi_is_told_of_a_start() -> None:
    def state(status: str, deaths: int = 0, **more: Any) -> dict[str, Any]:
        return {"State": {"Status": status, "ExitCode": 127, **more}, "RestartCount": deaths}

    assert life.standing(state("created")) is None
    assert life.standing(state("restarting", 4)) is None
    assert life.standing(state("running", Health={"Status": "starting"})) is None
    dying = life.standing(state("restarting", 5))
    assert dying is not None
    assert (dying["started"], dying["reason"]) == (False, "it ended 5 times at once, exit code 127")
    dead = life.standing(state("exited", Error="no such file"))
    assert dead is not None
    assert dead["reason"] == "non-recoverable state: exited, exit code 127: no such file"
