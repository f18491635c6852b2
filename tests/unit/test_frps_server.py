# SPDX-License-Identifier: AGPL-3.0-or-later
"""frps prepared and supervised: harp.proxy.edge.frp.server, with programs that say what frps would say.

What the agent is told of it is harp.daemon.appfrp's part, what others see of it harp.daemon.frpview's; all of it runs
with the real frps in tests/contract/test_frp.py.
"""

import asyncio
import os
import socket
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harp.base.errors import ConfigError
from harp.base.runtime import Counters, SystemClock, Tasks
from harp.daemon import appfrp, frpview
from harp.proxy import settings as variables
from harp.proxy.deploy.port import NoTunnels
from harp.proxy.edge.frp.opened import Tunnel, open_now
from harp.proxy.edge.frp.server import DOOR, FrpServer, find_frps, folder_of
from harp.proxy.edge.listening import listening, listens
from harp.proxy.model import AppId
from harp.proxy.registry import Registry
from harp.proxy.settings import ProxySettings
from tests.fakes.ports import free_port

FRPS = """#!/bin/sh
case "$1" in
  --version) echo VERSION ;;
  verify) echo 'frps: the configuration is SAID' >&2; exit CODE ;;
  *) env > environment; exec sleep 60 ;;
esac
"""
Settings = Callable[..., ProxySettings]
Server = Callable[[ProxySettings], FrpServer]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "run").mkdir()

    def load(**changed: str) -> ProxySettings:
        said = {
            "HP_SHARED_KEY": "the-shared-key",
            "NC_INSTANCE_URL": "http://nc",
            "HP_CERTIFICATE": str(tmp_path / "certs" / "cert.pem"),
            "HP_FRP_ADDRESS": f"127.0.0.1:{free_port()}",
            **changed,
        }
        return variables.load(said, run=tmp_path / "run", read_file=Path.read_text)

    return load


@pytest.fixture
def frps(tmp_path: Path) -> Callable[..., str]:
    """A program that is called with frps' arguments."""

    def made(version: str = "0.61.1", code: int = 0, said: str = "right") -> str:
        path = tmp_path / "frps"
        path.write_text(FRPS.replace("VERSION", version).replace("CODE", str(code)).replace("SAID", said))
        path.chmod(0o755)
        return str(path)

    return made


@pytest.fixture
def server() -> Iterator[Server]:
    made: list[FrpServer] = []

    def begun(settings: ProxySettings) -> FrpServer:
        made.append(FrpServer(settings.frps, settings, SystemClock()))
        return made[-1]

    yield begun
    for each in made:
        asyncio.run(each.end())


# --- whether there is one ---------------------------------------------------------------------------------------------


def test_it_is_looked_for_on_path(
    settings: Settings, frps: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_frps(settings()) is None

    path = frps()
    assert find_frps(settings()) == path
    assert find_frps(settings(HP_FRPS="none")) is None
    assert find_frps(settings(HP_FRPS=path)) == path
    with pytest.raises(ConfigError, match="there is no /no/frps to run"):
        find_frps(settings(HP_FRPS="/no/frps"))


def test_where_its_certificates_are(settings: Settings, tmp_path: Path) -> None:
    assert folder_of(settings()) == tmp_path / "run" / "frp", "no volume for certificates"
    (tmp_path / "certs").mkdir()
    assert folder_of(settings()) == tmp_path / "certs" / "frp", "as the reference has it"
    assert folder_of(settings(HP_FRP_DIR="/srv/frp")) == Path("/srv/frp")


# --- what is made for it ----------------------------------------------------------------------------------------------


def test_all_that_it_needs_is_made(
    server: Server, settings: Settings, frps: Callable[..., str], tmp_path: Path
) -> None:
    asked = settings(HP_FRPS=frps(), HP_FRP_CERT_VALIDITY_DAYS="90")
    made = server(asked)

    made.prepare()

    written = tmp_path / "run" / "frps.toml"
    assert written.stat().st_mode & 0o077 == 0
    said = tomllib.loads(written.read_text())
    assert said["bindPort"] == int(asked.frp.rpartition(":")[2])
    assert (tmp_path / "run" / "frp" / "server.crt").is_file()
    assert "the-shared-key" not in written.read_text()
    number, password = made.door[DOOR].split()
    door = socket.socket(fileno=os.dup(int(number)))
    address, port = door.getsockname()
    assert (address, port in listening()) == ("127.0.0.1", True)
    assert said["httpPlugins"][0]["addr"] == f"http://harp:{password}@127.0.0.1:{port}"
    door.close()


def test_without_tls_there_are_tokens_and_no_certificates(
    server: Server, settings: Settings, frps: Callable[..., str], tmp_path: Path
) -> None:
    server(settings(HP_FRPS=frps(), HP_FRP_DISABLE_TLS="true")).prepare()

    assert [path.name for path in (tmp_path / "run" / "frp").iterdir()] == ["tokens.key"]
    assert tomllib.loads((tmp_path / "run" / "frps.toml").read_text())["transport"]["tls"] == {"force": False}


@pytest.mark.parametrize("word", ["1", "yes", "TRUE", "True", "false", ""])
def test_only_the_word_true_disables_tls(settings: Settings, word: str) -> None:
    assert settings(HP_FRP_DISABLE_TLS=word).frp_has_tls


@pytest.mark.parametrize("version", ["0.51.3", "0.9", "1", "Usage: frps", ""])
def test_an_frps_that_is_too_old_or_none(
    server: Server, settings: Settings, frps: Callable[..., str], version: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        server(settings(HP_FRPS=frps(version))).prepare()
    assert "0.52 or newer; HP_FRPS=none" in (caught.value.hint or "")


def test_a_configuration_that_it_refuses(server: Server, settings: Settings, frps: Callable[..., str]) -> None:
    with pytest.raises(ConfigError, match="frps refuses its configuration: frps: the configuration is wrong"):
        server(settings(HP_FRPS=frps(code=1, said="wrong"))).prepare()


def test_a_port_that_somebody_has(server: Server, settings: Settings, frps: Callable[..., str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"HP_FRP_ADDRESS {address} cannot be used"):
            server(settings(HP_FRPS=frps(), HP_FRP_ADDRESS=address)).prepare()


# --- as it runs -------------------------------------------------------------------------------------------------------


async def until(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_it_knows_nothing_of_harps_environment(
    server: Server, settings: Settings, frps: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HP_SHARED_KEY", "the-shared-key")
    made = server(settings(HP_FRPS=frps()))
    made.prepare()
    told = tmp_path / "run" / "environment"
    async with Tasks("test") as tasks:
        tasks.start("frps", made.run())
        await until(lambda: told.exists() and "PATH=" in told.read_text())

        assert "the-shared-key" not in told.read_text()
        await made.end()


async def test_new_certificates_are_read_by_a_new_frps(
    server: Server, settings: Settings, frps: Callable[..., str], tmp_path: Path
) -> None:
    made, told = server(settings(HP_FRPS=frps())), tmp_path / "run" / "environment"
    made.prepare()
    async with Tasks("test") as tasks:
        tasks.start("frps", made.run())
        await until(told.exists)
        told.unlink()

        made.renew()
        await asyncio.sleep(0.3)
        assert not told.exists(), "nothing was to be renewed"
        (tmp_path / "run" / "frp" / "server.crt").unlink()
        made.renew()

        await until(told.exists)
        (tmp_path / "run" / "frp" / "ca.key").write_text("rubbish")
        made.renew()
        await made.end()


async def test_a_program_that_is_being_replaced_is_tried_again(
    server: Server, settings: Settings, frps: Callable[..., str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = Path(frps())
    made, told = server(settings(HP_FRPS=str(path))), tmp_path / "run" / "environment"
    made.prepare()
    path.rename(tmp_path / "away")
    async with Tasks("test") as tasks:
        tasks.start("frps", made.run())
        await until(lambda: "frps cannot be started: No such file or directory" in caplog.text)

        (tmp_path / "away").rename(path)

        await until(told.exists)
        await made.end()


# --- what the agent is told -------------------------------------------------------------------------------------------


@pytest.fixture
def door(
    server: Server, settings: Settings, frps: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> ProxySettings:
    """The settings of a plane with an frps, and the agent's variable."""
    asked = settings(HP_FRPS=frps())
    made = server(asked)
    made.prepare()
    number, password = made.door[DOOR].split()
    monkeypatch.setenv(DOOR, f"{os.dup(int(number))} {password}")
    return asked


def registry(tasks: Tasks) -> Registry:
    nobody: Any = None
    return Registry(nobody, nobody, SystemClock(), tasks, Counters())


async def test_an_agent_that_was_told_of_no_frps_has_no_tunnels(settings: Settings) -> None:
    asked = settings()
    async with Tasks("test") as tasks:
        wired = appfrp.wired(asked, registry(tasks), SystemClock(), Counters())

    assert isinstance(wired.tunnels, NoTunnels)
    assert (wired.door, wired.remark(), frpview.seen(asked)) == (None, "", None)
    await wired.start()
    await wired.close()


async def test_an_agent_that_was_told_of_one_opens_its_door(door: ProxySettings) -> None:
    counters = Counters()
    async with Tasks("test") as tasks:
        wired = appfrp.wired(door, registry(tasks), SystemClock(), counters)
        assert DOOR not in os.environ, "its children are not told"
        await wired.start()
        wired.rekey("another-key")
        assert wired.remark() == f"frps does not listen on {door.frp}\n"
        found = frpview.seen(door)
        assert found is not None
        assert (found.listen, found.is_up, found.tunnels) == (door.frp, False, [])

        assert wired.tunnels.token(AppId("app"), 23_001)
        assert "harp_proxy_frps_up 0" in counters.text()
        await wired.close()


def test_what_is_open_just_now(server: Server, settings: Settings) -> None:
    asked = settings()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = f'[{{"name": "app", "port": {port}}}, {{"name": "gone", "port": 1}}]'
        (asked.run / "tunnels.json").write_text(said)

        assert open_now(asked.run) == [Tunnel("app", port)]
        assert listens(f"127.0.0.1:{port}")
    assert not listens("127.0.0.1:1")
