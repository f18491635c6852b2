# SPDX-License-Identifier: AGPL-3.0-or-later
"""Anything that one device could rightly say to another, for hypothesis to choose from."""

from hypothesis import strategies as st

from harp.identity.device import DeviceId
from harp.sync.model import (
    MAX_CHUNK,
    NO_ENTRY,
    Batch,
    ChainId,
    ChunkId,
    ChunkRef,
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
    append_metadata,
)
from harp.sync.protocol import messages

ids = st.binary(min_size=32, max_size=32)
folders = ids.map(FolderId)
entry_ids = ids.map(EntryId)
uints = st.integers(0, 2**63 - 1)
u32s = st.integers(0, 2**32 - 1)
texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=60)
incarnations = st.binary(min_size=16, max_size=16).map(Incarnation)
chains = st.builds(ChainId, ids.map(DeviceId), incarnations)
vectors = st.dictionaries(chains, st.integers(1, 2**63 - 1), max_size=5)
written = st.lists(st.binary(min_size=1, max_size=80), max_size=4).map(tuple)
wanted = st.lists(
    st.builds(messages.Wanted, u32s, st.sampled_from(messages.What), ids), max_size=6, unique_by=lambda ask: ask.request
).map(tuple)
chunks = st.lists(st.builds(ChunkRef, ids.map(ChunkId), st.integers(1, MAX_CHUNK)), max_size=6).map(tuple)
roots = st.one_of(st.just(b""), ids).map(RootId)

hellos = st.tuples(st.integers(1, 255), st.integers(1, 255), texts, texts, st.integers(0, 65535), uints).map(
    lambda row: messages.Hello(min(row[:2]), max(row[:2]), *row[2:])
)

about_folders: dict[type[messages.FolderMessage], st.SearchStrategy[messages.FolderMessage]] = {
    messages.State: st.builds(messages.State, folders, vectors, st.booleans(), uints, uints),
    messages.Proof: st.builds(messages.Proof, folders, written),
    messages.Get: st.builds(messages.Get, folders, vectors),
    messages.Batches: st.builds(messages.Batches, folders, written),
    messages.Content: st.builds(
        messages.Content,
        folders,
        st.lists(st.tuples(ids.map(ChunkId), st.binary(min_size=1, max_size=60)), max_size=4).map(tuple),
    ),
    messages.Ask: st.builds(messages.Ask, folders, wanted),
    messages.Offer: st.builds(messages.Offer, folders, u32s, uints, chunks),
    messages.OfferEnd: st.builds(messages.OfferEnd, folders, u32s, roots),
    messages.Forked: st.builds(
        messages.Forked, folders, st.binary(min_size=1, max_size=80), st.binary(min_size=1, max_size=80)
    ),
}

about_links: dict[type[messages.LinkMessage], st.SearchStrategy[messages.LinkMessage]] = {
    messages.Hello: hellos,
    messages.Cancel: st.builds(messages.Cancel, st.lists(u32s, max_size=6).map(tuple)),
    messages.Addresses: st.builds(
        messages.Addresses,
        st.lists(st.tuples(ids.map(DeviceId), st.lists(texts, max_size=3).map(tuple)), max_size=3).map(tuple),
    ),
    messages.Ping: st.builds(messages.Ping, uints),
    messages.Pong: st.builds(messages.Pong, uints),
    messages.Close: st.builds(messages.Close, st.integers(0, 255), texts),
    messages.Join: st.builds(messages.Join, ids, texts),
    messages.Welcome: st.builds(
        messages.Welcome, folders, texts, st.sampled_from(Role), ids, st.lists(ids, max_size=3).map(tuple), written
    ),
}

any_message: st.SearchStrategy[messages.Message] = st.one_of(*about_folders.values(), *about_links.values())


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    """A batch whose ids are right, and whose signature is 64 bytes of anything."""
    folder, author, incarnation = draw(folders), DeviceId(draw(ids)), draw(incarnations)
    first = draw(st.one_of(st.just(1), st.integers(2, 2**40)))
    prev = NO_ENTRY if first == 1 else draw(entry_ids.filter(lambda id: id != NO_ENTRY))
    entries = []
    for sequence in range(first, first + draw(st.integers(1, 4))):
        meta = Metadata(
            folder=folder,
            author=author,
            incarnation=incarnation,
            sequence=sequence,
            kind=draw(st.sampled_from(Kind)),
            path=Path(draw(st.binary(max_size=40))),
            target=draw(st.binary(max_size=10)),
            size=draw(uints),
            mtime_ns=draw(st.integers(-(2**63), 2**63 - 1)),
            executable=draw(st.booleans()),
            root=draw(roots),
            hlc=Hlc(draw(uints)),
            replaces=tuple(draw(st.lists(entry_ids, max_size=3))),
            detail=draw(st.binary(max_size=20)),
        )
        entries.append(Entry(append_metadata(prev, meta), prev, meta))
        prev = entries[-1].id
    return Batch(
        folder=folder,
        author=author,
        incarnation=incarnation,
        vector=draw(vectors),
        entries=tuple(entries),
        signature=draw(st.binary(min_size=64, max_size=64)),
    )
