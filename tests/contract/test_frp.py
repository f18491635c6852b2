# SPDX-License-Identifier: AGPL-3.0-or-later
"""Apps and engines that come through FRP, with the real frps and frpc (contract, section 4; number 149)."""

import asyncio
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from harp.proxy.edge import bans
from harp.proxy.edge.runtime import RuntimeSocket
from harp.proxy.model import AppId
from harp.proxy.policy.tunnels import token_of
from tests.contract import instance
from tests.contract.conftest import KEY, Cloud, Launch
from tests.contract.instance import Harp
from tests.contract.talk import next_name
from tests.fakes import frp
from tests.fakes.exapp import ExApp, route
from tests.fakes.ports import free_port

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.slow,
    pytest.mark.skipif(
        instance.IS_REFERENCE or bool(instance.URL), reason="needs a Harp of its own: frps is left out of the others"
    ),
    pytest.mark.skipif(bool(frp.why_not()), reason=frp.why_not()),
]
_PORTS = iter(range(23_400, 23_990))
Comes = Callable[..., AbstractContextManager[frp.Frpc]]


@dataclass(slots=True)
class Fronted:
    """A Harp with an frps. ``home`` is the folder that it keeps."""

    harp: Harp
    server: str
    certificates: Path
    home: Path

    def frps(self) -> int:
        """The process, which has to be there."""
        assert self.harp.program is not None
        return self.harp.program.only("frps")

    def asked(self, *command: str) -> str:
        """What ``harp proxy COMMAND`` says."""
        [run] = [path.parent for path in self.home.rglob("haproxy.sock")]
        own = {"HP_SHARED_KEY": KEY, "NC_INSTANCE_URL": "http://127.0.0.1:9", "HP_RUN_DIR": str(run)}
        own |= {"HP_FRP_ADDRESS": self.server, "HP_FRP_DIR": str(self.certificates), "HOME": str(self.home)}
        return subprocess.run(
            [sys.executable, "-m", "harp.cli", "proxy", *command],
            env={"PATH": os.environ["PATH"], **own},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        ).stdout

    def token(self, app: str, port: int) -> str:
        """What Harp would write into the container of an app."""
        return token_of((self.certificates / "tokens.key").read_bytes(), AppId(app.lower()), port)

    def reaches(self, app: str, *, within_s: float) -> float:
        """How long it took until the app answered through HAProxy."""
        began = time.monotonic()
        while True:
            reply = self.harp.caller().get(f"/exapps/{app}/x", patience_s=2.0)
            took = time.monotonic() - began
            if reply.status == 200 or took > within_s:
                break
            time.sleep(0.05)
        assert reply.status == 200, (reply, self.harp.program and self.harp.program.output[-3000:])
        return took


@pytest.fixture(scope="module")
def fronted(launch: Launch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fronted]:
    folder = tmp_path_factory.mktemp("fronted")
    server = f"127.0.0.1:{free_port()}"
    asked = {"HP_FRPS": frp.program("frps"), "HP_FRP_ADDRESS": server, "HP_FRP_DIR": str(folder / "frp")}
    with launch(folder, HP_FRP_DISABLE_TLS=None, **asked) as harp:
        yield Fronted(harp, server, folder / "frp", folder)


@pytest.fixture
def app(nextcloud: Cloud, exapp: ExApp) -> Callable[..., tuple[str, int]]:
    """Make Nextcloud know an app that is to come through FRP; its id and its port."""

    def made(name: str | None = None) -> tuple[str, int]:
        chosen, port = name or next_name("Frp"), next(_PORTS)
        nextcloud.apps[chosen.lower()] = exapp.record(route("^/"), port=port)
        return chosen, port

    return made


@pytest.fixture
def comes(fronted: Fronted, exapp: ExApp, tmp_path: Path) -> Comes:
    """A client of frps: by default the right one of an app, with what the start script of an ExApp writes."""

    def client(app: tuple[str, int], token: str | None = None, **changed: object) -> AbstractContextManager[frp.Frpc]:
        name, port = app
        said: dict[str, object] = {
            "name": name,
            "port": port,
            "local": exapp.port,
            "certificates": fronted.certificates,
            **changed,
        }
        text = frp.configuration(fronted.server, fronted.token(name, port) if token is None else token, **said)  # type: ignore[arg-type]
        return frp.running(tmp_path / next_name("frpc"), text)

    return client


@pytest.mark.contract(149)
def test_149_an_app_with_its_own_token_is_reached(
    fronted: Fronted, comes: Comes, app: Callable[..., tuple[str, int]], exapp: ExApp
) -> None:
    own = app()
    with comes(own) as client:
        client.says("start proxy success")

        assert fronted.reaches(own[0], within_s=5) < 5
        assert exapp.last.only("EX-APP-ID") == own[0]
        assert KEY not in client.configuration
    assert fronted.harp.caller().get(f"/exapps/{own[0]}/x").status == 503


@pytest.mark.contract(149)
def test_149_a_wrong_token_is_turned_away(fronted: Fronted, comes: Comes, app: Callable[..., tuple[str, int]]) -> None:
    own = app()
    for token in ("", "wrong", f"{'0' * 64}.{own[1]}.{own[0].lower()}", f"{KEY}x"):
        with comes(own, token) as client:
            client.is_turned_away("the token is wrong")
    assert fronted.harp.caller().get(f"/exapps/{own[0]}/x").status == 503


@pytest.mark.contract(149)
def test_149_another_port_another_name_another_kind(
    fronted: Fronted, comes: Comes, app: Callable[..., tuple[str, int]]
) -> None:
    own, other = app(), app()
    token = fronted.token(*own)

    for claims, why in {
        (own[0], other[1]): f"this token is for the port {own[1]} alone",
        (own[0], 0): f"this token is for the port {own[1]} alone",
        (own[0], 22_999): f"this token is for the port {own[1]} alone",
        (own[0], 24_001): f"this token is for the port {own[1]} alone",
        (other[0], own[1]): f"this token is for the name {own[0].lower()} alone",
        other: f"this token is for the name {own[0].lower()} alone",
    }.items():
        with comes(claims, token) as client:
            client.is_refused(why)
    with comes(own, token, kind="stcp") as client:
        client.is_refused("only plain proxies of type tcp are opened here")
    assert fronted.harp.caller().get(f"/exapps/{other[0]}/x").status == 503


@pytest.mark.contract(149)
def test_149_the_port_has_to_be_that_of_nextclouds_record(
    fronted: Fronted, comes: Comes, app: Callable[..., tuple[str, int]], nextcloud: Cloud
) -> None:
    gone, moved = app(), app()
    tokens = fronted.token(*gone), fronted.token(*moved)
    del nextcloud.apps[gone[0].lower()]
    known = nextcloud.apps[moved[0].lower()]
    assert isinstance(known, dict)
    known["port"] = next(_PORTS)

    with comes(gone, tokens[0]) as first, comes(moved, tokens[1]) as second:
        first.is_refused("Nextcloud knows no app of this name")
        second.is_refused("this app's port is")


@pytest.mark.contract(149)
def test_149_who_speaks_no_tls_or_has_no_certificate(
    fronted: Fronted, comes: Comes, app: Callable[..., tuple[str, int]], tmp_path: Path
) -> None:
    own = app()
    with comes(own, certificates=None) as client:
        client.is_turned_away()

    host, _, port = fronted.server.rpartition(":")
    trusting = ssl.create_default_context(cafile=str(fronted.certificates / "ca.crt"))
    with pytest.raises(ssl.SSLError, match="certificate required"):
        _spoken(trusting, host, int(port))
    trusting.load_cert_chain(fronted.certificates / "client.crt", fronted.certificates / "client.key")
    _spoken(trusting, host, int(port))


def _spoken(context: ssl.SSLContext, host: str, port: int) -> None:
    """TLS as the client of ``harp.nc`` speaks it; the server may refuse as late as the first byte."""
    with socket.create_connection((host, port), 5) as link, context.wrap_socket(link, server_hostname="harp.nc") as tls:
        tls.settimeout(1.0)
        try:
            tls.recv(1)
        except TimeoutError:
            return


@pytest.mark.contract(149)
def test_149_ports_are_open_on_loopback_alone(
    fronted: Fronted, comes: Comes, app: Callable[..., tuple[str, int]]
) -> None:
    own = app()
    with comes(own) as client:
        client.says("start proxy success")

        rows = [line.split()[1:4] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        rows6 = [line.split()[1:4] for line in Path("/proc/net/tcp6").read_text().splitlines()[1:]]
        listening = [local for local, _peer, state in rows + rows6 if state == "0A"]
        assert [local for local in listening if local.endswith(f":{own[1]:04X}")] == [f"0100007F:{own[1]:04X}"]


@pytest.mark.contract(149)
def test_149_the_shared_key_opens_engines_and_apps_that_the_reference_made(
    fronted: Fronted, comes: Comes, app: Callable[..., tuple[str, int]]
) -> None:
    old, other = app(), app()
    with comes(old, KEY) as client:
        client.says("start proxy success")
        assert fronted.reaches(old[0], within_s=5) < 5
    with comes((old[0], other[1]), KEY) as client:
        client.is_refused(f"this app's port is {old[1]}")
    with comes(("my-engine", 24_037), KEY) as client:
        client.says("start proxy success")
        reply = fronted.harp.control("GET", "/_ping", headers=[("docker-engine-port", "24037")])
        assert reply.status == 200
    with comes(("local", 24_000), KEY) as client:
        client.is_refused("HP_DOCKER_ENGINES says where the engine 24000 is")


def test_a_guess_counts_and_an_old_token_does_not(fronted: Fronted, comes: Comes) -> None:
    if fronted.harp.control("GET", "/heartbeat", caller=fronted.harp.caller("127.0.0.1")).status != 200:
        pytest.fail("this machine is banned already")
    old = f"{'0' * 64}.23999.gone"
    with comes(("gone", 23_999), old) as client:
        client.is_turned_away()
    before = _failures(fronted)
    with comes(("gone", 23_999), "a-guess") as client:
        client.is_turned_away()
    assert _failures(fronted) > before


def _failures(fronted: Fronted) -> int:
    [path] = fronted.home.rglob("haproxy.sock")
    found = asyncio.run(bans.read(RuntimeSocket(path)))
    return sum(failures.recent(time.time(), 300) for failures in found if bans.shown(failures.client) == "127.0.0.1")


def test_what_the_administrator_sees(fronted: Fronted, comes: Comes, app: Callable[..., tuple[str, int]]) -> None:
    own = app()
    with comes(own) as client:
        client.says("start proxy success")

        status, report = (json.loads(fronted.asked(command, "--json")) for command in ("status", "doctor"))

        assert status["frp"] == {
            "listen": fronted.server,
            "is_up": True,
            "tunnels": [{"name": own[0], "port": own[1]}],
        }
        assert f"FRP on {fronted.server}, {own[0]} ({own[1]}) came through" in fronted.asked("status")
        [finding] = [each for each in report["checks"] if each["name"].startswith("FRP")]
        assert (finding["ok"], finding["text"]) == (True, f"frps listens on {fronted.server}")
    assert f"FRP on {fronted.server}, nothing came through" in fronted.asked("status")


def test_hup_renews_what_is_missing(fronted: Fronted, comes: Comes, app: Callable[..., tuple[str, int]]) -> None:
    own = app()
    with comes(own) as client:
        client.says("start proxy success")
        before, certificate = fronted.frps(), fronted.certificates / "server.crt"
        certificate.unlink()
        assert fronted.harp.program is not None

        fronted.harp.program.process.send_signal(signal.SIGHUP)

        deadline = time.monotonic() + 15
        while fronted.harp.program.member("frps") in (None, before) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert fronted.frps() != before
        assert certificate.exists()
        fronted.reaches(own[0], within_s=15)


def test_frps_is_killed_and_everybody_comes_back(
    fronted: Fronted, comes: Comes, app: Callable[..., tuple[str, int]]
) -> None:
    own = app()
    with comes(own) as client:
        client.says("start proxy success")
        fronted.reaches(own[0], within_s=5)
        before = fronted.frps()

        os.kill(before, signal.SIGKILL)

        fronted.reaches(own[0], within_s=15)
        assert fronted.frps() != before


def test_the_agent_is_killed_and_apps_stay_and_come(
    fronted: Fronted, comes: Comes, app: Callable[..., tuple[str, int]]
) -> None:
    own, late = app(), app()
    with comes(own) as client:
        client.says("start proxy success")
        fronted.reaches(own[0], within_s=5)
        assert fronted.harp.program is not None
        [agent] = [
            pid
            for pid in fronted.harp.program.family()
            if Path(f"/proc/{pid}/cmdline").read_bytes().endswith(b"\0proxy\0agent\0")
        ]

        os.kill(agent, signal.SIGSTOP)
        with comes(late) as another:
            another.says("try to connect to server")
            # frps has to be waiting for the answer when the agent goes.
            time.sleep(1.0)
            os.kill(agent, signal.SIGKILL)

            assert fronted.reaches(own[0], within_s=1) < 1
            another.says("start proxy success", within_s=30)
            fronted.reaches(late[0], within_s=5)
    assert _password(fronted.home) not in fronted.harp.program.output, "not in what Go says of a request that failed"


def test_a_restart_keeps_tokens_and_certificates(
    launch: Launch, tmp_path: Path, nextcloud: Cloud, exapp: ExApp
) -> None:
    server, port = f"127.0.0.1:{free_port()}", next(_PORTS)
    name = next_name("frp")
    nextcloud.apps[name] = exapp.record(route("^/"), port=port)
    asked = {"HP_FRPS": frp.program("frps"), "HP_FRP_ADDRESS": server, "HP_FRP_DIR": str(tmp_path / "frp")}
    token = ""
    for _ in range(2):
        with launch(tmp_path, HP_FRP_DISABLE_TLS=None, **asked) as harp:
            fronted = Fronted(harp, server, tmp_path / "frp", tmp_path)
            token = token or fronted.token(name, port)
            text = frp.configuration(
                server, token, name=name, port=port, local=exapp.port, certificates=fronted.certificates
            )
            with frp.running(tmp_path / next_name("frpc"), text):
                fronted.reaches(name, within_s=10)
            assert harp.program is not None
            said = harp.program.output
            program = harp.program
        assert program.left_behind == []
        for secret in (KEY, token, (tmp_path / "frp" / "tokens.key").read_text(), _password(tmp_path)):
            assert secret not in said


def _password(home: Path) -> str:
    """What frps says at the door."""
    [configuration] = home.rglob("frps.toml")
    found = re.search(r"harp:([0-9a-f]+)@", configuration.read_text())
    assert found is not None
    return found[1]
