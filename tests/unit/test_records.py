# SPDX-License-Identifier: AGPL-3.0-or-later
"""Records of one direction, and what becomes of them on a way that somebody else rules."""

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from harp.base.errors import LinkError, LocalProtocolError
from harp.sync.transport import records
from harp.sync.transport.records import (
    HEADER,
    MAX_PLAINTEXT,
    MAX_RECORD,
    OVERHEAD,
    SECRET_BYTES,
    TAG_BYTES,
    Opener,
    Sealer,
)

SECRET = bytes(range(SECRET_BYTES))


def sealed(*plaintexts: bytes) -> list[bytes]:
    """A record for each, made one after the other by one sealer."""
    sealer = Sealer(AESGCM, SECRET)
    target = memoryview(bytearray(MAX_RECORD))
    return [bytes(target[: sealer.seal_into(target, plaintext)]) for plaintext in plaintexts]


def put(opener: Opener, data: bytes) -> None:
    opener.space()[: len(data)] = data
    opener.filled(len(data))


def opened(opener: Opener) -> bytes:
    buffer = memoryview(bytearray(1 << 20))
    return bytes(buffer[: opener.open_into(buffer)])


def test_a_record_says_its_length_and_hides_the_rest() -> None:
    [record] = sealed(b"hello")
    assert record[: HEADER.size] == (5 + TAG_BYTES).to_bytes(4, "big")
    assert len(record) == 5 + OVERHEAD
    assert b"hello" not in record


def test_records_are_opened_in_their_order() -> None:
    opener = Opener(AESGCM, SECRET)
    put(opener, b"".join(sealed(b"one ", b"two ", b"three")))
    assert opened(opener) == b"one two three"
    assert opened(opener) == b""


def test_equal_plaintext_never_looks_the_same() -> None:
    one, other = sealed(b"again", b"again")
    assert one != other


@pytest.mark.parametrize("at", [0, 3, HEADER.size, -1], ids=["length", "length's end", "content", "tag"])
def test_an_altered_record_is_refused(at: int) -> None:
    [record] = sealed(b"hello" * 100)
    altered = bytearray(record)
    altered[at] ^= 1
    opener = Opener(AESGCM, SECRET)
    put(opener, bytes(altered) + bytes(MAX_RECORD))
    with pytest.raises(LinkError):
        opened(opener)


@pytest.mark.parametrize("order", [(1, 0), (0, 0), (1,)], ids=["swapped", "repeated", "left out"])
def test_records_in_another_order_are_refused(order: tuple[int, ...]) -> None:
    pair = sealed(b"one", b"two")
    opener = Opener(AESGCM, SECRET)
    put(opener, b"".join(pair[index] for index in order))
    with pytest.raises(LinkError):
        opened(opener)


@pytest.mark.parametrize("length", [0, TAG_BYTES - 1, MAX_PLAINTEXT + TAG_BYTES + 1, 0x17030300, 2**32 - 1])
def test_an_impossible_length_is_refused_before_more_comes(length: int) -> None:
    """Also what a record of TLS would be taken for."""
    opener = Opener(AESGCM, SECRET)
    put(opener, HEADER.pack(length))
    with pytest.raises(LinkError):
        opened(opener)


def test_an_empty_record_is_the_end_and_nothing_behind_it_is_looked_at() -> None:
    opener = Opener(AESGCM, SECRET)
    put(opener, b"".join(sealed(b"last", b"")) + b"\xff" * 100)
    assert opened(opener) == b"last"
    assert opener.has_ended
    assert opened(opener) == b""


def test_a_cut_is_not_taken_for_the_end() -> None:
    opener = Opener(AESGCM, SECRET)
    put(opener, sealed(b"last", b"")[0])
    assert opened(opener) == b"last"
    assert not opener.has_ended


def test_what_does_not_fit_into_the_buffer_any_more_is_opened_by_the_next_call() -> None:
    opener, buffer = Opener(AESGCM, SECRET), memoryview(bytearray(MAX_PLAINTEXT))
    put(opener, b"".join(sealed(b"x" * 200_000, b"y" * 200_000)))
    assert opener.open_into(buffer) == 200_000
    assert opener.open_into(buffer) == 200_000
    assert buffer[0] == ord("y")


def test_a_buffer_that_no_record_is_sure_to_fit_into_is_a_defect_of_ours() -> None:
    with pytest.raises(LocalProtocolError):
        Opener(AESGCM, SECRET).open_into(memoryview(bytearray(MAX_PLAINTEXT - 1)))


def test_a_key_is_used_up_some_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_BLOCKS", 5)
    sealer, target = Sealer(AESGCM, SECRET), memoryview(bytearray(100))
    sealer.seal_into(target, bytes(16))
    assert not sealer.is_spent
    sealer.seal_into(target, b"")
    assert sealer.is_spent
