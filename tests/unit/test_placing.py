# SPDX-License-Identifier: AGPL-3.0-or-later
"""Chunks of a large file: those on this disk are copied, zeros are everywhere, only the rest is missing."""

import random
from pathlib import Path as FilePath

from harp.sync.engine import manifest
from harp.sync.model import MAX_CHUNK, ChunkRef, RootId
from harp.sync.service import catalog
from harp.sync.service.assembly import Assembly, Deliveries
from harp.sync.service.placing import Placing
from harp.sync.service.shelf import Shelf
from tests.fakes.replicas import AtOnce, Device

CONTENT = random.Random(3).randbytes(1_500_000)


def begun(device: Device, refs: list[ChunkRef]) -> Assembly:
    temp = device.replica.staging.temp("made")
    return Assembly(temp, sum(ref.size for ref in refs), device.replica.keys, RootId(b"r" * 32))


def placing(device: Device) -> Placing:
    return Placing(device.replica, AtOnce(), Deliveries(device.replica.keys, Shelf()), lambda event: None)


def chunks(device: Device, name: str) -> list[ChunkRef]:
    (entry,) = device.replica.heads(device.place(name))
    found = catalog.chunks(device.replica.places, entry.meta.root, entry.meta.size)
    return [ChunkRef(id_, size) for id_, _, size in found]


def test_what_lies_here_is_copied_what_does_not_is_missing_and_zeros_are_neither(tmp_path: FilePath) -> None:
    anna = Device(tmp_path / "anna", 1).found()
    anna.put("source", CONTENT)
    anna.looks()
    known = chunks(anna, "source")
    zeros = ChunkRef(manifest.chunk_id(bytes(MAX_CHUNK), anna.replica.keys), MAX_CHUNK)
    unknown = ChunkRef(manifest.chunk_id(b"elsewhere", anna.replica.keys), 9)
    made, places = begun(anna, [*known, zeros, unknown]), placing(anna)
    places.place(made, [*known, zeros, unknown])
    places.collect(made)
    assert made.missing == {unknown.id: unknown}
    assert made.done_bytes == len(CONTENT) + MAX_CHUNK
    assert places.local_bytes == len(CONTENT)
    buffer = memoryview(bytearray(len(CONTENT)))
    made.temp.read_at(0, buffer)
    assert bytes(buffer) == CONTENT


def test_a_source_that_changed_under_its_copy_is_missing_after_all(tmp_path: FilePath) -> None:
    anna = Device(tmp_path / "anna", 1).found()
    anna.put("source", CONTENT)
    anna.looks()
    known = chunks(anna, "source")
    made, places = begun(anna, known), placing(anna)
    anna.put("source", CONTENT[::-1])
    places.place(made, known)
    places.collect(made)
    assert made.missing.keys() == {ref.id for ref in known}
    assert made.done_bytes == 0
