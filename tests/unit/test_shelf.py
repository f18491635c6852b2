# SPDX-License-Identifier: AGPL-3.0-or-later
"""Content of files in the making is served until they are in the folder, also while they are moved there."""

from pathlib import Path as FilePath

import pytest

from harp.sync.engine import manifest
from harp.sync.folder.fs import Root
from harp.sync.folder.staging import Staging, Temp
from harp.sync.model import MAX_CHUNK, ChunkId, ChunkRef
from harp.sync.service.assembly import Deliveries
from harp.sync.service.shelf import Shelf

KEYS = manifest.keys(b"s" * 32)
ONE, TWO = b"one" * 1000, b"two" * 2000
BUFFER = memoryview(bytearray(MAX_CHUNK))


@pytest.fixture
def temp(tmp_path: FilePath) -> Temp:
    (tmp_path / ".harp").mkdir()
    return Staging(Root.open(str(tmp_path))).temp("film")


def ref(content: bytes) -> ChunkRef:
    return ChunkRef(manifest.chunk_id(content, KEYS), len(content))


def served(shelf: Shelf, content: bytes) -> bytes:
    return bytes(BUFFER[: shelf.read_into(ref(content).id, BUFFER)])


def test_what_was_delivered_is_served_at_once_and_after_the_file_was_finished(temp: Temp) -> None:
    shelf = Shelf()
    deliveries = Deliveries(KEYS, shelf)
    deliveries.expect(ref(ONE), temp, 0)
    deliveries.expect(ref(TWO), temp, len(ONE))
    assert served(shelf, ONE) == b""
    assert deliveries.deliver(ref(ONE).id, memoryview(bytearray(ONE)))
    assert ref(ONE).id in shelf
    assert served(shelf, ONE) == ONE
    assert served(shelf, TWO) == b""
    assert deliveries.deliver(ref(TWO).id, memoryview(bytearray(TWO)))
    temp.finish(1, False)
    assert (served(shelf, ONE), served(shelf, TWO)) == (ONE, TWO)
    deliveries.forget(temp)
    assert served(shelf, ONE) == served(shelf, TWO) == b""
    assert ref(ONE).id not in shelf


def test_what_does_not_fit_or_was_cut_off_is_not_served(temp: Temp) -> None:
    shelf = Shelf()
    temp.write_at(0, ONE)
    shelf.put(ref(ONE).id, temp, 0, len(ONE))
    assert shelf.read_into(ref(ONE).id, BUFFER[:10]) == 0
    temp.truncate(10)
    assert served(shelf, ONE) == b""


def test_a_file_that_is_closed_already_is_not_put_up(temp: Temp) -> None:
    shelf = Shelf()
    temp.close()
    shelf.put(ChunkId(b"x" * 32), temp, 0, 1)
    assert ChunkId(b"x" * 32) not in shelf
    shelf.forget(temp)
