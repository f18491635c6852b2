# SPDX-License-Identifier: AGPL-3.0-or-later
"""The control socket on a real disk: whose it is, what it replaces, what it refuses, who is answered."""

import asyncio
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from harp.base.errors import ConfigError, NotRunningError, TrustError, UsageError
from harp.base.runtime import Tasks
from harp.bridge import api, doorway, model
from harp.bridge.api import ControlServer
from harp.cli.client import Client, at
from tests.fakes.control import served
from tests.fakes.daemon import FakeDaemon


def test_a_client_meets_the_daemon_of_its_home(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with served(home):
        assert Client(home).get(at("device"), model.DeviceInfo).name == "alice"
        assert stat.S_IMODE((home / "harp.sock").stat().st_mode) == 0o600
        assert sorted(path.name for path in home.iterdir()) == ["harp.lock", "harp.sock"]
    assert not (home / "harp.sock").exists()
    with pytest.raises(NotRunningError, match="no daemon runs"):
        Client(home).get(at("device"), model.DeviceInfo)


def test_a_home_of_any_depth_has_a_socket(tmp_path: Path) -> None:
    home = tmp_path / ("d" * 100) / ("e" * 100)
    home.mkdir(parents=True)
    with served(home):
        assert Client(home).get(at("device"), model.DeviceInfo).name == "alice"


def test_a_socket_left_by_a_dead_daemon_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "harp.sock"))
    assert (tmp_path / "harp.sock").exists()
    with served(tmp_path):
        assert Client(tmp_path).get(at("device"), model.DeviceInfo).name == "alice"


def test_what_is_no_socket_is_never_removed(tmp_path: Path) -> None:
    (tmp_path / "harp.sock").write_text("mine")
    with pytest.raises(ConfigError, match="not a socket"):
        doorway.bound(tmp_path)
    doorway.remove(tmp_path)
    assert (tmp_path / "harp.sock").read_text() == "mine"
    (tmp_path / "harp.sock").unlink()
    (tmp_path / "harp.sock").symlink_to("/etc/passwd")
    with pytest.raises(ConfigError, match="not a socket"):
        doorway.bound(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["harp.sock"]


def test_a_socket_on_which_something_answers_is_left_alone(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "harp.sock"))
        other.listen(1)
        with pytest.raises(ConfigError, match="something answers"):
            doorway.bound(tmp_path)
        assert (tmp_path / "harp.sock").exists()


def test_a_home_is_held_by_one_process_at_a_time_and_freed_by_its_end(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\n"
        "from harp.bridge import doorway\n"
        "with doorway.claimed(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    assert not doorway.is_claimed(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        assert doorway.is_claimed(tmp_path)
        with pytest.raises(ConfigError, match=r"a daemon runs in .* already") as caught, doorway.claimed(tmp_path):
            pytest.fail("two hold one home")
        assert "harp down" in caught.value.hint
        other.kill()
        other.wait(30)
    assert not doorway.is_claimed(tmp_path)
    with doorway.claimed(tmp_path):
        assert doorway.is_claimed(tmp_path)


def test_a_lock_that_is_a_symlink_is_refused(tmp_path: Path) -> None:
    (tmp_path / "harp.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="cannot be opened"), doorway.claimed(tmp_path):
        pytest.fail("a symlink was followed")
    assert not (tmp_path / "elsewhere").exists()


async def test_only_the_daemons_own_user_and_root_are_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def asked() -> tuple[int, bytes]:
        reader, writer = await asyncio.open_unix_connection(tmp_path / "harp.sock")
        writer.write(b"GET /v1/device HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return int(answer.split()[1]), answer

    daemon = FakeDaemon()
    async with Tasks("test") as tasks:
        server = ControlServer(daemon, tmp_path, tasks=tasks)
        await server.start()
        assert (await asked())[0] == 200
        daemon.calls.clear()
        monkeypatch.setattr(doorway, "peer_uid", lambda _: os.geteuid() + 1)
        status, answer = await asked()
        assert status == 403
        assert b"only to its own user" in answer
        assert daemon.calls == []
        monkeypatch.setattr(doorway, "peer_uid", lambda _: 0)
        assert (await asked())[0] == 200
        await server.close()


def test_the_kernel_says_who_is_at_the_other_end() -> None:
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        assert doorway.peer_uid(one) == os.getuid()


async def test_an_answer_in_the_making_is_finished_although_its_caller_has_gone(tmp_path: Path) -> None:
    going, finished = asyncio.Event(), asyncio.Event()

    class Slow(FakeDaemon):
        async def rescan(self, folder: str) -> model.Done:
            going.set()
            await asyncio.sleep(0.05)
            finished.set()
            return await super().rescan(folder)

    async with Tasks("test") as tasks:
        server = ControlServer(Slow(), tmp_path, tasks=tasks)
        await server.start()
        _, writer = await asyncio.open_unix_connection(tmp_path / "harp.sock")
        writer.write(b"POST /v1/folders/Photos/rescan HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        await asyncio.wait_for(going.wait(), 30)
        writer.transport.abort()
        await asyncio.wait_for(finished.wait(), 30)
        await server.close()


async def until(condition: Callable[[], bool]) -> None:
    deadline = asyncio.get_running_loop().time() + 30
    while not condition():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.005)


async def test_who_goes_away_leaves_no_wait_behind(tmp_path: Path) -> None:
    daemon = FakeDaemon()
    daemon.waits_forever = True
    daemon.progress = daemon.progress[:2]
    async with Tasks("test") as tasks:
        server = ControlServer(daemon, tmp_path, tasks=tasks)
        await server.start()
        reader, writer = await asyncio.open_unix_connection(tmp_path / "harp.sock")
        writer.write(b"POST /v1/folders/Photos/wait HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
        assert await reader.readuntil(b'"syncing"')
        assert daemon.streams_open == 1
        writer.transport.abort()
        await until(lambda: daemon.streams_open == 0)
        await server.close()


async def test_a_server_that_closes_ends_the_waits(tmp_path: Path) -> None:
    daemon = FakeDaemon()
    daemon.waits_forever = True
    daemon.progress = daemon.progress[:2]
    async with Tasks("test") as tasks:
        server = ControlServer(daemon, tmp_path, tasks=tasks)
        await server.start()
        reader, writer = await asyncio.open_unix_connection(tmp_path / "harp.sock")
        writer.write(b"POST /v1/folders/Photos/wait HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
        assert await reader.readuntil(b'"syncing"')
        await asyncio.wait_for(server.close(), 30)
        assert daemon.streams_open == 0
        assert b'"done"' not in await reader.read()
        writer.close()
        await writer.wait_closed()


def test_the_client_gives_the_daemons_error_as_the_same_class(tmp_path: Path) -> None:
    with served(tmp_path) as daemon:
        daemon.fails = TrustError("no \x1b", hint="ask")
        with pytest.raises(TrustError, match=r"no \\x1b") as caught:
            Client(tmp_path).get(at("device"), model.DeviceInfo)
        assert (caught.value.hint, caught.value.exit_code) == ("ask", 5)


def test_a_daemon_that_dies_in_the_middle_is_said(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(tmp_path / "harp.sock"))
        door.listen(4)
        answers = iter([b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", b"nonsense\r\n\r\n"])

        def answer_and_die() -> None:
            for answer in answers:
                link, _ = door.accept()
                with link:
                    link.recv(65_536)
                    link.sendall(answer)

        thread = threading.Thread(target=answer_and_die, daemon=True)
        thread.start()
        for _ in range(3):
            with pytest.raises(NotRunningError, match="went away"):
                Client(tmp_path).get(at("device"), model.DeviceInfo)
        thread.join(30)


def test_a_body_of_the_servers_limit_is_named(tmp_path: Path) -> None:
    with served(tmp_path), pytest.raises(UsageError, match=f"at most {api.MAX_BODY_BYTES} bytes"):
        Client(tmp_path).post(at("folders"), model.FolderStatus, {"path": "/" + "x" * api.MAX_BODY_BYTES})
