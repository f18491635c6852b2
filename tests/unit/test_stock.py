# SPDX-License-Identifier: AGPL-3.0-or-later
"""What can be served before it is in the folder, and what lies in it."""

from pathlib import Path as FilePath

from harp.sync.engine import manifest
from harp.sync.model import MAX_CHUNK, ChunkId, Role, RootId
from harp.sync.service.stock import Stock
from tests.fakes.replicas import office


def test_what_is_in_memory_in_a_file_in_the_making_or_in_the_folder_can_be_served(tmp_path: FilePath) -> None:
    (anna,) = office(tmp_path)
    stock, keys = Stock(anna.replica.places), anna.replica.keys
    buffer = memoryview(bytearray(MAX_CHUNK))
    small, part, here = b"small", b"part" * 100, b"here"
    ids = [manifest.chunk_id(content, keys) for content in (small, part, here)]
    assert not any(stock.holds(id_) for id_ in ids)
    stock.larder.put(RootId(ids[0]), small)
    temp = anna.replica.staging.temp("film")
    temp.write_at(0, part)
    stock.shelf.put(ids[1], temp, 0, len(part))
    anna.put("note", here)
    anna.looks()
    assert all(stock.holds(id_) for id_ in ids)
    assert [stock.read_into(id_, buffer) for id_ in ids] == [len(small), len(part), 0]
    assert bytes(buffer[: stock.read_into(ids[1], buffer)]) == part
    assert not stock.holds(ChunkId(b"x" * 32))
    assert Role.OWNER is anna.replica.role
