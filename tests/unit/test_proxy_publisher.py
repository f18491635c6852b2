# SPDX-License-Identifier: AGPL-3.0-or-later
"""How long a reload is waited for, and HAProxy's answers: harp.proxy.edge.publisher, harp.proxy.edge.runtime."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest

from harp.base.runtime import Counters, Tasks
from harp.proxy.edge import files
from harp.proxy.edge.publisher import NEW_WORKER_S, PUBLISHED_S, Publisher
from harp.proxy.edge.runtime import RuntimeSocket, RuntimeSocketError
from tests.unit.test_proxy_compile import state


class Hurried:
    """Each look at this clock takes a second."""

    def __init__(self) -> None:
        self._now = 0.0

    def monotonic(self) -> float:
        self._now += 1.0
        return self._now

    def now(self) -> float:
        return self._now


async def answering(path: Path, answer: Callable[[], str]) -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer().encode())
        writer.close()

    return await asyncio.start_unix_server(serve, path)


async def obeying(path: Path, told: list[str], *, after_s: float = 0.0) -> asyncio.Server:
    """A HAProxy that does as it is told."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        told.append((await reader.readline()).decode())
        await asyncio.sleep(after_s)
        writer.write(b"New version created: 1\n" if told[-1].startswith("prepare map") else b"\n")
        writer.close()

    return await asyncio.start_unix_server(serve, path)


def publisher_of(run: Path, clock: Hurried) -> Publisher:
    return Publisher(run, state().shape, dict, clock, Counters())


async def test_who_reads_a_large_configuration_is_not_asked_to_begin_anew(tmp_path: Path) -> None:
    """HAProxy 2.6 answers nobody on its master's socket meanwhile."""
    clock = Hurried()
    pids = iter([*["Pid: 7"] * 40, *["Pid: 8"] * 9])
    async with await answering(tmp_path / "haproxy.sock", lambda: next(pids)):
        await publisher_of(tmp_path, clock)._new_worker("7")
    assert clock.now() > 3 * NEW_WORKER_S


async def test_a_master_that_answers_and_has_no_new_worker_is_waited_for_no_longer(tmp_path: Path) -> None:
    clock = Hurried()
    async with (
        await answering(tmp_path / "haproxy.sock", lambda: "Pid: 7"),
        await answering(tmp_path / "master.sock", lambda: "2.6.12"),
    ):
        with pytest.raises(RuntimeSocketError, match="no new worker"):
            await publisher_of(tmp_path, clock)._new_worker("7")
    assert clock.now() < 2 * NEW_WORKER_S


@pytest.fixture
async def followed(tmp_path: Path) -> AsyncIterator[Publisher]:
    """A publisher that follows; whether there is a HAProxy to be told is up to the test."""
    publisher = publisher_of(tmp_path, Hurried())
    publisher.write_files()
    async with Tasks("test") as tasks:
        tasks.start("publisher", publisher.follow())
        yield publisher


async def test_whoever_changes_an_app_waits_until_a_slow_haproxy_does_as_it_says(
    tmp_path: Path, followed: Publisher
) -> None:
    told: list[str] = []
    async with await obeying(tmp_path / "haproxy.sock", told, after_s=0.4):
        followed.wake()
        await followed.published()
        # HAProxy has forgotten what an earlier agent told it, and has the apps that there are.
        assert len(told) > 1
        assert followed._done == 1


async def test_nobody_waits_for_a_haproxy_that_is_not_there(followed: Publisher) -> None:
    async with asyncio.timeout(PUBLISHED_S / 2):
        followed.wake()
        await followed.published()
    assert followed._done == 0


async def test_the_agent_goes_on_while_a_slow_disk_takes_the_files(
    tmp_path: Path, followed: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, goes_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    had_a_turn: list[bool] = []

    def slow(_run: Path, _texts: Mapping[str, str]) -> None:
        loop.call_soon_threadsafe(began.set)
        had_a_turn.append(goes_on.wait(2))

    monkeypatch.setattr(files, "write_all", slow)
    async with await obeying(tmp_path / "haproxy.sock", []):
        followed.wake()
        await began.wait()
        goes_on.set()
        await followed.published()
    assert had_a_turn == [True]


async def test_who_is_cancelled_in_the_moment_of_the_answer_is_cancelled(tmp_path: Path) -> None:
    class Answering(RuntimeSocket):
        async def _asked(self, command: str) -> str:
            await answer.wait()
            return command

    answer = asyncio.Event()
    asking = asyncio.ensure_future(Answering(tmp_path / "haproxy.sock").ask("show info"))
    await asyncio.sleep(0.01)
    answer.set()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
