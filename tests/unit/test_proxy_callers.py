# SPDX-License-Identifier: AGPL-3.0-or-later
"""harp.proxy.callers: one question for one credential, a deadline that counts from the question, numbers for users."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from harp.base.runtime import Counters, Tasks
from harp.proxy import callers as module
from harp.proxy.callers import Callers, Numbers, TooManyQuestions
from harp.proxy.model import NOBODY, AppId, CredentialKey, Credentials, Identity, Level, NextcloudUnsure
from tests.fakes.appplane import UNSURE, FakeNextcloud, SetClock

A, B = AppId("app"), AppId("other")
ALICE = Identity("alice", Level.USER)


def key(number: int) -> CredentialKey:
    return CredentialKey(f"key {number}")


@dataclass(slots=True)
class Porter:
    nextcloud: FakeNextcloud
    clock: SetClock
    callers: Callers

    async def who(self, number: int, name: str = "alice", client: str = "1.1.1.1", at: AppId = A) -> Identity:
        answer = await self.callers.identify(key(number), at, Credentials(name, "", client=client))
        return answer.identity


@pytest.fixture
async def porter() -> AsyncIterator[Porter]:
    nextcloud, clock = FakeNextcloud(people={"alice": ALICE}), SetClock()
    async with Tasks("test") as tasks:
        yield Porter(nextcloud, clock, Callers(nextcloud, 3.0, clock, tasks, Counters()))


async def test_128_at_once_are_one_question(porter: Porter) -> None:
    porter.nextcloud.gate = asyncio.Event()
    waiting = [asyncio.ensure_future(porter.who(1)) for _ in range(128)]
    await asyncio.sleep(0)
    porter.nextcloud.gate.set()

    assert set(await asyncio.gather(*waiting)) == {ALICE}
    assert len(porter.nextcloud.asked) == 1


async def test_one_question_is_for_all_apps(porter: Porter) -> None:
    assert [await porter.who(1, at=at) for at in (A, B, A)] == [ALICE, ALICE, ALICE]
    assert len(porter.nextcloud.asked) == 1


async def test_what_nextcloud_does_not_say_for_one_app_it_is_asked_for_another(porter: Porter) -> None:
    porter.nextcloud.strangers.add(A)
    porter.nextcloud.gate = asyncio.Event()
    waiting = [asyncio.ensure_future(porter.who(1, at=at)) for at in (A, B, A, B)]
    await asyncio.sleep(0)
    porter.nextcloud.gate.set()

    assert await asyncio.gather(*waiting) == [NOBODY, ALICE, NOBODY, ALICE]
    assert len(porter.nextcloud.asked) == 2


async def test_what_nextcloud_does_not_say_is_remembered_too(porter: Porter) -> None:
    porter.nextcloud.strangers.add(A)
    for _ in range(2):
        assert await porter.who(1) == NOBODY
    assert len(porter.nextcloud.asked) == 1

    porter.clock.at += 3.1
    porter.nextcloud.strangers.clear()
    assert await porter.who(1) == ALICE


async def test_an_answer_holds_until_its_deadline(porter: Porter) -> None:
    assert await porter.who(1) == ALICE
    porter.clock.at += 2.9
    assert await porter.who(1) == ALICE
    assert len(porter.nextcloud.asked) == 1

    porter.clock.at += 0.2
    porter.nextcloud.people["alice"] = NOBODY
    assert await porter.who(1) == NOBODY


async def test_the_deadline_counts_from_the_question(porter: Porter) -> None:
    porter.nextcloud.gate = asyncio.Event()
    waiting = asyncio.ensure_future(porter.callers.identify(key(1), A, Credentials("alice", "")))
    await asyncio.sleep(0.01)
    porter.clock.at += 2.0
    porter.nextcloud.gate.set()

    assert (await waiting).until == 1_003.0


async def test_who_was_told_to_wait_finds_the_answer_even_if_it_is_old(porter: Porter) -> None:
    porter.nextcloud.gate = asyncio.Event()
    first = asyncio.ensure_future(porter.who(1))
    await asyncio.sleep(0.01)
    porter.clock.at += 5.0
    porter.nextcloud.gate.set()
    await first

    porter.clock.at += 0.5
    assert await porter.who(1) == ALICE
    assert len(porter.nextcloud.asked) == 1


async def test_trouble_reaches_all_who_wait_and_is_not_kept(porter: Porter) -> None:
    porter.nextcloud.people["alice"] = UNSURE
    for _ in range(2):
        with pytest.raises(NextcloudUnsure):
            await porter.who(1)

    assert len(porter.nextcloud.asked) == 2


async def test_one_address_cannot_ask_about_everything_and_nobody_else_is_hindered(porter: Porter) -> None:
    porter.nextcloud.gate = asyncio.Event()
    flood = [asyncio.ensure_future(porter.who(n, f"random {n}")) for n in range(module.QUESTIONS_OF_ONE_CLIENT)]
    await asyncio.sleep(0.01)
    with pytest.raises(TooManyQuestions):
        await porter.who(1_000, "one more")
    joining = asyncio.ensure_future(porter.who(0, "random 0"))
    other = asyncio.ensure_future(porter.who(2_000, client="2.2.2.2"))
    await asyncio.sleep(0.01)
    porter.nextcloud.gate.set()

    assert await other == ALICE
    assert await joining == NOBODY, "whoever joins a question asks none"
    await asyncio.gather(*flood)
    assert await porter.who(1_001, "later") == NOBODY, "what was answered counts no more"


async def test_no_flood_is_remembered_for_ever(porter: Porter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_MOST", 10)
    for number in range(50):
        await porter.who(number, f"random {number}")

    assert len(porter.callers._kept) <= 10


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_a_user_has_one_number_and_nobody_else_has_it() -> None:
    numbers = Numbers(first=1)

    first, text = numbers.number(ALICE, strip=False, until=1.0)
    again, _ = numbers.number(ALICE, strip=False, until=2.0)
    others = [
        numbers.number(Identity("bob", Level.USER), False, 1.0)[0],
        numbers.number(Identity("alice", Level.ADMIN), False, 1.0)[0],
        numbers.number(ALICE, True, 1.0)[0],
        numbers.number(NOBODY, False, 1.0)[0],
    ]

    assert first == again
    assert len({first, *others}) == 5
    assert text == "alice:"
    assert [number % 4 for number in (first, *others)] == [1, 1, 2, 1, 0]
    assert [number // 4 % 2 for number in (first, *others)] == [0, 0, 0, 1, 0]


def test_a_number_that_nobody_has_any_more_is_never_given_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Numbers, "SWEEP_AT", 2)
    numbers = Numbers(first=1)
    old, _ = numbers.number(ALICE, False, until=10.0)
    assert numbers.sweep(100.0) is None
    young, text = numbers.number(Identity("bob", Level.USER), False, until=99.0)

    assert numbers.sweep(100.0) == {young: text}
    anew, _ = numbers.number(ALICE, False, until=100.0)
    assert anew not in (old, young)
