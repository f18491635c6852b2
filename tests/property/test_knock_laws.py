# SPDX-License-Identifier: AGPL-3.0-or-later
"""Laws of what is said before TLS and of the bytes behind it: no key no entry, garbage opens nothing."""

from hypothesis import given
from hypothesis import strategies as st

from harp.sync.protocol.frames import FrameSplitter, frame
from harp.sync.transport.beaconform import BEACON_BYTES, BeaconKind, decode_beacon, encode_beacon
from harp.sync.transport.freshness import ReplayMemory, slot_of
from harp.sync.transport.inflow import Inflow
from harp.sync.transport.knock import KNOCK_BYTES, make_knock, matching

NOW = 1_795_000_000.0
KEY = st.binary(min_size=32, max_size=32)
KEYS = st.lists(KEY, min_size=1, max_size=8, unique=True)
NONCE = st.binary(min_size=16, max_size=16)
LISTENER = st.binary(min_size=6, max_size=32)


@st.composite
def knocks(draw: st.DrawFn) -> tuple[list[bytes], bytes, bytes]:
    keys, listener = draw(KEYS), draw(LISTENER)
    padding = draw(st.binary(min_size=128, max_size=128))
    data = make_knock(keys, listener=listener, nonce=draw(NONCE), slot=slot_of(NOW), padding=padding)
    return keys, listener, data


@given(knocks(), st.data())
def test_each_key_of_a_knock_opens_it_and_once_only(
    knock: tuple[list[bytes], bytes, bytes], data: st.DataObject
) -> None:
    keys, listener, sent = knock
    key = data.draw(st.sampled_from(keys))
    seen = ReplayMemory()
    assert matching(sent, [(key, "in")], listeners=[listener], now=NOW, seen=seen) == "in"
    assert matching(sent, [(key, "in")], listeners=[listener], now=NOW, seen=seen) is None


@given(knocks(), KEY)
def test_no_other_key_opens_it(knock: tuple[list[bytes], bytes, bytes], stranger: bytes) -> None:
    keys, listener, sent = knock
    found = matching(sent, [(stranger, "in")], listeners=[listener], now=NOW, seen=ReplayMemory())
    assert (found is not None) == (stranger in keys)


@given(knocks(), st.integers(0, 8 * 25 - 1))
def test_a_knock_with_one_bit_altered_before_its_tags_opens_nothing(
    knock: tuple[list[bytes], bytes, bytes], bit: int
) -> None:
    keys, listener, sent = knock
    altered = bytearray(sent)
    altered[bit // 8] ^= 1 << bit % 8
    candidates = [(key, "in") for key in keys]
    assert matching(bytes(altered), candidates, listeners=[listener], now=NOW, seen=ReplayMemory()) is None


@given(st.one_of(st.binary(max_size=200), st.binary(min_size=KNOCK_BYTES, max_size=KNOCK_BYTES)), KEY)
def test_garbage_opens_nothing_and_is_not_remembered(data: bytes, key: bytes) -> None:
    seen = ReplayMemory()
    assert matching(data, [(key, "in")], listeners=[b"listener"], now=NOW, seen=seen) is None
    assert len(seen) == 0


@given(
    st.sampled_from(BeaconKind),
    st.lists(KEY, max_size=16, unique=True),
    st.integers(1, 65535),
    st.integers(0, 2**64 - 1),
    NONCE,
    st.binary(min_size=256, max_size=256),
    KEY,
)
def test_a_beacon_is_known_under_exactly_its_secrets(
    kind: BeaconKind, secrets: list[bytes], port: int, slot: int, nonce: bytes, padding: bytes, stranger: bytes
) -> None:
    said = decode_beacon(encode_beacon(kind, secrets, port=port, slot=slot, nonce=nonce, padding=padding))
    assert said is not None
    assert (said.kind, said.port, said.slot, said.nonce) == (kind, port, slot, nonce)
    assert all(said.is_under(secret) for secret in secrets)
    assert said.is_under(stranger) == (stranger in secrets)


@given(st.one_of(st.binary(max_size=400), st.binary(min_size=BEACON_BYTES, max_size=BEACON_BYTES)), KEY)
def test_garbage_is_under_no_secret(data: bytes, secret: bytes) -> None:
    said = decode_beacon(data)
    assert said is None or not said.is_under(secret)


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=300)), max_size=12), st.data())
def test_any_split_of_the_stream_gives_the_frames_that_the_splitter_gives(
    frames: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    stream = b"".join(frame(type, body) for type, body in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    inflow = Inflow()
    found: list[tuple[int, bytes]] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        inflow.space()[: end - start] = stream[start:end]
        inflow.filled(end - start)
        while (one := inflow.next_frame()) is not None:
            found.append((one[0], bytes(one[1])))
    assert found == FrameSplitter().feed(stream) == frames
    assert inflow.pending_bytes == 0
