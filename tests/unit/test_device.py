# SPDX-License-Identifier: AGPL-3.0-or-later
"""Device ids as people carry them from one machine to the other, and signatures."""

import pytest

from harp.base.errors import TrustError
from harp.identity import device
from harp.identity.device import DeviceId, DeviceKey

KEY = DeviceKey.from_seed(bytes(range(32)))


def test_an_id_reads_back_however_it_was_typed() -> None:
    written = device.text(KEY.device_id)
    assert device.parse(written) == KEY.device_id
    assert device.parse(written.lower().replace("-", " ")) == KEY.device_id
    assert device.parse(f"  {written.replace('-', '')}\n") == KEY.device_id
    assert [len(group) for group in written.split("-")] == [7] * 8


@pytest.mark.parametrize("wrong", ["", "-", "hello", "A" * 56, "1" * 56])
def test_what_is_no_id_is_refused(wrong: str) -> None:
    with pytest.raises(TrustError, match="not a device id"):
        device.parse(wrong)


def test_each_mistyped_character_is_noticed_or_changes_nothing() -> None:
    written = device.text(KEY.device_id).replace("-", "")
    read: set[DeviceId] = set()
    refused = 0
    for place, right in enumerate(written):
        wrong = "A" if right != "A" else "B"
        try:
            read.add(device.parse(written[:place] + wrong + written[place + 1 :]))
        except TrustError:
            refused += 1
    # The last character before the check digits has bits that no byte takes up.
    assert refused >= len(written) - 1
    assert read <= {KEY.device_id}


def test_the_short_form_begins_the_long_one() -> None:
    assert device.text(KEY.device_id).startswith(device.short(KEY.device_id))


def test_a_signature_is_good_for_its_message_and_its_device_alone() -> None:
    other = DeviceKey.from_seed(bytes(32))
    signature = KEY.sign(b"hello")
    assert device.is_signed_by(KEY.device_id, b"hello", signature)
    assert not device.is_signed_by(KEY.device_id, b"hullo", signature)
    assert not device.is_signed_by(other.device_id, b"hello", signature)
    assert not device.is_signed_by(KEY.device_id, b"hello", signature[:-1])
    assert not device.is_signed_by(DeviceId(b"short"), b"hello", signature)
    assert not device.is_signed_by(DeviceId(b"\xff" * 32), b"hello", signature)


def test_a_key_never_shows_its_seed() -> None:
    assert KEY.seed == bytes(range(32))
    assert "0001" not in repr(KEY)
    assert KEY.seed.hex() not in repr(KEY)
    assert repr(KEY) == f"DeviceKey({device.short(KEY.device_id)})"
