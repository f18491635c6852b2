# SPDX-License-Identifier: AGPL-3.0-or-later
"""What was done lately to deploy apps, step by step: kept where whoever asks about the proxy finds it."""

from collections.abc import Callable

import msgspec

from harp.proxy.deploy import payload
from harp.proxy.deploy.port import Backend, Outcome

FILE_NAME = "deployments.json"
MOST_STEPS = 50
MOST_TEXT = 500
BROKEN_OFF = "it was broken off"


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far an image has come. Sizes are known as layers begin, so both sums grow."""

    layers: int
    layers_done: int
    size_bytes: int
    done_bytes: int


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One call of AppAPI's that changes something. Times are seconds since 1970; ``ended_at`` is None meanwhile."""

    app: str
    """Its id; the image, where that is pulled: AppAPI does not say for which app."""
    verb: str
    """As in ``/docker/exapp/VERB``, or ``pull``."""
    began_at: float
    ended_at: float | None = None
    ok: bool = True
    text: str = ""
    """Why it failed, as AppAPI was told."""
    progress: Progress | None = None


class Journal:
    """The steps, the newest first; all of them are told whenever one changes. ``now`` is the time since 1970."""

    def __init__(self, now: Callable[[], float], tell: Callable[[list[Step]], None], before: list[Step]) -> None:
        self.now = now
        self._tell = tell
        self._steps = [step for step in before if step.ended_at is not None]

    def begin(self, app: str, verb: str) -> Step:
        step = Step(app=app, verb=verb, began_at=self.now())
        self._steps = [step, *self._steps][:MOST_STEPS]
        self._tell(self._steps)
        return step

    def goes_on(self, step: Step, progress: Progress) -> Step:
        """The step as it is from now on."""
        return self._put(msgspec.structs.replace(step, progress=progress), step)

    def end(self, step: Step, why: str) -> None:
        """``why`` it failed; empty where it did not."""
        self._put(msgspec.structs.replace(step, ended_at=self.now(), ok=not why, text=why[:MOST_TEXT]), step)

    def forget(self, step: Step) -> None:
        self._steps = [one for one in self._steps if one is not step]
        self._tell(self._steps)

    def _put(self, step: Step, instead_of: Step) -> Step:
        self._steps = [step if one is instead_of else one for one in self._steps]
        self._tell(self._steps)
        return step


class Recorded:
    """A backend of which each step is written down. Implements ``Backend``."""

    def __init__(self, backend: Backend, journal: Journal) -> None:
        self._backend = backend
        self._journal = journal

    def is_available(self) -> bool:
        return self._backend.is_available()

    async def call(self, verb: str, engine_port: str | None, body: bytes) -> Outcome:
        form = payload.read(verb, body)
        if verb == "exists" or not isinstance(form, payload.Named):
            return await self._backend.call(verb, engine_port, body)
        step = self._journal.begin(form.name, verb)
        outcome = Outcome(500, BROKEN_OFF)
        try:
            outcome = await self._backend.call(verb, engine_port, body)
        finally:
            self._journal.end(step, failure(outcome))
        return outcome


def failure(outcome: Outcome) -> str:
    """Why a call has not done what it should; empty where it has. An app that does not start is answered with 200."""
    if outcome.status >= 400:
        return outcome.text or f"status {outcome.status}"
    if outcome.body is not None and outcome.body.get("started") is False:
        return str(outcome.body.get("reason") or "it does not start")
    return ""


def encoded(steps: list[Step]) -> str:
    return msgspec.json.encode(steps).decode()


def decoded(text: str | None) -> list[Step]:
    """What :func:`encoded` made; none where it is not good."""
    try:
        return [] if text is None else msgspec.json.decode(text, type=list[Step])
    except msgspec.MsgspecError:
        return []
