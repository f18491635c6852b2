# SPDX-License-Identifier: AGPL-3.0-or-later
"""An image is pulled for AppAPI: what the engine tells passes as it comes, and progress is written down (137, 138)."""

import json
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

import msgspec

from harp.proxy.deploy.docker.engine import Refused, Unreachable, connected, lost, one_line
from harp.proxy.deploy.port import Outcome
from harp.proxy.deploy.steps import BROKEN_OFF, Journal, Progress
from harp.proxy.model import EngineAddress

_log = logging.getLogger(__name__)

TELL_S = 0.5
"""How often progress is written down."""
MOST_LAYERS = 500
MOST_LINE = 65_536
_PASSED = ("fromImage", "tag", "platform")
"""Never ``fromSrc``, by which an image would be made of whatever lies at an address."""
_FOR_HARDWARE = ("-cpu", "-cuda", "-rocm")
"""How the tags end that AppAPI asks for first; most apps have none, and it goes on without (contract, 5.3)."""


class Layers:
    """What the lines of an engine's ``images/create`` say (Docker Engine API, ImageCreate), put together."""

    def __init__(self) -> None:
        self.fault = ""
        self._sizes: dict[str, tuple[int, int]] = {}
        self._done: set[str] = set()
        self._rest = b""

    def take(self, piece: bytes) -> None:
        """The stream goes on; lines may be torn anywhere. What is no line of an engine's is passed over."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        self._rest = self._rest[-MOST_LINE:]
        for line in lines:
            try:
                found = msgspec.json.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
            if isinstance(found, dict):
                self._line(found)

    def _line(self, line: Mapping[str, Any]) -> None:
        if line.get("error"):
            self.fault = one_line(str(line["error"]))
        layer, status = line.get("id"), line.get("status")
        if not isinstance(layer, str) or not isinstance(status, str):
            return
        if status == "Pulling fs layer" and len(self._sizes) < MOST_LAYERS:
            self._sizes.setdefault(layer, (0, 0))
        elif status == "Already exists" and len(self._sizes) < MOST_LAYERS:
            self._sizes.setdefault(layer, (0, 0))
            self._done.add(layer)
        elif layer not in self._sizes:
            return
        elif status == "Downloading":
            self._sizes[layer] = _sizes(line.get("progressDetail")) or self._sizes[layer]
        elif status in ("Download complete", "Pull complete"):
            _done, size = self._sizes[layer]
            self._sizes[layer] = (size, size)
            if status == "Pull complete":
                self._done.add(layer)

    @property
    def progress(self) -> Progress:
        return Progress(
            layers=len(self._sizes),
            layers_done=len(self._done),
            size_bytes=sum(size for _done, size in self._sizes.values()),
            done_bytes=sum(done for done, _size in self._sizes.values()),
        )


def _sizes(detail: object) -> tuple[int, int] | None:
    if not isinstance(detail, dict):
        return None
    done, size = detail.get("current"), detail.get("total")
    if not isinstance(done, int) or not isinstance(size, int) or not 0 <= done <= size:
        return None
    return done, size


class Pulls:
    """Implements :class:`harp.proxy.deploy.port.Puller`. ``engine`` says which one ``docker-engine-port`` means."""

    def __init__(self, engine: Callable[[str | None], EngineAddress | Outcome], journal: Journal) -> None:
        self._engine = engine
        self._journal = journal

    async def pull(
        self, engine_port: str | None, query: Mapping[str, str], registry_auth: str | None
    ) -> AsyncGenerator[Outcome | bytes, None]:
        asked = {name: query[name] for name in _PASSED if name in query}
        image, why, layers, has_begun = image_of(asked), BROKEN_OFF, Layers(), False
        address = self._engine(engine_port)
        if isinstance(address, Outcome):
            _log.warning("image %s is not pulled: %s", one_line(image), address.text)
            yield address
            return
        step = self._journal.begin(image, "pull")
        told_at = self._journal.now()
        headers = {} if registry_auth is None else {"X-Registry-Auth": registry_auth}
        try:
            async with connected(address) as link:
                async for piece in link.pull(asked, headers):
                    if not has_begun:
                        has_begun = True
                        yield Outcome(200)
                        continue
                    layers.take(piece)
                    if self._journal.now() - told_at >= TELL_S:
                        told_at, step = self._journal.now(), self._journal.goes_on(step, layers.progress)
                    yield piece
            why = layers.fault
        except Refused as error:
            is_no_failure = error.status == 404 and image.endswith(_FOR_HARDWARE)
            why = "" if is_no_failure else error.said
            yield Outcome(error.status, body={"message": error.said})
        except Unreachable as error:
            why = str(error)
            # In the midst of it, as an engine says what went wrong.
            said = f"{lost(address.port)}: {error}"
            yield _error(said) if has_begun else Outcome(503, said)
        finally:
            if not why and not has_begun:
                self._journal.forget(step)
            else:
                self._journal.end(self._journal.goes_on(step, layers.progress) if has_begun else step, why)
            if why:
                _log.warning("image %s is not pulled: %s", one_line(image), why)


def image_of(query: Mapping[str, str]) -> str:
    """``ghcr.io/a/b:1``, of what ``images/create`` is asked."""
    image, tag = query.get("fromImage", ""), query.get("tag", "")
    return (f"{image}:{tag}" if tag else image)[:300]


def _error(why: str) -> bytes:
    return json.dumps({"errorDetail": {"message": why}, "error": why}).encode() + b"\r\n"
