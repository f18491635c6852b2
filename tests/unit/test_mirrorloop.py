# SPDX-License-Identifier: AGPL-3.0-or-later
"""A mirror's crank with a mirror that does as it is told: what wakes it, how long it waits, what it says."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import datetime

import pytest

from harp.base.errors import CloudError, HarpError, UsageError
from harp.base.runtime import SystemClock
from harp.sync.cloud.claims import Claim
from harp.sync.cloud.extent import Extent
from harp.sync.cloud.nodes import CloudPath
from harp.sync.cloud.refusals import BusyError, LoginError
from harp.sync.service.mirrorloop import MirrorLoop
from harp.sync.service.mirrorwalk import GoneError
from harp.sync.service.stillness import Stillness


class Told:
    """A mirror; ``news`` and ``fails`` are for the next rounds, ``rounds`` counts them."""

    def __init__(self) -> None:
        self.problems: dict[CloudPath, str] = {}
        self.question = ""
        self.again_s = float("inf")
        self.rivals: tuple[Claim, ...] = ()
        self.extent = Extent()
        self.skew_s = 0.0
        self.news = False
        self.fails: HarpError | Exception | None = None
        self.looks = self.rounds = self.heard = 0
        self.answers: list[str] = []
        self.changed = asyncio.Event()
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    def _stir(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    async def settle(self, *, only_news: bool = False) -> int:
        self.looks += only_news
        self.rounds += self.news or not only_news
        self._stir()
        fails = self.fails
        await self.goes_on.wait()
        if fails is not None:
            raise fails
        news, self.news = self.news, False
        return int(news)

    async def make_top(self) -> None:
        self.answers.append("make")

    def heard_bridge(self) -> None:
        self.heard += 1

    async def answer(self, how: str, *, now: datetime) -> None:
        self.answers.append(how)
        self.question = ""


class Desk:
    def __init__(self, poll_s: float = 1000.0) -> None:
        self.mirror = Told()
        self.standing = ""
        self.loop = MirrorLoop(
            self._opened, lambda: self.standing, poll_s=poll_s, clock=SystemClock(), jitter=lambda: 0.0
        )

    @contextlib.asynccontextmanager
    async def _opened(self) -> AsyncIterator[Told]:
        yield self.mirror

    async def until(self, rounds: int) -> None:
        async with asyncio.timeout(20):
            while self.mirror.rounds < rounds:
                await self.mirror.changed.wait()


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    made = Desk()
    task = asyncio.create_task(made.loop.run())
    yield made
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_change_on_the_disk_is_a_round_and_a_call_only_where_there_is_news(desk: Desk) -> None:
    await desk.until(1)
    desk.loop.disk_changed()
    await desk.until(2)
    assert desk.mirror.looks == 0
    looked = desk.mirror.changed
    desk.loop.called()
    await asyncio.wait_for(looked.wait(), 20)
    assert (desk.mirror.looks, desk.mirror.rounds) == (1, 2)
    desk.mirror.news = True
    desk.loop.called()
    await desk.until(3)
    assert desk.loop.steps == 1


async def test_a_call_by_harp_bridge_says_too_that_the_server_has_it(desk: Desk) -> None:
    await desk.until(1)
    desk.loop.called()
    assert desk.mirror.heard == 0
    desk.mirror.news = True
    desk.loop.bridge_called()
    assert desk.mirror.heard == 1
    await desk.until(2)


async def test_calls_in_vain_become_rarer_and_none_is_forgotten(desk: Desk) -> None:
    await desk.until(1)
    begun = asyncio.get_running_loop().time()
    for _ in range(5):
        looked = desk.mirror.changed
        desk.loop.called()
        await asyncio.wait_for(looked.wait(), 20)
    # 0 + 0.05 + 0.1 + 0.2 + 0.4 s
    assert asyncio.get_running_loop().time() - begun > 0.7
    desk.loop.disk_changed()
    await desk.until(2)


async def test_without_a_call_the_clock_asks() -> None:
    desk = Desk(poll_s=0.01)
    task = asyncio.create_task(desk.loop.run())
    await desk.until(1)
    desk.mirror.news = True
    await desk.until(2)
    task.cancel()


async def test_a_refusal_is_waited_for_whatever_happens_meanwhile(desk: Desk) -> None:
    await desk.until(1)
    busy = BusyError("maintenance")
    busy.after_s = 0.5
    desk.mirror.fails = busy
    desk.loop.disk_changed()
    await desk.until(2)
    assert desk.loop.trouble is busy
    desk.loop.disk_changed()
    desk.loop.called()
    await asyncio.sleep(0.1)
    assert desk.mirror.rounds == 2, "the server said when to come again"
    desk.mirror.fails = None
    await desk.until(3)
    assert desk.loop.trouble is None


@pytest.mark.parametrize("error", [LoginError("refused"), CloudError("away"), ValueError("a defect")])
async def test_whatever_goes_wrong_is_said_and_does_not_spin(desk: Desk, error: Exception) -> None:
    await desk.until(1)
    desk.mirror.fails = error
    desk.loop.disk_changed()
    await desk.until(2)
    await asyncio.sleep(0.1)
    assert desk.mirror.rounds == 2
    assert desk.loop.trouble is not None
    assert "defect" in desk.loop.trouble.message or desk.loop.trouble is error


async def test_a_folder_that_is_gone_is_asked_about_and_made_anew_where_a_person_says_so(desk: Desk) -> None:
    await desk.until(1)
    with pytest.raises(UsageError, match="nothing is asked"):
        await desk.loop.answer("merge")
    desk.mirror.fails = GoneError("the folder is not in the account any more")
    desk.loop.disk_changed()
    await desk.until(2)
    assert desk.loop.question
    with pytest.raises(UsageError, match="cannot be followed"):
        await desk.loop.answer("follow")
    desk.mirror.fails = None
    await desk.loop.answer("merge")
    await desk.until(3)
    assert desk.mirror.answers == ["make", "merge"]
    assert (desk.loop.question, desk.loop.trouble) == ("", None)


async def test_a_question_waits_for_its_answer(desk: Desk) -> None:
    await desk.until(1)
    desk.mirror.question = "30 of 30 files are gone"
    desk.loop.disk_changed()
    await desk.until(2)
    desk.loop.disk_changed()
    await asyncio.sleep(0.1)
    assert (desk.mirror.rounds, desk.loop.question) == (2, "30 of 30 files are gone")
    await desk.loop.answer("follow")
    await desk.until(3)
    assert desk.mirror.answers == ["follow"]
    assert desk.loop.question == ""


async def test_a_folder_that_stands_still_is_left_alone() -> None:
    desk = Desk(poll_s=0.02)
    desk.standing = "the folder is paused"
    task = asyncio.create_task(desk.loop.run())
    await asyncio.sleep(0.1)
    assert (desk.mirror.rounds, desk.mirror.looks, desk.loop.standing) == (0, 0, "the folder is paused")
    desk.standing = ""
    await desk.until(1)
    task.cancel()


def test_whoever_listens_to_a_folder_is_told_once_a_change() -> None:
    told: list[int] = []
    stillness = Stillness()
    stillness.listeners.append(lambda: told.append(1))
    for changes in (0, 3, 3, 4):
        stillness.look(changes)
    assert len(told) == 2


async def test_looks_in_between_put_no_second_round_off() -> None:
    desk = Desk(poll_s=0.01)
    desk.mirror.again_s = 0.3
    task = asyncio.create_task(desk.loop.run())
    await desk.until(1)
    begun = asyncio.get_running_loop().time()
    await desk.until(2)
    assert desk.mirror.looks > 1
    assert asyncio.get_running_loop().time() - begun < 10
    task.cancel()


async def test_who_wants_a_look_gets_one_that_begins_after_they_asked(desk: Desk) -> None:
    await desk.until(1)
    desk.mirror.news = True
    look = desk.loop.look()
    assert not look.done()
    await asyncio.wait_for(look, 20)
    assert (desk.mirror.rounds, desk.loop.steps, desk.loop.trouble) == (2, 1, None)


async def test_a_look_that_fails_is_over_too_and_one_that_is_wanted_now_does_not_wait_for_the_pause(desk: Desk) -> None:
    await desk.until(1)
    desk.mirror.fails = CloudError("not reached")
    for _ in range(8):  # with pauses between them it would be minutes
        await asyncio.wait_for(desk.loop.look(), 20)
        assert desk.loop.trouble is desk.mirror.fails
    desk.mirror.fails = None
    await asyncio.wait_for(desk.loop.look(), 20)
    assert desk.loop.trouble is None


@pytest.mark.parametrize("error", [LoginError("wrong"), BusyError("locked")])
async def test_a_look_hurries_no_server_that_wants_to_be_left_alone(desk: Desk, error: CloudError) -> None:
    await desk.until(1)
    if isinstance(error, BusyError):
        error.after_s = 60.0
    desk.mirror.fails = error
    await asyncio.wait_for(desk.loop.look(), 20)
    rounds = desk.mirror.rounds
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(desk.loop.look(), 0.5)
    assert desk.mirror.rounds == rounds


async def test_a_round_that_fails_is_no_answer_to_who_asked_while_it_was_under_way(desk: Desk) -> None:
    await desk.until(1)
    desk.mirror.goes_on.clear()
    desk.mirror.fails = CloudError("not reached")
    failing = desk.loop.look()
    await desk.until(2)
    look = desk.loop.look()
    desk.mirror.fails = None
    desk.mirror.goes_on.set()
    await asyncio.wait_for(failing, 20)
    await asyncio.wait_for(look, 20)
    assert (desk.mirror.rounds, desk.loop.trouble) == (3, None)
