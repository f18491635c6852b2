# SPDX-License-Identifier: AGPL-3.0-or-later
"""A limit of the line holds for the whole office, over every second: the kernel says when each packet left."""

from pathlib import Path

import pytest

from tests.integration.branch import MB, branches, noise

pytestmark = [pytest.mark.real, pytest.mark.root, pytest.mark.timeout(120)]

LIMIT = "8 Mbit/s"
MOST_A_SECOND = 1.03 * 1_000_000


def test_the_office_takes_in_no_more_than_its_limit_in_any_second(tmp_path: Path) -> None:
    film, book = noise(3 * MB), noise(2 * MB, 2)
    with branches(tmp_path, 3, receive_limit=LIMIT) as found:
        found.site.wan.meter()
        found.cloud.write("film", film)
        found.cloud.write("book", book)
        found.have("film", film, *found.desks[0])
        found.have("book", book, *found.desks[0])
        fastest = found.site.wan.fastest(1.0).down
        print(f"down: {fastest} bytes in the fastest second")
        assert fastest <= MOST_A_SECOND
        # It is used, too: on a line of 20 Mbit/s nothing else is in the way.
        assert fastest >= 0.8 * 1_000_000


def test_the_office_sends_no_more_than_its_limit_in_any_second_whoever_sends(tmp_path: Path) -> None:
    files = {f"from desk {number}": noise(int(1.5 * MB), number) for number in range(3)}
    with branches(tmp_path, 3, send_limit=LIMIT) as found:
        found.site.wan.meter()
        for desk, (name, content) in zip(found.desks[0], files.items(), strict=True):
            desk.write(name, content)
        for name, content in files.items():
            found.have(name, content, *found.everyone())
        fastest = found.site.wan.fastest(1.0).up
        print(f"up: {fastest} bytes in the fastest second")
        assert fastest <= MOST_A_SECOND
        assert fastest >= 0.8 * 1_000_000


def test_what_stays_on_the_lan_has_no_limit(tmp_path: Path) -> None:
    content = noise(20 * MB)
    with branches(tmp_path, 2, receive_limit="1 Mbit/s", send_limit="1 Mbit/s") as found:
        one, other = found.desks[0]
        found.site.wan.cut()
        one.write("film", content)
        # At the line's limit this would take 160 s.
        found.have("film", content, other, timeout_s=30)
        found.site.wan.mend()
