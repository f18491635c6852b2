# SPDX-License-Identifier: AGPL-3.0-or-later
"""What was done lately to deploy apps, step by step: kept where whoever asks about the proxy finds it."""

from collections.abc import Callable

import msgspec

from harp.proxy.deploy import payload
from harp.proxy.deploy.port import Backend, Outcome

FILE_NAME = "deployments.json"
MOST_STEPS = 50
MOST_TEXT = 500


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One call of AppAPI's that changes something. Times are seconds since 1970; ``ended_at`` is None meanwhile."""

    app: str
    verb: str
    """As in ``/docker/exapp/VERB``."""
    began_at: float
    ended_at: float | None = None
    ok: bool = True
    text: str = ""
    """Why it failed, as AppAPI was told."""


class Recorded:
    """A backend of which each step is told, the newest first, whenever one begins or ends. Implements ``Backend``."""

    def __init__(
        self, backend: Backend, now: Callable[[], float], tell: Callable[[list[Step]], None], before: list[Step]
    ) -> None:
        self._backend = backend
        self._now = now
        self._tell = tell
        self._steps = [step for step in before if step.ended_at is not None]

    def is_available(self) -> bool:
        return self._backend.is_available()

    async def call(self, verb: str, engine_port: str | None, body: bytes) -> Outcome:
        form = payload.read(verb, body)
        if verb == "exists" or not isinstance(form, payload.Named):
            return await self._backend.call(verb, engine_port, body)
        step = Step(app=form.name, verb=verb, began_at=self._now())
        self._put(step)
        outcome = Outcome(500, "it was broken off")
        try:
            outcome = await self._backend.call(verb, engine_port, body)
        finally:
            why = failure(outcome)
            self._put(msgspec.structs.replace(step, ended_at=self._now(), ok=not why, text=why[:MOST_TEXT]), step)
        return outcome

    def _put(self, step: Step, instead_of: Step | None = None) -> None:
        if instead_of is None:
            self._steps = [step, *self._steps][:MOST_STEPS]
        else:
            self._steps = [step if one is instead_of else one for one in self._steps]
        self._tell(self._steps)


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
