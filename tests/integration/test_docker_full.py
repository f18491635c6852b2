# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real engine on a disk that is full: one line says so, nothing is half there, and it goes on when there is room."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harp.proxy.deploy.docker.backend import DockerBackend
from harp.proxy.deploy.docker.call import Surroundings
from harp.proxy.deploy.port import NoTunnels
from harp.proxy.model import EngineAddress
from tests.integration.engine import DockerEngine, opened, why_not

pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(180),
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
]
APP = b'{"name": "x", "image_id": "harp-test-app"}'


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[DockerEngine]:
    disk = tmp_path / "engine"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(disk)], check=False, capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted: {mounted.stderr.strip()}")
    try:
        with opened(disk) as started:
            yield started
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


async def test_a_full_disk(engine: DockerEngine) -> None:
    address = EngineAddress(24_000, "unix", str(engine.socket))
    backend = DockerBackend((address,), Surroundings((), NoTunnels()))
    filler = engine.folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue

    refused = await backend.call("create", "24000", APP)

    assert refused.status == 503
    assert "no space left on device" in refused.text
    assert "\n" not in refused.text
    assert engine.inspect("nc_app_x") is None
    assert engine.call("GET", "/volumes/nc_app_x_data").status == 404

    filler.unlink()
    assert (await backend.call("create", "24000", APP)).status == 201
