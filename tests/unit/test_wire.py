# SPDX-License-Identifier: AGPL-3.0-or-later
"""The narrow CBOR of the wire: what is read, and each of the many things that are not."""

import pytest

from harp.base.errors import LocalProtocolError, RemoteProtocolError
from harp.identity.device import DeviceId
from harp.sync.model import ChainId, Incarnation
from harp.sync.protocol import wire


def test_arrays_numbers_bytes_texts_and_truths_are_read() -> None:
    value = (0, -1, 2**63 - 1, b"b", "t\N{SNOWMAN}", True, False, ((),))
    assert wire.decoded(wire.encoded(value)) == value
    assert wire.decoded(bytes.fromhex("81" * wire.MAX_DEPTH + "00")) == ((((((0,),),),),),)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("", "nothing"),
        ("8201", "cut off"),
        ("0000", "more after it"),
        ("1800", "not the shortest integer"),
        ("5800", "not the shortest length"),
        ("9f00ff", "indefinite array"),
        ("5f4100ff", "indefinite bytes"),
        ("a0", "map"),
        ("81a10000", "map within"),
        ("c24101", "bignum"),
        ("c249010000000000000000", "bignum that has no shorter form"),
        ("d81e820103", "fraction"),
        ("d8238141", "regular expression"),
        ("c060", "date"),
        ("d99f0100", "unknown tag"),
        ("61ff", "not UTF-8"),
        ("63eda080", "a surrogate"),
        ("f93c00", "a short float"),
        ("9bffffffffffffffff", "an array without end"),
        ("5bffffffffffffffff00", "bytes without end"),
        ("ff", "a break"),
        ("1c", "a reserved head"),
        ("81" * 7 + "00", "too deep"),
    ],
)
def test_anything_else_is_refused(data: str, why: str) -> None:
    with pytest.raises(RemoteProtocolError):
        wire.decoded(bytes.fromhex(data))


def test_later_fields_may_be_anything_of_the_same_kind() -> None:
    assert wire.fields(wire.encoded((1, b"x", ("later", (-1, False)))), 2) == (1, b"x")


@pytest.mark.parametrize("extra", ["f6", "f7", "fb3ff199999999999a", "81f6"])
def test_later_fields_may_not_be_null_undefined_or_a_float(extra: str) -> None:
    with pytest.raises(RemoteProtocolError, match="does not use"):
        wire.fields(bytes.fromhex("8201" + extra), 1)


@pytest.mark.parametrize("data", ["01", "80", "60"])
def test_a_body_that_is_no_array_or_too_short_has_no_fields(data: str) -> None:
    with pytest.raises(RemoteProtocolError, match="fields"):
        wire.fields(bytes.fromhex(data), 1)


def test_what_cannot_be_written_is_our_own_mistake() -> None:
    with pytest.raises(LocalProtocolError):
        wire.encoded("\ud800")
    with pytest.raises(LocalProtocolError):
        wire.encoded(object())


def test_a_truth_is_no_number() -> None:
    wire.check_uint(1, "it")
    for wrong in (True, -1, 2**63, 1.0, None):
        with pytest.raises(LocalProtocolError, match="it is not as"):
            wire.check_uint(wrong, "it")


@pytest.mark.parametrize("text", ["a\nb", "\x1b[2J", "\x7f", "\x9b", "x" * 256, "\N{SNOWMAN}" * 86, "\ud800", b"x"])
def test_a_text_that_could_not_be_shown_safely_is_refused(text: object) -> None:
    with pytest.raises(LocalProtocolError):
        wire.check_text(text, "it")


def test_a_vector_is_written_in_order_and_read_in_no_other() -> None:
    early, late = chain(1, 2), chain(2, 1)
    rows = wire.vector_rows({late: 7, early: 300})
    assert rows == ((*early, 300), (*late, 7))
    assert wire.vector_of(rows) == {early: 300, late: 7}
    for wrong in (rows[::-1], (rows[0], rows[0]), ((*early, 0),), ((*early, True),), ((early[0], b"", 1),)):
        with pytest.raises(RemoteProtocolError):
            wire.read(lambda wrong=wrong: wire.vector_of(wrong))  # type: ignore[misc]


@pytest.mark.parametrize("rows", [1, ((),), (1,), ((b"", b"", 1, 1),), b"xyz"])
def test_a_vector_of_another_form_is_refused(rows: object) -> None:
    with pytest.raises(RemoteProtocolError):
        wire.read(lambda: wire.vector_of(rows))


def test_a_vector_has_at_most_4096_chains() -> None:
    rows = tuple((number.to_bytes(32, "big"), bytes(16), 1) for number in range(wire.MAX_CHAINS + 1))
    assert len(wire.vector_of(rows[1:])) == wire.MAX_CHAINS
    with pytest.raises(LocalProtocolError):
        wire.vector_of(rows)


def chain(author: int, incarnation: int) -> ChainId:
    return ChainId(DeviceId(bytes([author] * 32)), Incarnation(bytes([incarnation] * 16)))
