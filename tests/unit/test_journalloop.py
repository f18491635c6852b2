# SPDX-License-Identifier: AGPL-3.0-or-later
"""The journal of a Nextcloud is read by its mark: what wakes the mirrors, and how long a server is left alone."""

import asyncio

import pytest

from harp.base.errors import CloudError, StaleError
from harp.sync.cloud.journal import Mark
from harp.sync.cloud.refusals import BusyError, LoginError
from harp.sync.service.journalloop import ABSENT_S, JournalLoop


class Server:
    """Rows by their ids, and who was told of them."""

    def __init__(self) -> None:
        self.rows = {1, 2, 3}
        self.told = 0
        self.asked = 0
        self.was_asked_often = asyncio.Event()
        self.fails: CloudError | None = None
        self.loop = JournalLoop(self.mark, self.grew, every_s=2.0, jitter=lambda: 0.5)

    async def mark(self) -> Mark:
        self.asked += 1
        if self.asked == 5:
            self.was_asked_often.set()
        if self.fails is not None:
            raise self.fails
        newest = max(self.rows, default=0)
        return Mark(newest, len([one for one in self.rows if one > newest - 1000]))

    def grew(self) -> None:
        self.told += 1


@pytest.fixture
def server() -> Server:
    return Server()


async def test_a_row_is_told_once_and_the_first_look_tells_of_what_came_before_it(server: Server) -> None:
    assert [await server.loop.look() for _ in range(3)] == [2.0, 2.0, 2.0]
    assert server.told == 1
    server.rows.add(4)
    await server.loop.look()
    await server.loop.look()
    assert server.told == 2


async def test_a_row_that_is_committed_behind_a_greater_id_is_told_too(server: Server) -> None:
    server.rows.add(5)
    await server.loop.look()
    server.rows.add(4)
    await server.loop.look()
    assert server.told == 2


async def test_a_journal_that_was_emptied_is_news(server: Server) -> None:
    await server.loop.look()
    server.rows.clear()
    await server.loop.look()
    assert server.told == 2


async def test_a_server_that_does_not_answer_is_left_alone_longer_each_time(server: Server) -> None:
    server.fails = CloudError("cannot be reached")
    pauses = [await server.loop.look() for _ in range(6)]
    assert pauses == sorted(pauses)
    assert pauses[0] >= 2.0
    assert pauses[-1] > 10.0
    server.fails = None
    assert await server.loop.look() == 2.0
    assert server.told == 1


@pytest.mark.parametrize("error", [StaleError("no such page"), LoginError("refused")])
async def test_who_has_no_journal_for_us_is_asked_rarely(server: Server, error: CloudError) -> None:
    server.fails = error
    assert await server.loop.look() == ABSENT_S


async def test_a_server_that_says_when_to_come_again_is_heard(server: Server) -> None:
    server.fails = BusyError("too many requests")
    server.fails.after_s = 33.0
    assert await server.loop.look() == 33.0


async def test_it_goes_on_until_it_is_cancelled() -> None:
    server = Server()
    server.loop = JournalLoop(server.mark, server.grew, every_s=0.001, jitter=lambda: 0.5)
    running = asyncio.create_task(server.loop.run())
    async with asyncio.timeout(10):
        await server.was_asked_often.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
