# SPDX-License-Identifier: AGPL-3.0-or-later
"""How long a reload is waited for: harp.proxy.edge.publisher."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from harp.base.runtime import Counters
from harp.proxy.edge.publisher import NEW_WORKER_S, Publisher
from harp.proxy.edge.runtime import RuntimeSocketError
from tests.unit.test_proxy_compile import state


class Hurried:
    """Each look at this clock takes a second."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 1.0
        return self.now

    def time(self) -> float:
        return self.now


async def answering(path: Path, answer: Callable[[], str]) -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer().encode())
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
    assert clock.now > 3 * NEW_WORKER_S


async def test_a_master_that_answers_and_has_no_new_worker_is_waited_for_no_longer(tmp_path: Path) -> None:
    clock = Hurried()
    async with (
        await answering(tmp_path / "haproxy.sock", lambda: "Pid: 7"),
        await answering(tmp_path / "master.sock", lambda: "2.6.12"),
    ):
        with pytest.raises(RuntimeSocketError, match="no new worker"):
            await publisher_of(tmp_path, clock)._new_worker("7")
    assert clock.now < 2 * NEW_WORKER_S
