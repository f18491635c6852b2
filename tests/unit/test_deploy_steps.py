# SPDX-License-Identifier: AGPL-3.0-or-later
"""The steps of deployments: harp.proxy.deploy.steps."""

import asyncio

import pytest

from harp.proxy.deploy import steps
from harp.proxy.deploy.port import Outcome
from harp.proxy.deploy.steps import Journal, Recorded, Step

MAIL = b'{"name": "mail", "instance_id": "x"}'


class Engine:
    """Implements the backend: answers as told, once it may."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes)
        self.gate = asyncio.Event()
        self.gate.set()

    def is_available(self) -> bool:
        return True

    async def call(self, verb: str, engine_port: str | None, body: bytes) -> Outcome:
        await self.gate.wait()
        return self.outcomes.pop(0)


class Told:
    """What was written down last, and a clock that goes a second a look."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.at = 100.0

    def now(self) -> float:
        self.at += 1.0
        return self.at

    def tell(self, done: list[Step]) -> None:
        self.steps = done


def recorded(engine: Engine, before: list[Step] | None = None) -> tuple[Recorded, Told]:
    told = Told()
    return Recorded(engine, Journal(told.now, told.tell, before or [])), told


async def test_a_step_is_told_when_it_begins_and_when_it_ends() -> None:
    engine = Engine(Outcome(201))
    backend, told = recorded(engine)
    engine.gate.clear()
    calling = asyncio.get_running_loop().create_task(backend.call("start", "24000", MAIL))
    await asyncio.sleep(0)
    assert told.steps == [Step(app="mail", verb="start", began_at=101.0)]
    engine.gate.set()
    assert await calling == Outcome(201)
    assert told.steps == [Step(app="mail", verb="start", began_at=101.0, ended_at=102.0)]


@pytest.mark.parametrize(
    ("outcome", "why"),
    [
        (Outcome(503, "no space left"), "no space left"),
        (Outcome(500), "status 500"),
        (Outcome(200, body={"started": False, "reason": "it exits with 1"}), "it exits with 1"),
        (Outcome(200, body={"started": False}), "it does not start"),
        (Outcome(200, body={"started": True}), ""),
        (Outcome(204), ""),
    ],
)
async def test_a_failure_says_why(outcome: Outcome, why: str) -> None:
    backend, told = recorded(Engine(outcome))
    await backend.call("wait_for_start", None, MAIL)
    (step,) = told.steps
    assert (step.ok, step.text) == (not why, why)


async def test_a_step_that_is_broken_off_does_not_go_on_for_ever() -> None:
    engine = Engine()
    backend, told = recorded(engine)
    engine.gate.clear()
    calling = asyncio.get_running_loop().create_task(backend.call("create", None, b'{"name": "mail", "image_id": "i"}'))
    await asyncio.sleep(0)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    (step,) = told.steps
    assert (step.ended_at, step.ok, step.text) == (102.0, False, "it was broken off")


async def test_what_changes_nothing_and_what_is_not_understood_is_no_step() -> None:
    backend, told = recorded(Engine(Outcome(200), Outcome(400), Outcome(204)))
    await backend.call("exists", None, MAIL)
    await backend.call("start", None, b"{}")
    await backend.call("image_remove", None, b'{"image_ref": "a/b:1"}')
    assert told.steps == []


async def test_only_the_newest_are_kept_and_those_of_an_earlier_run_that_ended() -> None:
    before = [Step(app="old", verb="start", began_at=1.0), Step(app="old", verb="create", began_at=0.0, ended_at=1.0)]
    backend, told = recorded(Engine(*[Outcome(204)] * 60), before)
    await backend.call("stop", None, MAIL)
    assert [(step.app, step.verb) for step in told.steps] == [("mail", "stop"), ("old", "create")]
    for _ in range(59):
        await backend.call("stop", None, MAIL)
    assert len(told.steps) == steps.MOST_STEPS


@pytest.mark.parametrize("text", [None, "", "{", "[1]", '[{"app": 1}]'])
def test_a_file_that_is_not_good_holds_no_steps(text: str | None) -> None:
    assert steps.decoded(text) == []


def test_what_was_kept_is_read_again() -> None:
    kept = [Step(app="a", verb="stop", began_at=1.0, ended_at=2.0, ok=False, text="why")]
    assert steps.decoded(steps.encoded(kept)) == kept
