# SPDX-License-Identifier: AGPL-3.0-or-later
"""A daemon that was born in the nursery is like one that was started as Harp is installed."""

import signal
import subprocess

import pytest

from tests.integration.nursery import Born
from tests.integration.office import INSTALLED, SOON_S, Desk, Office

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]


def each_kind(office: Office) -> tuple[Desk, Desk]:
    """A desk whose daemon is started as it is installed, and one whose daemon is born."""
    installed, born = office.desk("installed"), office.desk("born")
    installed.program = INSTALLED
    return installed, born


def ended(desk: Desk, number: int) -> int:
    """What the running daemon ends with upon that signal."""
    assert desk.process is not None
    desk.process.send_signal(number)
    return desk.process.wait(SOON_S)


def test_the_two_share_a_folder(office: Office) -> None:
    installed, born = each_kind(office)
    installed.start(installed.folder).write("from the one", b"bread")
    born.start().join(installed.invites())
    born.write("from the other", b"milk")
    assert office.agreed(installed, born).keys() == {b"from the one", b"from the other"}
    assert isinstance(installed.process, subprocess.Popen)
    assert isinstance(born.process, Born)


def test_they_say_the_same_and_end_alike(office: Office) -> None:
    installed, born = each_kind(office)
    for number, code in ((signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGKILL, -signal.SIGKILL)):
        assert ended(installed.start(), number) == ended(born.start(), number) == code
    for desk in (installed, born):
        desk.folder.parent.mkdir(exist_ok=True)
        desk.folder.write_bytes(b"a file where a folder has to be")
        desk.log.unlink()
        desk.launch(desk.folder)
    codes = {desk.process.wait(SOON_S) for desk in (installed, born) if desk.process}
    said = {desk.log.read_text().replace(desk.name, "") for desk in (installed, born)}
    assert codes == {2}
    assert len(said) == 1, said


def test_one_that_lives_is_waited_for_as_long_as_one_says(office: Office) -> None:
    born = office.desk("born").start()
    assert isinstance(born.process, Born)
    assert born.process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        born.process.wait(0.05)
    born.stop()
    assert (born.process.poll(), born.process.returncode) == (0, 0)
    born.process.kill()  # to no effect: it has ended


def test_what_the_tester_has_set_counts_and_one_knows_nothing_of_the_last(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setenv("HARP_LOG_LEVEL", "nonsense")
        ill = office.desk("ill")
        ill.launch()
    assert ill.process is not None
    assert ill.process.wait(SOON_S) == 3
    assert "nonsense" in ill.log.read_text()
    office.desk("well").start()
