# SPDX-License-Identifier: AGPL-3.0-or-later
"""Laws of the sealed stream: how it is cut on its way means nothing, and noise is neither believed nor hoarded."""

import itertools
from collections.abc import Iterable

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from harp.base.errors import LinkError
from harp.sync.transport.records import MAX_PLAINTEXT, MAX_RECORD, SECRET_BYTES, Aead, Opener, Sealer

AEADS = st.sampled_from([AESGCM, ChaCha20Poly1305])
SECRETS = st.binary(min_size=SECRET_BYTES, max_size=SECRET_BYTES)
PLAINTEXTS = st.lists(
    st.binary(min_size=1, max_size=300) | st.integers(1, MAX_PLAINTEXT).map(lambda length: b"x" * length), max_size=8
)


def stream(aead: type[Aead], secret: bytes, plaintexts: Iterable[bytes]) -> bytes:
    sealer, target = Sealer(aead, secret), memoryview(bytearray(MAX_RECORD))
    return b"".join(bytes(target[: sealer.seal_into(target, plaintext)]) for plaintext in plaintexts)


def opened(opener: Opener, pieces: Iterable[bytes]) -> bytes:
    """All plaintext of a stream that comes in these pieces, each as far as there is space."""
    buffer, found = memoryview(bytearray(MAX_PLAINTEXT)), b""
    for piece in pieces:
        while piece:
            part = piece[: len(opener.space())]
            opener.space()[: len(part)] = part
            opener.filled(len(part))
            piece = piece[len(part) :]
            while length := opener.open_into(buffer):
                found += buffer[:length]
    return found


@given(aead=AEADS, secret=SECRETS, plaintexts=PLAINTEXTS, data=st.data())
def test_any_split_of_the_stream_gives_the_same_plaintext(
    aead: type[Aead], secret: bytes, plaintexts: list[bytes], data: st.DataObject
) -> None:
    sealed = stream(aead, secret, [*plaintexts, b""])
    cuts = sorted({0, len(sealed), *data.draw(st.lists(st.integers(0, len(sealed)), max_size=6))})
    opener = Opener(aead, secret)
    pieces = [sealed[start:end] for start, end in itertools.pairwise(cuts)]
    assert opened(opener, pieces) == b"".join(plaintexts)
    assert opener.has_ended


@given(secret=SECRETS, plaintexts=PLAINTEXTS.filter(bool), data=st.data())
def test_one_bit_that_was_turned_lets_nothing_of_its_record_through(
    secret: bytes, plaintexts: list[bytes], data: st.DataObject
) -> None:
    altered = bytearray(stream(AESGCM, secret, plaintexts))
    at = data.draw(st.integers(0, 8 * len(altered) - 1))
    altered[at // 8] ^= 1 << at % 8
    opener, whole = Opener(AESGCM, secret), b"".join(plaintexts)
    try:
        found = opened(opener, [bytes(altered)])
    except LinkError:
        return
    # Its length says now that more is to come.
    assert whole.startswith(found)
    assert len(found) < len(whole)
    assert not opener.has_ended


@given(noise=st.lists(st.binary(max_size=5000), max_size=20))
def test_noise_is_refused_and_never_hoarded(noise: list[bytes]) -> None:
    opener = Opener(AESGCM, bytes(SECRET_BYTES))
    try:
        assert opened(opener, noise) == b""
    except LinkError:
        return
    assert len(opener.space()) >= MAX_RECORD
    assert not opener.has_ended
