# SPDX-License-Identifier: AGPL-3.0-or-later
"""An identity that exists twice: healed where that can be, else stopped everywhere with proof, and let go on anew."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from harp.bridge import model
from tests.integration.office import NAME, Desk, Office, until

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]


def _double(office: Office, desk: Desk) -> Desk:
    """The same device once more: a copy of its home and of its folder, taken while it does not run."""
    double = office.desk(f"{desk.name}2")
    shutil.copytree(desk.home, double.home, symlinks=True)
    shutil.copytree(desk.folder, double.folder, symlinks=True)
    return double


def test_a_home_that_was_put_back_learns_what_it_had_said_and_says_nothing_twice(
    office: Office, tmp_path: Path
) -> None:
    ada, ben = office.pair()
    ben.write("before", b"b")
    office.agreed(ada, ben)
    ben.stop()
    shutil.copytree(ben.home, tmp_path / "kept", symlinks=True)
    ben.start()
    office.linked(ada, ben)
    ben.write("after", b"a")
    office.agreed(ada, ben)
    ben.stop()
    shutil.rmtree(ben.home)
    shutil.copytree(tmp_path / "kept", ben.home, symlinks=True)
    ben.start()
    office.linked(ada, ben)
    ben.write("then", b"t")
    assert set(office.agreed(ada, ben)) == {b"before", b"after", b"then"}
    assert ada.held() == []
    ben.verified()


def test_a_copied_identity_is_stopped_everywhere_and_both_copies_keep_what_they_have(office: Office) -> None:
    ada, ben = office.pair()
    cyd = office.newcomer(ada, "cyd")
    office.linked(ada, ben, cyd)
    ada.write("common", b"c")
    office.agreed(ada, ben, cyd)
    ben.stop()
    double = _double(office, ben)
    ben.start()
    office.linked(ada, ben)
    ben.write("said by the one", b"1")
    ben.at("common").write_bytes(b"changed by the one")
    office.agreed(ada, ben)
    for desk in (ada, ben, cyd):
        desk.stop()

    # The double speaks where nobody hears it: as many entries as the original, so that only their ids differ.
    double.write("said by the other", b"2")
    double.at("common").write_bytes(b"changed by the other")
    _move(double, ben)
    double.start()
    until(lambda: double.status().files == 2, "the double has said something")
    ada.start()
    cyd.start()
    for desk in (ada, cyd, double):
        until(lambda: [one.kind for one in desk.held()] == ["fork"], f"{desk.name} holds the fork")  # noqa: B023
    assert ada.wait().phase is model.Phase.FAILED
    assert double.status().state is not model.FolderState.IDLE

    fork = ada.held()[0]
    refused = double.refuses("approve", NAME, fork.id)
    assert "own fork" in refused.err
    ada.do("approve", NAME, fork.id)
    until(lambda: ada.wait(5).phase is model.Phase.DONE, "the approval arrives everywhere")
    office.agreed(ada, cyd, double)
    ben.start()
    until(lambda: ada.at("said by the one").exists(), "the original hears of the fork, and says its part again")
    tree = office.agreed(ada, ben)
    assert {b"said by the one", b"said by the other", b"common"} <= tree.keys()
    contents = {ada.read(path) for path in tree}
    assert {b"changed by the one", b"changed by the other"} <= contents
    for desk in (ada, ben, cyd):
        desk.verified()


def _move(double: Desk, original: Desk) -> None:
    """Tells the double's registry where its folder lies: a whole copied machine would have it at the same place."""

    registry = sqlite3.connect(double.home / "registry.db")
    registry.execute("UPDATE folder SET path = ? WHERE path = ?", (str(double.folder), str(original.folder)))
    registry.commit()
    registry.close()
