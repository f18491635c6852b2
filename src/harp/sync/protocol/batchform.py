# SPDX-License-Identifier: AGPL-3.0-or-later
"""The written form of a batch: what all its entries share once, then what differs (docs/protocol.md, "Batches").

Entry ids do not travel: the reader computes them, which is the proof that the hash chain holds. The signature is
carried, not verified; :mod:`harp.sync.engine.chain` does that.
"""

import hashlib
from typing import Any

from harp.base.errors import LocalProtocolError, RemoteProtocolError
from harp.identity.device import DEVICE_ID_BYTES, SIGNATURE_BYTES, DeviceId
from harp.sync.model import (
    FORMAT_VERSION,
    ID_BYTES,
    INCARNATION_BYTES,
    MAX_BATCH_ENTRIES,
    MAX_ENTRY_BYTES,
    MAX_REPLACES,
    NO_ENTRY,
    NO_FOLDER,
    Batch,
    Entry,
    EntryId,
    FolderId,
    Hlc,
    Incarnation,
    Kind,
    Metadata,
    Path,
    RootId,
)
from harp.sync.protocol import wire

MAX_BATCH_BYTES = 540 * 1024
"""Two of them fit into one frame, so that the proof of a fork can always be passed on."""
MAX_WRITTEN_BYTES = 1056 * 1024
"""The most that the batches of one message have together: whoever gathers up to 512 KiB may add one of any size."""

_FIELDS = 9
_ENTRY_FIELDS = 10
_MIN_MTIME_NS = -(2**63)
_KINDS = tuple(Kind)


def encode_batch(batch: Batch) -> bytes:
    """The one written form of ``batch``. Raises :class:`LocalProtocolError` where it is empty or too long."""
    wire.check(len(batch.entries) > 0, "a batch without an entry")
    first = batch.entries[0]
    data = wire.encoded(
        (
            FORMAT_VERSION,
            batch.folder,
            batch.author,
            batch.incarnation,
            first.meta.sequence,
            first.prev,
            wire.vector_rows(batch.vector),
            tuple(entry.meta.body() for entry in batch.entries),
            batch.signature,
        )
    )
    if len(data) > MAX_BATCH_BYTES:
        raise LocalProtocolError(f"a batch has {len(data)} bytes, more than {MAX_BATCH_BYTES}")
    return data


def decode_batch(data: bytes) -> Batch:
    """The batch that ``data`` writes, its entry ids computed.

    Raises :class:`RemoteProtocolError` for anything but the form that :func:`encode_batch` gives: unlike a message, a
    batch has no room for further fields, since what is signed must mean the same to everyone.
    """
    if len(data) > MAX_BATCH_BYTES:
        raise RemoteProtocolError(f"a batch has {len(data)} bytes, more than {MAX_BATCH_BYTES}")
    value = wire.decoded(data)
    if type(value) is not tuple or len(value) != _FIELDS or value[0] != FORMAT_VERSION or type(value[0]) is not int:
        raise RemoteProtocolError("a batch is not of a form that this version knows")
    return wire.read(lambda: _batch(*value[1:]))


def check_written(batches: tuple[bytes, ...], limit: int) -> None:
    """At most ``limit`` byte strings, each as long as a batch can be, that fit into one frame together."""
    wire.check_count(batches, "the batches", limit)
    wire.check(all(type(batch) is bytes and 0 < len(batch) <= MAX_BATCH_BYTES for batch in batches), "a batch")
    wire.check(sum(map(len, batches)) <= MAX_WRITTEN_BYTES, "the sum of the batches")


def _batch(
    folder: Any, author: Any, incarnation: Any, first: Any, prev: Any, vector: Any, rows: Any, signature: Any
) -> Batch:
    wire.check_bytes(folder, "a batch's folder", ID_BYTES)
    wire.check_bytes(author, "a batch's author", DEVICE_ID_BYTES)
    wire.check_bytes(incarnation, "a batch's incarnation", INCARNATION_BYTES)
    wire.check_bytes(prev, "a batch's predecessor", ID_BYTES)
    wire.check_bytes(signature, "a batch's signature", SIGNATURE_BYTES)
    wire.check_count(rows, "a batch's entries", MAX_BATCH_ENTRIES)
    wire.check(len(rows) > 0, "a batch without an entry")
    wire.check_uint(first, "a batch's first sequence", wire.MAX_UINT - MAX_BATCH_ENTRIES)
    wire.check((first == 1) == (prev == NO_ENTRY) and first > 0, "a batch's first sequence")
    entries = _chained(FolderId(folder), author, incarnation, first, EntryId(prev), rows)
    return Batch(
        folder=FolderId(folder),
        author=DeviceId(author),
        incarnation=Incarnation(incarnation),
        vector=wire.vector_of(vector),
        entries=entries,
        signature=signature,
    )


def _chained(
    folder: FolderId, author: DeviceId, incarnation: Incarnation, first: int, prev: EntryId, rows: Any
) -> tuple[Entry, ...]:
    """The entries of one run of a chain. Its ids are ``append_metadata``'s, without serialising twice."""
    entries = []
    for sequence, row in enumerate(rows, first):
        _check_row(row)
        entry = _entry(folder, author, incarnation, sequence, prev, row)
        if sequence == 1 and row[0] == Kind.GRANT:
            genesis = _entry(NO_FOLDER, author, incarnation, sequence, prev, row)
            # The folder's id is the hash of its genesis, so that nothing else can take this place.
            entry = genesis if FolderId(genesis.id) == folder else entry
        entries.append(entry)
        prev = entry.id
    return tuple(entries)


def _entry(
    folder: FolderId, author: DeviceId, incarnation: Incarnation, sequence: int, prev: EntryId, row: Any
) -> Entry:
    kind, path, target, size, mtime_ns, executable, root, hlc, replaces, detail = row
    serialized = wire.encoded((FORMAT_VERSION, folder, author, incarnation, sequence, *row))
    wire.check(len(serialized) <= MAX_ENTRY_BYTES, "an entry's length")
    hasher = hashlib.sha3_256(serialized)
    hasher.update(prev)
    meta = Metadata(
        folder=folder,
        author=author,
        incarnation=incarnation,
        sequence=sequence,
        kind=_KINDS[kind],
        path=Path(path),
        target=target,
        size=size,
        mtime_ns=mtime_ns,
        executable=executable,
        root=RootId(root),
        hlc=Hlc(hlc),
        replaces=replaces,
        detail=detail,
    )
    return Entry(EntryId(hasher.digest()), prev, meta)


def _check_row(row: Any) -> None:
    """Types and ranges; what a kind may and may not have is for the chain's check."""
    wire.check(type(row) is tuple and len(row) == _ENTRY_FIELDS, "an entry")
    kind, path, target, size, mtime_ns, executable, root, hlc, replaces, detail = row
    is_right = (
        type(kind) is int
        and 0 <= kind < len(_KINDS)
        and type(path) is type(target) is type(root) is type(detail) is bytes
        and type(size) is type(mtime_ns) is type(hlc) is int
        and type(executable) is bool
        and type(replaces) is tuple
    )
    wire.check(is_right, "a field of an entry")
    is_within = (
        0 <= size <= wire.MAX_UINT
        and 0 <= hlc <= wire.MAX_UINT
        and _MIN_MTIME_NS <= mtime_ns <= wire.MAX_UINT
        and len(root) in (0, ID_BYTES)
        and len(replaces) <= MAX_REPLACES
    )
    wire.check(is_within, "the range of a field of an entry")
    for replaced in replaces:
        wire.check(type(replaced) is bytes and len(replaced) == ID_BYTES, "what an entry replaces")
