# SPDX-License-Identifier: AGPL-3.0-or-later
"""The tutorial, run as it stands: two daemons, each command in its order, and what it says word for word."""

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

TEXT = Path(__file__).resolve().parents[2] / "docs" / "tutorial" / "two-devices.md"
DEADLINE_S = 30.0
VARIES = re.compile(
    r"harp1[a-z2-7]+"
    r"|http://127\.0\.0\.1:\d+/in/[\w-]+"
    r"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\d \d{6}Z"
    r"|\b[0-9a-f]{12}\b|\b[0-9a-f]{8}\b"
    r"|\b[A-Z2-7]{7}(?:-[A-Z2-7]{7}){7}\b|\b[A-Z2-7]{7}\b"
    r"|\d+\.\d+\.\d+\.\d+:\d+|[\d.]+ (?:B|KiB|MiB)/s"
)
"""What is another one in each run: tickets, times, entries, device ids, addresses, rates."""

Step = tuple[str, str, list[str]]


def steps() -> list[Step]:
    """(device, command, what it prints) of each command in the tutorial's consoles."""
    found: list[Step] = []
    for console in re.findall(r"```console\n(.*?)```", TEXT.read_text(encoding="utf-8"), re.DOTALL):
        for line in console.splitlines():
            prompt = re.match(r"(laptop|desk)\$ (.*)", line)
            if prompt:
                found.append((prompt[1], prompt[2], []))
            else:
                found[-1][2].append(line)
    return found


class Machine:
    """One device: a home folder of its own, and the daemon that runs in it."""

    def __init__(self, name: str, home: Path) -> None:
        self.home = home
        home.mkdir()
        bin_ = str(Path(sys.executable).parent)
        self.environ = {
            "HOME": str(home),
            "PATH": f"{bin_}:{os.environ['PATH']}",
            "HARP_LISTEN": "127.0.0.1:0",
            "HARP_DISCOVERY": "false",
            "HARP_DEVICE_NAME": name,
            "LC_ALL": "C.UTF-8",
        }
        self.daemon: subprocess.Popen[str] | None = None

    def starts(self, command: str, lines: int) -> str:
        self.daemon = subprocess.Popen(
            shlex.split(command.replace("~", str(self.home))),
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.daemon.stdout is not None
        return "".join(self.daemon.stdout.readline() for _ in range(lines))

    def runs(self, command: str) -> str:
        done = subprocess.run(
            ["sh", "-c", command], env=self.environ, capture_output=True, text=True, timeout=DEADLINE_S, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def ends(self) -> None:
        if self.daemon is not None:
            self.daemon.kill()
            self.daemon.communicate()


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[dict[str, Machine]]:
    found = {name: Machine(name, tmp_path / name) for name in ("laptop", "desk")}
    yield found
    for machine in found.values():
        machine.ends()


def shape(text: str, home: str) -> list[str]:
    """What must be the same in each run; widths of columns need not."""
    plain = VARIES.sub("…", text.replace(home, "/home/ada"))
    return [" ".join(line.split()) for line in plain.splitlines()]


def in_this_run(command: str, real: Mapping[str, str]) -> str:
    """A command with the tickets and entries of this run in place of the tutorial's."""
    return VARIES.sub(lambda found: real.get(found[0], found[0]), command)


def is_a_question(command: str) -> bool:
    """Whether a command changes nothing, so that it may be asked until the answer has come about."""
    return re.match(r"ls |cat |harp (status|peers|history|conflicts|verify|wait) ?", command) is not None


@pytest.mark.real
@pytest.mark.timeout(180)
def test_every_command_of_the_tutorial_does_and_says_what_it_says_there(machines: dict[str, Machine]) -> None:
    real: dict[str, str] = {}
    for device, written, expected in steps():
        machine = machines[device]
        command = in_this_run(written, real)
        if command.startswith("harp up"):
            printed = machine.starts(command, len(expected))
        else:
            printed = machine.runs(command)
            until = time.monotonic() + DEADLINE_S
            while shape(printed, str(machine.home)) != shape("\n".join(expected), "/home/ada"):
                if not is_a_question(command) or time.monotonic() > until:
                    break
                time.sleep(0.05)
                printed = machine.runs(command)
        assert shape(printed, str(machine.home)) == shape("\n".join(expected), "/home/ada"), command
        real |= dict(zip(VARIES.findall("\n".join(expected)), VARIES.findall(printed), strict=True))


def test_the_tutorial_shows_all_it_promises() -> None:
    commands = " ".join(command for _, command, _ in steps())
    for verb in (
        "up",
        "invite",
        "join",
        "wait",
        "conflicts",
        "resolve",
        "restore",
        "verify",
        "forget",
        "leave",
        "down",
    ):
        assert f"harp {verb}" in commands
