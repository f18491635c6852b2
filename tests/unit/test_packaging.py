# SPDX-License-Identifier: AGPL-3.0-or-later
"""Dockerfile, compose file and units name only what there is."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

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
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("no docker compose here")
    done = subprocess.run(
        [docker, "compose", "-f", str(ROOT / "compose.yaml"), "config", "--quiet"],
        env={"PATH": "/usr/bin:/bin", "HP_SHARED_KEY": "k", "NC_INSTANCE_URL": "https://cloud.example.org"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
