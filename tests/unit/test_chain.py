# SPDX-License-Identifier: AGPL-3.0-or-later
"""Chains: founding a folder, writing batches, and every lie that a batch can tell."""

import hashlib
from collections.abc import Callable
from dataclasses import replace

import cbor2
import pytest

from harp.base.errors import LocalProtocolError, RemoteProtocolError
from harp.sync.engine import chain, details
from harp.sync.engine.chain import Draft
from harp.sync.model import (
    NO_ENTRY,
    NO_FOLDER,
    Batch,
    ChainId,
    Entry,
    EntryId,
    FolderId,
    Hlc,
    Kind,
    Metadata,
    Path,
    Role,
    append_metadata,
)
from tests.fakes.history import Replica, device_key, file_draft, incarnation

KEY, OTHER = device_key(1), device_key(2)
INCARNATION = incarnation(7)
NONCE = b"n" * 32
GENESIS = chain.genesis(KEY, INCARNATION, NONCE, "desk", Hlc(5))
FOLDER = GENESIS.folder
OWN = ChainId(KEY.device_id, INCARNATION)


def made(*drafts: Draft, vector: dict[ChainId, int] | None = None) -> Batch:
    """A batch right after the genesis."""
    prev = GENESIS.entries[-1].id
    entries = chain.extended(
        prev, FOLDER, KEY.device_id, INCARNATION, 2, drafts or [file_draft(b"a"), file_draft(b"b")]
    )
    return chain.sealed(KEY, FOLDER, INCARNATION, vector or {}, entries)


def resealed(batch: Batch) -> Batch:
    """``batch`` with a signature that is right for what it now says, as a hostile author would make it."""
    return replace(batch, signature=KEY.sign(chain.signed_bytes(batch)))


def test_a_genesis_founds_the_folder_that_its_own_id_names() -> None:
    entry = GENESIS.entries[0]

    chain.check(GENESIS)
    assert chain.is_genesis(entry)
    assert entry.meta.folder == NO_FOLDER
    assert entry.id == append_metadata(NO_ENTRY, entry.meta)
    assert bytes(GENESIS.folder) == entry.id
    assert GENESIS.vector == {}
    grant = details.parse_grant(entry.meta.detail)
    assert (grant.device, grant.role, grant.name, grant.nonce) == (KEY.device_id, Role.OWNER, "desk", NONCE)


def test_another_nonce_founds_another_folder() -> None:
    assert chain.genesis(KEY, INCARNATION, b"m" * 32, "desk", Hlc(5)).folder != FOLDER


def test_entries_follow_each_other() -> None:
    first, second = made().entries

    assert not chain.is_genesis(first)
    assert first.prev == GENESIS.entries[0].id
    assert second.prev == first.id == append_metadata(first.prev, first.meta)
    assert [first.meta.sequence, second.meta.sequence] == [2, 3]
    assert [first.meta.path, second.meta.path] == [b"a", b"b"]


def test_a_draft_keeps_every_field() -> None:
    draft = Draft(
        kind=Kind.SYMLINK,
        path=Path(b"p"),
        target=b"t",
        mtime_ns=-5,
        hlc=Hlc(9),
        replaces=(EntryId(b"i" * 32),),
    )
    (entry,) = made(draft).entries
    fields = ("kind", "path", "target", "size", "mtime_ns", "executable", "root", "hlc", "replaces", "detail")
    assert [getattr(entry.meta, name) for name in fields] == [getattr(draft, name) for name in fields]


def test_a_vector_names_its_own_chain_with_what_the_batch_extends() -> None:
    theirs = ChainId(OTHER.device_id, INCARNATION)

    assert made(vector={theirs: 4}).vector == {theirs: 4, OWN: 1}
    assert made(vector={theirs: 0, OWN: 99}).vector == {OWN: 1}
    chain.check(made(vector={theirs: 4}))


def test_the_signature_covers_everything_but_itself() -> None:
    batch = made()
    theirs = ChainId(OTHER.device_id, INCARNATION)
    others = [
        replace(batch, folder=FolderId(b"f" * 32)),
        replace(batch, author=OTHER.device_id),
        replace(batch, incarnation=incarnation(8)),
        replace(batch, vector={**batch.vector, theirs: 1}),
        replace(batch, entries=batch.entries[:1]),
        replace(batch, entries=batch.entries[1:]),
    ]
    assert len({chain.signed_bytes(other) for other in [batch, *others]}) == 7
    assert chain.signed_bytes(batch) == chain.signed_bytes(replace(batch, signature=b""))


def test_what_is_signed_is_written_down() -> None:
    early, late = sorted([ChainId(OTHER.device_id, INCARNATION), OWN])
    batch = made(vector={ChainId(OTHER.device_id, INCARNATION): 4})
    rows = [[*chain_id, batch.vector[chain_id]] for chain_id in (early, late)]
    named = [FOLDER, KEY.device_id, INCARNATION, 2, GENESIS.entries[0].id, rows, 2, batch.entries[1].id]

    assert chain.signed_bytes(batch) == b"harp batch v1" + hashlib.sha3_256(cbor2.dumps(named)).digest()


def test_a_device_signs_only_what_is_its_own_and_within_the_limits() -> None:
    batch = made()
    with pytest.raises(LocalProtocolError):
        chain.sealed(OTHER, FOLDER, INCARNATION, {}, batch.entries)
    with pytest.raises(LocalProtocolError):
        chain.sealed(KEY, FOLDER, incarnation(8), {}, batch.entries)
    with pytest.raises(LocalProtocolError):
        chain.sealed(KEY, FOLDER, INCARNATION, {}, ())
    with pytest.raises(LocalProtocolError):
        chain.sealed(KEY, FOLDER, INCARNATION, {}, batch.entries * 501)
    many = {ChainId(OTHER.device_id, incarnation(number)): 1 for number in range(chain.MAX_VECTOR_CHAINS)}
    with pytest.raises(LocalProtocolError):
        chain.sealed(KEY, FOLDER, INCARNATION, many, batch.entries)
    with pytest.raises(LocalProtocolError):
        chain.genesis(KEY, INCARNATION, b"short", "desk", Hlc(0))


def with_meta(batch: Batch, **changes: object) -> Batch:
    """The first entry says something else, its id follows."""
    first = batch.entries[0]
    meta: Metadata = replace(first.meta, **changes)  # type: ignore[arg-type]
    entry = Entry(append_metadata(first.prev, meta), first.prev, meta)
    return replace(batch, entries=(entry, *batch.entries[1:]))


def one(batch: Batch) -> Batch:
    return replace(batch, entries=batch.entries[:1])


LIES: dict[str, Callable[[Batch], Batch]] = {
    "1 to 1000 entries": lambda batch: replace(batch, entries=batch.entries * 501),
    "names no folder": lambda batch: replace(batch, folder=NO_FOLDER),
    "names no chain": lambda batch: replace(batch, author=batch.author[:31]),  # type: ignore[arg-type]
    "where 3 follows": lambda batch: replace(batch, entries=(batch.entries[0], batch.entries[0])),
    "sequence 3 where 6 follows": lambda batch: with_meta(replace(batch, vector={OWN: 4}), sequence=5),
    "another sequence of its own chain": lambda batch: replace(batch, vector={}),
    "vector names no chain": lambda batch: replace(batch, vector={**batch.vector, ChainId(OTHER.device_id, b""): 1}),  # type: ignore[arg-type]
    "sequence that none can have": lambda batch: replace(
        batch, vector={**batch.vector, ChainId(OTHER.device_id, INCARNATION): 0}
    ),
    "of another folder or chain": lambda batch: with_meta(one(batch), folder=FolderId(b"f" * 32)),
    "of another folder": lambda batch: with_meta(one(batch), author=OTHER.device_id),
    "or chain than its batch": lambda batch: with_meta(one(batch), incarnation=incarnation(8)),
    "entry 2 is of another folder": lambda batch: with_meta(one(batch), folder=NO_FOLDER),
    "does not follow the entry before": lambda batch: replace(
        batch, entries=(batch.entries[0], replace(batch.entries[1], prev=EntryId(b"p" * 32)))
    ),
    "id that is not its hash": lambda batch: replace(
        batch, entries=(batch.entries[0], replace(batch.entries[1], id=EntryId(b"p" * 32)))
    ),
    "starts with sequence 1": lambda batch: replace(one(batch), entries=(replace(batch.entries[0], prev=NO_ENTRY),)),
    "path that its kind cannot have": lambda batch: with_meta(one(batch), path=Path(b"")),
    "genesis's nonce": lambda batch: made(
        Draft(kind=Kind.GRANT, detail=details.genesis_detail(KEY.device_id, "desk", NONCE))
    ),
}


@pytest.mark.parametrize("said", LIES)
def test_a_lie_is_refused_by_name_even_if_its_author_signs_it(said: str) -> None:
    batch = made()
    chain.check(batch)
    with pytest.raises(RemoteProtocolError, match=said):
        chain.check(resealed(LIES[said](batch)))


def test_a_sequence_that_jumps_is_refused() -> None:
    batch = made()
    meta = replace(batch.entries[1].meta, sequence=9)
    jumped = Entry(append_metadata(batch.entries[0].id, meta), batch.entries[0].id, meta)
    with pytest.raises(RemoteProtocolError, match="sequence 9 where 3 follows"):
        chain.check(resealed(replace(batch, entries=(batch.entries[0], jumped))))


def test_only_the_author_can_sign() -> None:
    batch = made()
    with pytest.raises(RemoteProtocolError, match="not signed by its author"):
        chain.check(replace(batch, signature=OTHER.sign(chain.signed_bytes(batch))))
    with pytest.raises(RemoteProtocolError, match="not signed by its author"):
        chain.check(replace(batch, signature=b""))


def test_a_batch_without_entries_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="not 0"):
        chain.check(replace(made(), entries=()))


def test_a_vector_of_too_many_chains_is_refused() -> None:
    many = {ChainId(OTHER.device_id, incarnation(number)): 1 for number in range(chain.MAX_VECTOR_CHAINS)}
    with pytest.raises(RemoteProtocolError, match="at most 4096 chains"):
        chain.check(replace(made(), vector={**many, OWN: 1}))


@pytest.mark.parametrize(
    ("draft", "said"),
    [
        (Draft(kind=Kind.GRANT, detail=details.genesis_detail(OTHER.device_id, "x", NONCE)), "makes its author owner"),
        (Draft(kind=Kind.GRANT, detail=details.grant_detail(KEY.device_id, Role.OWNER, "x")), "with a nonce"),
    ],
)
def test_a_genesis_makes_its_author_owner_and_nobody_else(draft: Draft, said: str) -> None:
    entries = chain.extended(NO_ENTRY, NO_FOLDER, KEY.device_id, INCARNATION, 1, [draft])
    with pytest.raises(RemoteProtocolError, match=said):
        chain.check(chain.sealed(KEY, FolderId(entries[0].id), INCARNATION, {}, entries))


def test_a_genesis_founds_no_folder_but_its_own() -> None:
    with pytest.raises(RemoteProtocolError, match="another folder"):
        chain.check(resealed(replace(GENESIS, folder=FolderId(b"f" * 32))))


def test_a_genesis_stands_alone_and_upon_nothing() -> None:
    more = chain.extended(GENESIS.entries[0].id, FOLDER, KEY.device_id, INCARNATION, 2, [file_draft(b"a")])
    with pytest.raises(RemoteProtocolError, match="stands alone"):
        chain.check(resealed(replace(GENESIS, entries=GENESIS.entries + more)))
    with pytest.raises(RemoteProtocolError, match="stands alone"):
        chain.check(resealed(replace(GENESIS, vector={ChainId(OTHER.device_id, INCARNATION): 1})))


def test_another_device_starts_its_own_chain_without_a_genesis() -> None:
    founder, member = Replica(device_key(1)), Replica(device_key(2))
    founder.found()
    member.join(founder)
    batch = member.write(file_draft(b"a"))

    chain.check(batch)
    assert batch.entries[0].prev == NO_ENTRY
    assert batch.vector == founder.vector
    assert not chain.is_genesis(batch.entries[0])


def test_drafts_are_split_by_number_and_by_bytes() -> None:
    assert chain.split([]) == []
    small = [[file_draft(b"%d" % number)] for number in range(2500)]
    assert [len(part) for part in chain.split(small)] == [1000, 1000, 500]
    large = [[file_draft(b"p" * 4000)] for _ in range(200)]
    parts = chain.split(large)
    assert sum(map(len, parts)) == 200
    assert all(sum(len(draft.path) for draft in part) <= chain.TARGET_BATCH_BYTES for part in parts)
    assert len(parts) == 3


def test_the_drafts_of_one_change_stay_together() -> None:
    singles = [[file_draft(b"%d" % number)] for number in range(999)]
    change = [file_draft(b"loser"), file_draft(b"copy")]

    assert [len(part) for part in chain.split([*singles, change])] == [999, 2]
    assert [len(part) for part in chain.split([[file_draft(b"x")] * 1001])] == [1000, 1]


def test_what_would_be_too_long_for_an_entry_is_not_even_sealed() -> None:
    many = tuple(EntryId(number.to_bytes(32, "big")) for number in range(257))
    long = Draft(kind=Kind.SYMLINK, path=Path(b"p" * 4096), target=b"t" * 4096, replaces=many[:256])
    for draft in (long, Draft(kind=Kind.TOMBSTONE, path=Path(b"p"), replaces=many)):
        with pytest.raises(LocalProtocolError, match="too long"):
            chain.split([[draft]])
