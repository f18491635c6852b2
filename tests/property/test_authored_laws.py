# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whatever a device says is accepted by its peers: one entry that they refuse would end its chain for good."""

from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from harp.identity.device import DeviceId
from harp.sync.engine import authoring, chain, details
from harp.sync.engine.authoring import Observed
from harp.sync.engine.chain import Draft
from harp.sync.folder import names
from harp.sync.model import (
    MAX_NAME_BYTES,
    MAX_PATH_BYTES,
    MAX_REPLACES,
    NO_ENTRY,
    Batch,
    EntryId,
    FileKind,
    FolderId,
    Hlc,
    Incarnation,
    Kind,
    OnDisk,
    Path,
    RootId,
    Stat,
)
from harp.sync.protocol import batchform
from tests.fakes.history import device_key, incarnation

FOLDER, AUTHOR, CHAIN = FolderId(b"f" * 32), device_key(1), incarnation(1)

lengths = st.one_of(st.integers(1, MAX_PATH_BYTES), st.integers(MAX_PATH_BYTES - 2, MAX_PATH_BYTES))
paths = st.builds(
    lambda length, part: Path(b"/".join([b"n" * part] * 128)[:length].rstrip(b"/")),
    lengths,
    st.integers(40, MAX_NAME_BYTES),
)
targets = lengths.map(lambda length: b"t" * length)
counts = st.one_of(st.integers(0, 3 * MAX_REPLACES), st.integers(MAX_REPLACES - 2, MAX_REPLACES + 2))
many = counts.map(lambda count: tuple(EntryId(number.to_bytes(32, "big")) for number in range(count)))
times = st.integers(-(2**63), 2**63 - 1)
sizes = st.integers(1, 2**63 - 1)
stats = st.one_of(
    st.builds(Stat, st.just(FileKind.FILE), sizes, times, times, times, st.booleans()),
    st.builds(Stat, st.just(FileKind.SYMLINK), st.integers(0, 4096), times, times, times, st.just(False)),
    st.builds(Stat, st.just(FileKind.DIRECTORY), st.just(0), times, times, times, st.just(False)),
)


def accepted(drafts: list[Draft]) -> list[Batch]:
    """The batches as a peer reads them; it raises where it would refuse them."""
    read, prev, first = [], NO_ENTRY, 1
    for part in chain.split([drafts]):
        entries = chain.extended(prev, FOLDER, AUTHOR.device_id, CHAIN, first, part)
        batch = batchform.decode_batch(batchform.encode_batch(chain.sealed(AUTHOR, FOLDER, CHAIN, {}, entries)))
        chain.check(batch)
        for entry in batch.entries:
            if entry.meta.kind.is_about_path:
                names.check(entry.meta.path)
        read.append(batch)
        prev, first = entries[-1].id, first + len(entries)
    return read


@settings(max_examples=300)
@given(paths, st.none() | stats, st.none() | stats, targets, many, st.integers(0, 2**47))
def test_what_is_said_of_a_change_on_the_disk_is_accepted(
    path: Path, before: Stat | None, after: Stat | None, target: bytes, lay: tuple[EntryId, ...], now_ms: int
) -> None:
    def root(stat: Stat) -> RootId:
        return RootId(b"r" * 32) if stat.kind is FileKind.FILE else RootId(b"")

    def link(stat: Stat) -> bytes:
        return target if stat.kind is FileKind.SYMLINK else b""

    drafts = authoring.changed(
        path,
        None if before is None else OnDisk(before, lay, root(before), b"another"),
        None if after is None else Observed(path, after, root(after), link(after)),
        (),
        (),
        (),
        now_ms=now_ms,
    )
    said = [entry.meta for batch in accepted(drafts) for entry in batch.entries]
    if drafts and before is not None:
        assert {id_ for meta in said for id_ in meta.replaces} == set(lay), "and nothing of what lay there is forgotten"
    assert sum(meta.kind is not Kind.TOMBSTONE for meta in said) == (bool(drafts) and after is not None)


@settings(max_examples=300)
@given(paths, targets, many)
def test_a_symlink_in_place_of_many_versions_is_accepted(
    path: Path, target: bytes, replaced: tuple[EntryId, ...]
) -> None:
    link = Draft(kind=Kind.SYMLINK, path=path, target=target, hlc=Hlc(1))
    said = [entry.meta for batch in accepted(authoring.in_place_of(replaced, link)) for entry in batch.entries]
    assert [id_ for meta in said for id_ in meta.replaces] == list(replaced)
    assert [meta.kind for meta in said] == [Kind.SYMLINK] + [Kind.TOMBSTONE] * (len(said) - 1)


def _numbered(count: int, length: int) -> list[bytes]:
    return [number.to_bytes(length, "big") for number in range(1, count + 1)]


chains = st.builds(
    lambda count, most: {Incarnation(key): most - n for n, key in enumerate(_numbered(count, 16))},
    st.integers(0, 1024),
    st.integers(1024, 2**63 - 1),
)
secrets = st.builds(
    lambda count, length: {DeviceId(key): b"s" * length for key in _numbered(count, 32)},
    st.integers(0, 1500),
    st.integers(1, details.MAX_SEALED_BYTES),
)


@settings(max_examples=100, deadline=None)
@given(chains, secrets)
def test_a_cut_of_whomever_in_however_large_a_folder_is_accepted(
    last: Mapping[Incarnation, int], sealed: Mapping[DeviceId, bytes]
) -> None:
    device = device_key(2).device_id
    said = details.cut_details(device, last, sealed)
    accepted([Draft(kind=Kind.CUT, hlc=Hlc(1), detail=detail) for detail in said])
    first, *others = map(details.parse_cut, said)
    assert first.device == device
    assert all((cut.device, cut.last) == (details.NOBODY, {}) for cut in others)
    secrets = [item for cut in (first, *others) for item in cut.sealed_secrets.items()]
    assert secrets == sorted(sealed.items()), "each member has it once"
    assert first.last.items() <= last.items()
    left_out = [sequence for key, sequence in last.items() if key not in first.last]
    assert len(first.last) == len(last) or len(first.last) >= 400
    assert max(left_out, default=0) <= min(first.last.values(), default=0), "and what it had most of stays"
