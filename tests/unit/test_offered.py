# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files that are offered while they are read: their chunks are awaited, adopted by their entry, or dropped."""

from pathlib import Path as FilePath

import pytest

from harp.sync.engine import manifest
from harp.sync.engine.manifest import Builder
from harp.sync.model import ChunkId, ChunkRef, RootId
from harp.sync.protocol.foldermessages import Offer, OfferEnd
from harp.sync.service import offered
from harp.sync.service.assembly import Assembly, Deliveries
from harp.sync.service.offered import OfferedFiles
from harp.sync.service.placing import Placing
from harp.sync.service.shelf import Shelf
from tests.fakes.history import device_key
from tests.fakes.replicas import AtOnce, Device, office

BEN, CLEO = device_key(2).device_id, device_key(3).device_id


@pytest.fixture
def anna(tmp_path: FilePath) -> Device:
    return office(tmp_path)[0]


@pytest.fixture
def dropped() -> list[Assembly]:
    return []


@pytest.fixture
def files(anna: Device, dropped: list[Assembly]) -> OfferedFiles:
    deliveries = Deliveries(anna.replica.keys, Shelf())
    return OfferedFiles(anna.replica, Placing(anna.replica, AtOnce(), deliveries, lambda _: None), dropped.append)


def refs(anna: Device) -> tuple[ChunkRef, ...]:
    contents = [bytes([number]) * 70_000 for number in range(3)]
    return tuple(ChunkRef(manifest.chunk_id(content, anna.replica.keys), len(content)) for content in contents)


def root_of(anna: Device, *chunks: ChunkRef) -> RootId:
    builder = Builder(anna.replica.keys)
    for chunk in chunks:
        builder.add(chunk)
    return builder.finish().root


def test_its_chunks_are_missing_at_once_and_its_entry_adopts_it(
    anna: Device, files: OfferedFiles, dropped: list[Assembly]
) -> None:
    chunks, folder = refs(anna), anna.replica.folder
    files.heard(BEN, Offer(folder, 1, 210_000, chunks[:2]))
    files.heard(BEN, Offer(folder, 1, 210_000, chunks[2:]))
    ((device, assembly),) = files
    assert device == BEN
    assert list(assembly.missing.values()) == list(chunks)
    root = root_of(anna, *chunks)
    assert files.adopted(root) is None
    files.ended(BEN, OfferEnd(folder, 1, root), is_known=False)
    assert files.adopted(root) is assembly
    assert (list(files), dropped) == ([], [])


@pytest.mark.parametrize("ending", ["void", "lie", "known", "lost", "unwritten", "late"])
def test_what_nobody_will_want_is_dropped(
    anna: Device, files: OfferedFiles, dropped: list[Assembly], ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunks, folder = refs(anna), anna.replica.folder
    files.heard(BEN, Offer(folder, 1, 210_000, chunks))
    root = root_of(anna, *chunks)
    files.lost(CLEO)
    files.ended(CLEO, OfferEnd(folder, 1, root), is_known=False)
    assert dropped == []
    match ending:
        case "void":
            files.ended(BEN, OfferEnd(folder, 1, RootId(b"")), is_known=False)
        case "lie":
            files.ended(BEN, OfferEnd(folder, 1, RootId(b"x" * 32)), is_known=False)
        case "known":
            files.ended(BEN, OfferEnd(folder, 1, root), is_known=True)
        case "lost":
            files.lost(BEN)
        case "unwritten":
            files.unwritten(chunks[1].id)
        case _:
            monkeypatch.setattr(offered, "VOID_OFFER_S", -1.0)
            files.ended(BEN, OfferEnd(folder, 1, root), is_known=False)
            files.step(now=1e12)
    assert len(dropped) == 1
    assert list(files) == []


def test_only_so_many_are_taken_up(anna: Device, files: OfferedFiles) -> None:
    for number in range(offered.MAX_OFFERED + 2):
        files.heard(BEN, Offer(anna.replica.folder, number, 210_000, refs(anna)[:1]))
    assert len(list(files)) == offered.MAX_OFFERED


def test_a_file_that_goes_on_beyond_its_size_is_dropped(
    anna: Device, files: OfferedFiles, dropped: list[Assembly]
) -> None:
    folder, chunks = anna.replica.folder, refs(anna)
    files.heard(BEN, Offer(folder, 1, 140_000, chunks[:2]))
    assert dropped == []
    files.heard(BEN, Offer(folder, 1, 140_000_000, chunks[2:]))
    assert len(dropped) == 1
    # A chunk but the last has 64 KiB at least: a million small ones would be a note each.
    crumbs = tuple(ChunkRef(ChunkId(number.to_bytes(32, "big")), 1) for number in range(4))
    files.heard(BEN, Offer(folder, 2, 140_000, crumbs))
    assert len(dropped) == 2
    files.heard(BEN, Offer(folder, 3, 17 * 2**30, chunks))
    assert list(files) == []
