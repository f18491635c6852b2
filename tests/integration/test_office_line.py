# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an office's line carries: each byte once, however many want it, and nothing that a neighbour has.

The bounds are those of bytes, not of time: a file, a fifth more for packets, joining and the history.
"""

from pathlib import Path

import pytest

from tests.integration.branch import MB, branches, noise

pytestmark = [pytest.mark.real, pytest.mark.root, pytest.mark.timeout(120)]

ONCE = 1.2


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
