# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tickets: written, carried, mistyped, redeemed once."""

import base64
import hashlib
from dataclasses import replace

import cbor2
import pytest

from harp.base.errors import TrustError
from harp.identity import pairing
from harp.identity.device import DeviceId, DeviceKey
from harp.identity.pairing import Issued, Ticket, Verdict

ALICE = DeviceKey.from_seed(b"a" * 32).device_id
BOB = DeviceKey.from_seed(b"b" * 32).device_id
EVE = DeviceKey.from_seed(b"e" * 32).device_id
SECRET = bytes(range(32))
TICKET = Ticket(
    inviter=ALICE,
    folder=b"f" * 32,
    name="Photos – 2026",
    addresses=("192.168.1.5:8783", "[fd00::5]:8783"),
    secret=SECRET,
    role=2,
    expires_at=1_790_000_000,
)


def framed(body: bytes) -> str:
    """A ticket's text around any body, with good check digits."""
    whole = len(body).to_bytes(2, "big") + body
    check = hashlib.sha3_256(b"harp ticket check v1" + whole).digest()[:4]
    return "harp1" + base64.b32encode(whole + check).decode().rstrip("=").lower()


def test_a_ticket_reads_back_whatever_happened_to_its_shape_on_the_way() -> None:
    line = TICKET.text()
    assert line.startswith("harp1")
    assert pairing.parse(line) == TICKET
    assert pairing.parse(line.upper()) == TICKET
    assert pairing.parse(f"\n  {line[:60]}\r\n  {line[60:]} \n") == TICKET
    assert pairing.parse("-".join(line[i : i + 5] for i in range(0, len(line), 5))) == TICKET


def test_the_last_character_counts_like_any_other() -> None:
    # Each length of the name leaves another number of bits of the last character unused.
    for length in range(1, 9):
        line = replace(TICKET, name="n" * length).text()
        for other in sorted(set("abcdefghijklmnopqrstuvwxyz234567") - {line[-1]}):
            with pytest.raises(TrustError, match="mistyped"):
                pairing.parse(line[:-1] + other)


def test_a_ticket_without_addresses_is_one_too() -> None:
    bare = replace(TICKET, addresses=())
    assert pairing.parse(bare.text()) == bare


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a ticket"),
        ("hello", "not a ticket"),
        ("harp2abc", "not a ticket"),
        ("harp1", "cut short"),
        (TICKET.text()[:-1], "cut short"),
        (TICKET.text()[:-8], "cut short"),
        (TICKET.text()[:100], "cut short"),
        (TICKET.text() + "aaaaaaaa", "something added"),
        (TICKET.text()[:50] + "1" + TICKET.text()[51:], "mistyped"),
        (TICKET.text()[:50] + "é" + TICKET.text()[51:], "mistyped"),
        ("harp1" + "a" * 20_000, "too long"),
        ("harp1" + "a" * 200_000, "too long"),
    ],
)
def test_what_is_no_good_ticket_is_refused_with_the_reason(text: str, says: str) -> None:
    with pytest.raises(TrustError, match=says) as caught:
        pairing.parse(text)
    assert caught.value.hint


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        cbor2.dumps("text"),
        cbor2.dumps(None),
        cbor2.dumps([1, 2, 3]),
        cbor2.dumps([ALICE, b"f" * 32, "n", [], SECRET, 2, 1, "one more"]),
        cbor2.dumps([ALICE, b"f" * 32, "n", [[["deep"]]], SECRET, 2, 1]),
        b"\x9f" + cbor2.dumps(ALICE) + b"\xff",
    ],
)
def test_a_body_of_another_shape_is_refused(body: bytes) -> None:
    with pytest.raises(TrustError, match="kind unknown here"):
        pairing.parse(framed(body))


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        (0, b"short", "inviter"),
        (0, "text", "inviter"),
        (1, b"f" * 33, "folder is none"),
        (2, "", "no name"),
        (2, "n" * 256, "no name"),
        (2, b"bytes", "no name"),
        (3, ["a:1"] * 17, "addresses"),
        (3, ["a" * 263], "addresses"),
        (3, [""], "addresses"),
        (3, [7], "addresses"),
        (3, "a:1", "addresses"),
        (4, b"s" * 31, "secret"),
        (5, 0, "role"),
        (5, 4, "role"),
        (5, True, "role"),
        (5, "2", "role"),
        (6, -1, "end"),
        (6, 1 << 53, "end"),
        (6, 1.5, "end"),
    ],
)
def test_a_field_that_cannot_be_is_named(place: int, value: object, says: str) -> None:
    fields: list[object] = [ALICE, b"f" * 32, "n", ["a:1"], SECRET, 2, 1]
    fields[place] = value
    with pytest.raises(TrustError, match=says) as caught:
        pairing.parse(framed(cbor2.dumps(fields)))
    assert SECRET.hex() not in str(caught.value)


def test_a_ticket_that_cannot_be_is_not_made_either() -> None:
    with pytest.raises(TrustError, match="secret"):
        replace(TICKET, secret=b"short")


def test_the_secret_is_never_shown() -> None:
    issued = Issued(pairing.secret_hash(SECRET), 100)
    for shown in (repr(TICKET), str(TICKET), repr(issued)):
        assert repr(SECRET)[2:12] not in shown
        assert repr(issued.secret_hash)[2:12] not in shown


def test_what_the_inviter_stores_are_two_unlike_digests() -> None:
    stored = {pairing.secret_hash(SECRET), pairing.knock_key(SECRET), SECRET}
    assert len(stored) == 3
    assert {len(each) for each in stored} == {32}


def test_a_ticket_is_good_once_and_until_it_expires() -> None:
    issued = Issued(pairing.secret_hash(SECRET), expires_at=100)
    assert pairing.verdict(issued, SECRET, BOB, now=99.9) is Verdict.GOOD
    assert pairing.verdict(issued, SECRET, BOB, now=100.0) is Verdict.EXPIRED
    assert pairing.verdict(issued, b"x" * 32, BOB, now=0.0) is Verdict.UNKNOWN
    assert pairing.verdict(None, SECRET, BOB, now=0.0) is Verdict.UNKNOWN


def test_who_redeemed_it_may_come_again_and_nobody_else() -> None:
    issued = Issued(pairing.secret_hash(SECRET), expires_at=100, redeemed_by=BOB)
    assert pairing.is_redeemable(issued, SECRET, BOB, now=50.0)
    assert pairing.is_redeemable(issued, SECRET, BOB, now=500.0)
    assert pairing.verdict(issued, SECRET, EVE, now=50.0) is Verdict.USED
    assert not pairing.is_redeemable(issued, SECRET, EVE, now=50.0)
    assert not pairing.is_redeemable(issued, b"x" * 32, DeviceId(BOB), now=50.0)
