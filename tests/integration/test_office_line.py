# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an office's line carries: each byte once, however many want it, and nothing that a neighbour has.

The bounds are those of bytes, not of time: a file, a fifth more for packets, joining and the history.
"""

from pathlib import Path

import pytest

from tests.integration.branch import MB, branches, noise

pytestmark = [pytest.mark.real, pytest.mark.root, pytest.mark.timeout(120)]

ONCE = 1.2


def test_a_file_comes_down_once_for_all_who_want_it_at_the_same_moment(tmp_path: Path) -> None:
    content = noise(5 * MB)
    with branches(tmp_path, 3) as found:
        found.cloud.write("film", content)
        found.have("film", content, *found.desks[0])
        assert found.site.wan.traffic().down < ONCE * len(content)
        found.office.agreed(*found.everyone())
        assert found.site.wan.traffic().down < ONCE * len(content)
        for desk in found.everyone():
            desk.verified()


def test_many_small_files_come_down_once(tmp_path: Path) -> None:
    files = {f"notes/{index:03d}": noise(20_000, index) for index in range(100)}
    with branches(tmp_path, 3) as found:
        for name, content in files.items():
            found.cloud.write(name, content)
        for name, content in files.items():
            found.have(name, content, *found.desks[0])
        # 100 entries for each of three devices are in it.
        assert found.site.wan.traffic().down < 1.3 * 100 * 20_000
        found.office.agreed(*found.everyone())


def test_what_one_device_sends_up_its_neighbours_do_not_send_again(tmp_path: Path) -> None:
    content = noise(4 * MB)
    with branches(tmp_path, 3) as found:
        first, *others = found.desks[0]
        first.write("report", content)
        found.have("report", content, *others)
        found.have("report", content, found.cloud)
        found.office.agreed(*found.everyone())
        assert found.site.wan.traffic().up < ONCE * len(content)
        assert found.site.wan.traffic().down < 0.1 * len(content)


def test_a_newcomer_takes_from_its_neighbour_what_that_one_has(tmp_path: Path) -> None:
    content = noise(20 * MB)
    with branches(tmp_path, 2, joined=1) as found:
        first, second = found.desks[0]
        with found.site.near_the_cloud():
            found.cloud.write("archive", content)
            found.have("archive", content, first)
        before = found.site.wan.traffic().down
        second.start()
        second.join(found.cloud.invites())
        found.have("archive", content, second)
        found.office.agreed(*found.everyone())
        assert found.site.wan.traffic().down - before < 0.01 * len(content)


def test_two_offices_take_it_once_each(tmp_path: Path) -> None:
    content = noise(4 * MB)
    with branches(tmp_path, 2, 2) as found:
        found.cloud.write("film", content)
        for desks in found.desks:
            found.have("film", content, *desks)
        found.office.agreed(*found.everyone())
        assert [site.wan.traffic().down < ONCE * len(content) for site in found.lab.sites] == [True, True]
        # An office cannot reach another; nothing was sent back up either.
        assert [site.wan.traffic().up < 0.2 * len(content) for site in found.lab.sites] == [True, True]
