# SPDX-License-Identifier: AGPL-3.0-or-later
"""The written form of a batch: its ids are found again, and no second form is read."""

from dataclasses import replace
from typing import Any

import cbor2
import pytest

from harp.base.errors import LocalProtocolError, RemoteProtocolError
from harp.identity.device import DeviceKey
from harp.sync.engine import chain
from harp.sync.model import (
    MAX_BATCH_ENTRIES,
    NO_ENTRY,
    NO_FOLDER,
    Batch,
    ChainId,
    EntryId,
    FolderId,
    Hlc,
    Incarnation,
    Kind,
    Path,
    RootId,
)
from harp.sync.protocol import batchform
from harp.sync.protocol.batchform import MAX_BATCH_BYTES, decode_batch, encode_batch
from harp.sync.protocol.frames import MAX_FRAME

KEY = DeviceKey.from_seed(bytes(range(32)))
INCARNATION = Incarnation(bytes(16))
FOUNDING = chain.genesis(KEY, INCARNATION, bytes(32), "laptop", Hlc(1))
FOLDER = FOUNDING.folder


def batch(*paths: bytes, prev: EntryId = FOUNDING.entries[-1].id, first: int = 2) -> Batch:
    drafts = [chain.Draft(kind=Kind.FILE, path=Path(path), size=3, root=RootId(bytes(32))) for path in paths]
    entries = chain.extended(prev, FOLDER, KEY.device_id, INCARNATION, first, drafts)
    return chain.sealed(KEY, FOLDER, INCARNATION, {}, entries)


def rewritten(data: bytes, *where: int, value: object) -> bytes:
    """The batch with the value at one place of its tree replaced."""

    def changed(node: Any, where: tuple[int, ...]) -> Any:
        if not where:
            return value
        return (*node[: where[0]], changed(node[where[0]], where[1:]), *node[where[0] + 1 :])

    return cbor2.dumps(changed(cbor2.loads(data, immutable=True), where))


def test_a_batch_comes_back_whole_and_still_signed() -> None:
    written = encode_batch(batch(b"a", b"b/c"))
    read = decode_batch(written)
    assert read == batch(b"a", b"b/c")
    chain.check(read)


def test_the_founders_entry_names_no_folder_and_comes_back_so() -> None:
    read = decode_batch(encode_batch(FOUNDING))
    assert read == FOUNDING
    assert read.entries[0].meta.folder == NO_FOLDER
    assert chain.is_genesis(read.entries[0])
    chain.check(read)


def test_a_genesis_under_another_folders_name_is_no_genesis() -> None:
    stolen = decode_batch(rewritten(encode_batch(FOUNDING), 1, value=bytes([9] * 32)))
    assert not chain.is_genesis(stolen.entries[0])
    with pytest.raises(RemoteProtocolError):
        chain.check(stolen)


def test_a_changed_byte_changes_every_id_after_it() -> None:
    written = encode_batch(batch(b"a", b"b", b"c"))
    before = decode_batch(written).entries
    after = decode_batch(rewritten(written, 7, 1, 1, value=b"x")).entries
    assert before[0] == after[0]
    assert before[1].id != after[1].id
    assert before[2].id != after[2].id
    with pytest.raises(RemoteProtocolError):
        chain.check(decode_batch(rewritten(written, 7, 1, 1, value=b"x")))


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ((0,), 2),
        ((0,), True),
        ((1,), bytes(31)),
        ((2,), "x" * 32),
        ((3,), bytes(17)),
        ((4,), 0),
        ((4,), 1),
        ((4,), 2**63),
        ((4,), True),
        ((5,), NO_ENTRY),
        ((5,), b""),
        ((6,), ((b"", b"", 1),)),
        ((6,), 1),
        ((7,), ()),
        ((7,), b"rows"),
        ((7, 0), ()),
        ((7, 0, 0), 8),
        ((7, 0, 0), -1),
        ((7, 0, 0), True),
        ((7, 0, 1), "text"),
        ((7, 0, 3), -1),
        ((7, 0, 3), 2**63),
        ((7, 0, 3), 1.0),
        ((7, 0, 4), 2**63),
        ((7, 0, 4), -(2**63) - 1),
        ((7, 0, 5), 1),
        ((7, 0, 6), bytes(31)),
        ((7, 0, 7), -1),
        ((7, 0, 8), (bytes(31),)),
        ((7, 0, 8), b""),
        ((7, 0, 8), (bytes(32),) * 257),
        ((7, 0, 9), None),
        ((7, 0, 9), bytes(16 * 1024)),
        ((8,), bytes(63)),
    ],
)
def test_a_wrong_type_or_range_anywhere_is_refused(where: tuple[int, ...], value: object) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_batch(rewritten(encode_batch(batch(b"a")), *where, value=value))


def test_a_field_too_many_is_refused_unlike_in_a_message() -> None:
    value = cbor2.loads(encode_batch(batch(b"a")), immutable=True)
    for wrong in ((*value, 1), value[:-1], value[0]):
        with pytest.raises(RemoteProtocolError, match="form"):
            decode_batch(cbor2.dumps(wrong))


def test_a_batch_has_at_most_a_thousand_entries() -> None:
    value = cbor2.loads(encode_batch(batch(b"a")), immutable=True)
    rows = value[7] * MAX_BATCH_ENTRIES
    assert len(decode_batch(cbor2.dumps((*value[:7], rows, value[8]))).entries) == MAX_BATCH_ENTRIES
    with pytest.raises(RemoteProtocolError):
        decode_batch(cbor2.dumps((*value[:7], rows + value[7], value[8])))


def test_two_batches_of_any_size_fit_into_one_frame() -> None:
    assert 2 * MAX_BATCH_BYTES + 64 < MAX_FRAME
    with pytest.raises(RemoteProtocolError, match="more than"):
        decode_batch(bytes(MAX_BATCH_BYTES + 1))
    path = b"p" * 4000
    with pytest.raises(LocalProtocolError, match="more than"):
        encode_batch(batch(*[path] * 140))


def test_an_empty_batch_cannot_be_written() -> None:
    with pytest.raises(LocalProtocolError):
        encode_batch(replace(batch(b"a"), entries=()))


def test_the_batches_of_a_message_are_bounded_one_by_one_and_together() -> None:
    batchform.check_written((b"x",) * 3, 3)
    batchform.check_written((bytes(MAX_BATCH_BYTES), bytes(512 * 1024 - 1)), 3)
    halves = (bytes(MAX_BATCH_BYTES),) * 2
    for wrong in ((b"x",) * 4, (b"",), (bytes(MAX_BATCH_BYTES + 1),), halves, (1,), [b"x"]):
        with pytest.raises(LocalProtocolError):
            batchform.check_written(wrong, 3)  # type: ignore[arg-type]


def test_a_vector_goes_with_the_batch() -> None:
    other = ChainId(DeviceKey.from_seed(bytes(32)).device_id, INCARNATION)
    entries = batch(b"a").entries
    sealed = chain.sealed(KEY, FolderId(FOLDER), INCARNATION, {other: 5}, entries)
    assert decode_batch(encode_batch(sealed)).vector == {other: 5, ChainId(KEY.device_id, INCARNATION): 1}
