# SPDX-License-Identifier: AGPL-3.0-or-later
"""Laws of SPOP: what is written is read again, and no bytes do more than to be refused."""

from hypothesis import given
from hypothesis import strategies as st

from harp.proxy.edge import spop

texts = st.text(alphabet=st.characters(codec="utf-8"), max_size=300)
numbers = st.integers(min_value=-(1 << 63), max_value=(1 << 63) - 1)
values = st.one_of(st.none(), st.booleans(), numbers, texts, st.binary(max_size=300))
pairs = st.dictionaries(texts, values, max_size=8)


@given(st.integers(min_value=0, max_value=(1 << 64) - 1), st.binary(max_size=4))
def test_an_integer_comes_back_and_nothing_behind_it_is_read(number: int, rest: bytes) -> None:
    raw = spop.encode_varint(number)

    assert spop.decode_varint(raw + rest, 0) == (number, len(raw))


@given(values)
def test_a_value_comes_back(value: spop.Value) -> None:
    raw = spop.encode_value(value)

    assert spop.decode_value(raw, 0) == (value, len(raw))


@given(st.lists(st.tuples(texts, pairs), max_size=4))
def test_messages_come_back(messages: list[tuple[str, dict[str, spop.Value]]]) -> None:
    assert spop.decode_messages(spop.encode_messages(messages)) == messages


@given(st.sampled_from(spop.Kind), st.integers(0, 1 << 63), st.integers(0, 1 << 63), st.binary(max_size=500))
def test_a_frame_comes_back(kind: spop.Kind, stream: int, number: int, payload: bytes) -> None:
    raw = spop.encode_frame(kind, stream, number, payload)

    assert spop.decode_frame(raw[4:]) == spop.Frame(kind, spop.FIN, stream, number, payload)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    for read in (spop.decode_frame, spop.decode_pairs, spop.decode_messages, lambda b: spop.decode_value(b, 0)):
        try:
            read(raw)
        except spop.MalformedFrame:
            continue
