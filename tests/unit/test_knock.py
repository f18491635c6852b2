# SPDX-License-Identifier: AGPL-3.0-or-later
"""A knock opens one door, once, for a while, and only to those who have a key to it."""

import pytest

from harp.base.errors import TrustError
from harp.identity.device import DeviceId, DeviceKey
from harp.sync.transport.freshness import ReplayMemory, is_fresh, slot_of
from harp.sync.transport.knock import KNOCK_BYTES, make_knock, matching, pairwise_key, place
from harp.sync.transport.tags import TAG_BYTES, holds, tag, tag_field

NOW = 1_795_000_000.0
ALICE, BOB = DeviceKey.from_seed(b"a" * 32), DeviceKey.from_seed(b"b" * 32)
FOLDER, OTHER = b"folder secret".ljust(32), b"other secret".ljust(32)
PADDING = bytes(range(128))


def knock(*keys: bytes, listener: bytes = BOB.device_id, nonce: bytes = b"n" * 16, at: float = NOW) -> bytes:
    return make_knock(keys, listener=listener, nonce=nonce, slot=slot_of(at), padding=PADDING)


def heard(
    data: bytes, *candidates: tuple[bytes, str], now: float = NOW, seen: ReplayMemory | None = None
) -> str | None:
    listeners = [BOB.device_id, place("192.0.2.7", 8783)]
    return matching(data, candidates, listeners=listeners, now=now, seen=ReplayMemory() if seen is None else seen)


def test_a_knock_is_153_bytes_and_known_by_its_key() -> None:
    assert len(knock(FOLDER)) == KNOCK_BYTES == 153
    assert heard(knock(FOLDER), (OTHER, "other"), (FOLDER, "photos")) == "photos"


def test_a_knock_under_several_keys_is_known_by_any() -> None:
    keys = [bytes([i]) * 32 for i in range(8)]
    assert all(heard(knock(*keys), (key, "in")) == "in" for key in keys)


def test_of_two_candidates_the_first_counts() -> None:
    assert heard(knock(FOLDER, OTHER), (OTHER, "first"), (FOLDER, "second")) == "first"


def test_another_key_is_a_strangers() -> None:
    assert heard(knock(FOLDER), (OTHER, "other")) is None
    assert heard(knock(FOLDER)) is None


def test_a_knock_for_another_device_does_not_open_this_one() -> None:
    assert heard(knock(FOLDER, listener=ALICE.device_id), (FOLDER, "photos")) is None


def test_a_knock_for_the_address_that_was_dialled_opens_it() -> None:
    assert heard(knock(FOLDER, listener=place("192.0.2.7", 8783)), (FOLDER, "photos")) == "photos"
    assert heard(knock(FOLDER, listener=place("::ffff:192.0.2.7", 8783)), (FOLDER, "photos")) == "photos"
    assert heard(knock(FOLDER, listener=place("192.0.2.8", 8783)), (FOLDER, "photos")) is None
    assert heard(knock(FOLDER, listener=place("192.0.2.7", 8784)), (FOLDER, "photos")) is None


def test_a_place_has_no_zone_and_is_no_name() -> None:
    assert place("fe80::1%eth0", 1) == place("fe80::1", 1)
    with pytest.raises(ValueError, match="localhost"):
        place("localhost", 1)


def test_a_knock_counts_once() -> None:
    seen = ReplayMemory()
    assert heard(knock(FOLDER), (FOLDER, "photos"), seen=seen) == "photos"
    assert heard(knock(FOLDER), (FOLDER, "photos"), seen=seen) is None
    assert heard(knock(FOLDER, nonce=b"m" * 16), (FOLDER, "photos"), seen=seen) == "photos"


def test_clocks_may_differ_by_ten_minutes_and_no_more() -> None:
    for minutes, expected in ((-10, "photos"), (10, "photos"), (-11, None), (11, None)):
        assert heard(knock(FOLDER, at=NOW + 60 * minutes), (FOLDER, "photos")) == expected, minutes


def test_a_strangers_knock_does_not_fill_the_memory() -> None:
    seen = ReplayMemory()
    heard(knock(OTHER), (FOLDER, "photos"), seen=seen)
    assert len(seen) == 0


@pytest.mark.parametrize("data", [b"", b"\x01", knock(FOLDER)[:-1], knock(FOLDER) + b"x", b"\x02" + knock(FOLDER)[1:]])
def test_what_is_no_knock_is_a_strangers(data: bytes) -> None:
    assert heard(data, (FOLDER, "photos")) is None


def test_nine_keys_or_none_are_refused() -> None:
    for keys in ([], [FOLDER] * 9):
        with pytest.raises(ValueError, match=r"keys|secrets"):
            knock(*keys)


def test_the_number_of_keys_cannot_be_seen() -> None:
    tags = [knock(FOLDER)[i : i + TAG_BYTES] for i in range(25, 153, TAG_BYTES)]
    assert len(tags) == 8
    assert tags == sorted(tags)


def test_both_ends_have_the_same_pairwise_key_and_nobody_else_has() -> None:
    eve = DeviceKey.from_seed(b"e" * 32)
    key = pairwise_key(ALICE, BOB.device_id)
    assert key == pairwise_key(BOB, ALICE.device_id)
    assert len(key) == 32
    assert key not in (pairwise_key(eve, BOB.device_id), pairwise_key(ALICE, eve.device_id))


def test_a_pairwise_knock_cannot_be_thrown_back_at_its_dialler() -> None:
    key = pairwise_key(ALICE, BOB.device_id)
    to_bob = knock(key)
    thrown_back = matching(to_bob, [(key, "bob")], listeners=[ALICE.device_id], now=NOW, seen=ReplayMemory())
    assert thrown_back is None


@pytest.mark.parametrize("other", [bytes(32), b"\x01" + bytes(31), b"\xff" * 32, b"short"])
def test_an_id_that_is_no_key_is_refused(other: bytes) -> None:
    with pytest.raises(TrustError):
        pairwise_key(ALICE, DeviceId(other))


def test_the_memory_keeps_what_is_fresh_and_forgets_what_is_not() -> None:
    seen = ReplayMemory()
    assert seen.is_first(b"one", slot_of(NOW), now=NOW)
    assert not seen.is_first(b"one", slot_of(NOW), now=NOW + 10 * 60)
    assert seen.is_first(b"two", slot_of(NOW + 11 * 60), now=NOW + 11 * 60)
    assert len(seen) == 1
    assert not is_fresh(slot_of(NOW), now=NOW + 11 * 60)


def test_a_full_memory_forgets_the_oldest() -> None:
    seen = ReplayMemory(max_nonces=2)
    assert all(seen.is_first(nonce, slot_of(NOW), now=NOW) for nonce in (b"1", b"2", b"3"))
    assert len(seen) == 2
    assert not seen.is_first(b"3", slot_of(NOW), now=NOW)


def test_a_tag_is_found_wherever_it_stands() -> None:
    field = tag_field([FOLDER, OTHER], b"message", count=4, padding=PADDING[:64])
    assert len(field) == 64
    assert holds(field, tag(FOLDER, b"message"))
    assert holds(field, tag(OTHER, b"message"))
    assert not holds(field, tag(FOLDER, b"massage"))
    with pytest.raises(ValueError, match="padding"):
        tag_field([FOLDER], b"message", count=4, padding=PADDING[:63])
