# SPDX-License-Identifier: AGPL-3.0-or-later
"""A Nextcloud is listened to: what wakes the mirrors, and how long a server is left alone."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from harp.base.errors import CloudError, StaleError
from harp.sync.cloud.push import ElsewhereError
from harp.sync.cloud.refusals import BusyError, LoginError
from harp.sync.service.journalloop import ABSENT_S
from harp.sync.service.mirrorloop import REFUSED_AGAIN_S
from harp.sync.service.pushloop import REFUSALS, STEADY_S, PushLoop
from tests.fakes.appplane import SetClock


class Server:
    """Says ``news`` on each line, which stands for ``stands_s``, and then ``fails`` or hangs up."""

    def __init__(self) -> None:
        self.clock = SetClock()
        self.fails: Exception | None = None
        self.news = 0
        self.stands_s = 0.0
        self.told = 0
        self.heard: list[bool] = []
        self.loop = PushLoop(self.line, self.changed, clock=self.clock, jitter=lambda: 0.5)

    async def line(self) -> AsyncGenerator[None]:
        for _ in range(self.news):
            yield
        self.clock.at += self.stands_s
        if self.fails is not None:
            raise self.fails

    def changed(self) -> None:
        self.told += 1
        self.heard.append(self.loop.is_heard)


@pytest.fixture
def server() -> Server:
    return Server()


async def test_the_mirrors_are_woken_when_the_line_stands_and_with_each_change(server: Server) -> None:
    server.news, server.stands_s = 3, STEADY_S
    assert await server.loop.listen() == REFUSALS.delay_s(1, jitter=0.5)
    assert (server.told, server.heard) == (3, [True, True, True])
    assert (server.loop.is_heard, server.loop.trouble) == (False, None)


async def test_who_hangs_up_at_once_is_left_alone_longer_each_time(server: Server) -> None:
    server.news = 1
    pauses = [await server.loop.listen() for _ in range(9)]
    assert pauses == sorted(pauses)
    assert pauses[0] >= 2.5
    assert pauses[-1] > REFUSALS.most_s / 2
    assert str(server.loop.trouble) == "the server hangs up (it is tried again)"
    server.stands_s = STEADY_S
    assert await server.loop.listen() == pauses[0]


@pytest.mark.parametrize(
    ("error", "pause_s"),
    [
        (LoginError("refused"), REFUSED_AGAIN_S),
        (StaleError("it has none"), ABSENT_S),
        (ElsewhereError("at another place"), ABSENT_S),
        (CloudError("no WebSocket"), REFUSALS.delay_s(1, jitter=0.5)),
    ],
)
async def test_each_refusal_has_its_pause(server: Server, error: CloudError, pause_s: float) -> None:
    server.fails = error
    assert await server.loop.listen() == pause_s
    assert server.told == 0


async def test_a_server_that_says_when_to_come_again_is_heard(server: Server) -> None:
    server.fails = BusyError("too many requests")
    server.fails.after_s = 33.0
    assert await server.loop.listen() == 33.0


async def test_a_trouble_is_said_once_and_a_server_that_cannot_do_this_is_none(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.fails = ElsewhereError("at another place", hint="occ notify_push:setup")
    for _ in range(3):
        await server.loop.listen()
    assert caplog.messages == ["changes are not heard of: at another place (occ notify_push:setup)"]
    server.fails = StaleError("it has none")
    await server.loop.listen()
    assert server.loop.trouble is None
    assert len(caplog.messages) == 1


async def test_who_lets_in_and_hangs_up_again_and_again_is_said_once(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.news = 1
    for _ in range(3):
        await server.loop.listen()
    assert caplog.messages == ["changes are not heard of: the server hangs up (it is tried again)"]


async def test_a_defect_costs_the_line_and_not_the_next_one(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    server.news, server.fails = 1, ValueError("nobody thought of this")
    assert await server.loop.listen() == REFUSALS.delay_s(1, jitter=0.5)
    assert "nobody thought of this" in caplog.text
    assert str(server.loop.trouble) == "a defect of Harp (its log says more)"
    server.fails, server.stands_s = None, STEADY_S
    await server.loop.listen()
    assert (server.told, server.loop.trouble) == (2, None)


async def test_it_goes_on_until_it_is_cancelled() -> None:
    lines = 0
    was_long = asyncio.Event()

    async def line() -> AsyncGenerator[None]:
        nonlocal lines
        lines += 1
        yield
        if lines == 2:
            was_long.set()
            await asyncio.sleep(60)

    loop = PushLoop(line, lambda: None, clock=SetClock(), jitter=lambda: 0.0)
    running = asyncio.create_task(loop.run())
    async with asyncio.timeout(10):
        await was_long.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not loop.is_heard
