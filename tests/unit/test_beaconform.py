# SPDX-License-Identifier: AGPL-3.0-or-later
"""A beacon's datagram: known by those who share the folder, noise to anyone else; and how often one may shout."""

import pytest

from harp.sync.transport.allowance import Allowance
from harp.sync.transport.beaconform import BEACON_BYTES, BeaconKind, decode_beacon, encode_beacon

SECRET, OTHER = b"s" * 32, b"o" * 32
NONCE = bytes(range(16))


def datagram(*secrets: bytes, kind: BeaconKind = BeaconKind.ASK, port: int = 8783) -> bytes:
    return encode_beacon(kind, secrets, port=port, slot=7, nonce=NONCE, padding=bytes(range(256)))


def test_it_has_284_bytes_however_many_folders_there_are() -> None:
    assert {len(datagram(*[bytes([i]) * 32 for i in range(n)])) for n in (0, 1, 16)} == {BEACON_BYTES} == {284}


def test_who_knows_the_secret_knows_whose_it_is() -> None:
    said = decode_beacon(datagram(OTHER, SECRET, kind=BeaconKind.ANSWER))
    assert said is not None
    assert (said.kind, said.port, said.slot, said.nonce) == (BeaconKind.ANSWER, 8783, 7, NONCE)
    assert said.is_under(SECRET)
    assert said.is_under(OTHER)
    assert not said.is_under(b"e" * 32)


@pytest.mark.parametrize("offset", range(1, 28))
def test_nothing_before_the_tags_can_be_altered(offset: int) -> None:
    data = bytearray(datagram(SECRET))
    data[offset] ^= 1
    said = decode_beacon(bytes(data))
    assert said is None or not said.is_under(SECRET)


@pytest.mark.parametrize(
    "data",
    [b"", datagram(SECRET)[:-1], datagram(SECRET) + b"x", b"\x02" + datagram(SECRET)[1:], datagram(SECRET, port=0)],
)
def test_what_is_no_datagram_of_ours_is_none(data: bytes) -> None:
    assert decode_beacon(data) is None
    assert decode_beacon(data[:1] + b"\x02" + data[2:]) is None


def test_seventeen_folders_do_not_fit() -> None:
    with pytest.raises(ValueError, match="too many"):
        datagram(*[bytes([i]) * 32 for i in range(17)])


def test_a_source_has_its_burst_and_then_its_rate() -> None:
    allowance = Allowance(rate_per_s=2, burst=3, shared=10)
    assert [allowance.has_turn("a", now=0) for _ in range(4)] == [True, True, True, False]
    assert allowance.has_turn("b", now=0)
    assert [allowance.has_turn("a", now=1) for _ in range(3)] == [True, True, False]


def test_many_sources_together_have_a_limit_too_and_are_not_hoarded() -> None:
    allowance = Allowance(rate_per_s=1, burst=2, shared=3)
    turns = [allowance.has_turn(f"source {i}", now=0) for i in range(5000)]
    assert turns.count(True) == 6
    assert len(allowance) == 1024
