# SPDX-License-Identifier: AGPL-3.0-or-later
"""A folder that is closed and opened again while its links stay: moved to another place, left and joined anew."""

import shutil

import pytest

from tests.integration.office import NAME, Office, until

pytestmark = pytest.mark.real


def test_a_folder_that_moved_goes_on_over_the_link_it_had(office: Office) -> None:
    ada, ben = office.pair()
    ada.write("here", b"1")
    office.agreed(ada, ben)
    elsewhere = ben.folder.with_name("elsewhere")
    ben.folder.rename(elsewhere)
    ben.do("share", elsewhere)
    ben.folder = elsewhere
    ben.settled()
    ada.write("here", b"2, after the move")
    office.agreed(ada, ben)


def test_a_folder_copied_to_another_disk_is_taken_up_there_once_the_old_place_is_gone(office: Office) -> None:
    ada, ben = office.pair()
    ada.write("here", b"1")
    office.agreed(ada, ben)
    copy = ben.folder.with_name("copy")
    ben.do("pause", NAME)
    shutil.copytree(ben.folder, copy, symlinks=True)
    said = ben.refuses("share", copy)
    assert "is a copy of the shared folder" in said.err
    shutil.rmtree(ben.folder)
    ben.do("share", copy)
    ben.do("resume", NAME)
    ben.folder = copy
    ben.settled()
    assert ben.read("here") == b"1"


def test_who_left_and_joins_again_over_the_link_it_had_gets_everything(office: Office) -> None:
    ada, ben = office.pair()
    ada.write("here", b"1")
    office.agreed(ada, ben)
    ben.do("leave", NAME)
    until(lambda: ada.status().members == 1, "ada has heard of it")
    ben.do("join", ada.do("invite", NAME).strip(), ben.folder, "--merge")
    ben.settled()
    ada.write("here", b"2")
    office.agreed(ada, ben)
