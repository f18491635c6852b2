# SPDX-License-Identifier: AGPL-3.0-or-later
"""Laws of chains: what an author seals is accepted, what anybody else touches is not."""

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from harp.base.errors import RemoteProtocolError
from harp.identity.device import DeviceId
from harp.sync.engine import chain, details
from harp.sync.engine.chain import Draft
from harp.sync.model import (
    MAX_BATCH_ENTRIES,
    Batch,
    ChainId,
    Entry,
    EntryId,
    FolderId,
    Hlc,
    Incarnation,
    Kind,
    Path,
    Role,
    RootId,
    append_metadata,
)
from tests.fakes.history import Replica, device_key, incarnation

ids = st.binary(min_size=32, max_size=32).map(EntryId)
devices = st.binary(min_size=32, max_size=32).map(DeviceId)
incarnations = st.binary(min_size=16, max_size=16).map(Incarnation)
chain_ids = st.builds(ChainId, devices, incarnations)
vectors = st.dictionaries(chain_ids, st.integers(1, 2**63 - 1), max_size=5)
paths = st.binary(min_size=1, max_size=60).map(Path)
clocks = st.integers(0, 2**63 - 1).map(Hlc)
times = st.integers(-(2**63), 2**63 - 1)
replaced = st.lists(ids, max_size=3).map(tuple)
names = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=60)

files = st.builds(
    Draft,
    kind=st.just(Kind.FILE),
    path=paths,
    size=st.integers(1, 2**63 - 1),
    root=ids.map(RootId),
    mtime_ns=times,
    executable=st.booleans(),
    hlc=clocks,
    replaces=replaced,
)
others = st.builds(
    Draft, kind=st.sampled_from([Kind.DIRECTORY, Kind.TOMBSTONE, Kind.FILE]), path=paths, hlc=clocks, replaces=replaced
)
symlinks = st.builds(
    Draft, kind=st.just(Kind.SYMLINK), path=paths, target=st.binary(min_size=1).filter(lambda b: b"\0" not in b)
)
cuts = st.builds(
    details.cut_detail,
    devices,
    st.dictionaries(incarnations, st.integers(1, 2**63 - 1), max_size=4),
    st.dictionaries(devices, st.binary(min_size=1, max_size=80), max_size=4),
)
grants = st.builds(details.grant_detail, devices, st.sampled_from(Role), names)
members = st.one_of(
    grants.map(lambda detail: Draft(kind=Kind.GRANT, detail=detail)),
    cuts.map(lambda detail: Draft(kind=Kind.CUT, detail=detail)),
    st.just(Draft(kind=Kind.LEAVE, detail=details.leave_detail())),
)
drafts = st.one_of(files, others, symlinks, members)

AUTHOR, STRANGER = device_key(1), device_key(2)
FOUNDER = Replica(AUTHOR, incarnation(1))
FOUNDER.found()


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    assert FOUNDER.folder
    first = draw(st.integers(2, 2**40))
    entries = chain.extended(
        draw(ids.filter(any)),
        FOUNDER.folder,
        FOUNDER.device,
        FOUNDER.incarnation,
        first,
        draw(st.lists(drafts, min_size=1)),
    )
    return chain.sealed(AUTHOR, FOUNDER.folder, FOUNDER.incarnation, draw(vectors), entries)


@given(batches())
def test_what_an_author_seals_is_accepted_and_is_a_chain(batch: Batch) -> None:
    chain.check(batch)
    prev = batch.entries[0].prev
    for sequence, entry in enumerate(batch.entries, batch.first_sequence):
        assert (entry.prev, entry.meta.sequence) == (prev, sequence)
        assert entry.id == append_metadata(prev, entry.meta)
        prev = entry.id


FIELDS = {
    "path": Path(b"elsewhere"),
    "size": 4711,
    "mtime_ns": -4711,
    "hlc": Hlc(4711),
    "root": RootId(b"another root of thirty-two bytes"),
    "replaces": (EntryId(b"another entry of thirty-two byte"),),
    "sequence": 1,
    "author": STRANGER.device_id,
    "kind": Kind.TOMBSTONE,
    "executable": True,
}


@given(batches(), st.data(), st.sampled_from(sorted(FIELDS)), st.booleans())
def test_an_entry_that_anybody_altered_is_refused(
    batch: Batch, data: st.DataObject, field: str, is_rechained: bool
) -> None:
    number = data.draw(st.integers(0, len(batch.entries) - 1))
    victim = batch.entries[number]
    assume(getattr(victim.meta, field) != FIELDS[field])
    altered = replace(victim, meta=replace(victim.meta, **{field: FIELDS[field]}))  # type: ignore[arg-type]
    entries = [*batch.entries[:number], altered, *batch.entries[number + 1 :]]
    if is_rechained:
        prev = victim.prev
        for later in range(number, len(entries)):
            meta = entries[later].meta
            entries[later] = Entry(append_metadata(prev, meta), prev, meta)
            prev = entries[later].id
    with pytest.raises(RemoteProtocolError):
        chain.check(replace(batch, entries=tuple(entries)))


@given(batches(), st.data())
def test_a_batch_whose_frame_anybody_altered_is_refused(batch: Batch, data: st.DataObject) -> None:
    bit = data.draw(st.integers(0, 511))
    signature = bytearray(batch.signature)
    signature[bit // 8] ^= 1 << bit % 8
    changed_vector = data.draw(vectors.filter(lambda vector: vector != batch.vector))
    altered = data.draw(
        st.sampled_from(
            [
                replace(batch, signature=bytes(signature)),
                replace(batch, author=STRANGER.device_id),
                replace(batch, incarnation=incarnation(2)),
                replace(batch, folder=FolderId(data.draw(ids))),
                replace(batch, vector=changed_vector),
                replace(batch, vector={**batch.vector, ChainId(STRANGER.device_id, incarnation(3)): 1}),
                replace(batch, entries=batch.entries[:-1]),
                replace(batch, entries=batch.entries[1:]),
                replace(batch, entries=(*batch.entries, batch.entries[-1])),
                replace(batch, signature=STRANGER.sign(chain.signed_bytes(batch))),
            ]
        )
    )
    with pytest.raises(RemoteProtocolError):
        chain.check(altered)


@given(st.lists(st.lists(drafts, max_size=400), max_size=12))
def test_a_split_keeps_the_order_and_the_limits_and_divides_no_change(changes: list[list[Draft]]) -> None:
    parts = chain.split(changes)

    assert [draft for part in parts for draft in part] == [draft for change in changes for draft in change]
    assert all(0 < len(part) <= MAX_BATCH_ENTRIES for part in parts)
    ends, length = set(), 0
    for change in changes:
        length += len(change)
        ends.add(length)
    total = 0
    for part in parts:
        total += len(part)
        assert total in ends


@given(devices, st.sampled_from(Role), names)
def test_a_grant_reads_as_it_was_written(device: DeviceId, role: Role, name: str) -> None:
    assume(len(name.encode()) <= 255)
    assert details.parse_grant(details.grant_detail(device, role, name)) == details.Grant(device, role, name)


@given(cuts)
def test_a_cut_has_one_form(detail: bytes) -> None:
    cut = details.parse_cut(detail)
    assert details.cut_detail(cut.device, cut.last, cut.sealed_secrets) == detail


@given(st.one_of(st.binary(max_size=200), cuts, grants), st.data())
def test_any_other_bytes_are_refused_as_the_peers_fault_or_mean_what_they_say(
    garbage: bytes, data: st.DataObject
) -> None:
    if garbage and data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(garbage) - 1))
        garbage = garbage[:at] + data.draw(st.binary(max_size=3)) + garbage[at + 1 :]
    for kind in (Kind.GRANT, Kind.CUT, Kind.APPROVE, Kind.LEAVE):
        try:
            details.check_detail(kind, garbage)
        except RemoteProtocolError:
            continue
        if kind is Kind.CUT:
            cut = details.parse_cut(garbage)
            assert details.cut_detail(cut.device, cut.last, cut.sealed_secrets) == garbage
