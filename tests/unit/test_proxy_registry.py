# SPDX-License-Identifier: AGPL-3.0-or-later
"""harp.proxy.registry: one question however many wait, what is known, what is known not to be (26, 32–37, 143)."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest

from harp.base.runtime import Counters, Tasks
from harp.proxy import registry as module
from harp.proxy.model import AppId, NextcloudUnsure, Upstream
from harp.proxy.registry import Registry
from tests.fakes.appplane import UNSURE, FakeNames, FakeNextcloud, SetClock
from tests.fakes.haproxy import app

A = AppId("app")


@dataclass(slots=True)
class Shelf:
    nextcloud: FakeNextcloud
    names: FakeNames
    clock: SetClock
    registry: Registry
    changes: list[str]


@pytest.fixture
async def shelf() -> AsyncIterator[Shelf]:
    nextcloud, names, clock = FakeNextcloud(), FakeNames(), SetClock()
    async with Tasks("test") as tasks:
        registry = Registry(nextcloud, names, clock, tasks, Counters())
        changes: list[str] = []
        registry.changed = lambda: changes.append("changed")
        yield Shelf(nextcloud, names, clock, registry, changes)


async def settled() -> None:
    """Nothing is under way any more."""
    await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))


async def test_twenty_who_ask_at_once_cause_one_question(shelf: Shelf) -> None:
    shelf.nextcloud.apps["app"] = app(1).app
    shelf.nextcloud.gate = asyncio.Event()
    waiting = [asyncio.ensure_future(shelf.registry.find(A)) for _ in range(20)]
    await asyncio.sleep(0)
    shelf.nextcloud.gate.set()

    assert {found.id if found else None for found in await asyncio.gather(*waiting)} == {A}
    assert shelf.nextcloud.asked == ["app app"]


async def test_one_who_goes_away_takes_the_answer_from_nobody(shelf: Shelf) -> None:
    shelf.nextcloud.apps["app"] = app(1).app
    shelf.nextcloud.gate = asyncio.Event()
    first, second = (asyncio.ensure_future(shelf.registry.find(A)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    shelf.nextcloud.gate.set()

    assert await second is not None


async def test_what_nextcloud_does_not_know_is_remembered_for_15_s_or_until_it_is_stored(shelf: Shelf) -> None:
    for _ in range(3):
        assert await shelf.registry.find(A) is None
    assert len(shelf.nextcloud.asked) == 1
    shelf.clock.at += module.NEGATIVE_S + 1
    assert await shelf.registry.find(A) is None
    assert len(shelf.nextcloud.asked) == 2

    await shelf.registry.store(app(1).app)
    assert await shelf.registry.find(A) is not None
    assert len(shelf.nextcloud.asked) == 2


async def test_trouble_is_not_remembered(shelf: Shelf) -> None:
    shelf.nextcloud.apps["app"] = UNSURE
    for _ in range(2):
        with pytest.raises(NextcloudUnsure):
            await shelf.registry.find(A)

    assert len(shelf.nextcloud.asked) == 2


async def test_what_was_forgotten_is_asked_again(shelf: Shelf) -> None:
    await shelf.registry.store(app(1).app)
    assert await shelf.registry.forget(A)
    assert not await shelf.registry.forget(A)

    assert await shelf.registry.find(A) is None
    assert shelf.nextcloud.asked == ["app app"]


async def test_an_app_that_is_being_deployed_is_known_before_it_is_asked_for(shelf: Shelf) -> None:
    shelf.nextcloud.apps["app"] = app(1).app
    shelf.registry.expect(A)
    await settled()

    assert await shelf.registry.find(A) == app(1).app
    assert shelf.nextcloud.asked == ["app app"]


async def test_what_a_failed_deployment_left_does_not_outlive_the_next_one(shelf: Shelf) -> None:
    await shelf.registry.store(app(1).app)
    shelf.nextcloud.apps["app"] = app(2).app
    shelf.registry.expect(A)
    await settled()

    assert await shelf.registry.upstream(A) == Upstream("127.0.0.1", 2)


async def test_what_appapi_brings_meanwhile_is_newer(shelf: Shelf) -> None:
    shelf.nextcloud.apps["app"] = app(1).app
    shelf.nextcloud.gate = asyncio.Event()
    shelf.registry.expect(A)
    await asyncio.sleep(0)
    await shelf.registry.store(app(2).app)
    shelf.nextcloud.gate.set()
    await settled()

    assert await shelf.registry.find(A) == app(2).app


@pytest.mark.parametrize("said", [None, UNSURE])
async def test_an_app_that_nextcloud_does_not_know_yet_is_asked_for_again(shelf: Shelf, said: object) -> None:
    if said is not None:
        shelf.nextcloud.apps["app"] = UNSURE
    shelf.registry.expect(A)
    await settled()
    shelf.nextcloud.apps["app"] = app(1).app

    assert await shelf.registry.find(A) == app(1).app


async def test_a_storing_returns_when_it_is_published(shelf: Shelf) -> None:
    published = []

    async def publish() -> None:
        published.append(shelf.registry.known()[A][1])

    shelf.registry.published = publish
    await shelf.registry.store(app(7).app)

    assert published == [Upstream("127.0.0.1", 7)]


async def test_a_host_without_an_address_is_tried_again(shelf: Shelf) -> None:
    await shelf.registry.store(replace(app(7).app, host="later.example"))
    assert await shelf.registry.upstream(A) is None
    shelf.names.addresses["later.example"] = "10.0.0.1"
    assert await shelf.registry.upstream(A) is None, "not at once again"

    shelf.clock.at += module.RESOLVE_AGAIN_S + 1

    assert await shelf.registry.upstream(A) == Upstream("10.0.0.1", 7)


async def test_an_address_in_brackets(shelf: Shelf) -> None:
    assert await shelf.registry.address_of("[::1]", 5) == Upstream("::1", 5)
    assert await shelf.registry.address_of("", 5) is None


async def one_round(shelf: Shelf) -> None:
    task = asyncio.ensure_future(shelf.registry.keep_fresh())
    await asyncio.sleep(0.01)
    task.cancel()


async def test_what_is_old_is_asked_for_again(shelf: Shelf) -> None:
    await shelf.registry.store(app(7).app)
    shelf.nextcloud.apps["app"] = app(8).app
    await one_round(shelf)
    assert shelf.registry.known()[A][0].port == 7

    shelf.clock.at += module.REFRESH_S + 1
    await one_round(shelf)
    assert shelf.registry.known()[A][0].port == 8


async def test_a_nextcloud_that_is_down_takes_nothing_away_and_one_that_knows_it_no_more_does(shelf: Shelf) -> None:
    await shelf.registry.store(app(7).app)
    shelf.nextcloud.apps["app"] = UNSURE
    shelf.clock.at += module.REFRESH_S + 1
    await one_round(shelf)
    assert A in shelf.registry.known()

    shelf.nextcloud.apps.clear()
    shelf.clock.at += module.REFRESH_S + 1
    await one_round(shelf)
    assert shelf.registry.known() == {}


async def one_look(shelf: Shelf) -> None:
    looking = asyncio.ensure_future(shelf.registry.keep_found())
    for _ in range(10):
        await asyncio.sleep(0)
    looking.cancel()


async def test_a_host_that_moved_is_found_within_two_seconds(shelf: Shelf) -> None:
    shelf.names.addresses["h"] = "10.0.0.1"
    await shelf.registry.store(replace(app(7).app, host="h"))
    shelf.names.addresses["h"] = "10.0.0.2"
    shelf.clock.at += 1.5
    shelf.changes.clear()

    await one_look(shelf)

    assert await shelf.registry.upstream(A) == Upstream("10.0.0.2", 7)
    assert shelf.changes == ["changed"]


async def test_a_name_that_takes_for_ever_holds_up_no_other_and_one_that_is_gone_is_told_once(
    shelf: Shelf, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.names.addresses |= {"h": "10.0.0.1", "stuck": "10.0.0.9"}
    await shelf.registry.store(replace(app(7).app, host="h"))
    await shelf.registry.store(replace(app(7, name="other").app, host="stuck"))
    await shelf.registry.store(replace(app(7, name="gone").app, host="gone"))

    async def slow(_names: FakeNames, host: str) -> str | None:
        if host == "stuck":
            await asyncio.Event().wait()
        return {"h": "10.0.0.2"}.get(host)

    monkeypatch.setattr(FakeNames, "address", slow)
    for _ in range(3):
        shelf.clock.at += 1.5
        await one_look(shelf)

    assert await shelf.registry.upstream(A) == Upstream("10.0.0.2", 7)
    assert await shelf.registry.upstream(AppId("other")) == Upstream("10.0.0.9", 7), "what was known still counts"
    assert [record.message for record in caplog.records].count(
        "the host of the app gone has no address: 'gone'; it is looked up again"
    ) == 1


async def test_a_flood_of_unknown_ids_does_not_grow_for_ever(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NEGATIVE_MOST", 10)
    for number in range(50):
        await shelf.registry.find(AppId(f"x{number}"))

    assert len(shelf.registry._absent) <= 10


async def test_records_of_the_last_run_count_until_nextcloud_says_otherwise(shelf: Shelf) -> None:
    shelf.registry.preload([app(7).app])

    assert await shelf.registry.find(A) is not None
    assert shelf.nextcloud.asked == []
