# SPDX-License-Identifier: AGPL-3.0-or-later
"""An image pulled by a real engine from a registry that holds its layer back. Names harp.proxy.deploy.docker.pull."""

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest

from harp.proxy.deploy.docker.backend import DockerBackend
from harp.proxy.deploy.docker.call import Surroundings
from harp.proxy.deploy.docker.pull import Pulls
from harp.proxy.deploy.port import NoTunnels, Outcome
from harp.proxy.deploy.steps import BROKEN_OFF, Journal, Step
from harp.proxy.model import EngineAddress
from tests.fakes.registry import Registry
from tests.integration import engine as real

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]


LAYER_BYTES = 4 << 20


@pytest.fixture(scope="module")
def dockerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[real.DockerEngine]:
    if reason := real.why_not():
        pytest.skip(reason)
    with real.opened(tmp_path_factory.mktemp("engine")) as started:
        yield started


@pytest.fixture
def registry() -> Iterator[Registry]:
    found = Registry().start()
    yield found
    found.stop()


@pytest.fixture
def large() -> Iterator[Registry]:
    """Its layer takes long enough for an engine to tell how far it is."""
    found = Registry(filling=random.Random(1).randbytes(LAYER_BYTES)).start()
    yield found
    found.stop()


class Pulling:
    """Who pulls, and what was written down; a second goes by at each look at the clock."""

    def __init__(self, socket: Path) -> None:
        self.steps: list[Step] = []
        self._at = 0.0
        backend = DockerBackend((EngineAddress(24_000, "unix", str(socket)),), Surroundings((), NoTunnels()))
        self.pulls = Pulls(backend.engine, Journal(self._now, self._tell, []))

    def _now(self) -> float:
        self._at += 1.0
        return self._at

    def _tell(self, steps: list[Step]) -> None:
        self.steps = steps

    def __call__(self, image: str, port: str = "24000") -> AsyncGenerator[Outcome | bytes, None]:
        return self.pulls.pull(port, {"fromImage": image, "fromSrc": "-"}, None)

    async def refused(self, image: str, port: str = "24000") -> Outcome:
        """The answer, where there is nothing more."""
        async with contextlib.aclosing(self(image, port)) as told:
            outcome = await anext(told)
        assert isinstance(outcome, Outcome)
        return outcome


async def test_how_far_an_image_is_is_written_down_while_it_comes(dockerd: real.DockerEngine, large: Registry) -> None:
    pulling = Pulling(dockerd.socket)
    image = f"{large.reference}:latest"
    told = pulling(image)
    assert await anext(told) == Outcome(200)
    said = b""
    while b"Downloading" not in said:
        piece = await anext(told)
        assert isinstance(piece, bytes)
        said += piece
    (step,) = pulling.steps
    assert (step.app, step.verb, step.ended_at) == (image, "pull", None)
    assert step.progress is not None
    assert (step.progress.layers, step.progress.layers_done) == (1, 0)
    assert 0 < step.progress.done_bytes < step.progress.size_bytes
    assert step.progress.size_bytes >= LAYER_BYTES

    large.let_go()
    said += b"".join([piece async for piece in told if isinstance(piece, bytes)])
    (step,) = pulling.steps
    assert (step.ended_at is not None, step.ok, step.text) == (True, True, "")
    assert step.progress is not None
    assert (step.progress.layers, step.progress.layers_done) == (1, 1)
    assert step.progress.done_bytes == step.progress.size_bytes >= LAYER_BYTES
    assert "Downloaded newer image" in json.loads(said.splitlines()[-1])["status"]


async def test_a_tag_that_there_is_not_is_answered_as_the_engine_does(
    dockerd: real.DockerEngine, registry: Registry
) -> None:
    pulling = Pulling(dockerd.socket)
    outcome = await pulling.refused(f"{registry.reference}:none")
    assert outcome.status == 404
    assert outcome.body is not None
    assert "manifest" in outcome.body["message"]
    (step,) = pulling.steps
    assert (step.ok, step.text) == (False, outcome.body["message"])


async def test_a_tag_for_the_hardware_that_there_is_not_is_no_failure(
    dockerd: real.DockerEngine, registry: Registry
) -> None:
    pulling = Pulling(dockerd.socket)
    assert (await pulling.refused(f"{registry.reference}:1-cpu")).status == 404
    assert pulling.steps == []


async def test_whoever_asked_has_gone(dockerd: real.DockerEngine, registry: Registry) -> None:
    pulling = Pulling(dockerd.socket)
    async with contextlib.aclosing(pulling(f"{registry.reference}:latest")) as told:
        assert await anext(told) == Outcome(200)
        # From then on the engine waits for the layer: it has all its connections to the registry.
        said = b""
        while b"Pulling fs layer" not in said:
            piece = await anext(told)
            assert isinstance(piece, bytes)
            said += piece
    (step,) = pulling.steps
    assert (step.ok, step.text) == (False, BROKEN_OFF)


async def test_an_engine_that_is_not_there_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pulling = Pulling(tmp_path / "none.sock")
    async with asyncio.timeout(10):
        outcome = await pulling.refused("a:1")
    assert outcome.status == 503
    assert "Could not connect to Docker Engine on port 24000: there is no" in outcome.text

    caplog.clear()
    unknown, none = await pulling.refused("a:1", "8080"), await pulling.refused("a:1", "x")
    assert (unknown.status, none.status) == (503, 400)
    assert caplog.messages == [f"image a:1 is not pulled: {refused.text}" for refused in (unknown, none)]
