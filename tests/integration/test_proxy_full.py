# SPDX-License-Identifier: AGPL-3.0-or-later
"""``harp proxy`` on a disk that is full: it does not start and says so, and one that runs goes on."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.contract.instance import Harp
from tests.fakes.exapp import ExApp, route
from tests.fakes.haproxy import needs_haproxy
from tests.fakes.nextcloud import Nextcloud
from tests.fakes.served import Served
from tests.integration.test_proxy_command import KEY, Running, started

pytestmark = [needs_haproxy, pytest.mark.root]


@dataclass(slots=True)
class Disk:
    """Two megabytes at ``place``."""

    place: Path

    def fill(self) -> None:
        with (self.place / "filler").open("wb", buffering=0) as file:
            for size in (65_536, 4096, 1):
                try:
                    while True:
                        file.write(b"\0" * size)
                except OSError:
                    continue

    def empty(self) -> None:
        (self.place / "filler").unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], check=False, capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted: {mounted.stderr.strip()}")
    yield Disk(place)
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def app() -> Iterator[ExApp]:
    served = ExApp()
    served.start()
    yield served
    served.stop()


@pytest.fixture
def nextcloud(app: ExApp) -> Iterator[tuple[Nextcloud, Served]]:
    told = Nextcloud(key=KEY)
    told.apps["first"] = app.record(route("^/public"))
    served = Served(told.answer).start()
    yield told, served
    served.stop()


def ended(proxy: Running) -> int:
    proxy.process.terminate()
    return proxy.process.wait(20)


def test_it_does_not_start(disk: Disk, nextcloud: tuple[Nextcloud, Served], tmp_path: Path) -> None:
    disk.fill()

    proxy = started(tmp_path, nextcloud[1], "proxy", HP_RUN_DIR=str(disk.place / "run"))

    assert proxy.process.wait(60) == 3
    said = (tmp_path / "output").read_text().splitlines()
    assert said[0].startswith("harp: ")
    assert said[0].endswith("cannot be used: No space left on device")
    assert "HP_RUN_DIR" in said[1]
    assert said[2:] == []


def test_one_that_runs_goes_on_and_says_what_a_restart_would_not_know(
    disk: Disk, app: ExApp, nextcloud: tuple[Nextcloud, Served], tmp_path: Path
) -> None:
    told, served = nextcloud
    proxy = started(tmp_path, served, "proxy", HP_RUN_DIR=str(disk.place / "run"))
    harp = Harp("127.0.0.1", proxy.port, KEY)
    try:
        proxy.until("/readyz", 200, proxy.metrics)
        proxy.until("/exapps/first/public", 200)
        disk.fill()

        assert harp.store("second", app.record(route("^/public"))).status == 204
        told.apps["third"] = app.record(route("^/public"))
        assert [proxy.get(f"/exapps/{name}/public") for name in ("first", "second", "third")] == [200] * 3
        assert harp.control("DELETE", "/exapp_storage/second").status == 204
        assert proxy.get("/exapps/second/public") == 404, "Nextcloud knows no such app"

        disk.empty()
        assert harp.store("second", app.record(route("^/public"))).status == 204
    finally:
        code = ended(proxy)
    assert code == 0
    said = (tmp_path / "output").read_text()
    assert "Traceback" not in said
    assert "apps.json cannot be written, and a restart would not know it: No space left on device" in said
    left = [path.name for path in (disk.place / "run").iterdir() if path.name.startswith(".")]
    assert left == [], "nothing half-written lies around"
    assert '"second"' in (disk.place / "run" / "apps.json").read_text()
