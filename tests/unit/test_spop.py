# SPDX-License-Identifier: AGPL-3.0-or-later
"""harp.proxy.edge.spop: examples out of HAProxy's own text, and what is no frame. Laws: property/test_spop_laws.py."""

import pytest

from harp.proxy.edge import spop


@pytest.mark.parametrize(
    ("value", "raw"),
    [(0, b"\x00"), (239, b"\xef"), (240, b"\xf0\x00"), (2287, b"\xff\x7f"), (2288, b"\xf0\x80\x00")],
)
def test_the_borders_of_the_table_in_the_protocols_text(value: int, raw: bytes) -> None:
    assert spop.encode_varint(value) == raw
    assert spop.decode_varint(raw, 0) == (value, len(raw))


def test_a_hello_of_haproxy() -> None:
    pairs: dict[str, spop.Value] = {
        "supported-versions": "2.0",
        "max-frame-size": 16380,
        "capabilities": "pipelining",
        "healthcheck": True,
    }
    raw = spop.encode_frame(spop.Kind.HAPROXY_HELLO, 0, 0, spop.encode_pairs(pairs))
    assert spop.frame_length(raw[:4]) == len(raw) - 4

    frame = spop.decode_frame(raw[4:])

    assert (frame.kind, frame.stream, frame.number) == (spop.Kind.HAPROXY_HELLO, 0, 0)
    assert spop.decode_pairs(frame.payload) == pairs


def test_addresses_come_as_their_bytes_and_small_integers_too() -> None:
    assert spop.decode_value(b"\x06\x7f\x00\x00\x01", 0) == (b"\x7f\x00\x00\x01", 5)
    assert spop.decode_value(b"\x07" + bytes(15) + b"\x01", 0) == (bytes(15) + b"\x01", 17)
    assert spop.decode_value(b"\x03\x05", 0) == (5, 2)


def test_set_var_is_as_the_protocol_says() -> None:
    assert spop.encode_set_vars({"a": True}) == b"\x01\x03\x02" + b"\x01a" + b"\x11"


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"\x03\x00\x00\x00\x01",  # no ids
        b"\x03\x00\x00\x00\x00\x01\x01",  # in fragments
        b"\x03\x00\x00\x00\x01" + b"\xff" * 12,
    ],
)
def test_what_is_no_frame(broken: bytes) -> None:
    with pytest.raises(spop.MalformedFrame):
        spop.decode_frame(broken)


@pytest.mark.parametrize("broken", [b"\x08\x05ab", b"\x06\x01", b"\x0f", b"", b"\x04\xff\xff"])
def test_what_is_no_value(broken: bytes) -> None:
    with pytest.raises(spop.MalformedFrame):
        spop.decode_value(broken, 0)


def test_a_message_that_ends_early() -> None:
    with pytest.raises(spop.MalformedFrame):
        spop.decode_messages(b"\x03ask")
    with pytest.raises(spop.MalformedFrame):
        spop.decode_messages(b"\x03ask\x02\x01a\x00")


def test_a_frame_that_is_too_long() -> None:
    with pytest.raises(spop.MalformedFrame):
        spop.frame_length((spop.MAX_FRAME + 1).to_bytes(4, "big"))
