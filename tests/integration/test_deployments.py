# SPDX-License-Identifier: AGPL-3.0-or-later
"""The containers of deployed apps on a real engine: how each stands, what it said. Names harp.daemon.deployments."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from harp.base.errors import LinkError, UsageError
from harp.bridge.proxyview import PullView
from harp.cli.proxy import proxy_command
from harp.daemon import deployments
from harp.proxy.deploy import steps as recorded
from harp.proxy.model import EngineAddress
from tests.integration import engine as real

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def dockerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[real.DockerEngine]:
    if reason := real.why_not():
        pytest.skip(reason)
    with real.opened(tmp_path_factory.mktemp("engine")) as started:
        yield started


def runs(engine: real.DockerEngine, name: str, script: str) -> None:
    made = engine.call(
        "POST", f"/containers/create?name={name}", {"Image": real.IMAGE, "Cmd": ["/bin/sh", "-c", script]}
    )
    assert made.status == 201, made
    assert engine.call("POST", f"/containers/{name}/start").status == 204
    assert engine.call("POST", f"/containers/{name}/wait").status == 200


async def test_containers_of_apps_are_listed_and_what_they_said_is_shown(dockerd: real.DockerEngine) -> None:
    engines = [EngineAddress(24000, "unix", str(dockerd.socket))]
    runs(dockerd, "nc_app_talk", "echo started; printf 'a\\033[2Jb\\n'; echo token=very-secret-thing >&2; exit 3")
    runs(dockerd, "somebody_elses", "echo mine")

    (found,) = await deployments.seen(engines)
    assert (found.name, found.state) == ("nc_app_talk", "exited")
    assert "Exited (3)" in found.status

    said = await deployments.log(engines, "nc_app_talk", 200)
    assert sorted(said) == ["a\\x1b[2Jb", "started", "token=…"]
    assert len(await deployments.log(engines, "nc_app_talk", 1)) == 1
    for other in ("somebody_elses", "nc_app_../../x", "nc_app_nothing"):
        with pytest.raises(UsageError):
            await deployments.log(engines, other, 10)


async def test_an_engine_that_is_not_there_has_no_containers(tmp_path: Path) -> None:
    engines = [EngineAddress(24000, "unix", str(tmp_path / "none.sock"))]
    assert await deployments.seen(engines) == []
    with pytest.raises(LinkError):
        await deployments.log(engines, "nc_app_talk", 10)


def test_steps_are_shown_with_how_far_an_image_is_and_without_secrets(tmp_path: Path) -> None:
    come = recorded.Progress(layers=4, layers_done=1, size_bytes=2000, done_bytes=500)
    pull = recorded.Step(app="a/b:1\x1b[2J", verb="pull", began_at=1.0, progress=come)
    failed = recorded.Step(app="b", verb="start", began_at=0.0, ended_at=1.0, ok=False, text="token=very-secret-thing")
    (tmp_path / recorded.FILE_NAME).write_text(recorded.encoded([pull, failed]))
    first, second = deployments.steps(tmp_path)
    assert first.app == "a/b:1\\x1b[2J"
    assert first.progress == PullView(layers=4, layers_done=1, size_bytes=2000, done_bytes=500)
    assert (second.progress, second.text) == (None, "token=…")


def test_the_command_says_how_far_an_image_is(tmp_path: Path) -> None:
    come = recorded.Progress(layers=4, layers_done=1, size_bytes=4096, done_bytes=1536)
    done = recorded.Step(app="b", verb="start", began_at=0.0, ended_at=1.5)
    (tmp_path / "proxy").mkdir()
    pull = recorded.Step(app="a/b:1", verb="pull", began_at=1.0, progress=come)
    (tmp_path / "proxy" / recorded.FILE_NAME).write_text(recorded.encoded([pull, done]))
    settings = {"HP_SHARED_KEY": "a-shared-key-of-this-test", "NC_INSTANCE_URL": "http://127.0.0.1"}
    said = CliRunner().invoke(proxy_command, ["--home", str(tmp_path), "deployments"], env=settings)
    assert said.exit_code == 0, said.output
    _heads, first, second = said.output.splitlines()
    assert first.endswith("a/b:1  pull   under way: 1 of 4 layers, 1.5 KiB of 4.0 KiB")
    assert second.endswith("done in 1.5 s")


def test_what_an_engine_lists_is_not_believed() -> None:
    assert deployments.view_of({}) is None
    assert deployments.view_of({"Names": []}) is None
    assert deployments.view_of({"Names": ["/evil"]}) is None
    view = deployments.view_of({"Names": ["/nc_app_x"], "Image": "\x1b[2J", "State": 7})
    assert view is not None
    assert (view.image, view.state) == ("\\x1b[2J", "7")
