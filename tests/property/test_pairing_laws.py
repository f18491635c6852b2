# SPDX-License-Identifier: AGPL-3.0-or-later
"""Laws of tickets, for any ticket and any damage to it."""

import contextlib
import string

from hypothesis import assume, given
from hypothesis import strategies as st

from harp.base.errors import TrustError
from harp.identity import pairing
from harp.identity.device import DeviceId
from harp.identity.pairing import Ticket

ids = st.binary(min_size=32, max_size=32)
texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60)
tickets = st.builds(
    Ticket,
    inviter=ids.map(DeviceId),
    folder=ids,
    name=texts,
    addresses=st.lists(texts, max_size=16).map(tuple),
    secret=ids,
    role=st.integers(1, 3),
    expires_at=st.integers(0, (1 << 53) - 1),
)


@given(tickets)
def test_every_ticket_reads_back(ticket: Ticket) -> None:
    assert pairing.parse(ticket.text()) == ticket


@given(tickets, st.data())
def test_no_ticket_with_one_other_character_reads_as_a_ticket(ticket: Ticket, data: st.DataObject) -> None:
    line = ticket.text()
    place = data.draw(st.integers(0, len(line) - 1))
    other = data.draw(st.sampled_from("abcdefghijklmnopqrstuvwxyz0123456789_é"))
    assume(other != line[place])
    refused = False
    try:
        pairing.parse(line[:place] + other + line[place + 1 :])
    except TrustError:
        refused = True
    assert refused


@given(tickets, st.data())
def test_no_part_of_a_ticket_reads_as_a_ticket(ticket: Ticket, data: st.DataObject) -> None:
    line = ticket.text()
    kept = data.draw(st.integers(0, len(line) - 1))
    refused = False
    try:
        pairing.parse(line[:kept])
    except TrustError:
        refused = True
    assert refused


@given(st.one_of(st.text(), st.text(string.ascii_lowercase + "234567").map("harp1".__add__)))
def test_garbage_is_refused_and_nothing_else_happens(garbage: str) -> None:
    with contextlib.suppress(TrustError):
        assert isinstance(pairing.parse(garbage), Ticket)
