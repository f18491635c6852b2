# SPDX-License-Identifier: AGPL-3.0-or-later
"""Dockerfile, compose file and units name only what there is."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.fakes.compose import compose

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = (ROOT / "compose.yaml").read_text(encoding="utf-8")
UNIT = (ROOT / "packaging/systemd/harp-proxy.service").read_text(encoding="utf-8")


def test_the_ports_are_the_references_and_not_the_worlds() -> None:
    assert re.findall(r"^EXPOSE (.*)$", DOCKERFILE, re.M) == ["8780 8781 8782"]
    assert re.findall(r"- (\S+:\d+:\d+)$", COMPOSE, re.M) == [f"127.0.0.1:{p}:{p}" for p in (8780, 8781, 8782)]


def test_each_variable_is_one_that_the_proxy_reads() -> None:
    settings = (ROOT / "src/harp/proxy/settings.py").read_text(encoding="utf-8")
    names = re.findall(r"^      ([A-Z_]+):", COMPOSE, re.M)
    assert names
    assert [name for name in names if f'"{name}"' not in settings] == []


def test_nothing_runs_as_root() -> None:
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.M) == ["harp"]
    assert "\nUser=harp\n" in UNIT
    assert "\nNoNewPrivileges=yes\n" in UNIT


def test_docker_compose_takes_the_file() -> None:
    command = compose()
    if not command:
        pytest.skip("no docker compose here (apt install docker-compose)")
    given = {"HP_SHARED_KEY": "k", "NC_INSTANCE_URL": "https://cloud.example.org", "DOCKER_GID": "999"}

    def config(**variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, "-f", str(ROOT / "compose.yaml"), "config"],
            env={"PATH": os.environ["PATH"], **variables},
            capture_output=True,
            text=True,
            check=False,
        )

    done = config(**given)
    assert done.returncode == 0, done.stderr
    shown = done.stdout.replace('"', "'")
    for line in ("restart: always", "- '999'"):
        assert line in shown, shown
    # The second one spells each mount out.
    socket = "/var/run/docker.sock"
    assert re.search(rf"- {socket}:{socket}\b|\bsource: {socket}\n +target: {socket}\n", shown), shown
    for name in given:
        lacking = config(**{key: value for key, value in given.items() if key != name})
        assert lacking.returncode != 0
        assert name in lacking.stderr


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, with a program that there is: what is verified is the rest."""
    changed = tmp_path / "harp-proxy.service"
    changed.write_text(re.sub(r"^ExecStart=.*", "ExecStart=/bin/true", UNIT, flags=re.M))
    return changed


needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")


@needs_systemd
def test_systemd_takes_the_unit(unit: Path) -> None:
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_the_unit_leaves_little_open(unit: Path) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd judges no files (252 or newer does)")
    assert done.returncode == 0, done.stdout[-2000:]


def test_after_a_reboot_it_comes_by_itself() -> None:
    assert "restart: always" in COMPOSE
    assert "\nWantedBy=multi-user.target\n" in UNIT
    assert re.search(r"^After=.*\bdocker\.service\b", UNIT, re.M)
    assert "\nStartLimitIntervalSec=0\n" in UNIT.partition("[Service]")[0], "its place is [Unit]"


def test_a_reload_needs_no_package() -> None:
    # /bin/kill is procps', which a small Debian has not.
    assert re.findall(r"^ExecReload=(\S+)", UNIT, re.M) == ["/bin/sh"]
