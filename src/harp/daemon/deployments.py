# SPDX-License-Identifier: AGPL-3.0-or-later
"""The containers of deployed apps, as their engines tell it: how each stands, and what it has said last."""

import asyncio
import contextlib
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from harp.base.errors import LinkError, UsageError
from harp.base.logbook import without_secrets
from harp.bridge import naming, proxyview
from harp.proxy.deploy import steps as recorded
from harp.proxy.deploy.docker.engine import Engine, Refused, Unreachable, connected
from harp.proxy.deploy.docker.names import PREFIX
from harp.proxy.edge import files
from harp.proxy.model import EngineAddress

ANSWER_S = 3.0
MOST_CHARACTERS = 2000
_NAME = re.compile(rf"{PREFIX}[A-Za-z0-9_.-]{{1,128}}")


async def seen(engines: Sequence[EngineAddress]) -> list[proxyview.ContainerView]:
    """All of them, by name; an engine that does not answer soon has none."""
    found = await asyncio.gather(*(_of(engine) for engine in engines))
    return sorted((one for some in found for one in some), key=lambda one: one.name)


def steps(run: Path) -> list[proxyview.StepView]:
    """What was done lately, the newest first, as the agent wrote it down."""
    return [
        proxyview.StepView(
            app=naming.printable(step.app),
            verb=step.verb,
            began_at=step.began_at,
            ended_at=step.ended_at,
            ok=step.ok,
            text=naming.printable(without_secrets(step.text)),
            progress=None
            if step.progress is None
            else msgspec.convert(step.progress, proxyview.PullView, from_attributes=True),
        )
        for step in recorded.decoded(files.read(run / recorded.FILE_NAME))
    ]


async def log(engines: Sequence[EngineAddress], container: str, lines: int) -> list[str]:
    """What a container has said last, without secrets.

    Raises :class:`UsageError` where there is no such container of an app, :class:`LinkError` where it is silent.
    """
    if not _NAME.fullmatch(container):
        raise UsageError("this is no container of an app", hint=f"their names begin with {PREFIX}")
    why = ""
    for address in engines:
        try:
            async with asyncio.timeout(ANSWER_S), connected(address) as engine:
                if await engine.inspect(container) is not None:
                    return _shown(await engine.log(container, lines))
        except (Unreachable, Refused, TimeoutError) as error:
            why = str(error) or "it does not answer in time"
    if why:
        raise LinkError(naming.printable(why), hint="does the Docker Engine run?")
    raise UsageError(f"there is no container {container}", hint="`harp proxy status` lists the apps")


async def _of(address: EngineAddress) -> list[proxyview.ContainerView]:
    with contextlib.suppress(Unreachable, Refused, TimeoutError):
        async with asyncio.timeout(ANSWER_S), connected(address) as engine:
            return [view for view in map(view_of, await _listed(engine)) if view is not None]
    return []


async def _listed(engine: Engine) -> list[dict[str, object]]:
    return await engine.containers(name=[f"^/{PREFIX}"])


def view_of(listed: dict[str, object]) -> proxyview.ContainerView | None:
    """One container of an engine's list; None for one that is not understood, or no app's."""
    names = listed.get("Names")
    name = str(names[0]).removeprefix("/") if isinstance(names, list) and names else ""
    if not _NAME.fullmatch(name):
        return None
    return proxyview.ContainerView(
        name=name,
        image=naming.printable(str(listed.get("Image", ""))),
        state=naming.printable(str(listed.get("State", ""))),
        status=naming.printable(str(listed.get("Status", ""))),
    )


def _shown(lines: Sequence[str]) -> list[str]:
    return [naming.printable(without_secrets(line.rstrip("\r\n")))[:MOST_CHARACTERS] for line in lines]
