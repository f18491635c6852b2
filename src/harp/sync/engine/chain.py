# SPDX-License-Identifier: AGPL-3.0-or-later
"""The hash chain of one author in one folder: how entries are chained, sealed into a signed batch, and checked.

A batch's vector says what its author had merged. It names the author's own chain with exactly the sequence that the
batch extends, and leaves it out where the batch is the chain's first: so "the vector is covered" implies that the
chain has no gap, and a signature over the vector is one over the place in the chain too.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cbor2

from harp.base.errors import LocalProtocolError, RemoteProtocolError
from harp.identity.device import DEVICE_ID_BYTES, DeviceId, DeviceKey, is_signed_by
from harp.sync.engine import details
from harp.sync.engine.form import check_form, size_bound
from harp.sync.model import (
    ID_BYTES,
    INCARNATION_BYTES,
    MAX_BATCH_ENTRIES,
    MAX_ENTRY_BYTES,
    MAX_REPLACES,
    NO_ENTRY,
    NO_FOLDER,
    Batch,
    ChainId,
    Entry,
    EntryId,
    FolderId,
    Hlc,
    Incarnation,
    Kind,
    Metadata,
    Path,
    Role,
    RootId,
    Vector,
    append_metadata,
)

MAX_VECTOR_CHAINS = 4096
TARGET_BATCH_BYTES = 300 * 1024
"""What the entries of one batch may take, so that with the longest vector it still fits into half a frame."""

_SIGNED_PREFIX = b"harp batch v1"
_NO_PATH, _NO_ROOT, _NO_CLOCK = Path(b""), RootId(b""), Hlc(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An entry that its author has not yet chained: :class:`Metadata` without a place."""

    kind: Kind
    path: Path = _NO_PATH
    target: bytes = b""
    size: int = 0
    mtime_ns: int = 0
    executable: bool = False
    root: RootId = _NO_ROOT
    hlc: Hlc = _NO_CLOCK
    replaces: tuple[EntryId, ...] = ()
    detail: bytes = b""

    def placed(self, folder: FolderId, author: DeviceId, incarnation: Incarnation, sequence: int) -> Metadata:
        """The metadata of this draft at ``sequence`` of that chain."""
        return Metadata(
            folder=folder,
            author=author,
            incarnation=incarnation,
            sequence=sequence,
            kind=self.kind,
            path=self.path,
            target=self.target,
            size=self.size,
            mtime_ns=self.mtime_ns,
            executable=self.executable,
            root=self.root,
            hlc=self.hlc,
            replaces=self.replaces,
            detail=self.detail,
        )


def extended(
    prev: EntryId,
    folder: FolderId,
    author: DeviceId,
    incarnation: Incarnation,
    first_sequence: int,
    drafts: Iterable[Draft],
) -> tuple[Entry, ...]:
    """``drafts`` chained upon ``prev`` (:data:`NO_ENTRY` where ``first_sequence`` is 1), one sequence each."""
    entries = []
    for sequence, draft in enumerate(drafts, first_sequence):
        meta = draft.placed(folder, author, incarnation, sequence)
        entry = Entry(append_metadata(prev, meta), prev, meta)
        entries.append(entry)
        prev = entry.id
    return tuple(entries)


def sealed(
    key: DeviceKey, folder: FolderId, incarnation: Incarnation, vector: Vector, entries: tuple[Entry, ...]
) -> Batch:
    """``entries`` signed by ``key``, with ``vector`` (what was merged before the first of them) made upon.

    The author's own chain need not be in ``vector``: it is set to what the batch extends. Raises
    :class:`LocalProtocolError` for a batch that no peer would accept because of its length or its author.
    """
    if not 0 < len(entries) <= MAX_BATCH_ENTRIES:
        raise LocalProtocolError(f"a batch has 1 to {MAX_BATCH_ENTRIES} entries, not {len(entries)}")
    if any(entry.meta.author != key.device_id or entry.meta.incarnation != incarnation for entry in entries):
        raise LocalProtocolError("a device signs its own entries only")
    own = ChainId(key.device_id, incarnation)
    made_upon = {chain: sequence for chain, sequence in vector.items() if sequence and chain != own}
    if entries[0].meta.sequence > 1:
        made_upon[own] = entries[0].meta.sequence - 1
    if len(made_upon) > MAX_VECTOR_CHAINS:
        raise LocalProtocolError(f"a vector has at most {MAX_VECTOR_CHAINS} chains")
    draft = Batch(
        folder=folder,
        author=key.device_id,
        incarnation=incarnation,
        vector=made_upon,
        entries=entries,
        signature=b"",
    )
    return Batch(
        folder=folder,
        author=key.device_id,
        incarnation=incarnation,
        vector=made_upon,
        entries=entries,
        signature=key.sign(signed_bytes(draft)),
    )


def signed_bytes(batch: Batch) -> bytes:
    """What a batch's signature is over: a prefix and the SHA3-256 of the CBOR array that names all else in it."""
    vector = sorted((author, incarnation, sequence) for (author, incarnation), sequence in batch.vector.items())
    first, last = batch.entries[0], batch.entries[-1]
    named = (
        batch.folder,
        batch.author,
        batch.incarnation,
        first.meta.sequence,
        first.prev,
        tuple(vector),
        len(batch.entries),
        last.id,
    )
    return _SIGNED_PREFIX + hashlib.sha3_256(cbor2.dumps(named)).digest()


def genesis(key: DeviceKey, incarnation: Incarnation, nonce: bytes, name: str, hlc: Hlc) -> Batch:
    """The founder's first batch: one entry that makes it owner, and whose id is the new folder's.

    ``nonce`` is 32 random bytes. The batch's folder is the new one, the metadata's :data:`NO_FOLDER`. Raises
    :class:`LocalProtocolError` for a nonce or a name that no peer would accept.
    """
    draft = Draft(kind=Kind.GRANT, hlc=hlc, detail=details.genesis_detail(key.device_id, name, nonce))
    entries = extended(NO_ENTRY, NO_FOLDER, key.device_id, incarnation, 1, [draft])
    return sealed(key, FolderId(entries[0].id), incarnation, {}, entries)


def is_genesis(entry: Entry) -> bool:
    """Whether ``entry`` founds the folder that its own id names."""
    meta = entry.meta
    return meta.folder == NO_FOLDER and meta.kind is Kind.GRANT and meta.sequence == 1 and entry.prev == NO_ENTRY


def split(changes: Iterable[Sequence[Draft]]) -> list[list[Draft]]:
    """``changes`` in their order, in parts that each make one batch.

    A part has at most :data:`MAX_BATCH_ENTRIES` entries and about :data:`TARGET_BATCH_BYTES`. The drafts of one change
    stay together, since what replaces a loser and what gives it a name of its own must arrive as one; only a change
    that is too long for any batch is divided. Raises :class:`LocalProtocolError` for a draft that is too long for an
    entry: peers would take nothing of this chain any more.
    """
    parts: list[list[Draft]] = []
    part: list[Draft] = []
    part_bytes = 0
    for change in changes:
        for piece in _pieces(change):
            piece_bytes = sum(map(_draft_bytes, piece))
            if part and (len(part) + len(piece) > MAX_BATCH_ENTRIES or part_bytes + piece_bytes > TARGET_BATCH_BYTES):
                parts.append(part)
                part, part_bytes = [], 0
            part.extend(piece)
            part_bytes += piece_bytes
    return [*parts, part] if part else parts


def check(batch: Batch) -> None:
    """Whether every word of ``batch`` is its author's and within the limits, whatever anybody else says.

    Raises :class:`RemoteProtocolError` that names what is wrong. Says nothing of the author's right to write, nor of
    what came before the batch. The types of the fields are the decoder's to check.
    """
    if not 0 < len(batch.entries) <= MAX_BATCH_ENTRIES:
        raise RemoteProtocolError(f"a batch has 1 to {MAX_BATCH_ENTRIES} entries, not {len(batch.entries)}")
    _check_identities(batch)
    _check_vector(batch)
    if is_genesis(batch.entries[0]):
        _check_genesis(batch)
    else:
        _check_entries(batch)
    if not is_signed_by(batch.author, signed_bytes(batch), batch.signature):
        raise RemoteProtocolError("a batch is not signed by its author")


def _pieces(change: Sequence[Draft]) -> Iterable[Sequence[Draft]]:
    if len(change) <= MAX_BATCH_ENTRIES and sum(map(_draft_bytes, change)) <= TARGET_BATCH_BYTES:
        return [change] if change else []
    return [[draft] for draft in change]


def _draft_bytes(draft: Draft) -> int:
    bound = size_bound(draft.path, draft.target, draft.detail, len(draft.replaces))
    if bound > MAX_ENTRY_BYTES or len(draft.replaces) > MAX_REPLACES:
        raise LocalProtocolError(f"an entry of {bound} bytes that replaces {len(draft.replaces)} is too long")
    return bound


def _check_identities(batch: Batch) -> None:
    if len(batch.folder) != ID_BYTES or batch.folder == NO_FOLDER:
        raise RemoteProtocolError("a batch names no folder")
    if len(batch.author) != DEVICE_ID_BYTES or len(batch.incarnation) != INCARNATION_BYTES:
        raise RemoteProtocolError("a batch names no chain")
    first = batch.entries[0]
    if first.meta.sequence < 1 or (first.meta.sequence == 1) != (first.prev == NO_ENTRY):
        raise RemoteProtocolError("a chain starts with sequence 1 and no predecessor, and nowhere else")


def _check_vector(batch: Batch) -> None:
    if len(batch.vector) > MAX_VECTOR_CHAINS:
        raise RemoteProtocolError(f"a vector has at most {MAX_VECTOR_CHAINS} chains, not {len(batch.vector)}")
    if batch.vector.get(batch.chain, 0) != batch.first_sequence - 1:
        raise RemoteProtocolError("a batch's vector names another sequence of its own chain than the one it extends")
    for (author, incarnation), sequence in batch.vector.items():
        if len(author) != DEVICE_ID_BYTES or len(incarnation) != INCARNATION_BYTES:
            raise RemoteProtocolError("a batch's vector names no chain")
        if not 1 <= sequence <= details.MAX_NUMBER:
            raise RemoteProtocolError("a batch's vector holds a sequence that none can have")


def _check_genesis(batch: Batch) -> None:
    """One entry, upon nothing, that makes its author and nobody else owner of the folder it names."""
    entry = batch.entries[0]
    if len(batch.entries) != 1 or batch.vector:
        raise RemoteProtocolError("a genesis stands alone in its batch")
    _check_entry(batch, entry, NO_FOLDER, 1, NO_ENTRY)
    grant = details.parse_grant(entry.meta.detail)
    if grant.device != batch.author or grant.role is not Role.OWNER or not grant.nonce:
        raise RemoteProtocolError("a genesis makes its author owner, with a nonce")
    if FolderId(entry.id) != batch.folder:
        raise RemoteProtocolError("a genesis founds another folder than the one that its batch names")


def _check_entries(batch: Batch) -> None:
    prev = batch.entries[0].prev
    for sequence, entry in enumerate(batch.entries, batch.first_sequence):
        _check_entry(batch, entry, batch.folder, sequence, prev)
        if entry.meta.kind is Kind.GRANT and details.parse_grant(entry.meta.detail).nonce:
            raise RemoteProtocolError("a grant has a genesis's nonce")
        prev = entry.id


def _check_entry(batch: Batch, entry: Entry, folder: FolderId, sequence: int, prev: EntryId) -> None:
    meta = entry.meta
    if meta.sequence != sequence:
        raise RemoteProtocolError(f"a batch has sequence {meta.sequence} where {sequence} follows")
    if meta.folder != folder or meta.author != batch.author or meta.incarnation != batch.incarnation:
        raise RemoteProtocolError(f"entry {sequence} is of another folder or chain than its batch")
    if entry.prev != prev:
        raise RemoteProtocolError(f"entry {sequence} does not follow the entry before it")
    check_form(meta)
    if entry.id != append_metadata(prev, meta):
        raise RemoteProtocolError(f"entry {sequence} has an id that is not its hash")
