# SPDX-License-Identifier: AGPL-3.0-or-later
"""A drawing on a terminal is the code, module by module: harp.cli.qr."""

import re

import segno

from harp.cli.qr import drawn
from harp.identity import pairing
from harp.identity.pairing import Ticket
from tests.fakes.history import device_key

TICKET = Ticket(
    inviter=device_key(1).device_id,
    folder=b"f" * 32,
    name="Photos",
    addresses=("wss://cloud.example.org/exapps/harp/link", "192.0.2.1:8783"),
    secret=b"s" * 32,
    role=2,
    expires_at=1_790_000_000,
)
HALVES = {" ": (0, 0), "\u2580": (1, 0), "\u2584": (0, 1), "\u2588": (1, 1)}
"""Two modules, one above the other, in each character; what is painted is white on black."""


def modules(drawing: str) -> list[list[bool]]:
    """Rows of what is dark, read from a terminal that shows what is not painted as dark."""
    rows: list[list[bool]] = []
    for line in re.sub(r"\x1b\[[0-9;]*m", "", drawing).splitlines():
        rows += [[not HALVES[one][half] for one in line] for half in (0, 1)]
    return rows


def test_what_is_drawn_is_the_code_of_the_ticket() -> None:
    code = segno.make(TICKET.text().upper(), error="l", micro=False, boost_error=False)
    assert code.mode == "alphanumeric"
    expected = [[bool(one) for one in row] for row in code.matrix_iter(border=4)]
    found = modules(drawn(TICKET.text()))
    assert found[: len(expected)] == expected


def test_a_drawing_of_a_ticket_fits_into_a_terminal_and_reads_back() -> None:
    lines = drawn(TICKET.text()).splitlines()
    assert len(lines) < 50
    assert pairing.parse(TICKET.text().upper()) == TICKET
