# SPDX-License-Identifier: AGPL-3.0-or-later
"""The socket that Nextcloud's app writes to: what is heard, what is not, and who may have it."""

import asyncio
import grp
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harp.bridge import wakeup as wakeup_module
from harp.bridge.wakeup import MAX_DATAGRAM_BYTES, Wakeup, journal_id
from tests.integration.office import opened
from tests.integration.office import until as soon

OWN_GROUP = grp.getgrgid(os.getegid()).gr_name
SOON_S = 20.0


@given(st.integers(0, 10**19 - 1))
def test_each_number_of_a_row_is_heard(row: int) -> None:
    assert journal_id(b"harpbridge 1 %d\n" % row) == row


@given(st.binary(max_size=100) | st.binary(max_size=60).map(lambda tail: b"harpbridge 1 " + tail))
def test_garbage_is_a_number_or_nothing(datagram: bytes) -> None:
    found = journal_id(datagram)
    assert found is None or datagram == b"harpbridge 1 %d\n" % found


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"harpbridge 1 7",
        b"harpbridge 2 7\n",
        b"harpbridge 1 -7\n",
        b"harpbridge 1 07\n",
        b"harpbridge 1 7\n\n",
        b"harpbridge 1 " + "٣".encode() + b"\n",
        b"harpbridge 1 " + b"1" * 20 + b"\n",
    ],
)
def test_what_is_no_message_is_none(datagram: bytes) -> None:
    assert journal_id(datagram) is None


@pytest.fixture
def woken() -> list[int]:
    return []


@pytest.fixture
async def wakeup(tmp_path: Path, woken: list[int]) -> AsyncIterator[Wakeup]:
    made = Wakeup(tmp_path / "bridge.sock", OWN_GROUP, woken.append)
    made.look()
    yield made
    made.close()
    assert not made.path.exists()


def say(path: Path, *datagrams: bytes) -> None:
    """As the app does: without a wait."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.setblocking(False)
        one.connect(str(path))
        for datagram in datagrams:
            one.send(datagram)


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(SOON_S):
        while not holds():  # noqa: ASYNC110 - the test only looks on
            await asyncio.sleep(0.002)


async def test_a_message_wakes_and_those_that_come_at_once_wake_once(wakeup: Wakeup, woken: list[int]) -> None:
    assert wakeup.trouble == ""
    assert stat.S_IMODE(wakeup.path.stat().st_mode) == 0o660
    say(wakeup.path, b"harpbridge 1 7\n", b"harpbridge 1 9\n", b"harpbridge 1 8\n")
    await until(lambda: woken)
    assert (woken, wakeup.heard) == ([9], 3)


async def test_what_is_hostile_is_counted_and_wakes_nobody(wakeup: Wakeup, woken: list[int]) -> None:
    say(wakeup.path, b"", b"\0" * 10_000, b"harpbridge 1 " + b"9" * MAX_DATAGRAM_BYTES + b"\n", b"harpbridge 1 5\n")
    await until(lambda: woken)
    assert (woken, wakeup.heard, wakeup.ignored) == ([5], 1, 3)


@pytest.mark.parametrize(
    ("numbers", "is_said"), [((9000, 0), True), ((9000, 7), True), ((9000, 8995), False), ((0,), False)]
)
async def test_a_journal_that_was_emptied_or_begun_anew_is_said_for_an_hour(
    wakeup: Wakeup, woken: list[int], monkeypatch: pytest.MonkeyPatch, numbers: tuple[int, ...], is_said: bool
) -> None:
    for number in numbers:
        say(wakeup.path, b"harpbridge 1 %d\n" % number)
        await until(lambda: woken[-1:] == [number])  # noqa: B023 - it is waited for here
    assert ("was emptied, or begun anew: nothing is lost" in wakeup.note) == is_said
    assert tuple(woken) == numbers, "each is a call to look"
    say(wakeup.path, b"harpbridge 1 20\n")
    await until(lambda: len(woken) > len(numbers))
    monkeypatch.setattr(wakeup_module, "TOLD_S", 0.0)
    assert wakeup.note == ""


async def test_a_socket_that_a_dead_daemon_left_behind_is_replaced(tmp_path: Path, woken: list[int]) -> None:
    path = tmp_path / "bridge.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
        dead.bind(str(path))
    made = Wakeup(path, OWN_GROUP, woken.append)
    made.look()
    say(path, b"harpbridge 1 1\n")
    await until(lambda: woken)
    made.close()


async def test_of_two_daemons_the_second_says_so_and_takes_over_once_the_first_has_gone(
    wakeup: Wakeup, woken: list[int]
) -> None:
    second = Wakeup(wakeup.path, OWN_GROUP, woken.append)
    second.look()
    assert second.trouble == f"harpbridge is not heard: another daemon listens on {wakeup.path}"
    assert "harp config set bridge_socket" in second.remedy
    say(wakeup.path, b"harpbridge 1 1\n")
    await until(lambda: wakeup.heard)
    assert second.heard == 0

    wakeup.close()
    second.look()
    assert second.trouble == ""
    say(wakeup.path, b"harpbridge 1 2\n")
    await until(lambda: second.heard)
    second.close()


async def test_another_programs_socket_or_file_is_left_alone(tmp_path: Path, woken: list[int]) -> None:
    path = tmp_path / "bridge.sock"
    made = Wakeup(path, OWN_GROUP, woken.append)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(path))
        made.look()
        assert "another program listens on" in made.trouble
        assert path.is_socket()
    path.unlink()
    path.write_text("mine")
    made.look()
    assert f"{path} is not a socket" in made.trouble
    assert path.read_text() == "mine"
    made.close()
    assert path.read_text() == "mine"


async def test_a_socket_that_was_taken_away_is_made_anew(wakeup: Wakeup, woken: list[int]) -> None:
    wakeup.path.unlink()
    wakeup.look()
    say(wakeup.path, b"harpbridge 1 3\n")
    await until(lambda: woken)


async def test_no_folder_and_no_such_group_are_clear_lines(tmp_path: Path, woken: list[int]) -> None:
    nowhere = Wakeup(tmp_path / "no" / "bridge.sock", OWN_GROUP, woken.append)
    nowhere.look()
    assert "cannot be made: No such file or directory" in nowhere.trouble
    assert f"{tmp_path / 'no'} must be there" in nowhere.remedy
    nowhere.close()
    made = Wakeup(tmp_path / "bridge.sock", "no-such-group-here", woken.append)
    made.look()
    assert made.trouble == "harpbridge is not heard: there is no group no-such-group-here"
    say(made.path, b"harpbridge 1 1\n")
    await until(lambda: woken)
    made.close()


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="another user has to be there: needs the rights of root")
def test_a_socket_of_another_user_is_said_with_the_users_name() -> None:
    """As nobody, in a folder where both may write."""
    with tempfile.TemporaryDirectory() as shared:
        os.chmod(shared, 0o1777)
        assert said_by_nobody(Path(shared) / "bridge.sock") == "belongs to root"


def said_by_nobody(path: Path) -> str:
    """What is wrong with the path of a socket that root has left there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
        dead.bind(str(path))
    path.chmod(0o600)
    program = (
        "import asyncio, os, sys; from pathlib import Path; from harp.bridge.wakeup import Wakeup\n"
        "async def main():\n"
        "    os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "    made = Wakeup(Path(sys.argv[1]), 'nogroup', print); made.look(); print(made.trouble)\n"
        "asyncio.run(main())\n"
    )
    said = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    return said.stdout.strip().removeprefix(f"harpbridge is not heard: {path} ")


@pytest.mark.real
def test_a_daemon_says_what_it_heard_and_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "bridge.sock"
    with opened(tmp_path) as office:
        desk = office.founder("ada", bridge_socket=str(path), bridge_group=OWN_GROUP)
        say(path, b"harpbridge 1 7\n", b"what?")
        line = f"1 messages heard on {path}, and 1 that were no message of its"
        soon(lambda: line in desk.run("doctor").out, "the doctor knows of it")
        say(path, b"harpbridge 1 0\n")
        soon(lambda: "! Nextcloud's journal was emptied, or begun anew" in desk.do("status"), "so is the journal's end")
        other = office.founder("ben", bridge_socket=str(path), bridge_group=OWN_GROUP)
        assert f"! harpbridge is not heard: another daemon listens on {path}" in other.do("status")
        assert "harp config set bridge_socket" in other.run("doctor").out
        other.freeze()  # or it may have taken over before we look
        desk.stop()
        assert not path.exists()
        other.thaw()
        soon(lambda: "harpbridge" not in other.do("status"), "the other one takes over")
