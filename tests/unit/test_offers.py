# SPDX-License-Identifier: AGPL-3.0-or-later
"""A large file that is read in a helper's thread: it is said only once every one of its chunks can be served."""

import random
from pathlib import Path as FilePath

from harp.sync.model import Kind, Path
from harp.sync.service import catalog
from tests.fakes.replicas import Device


def test_a_file_is_not_taken_up_before_its_segments_are(tmp_path: FilePath) -> None:
    anna = Device(tmp_path / "anna", 1).found().rests()
    anna.put("large", random.Random(5).randbytes(5_000_000))
    observer = anna.loop.observer
    observer.scan()
    # It has been read by now, but what was found while reading still waits in the loop's inbox.
    assert observer.step().is_empty
    assert observer.hashing == 1
    assert not observer.can_step
    anna.rests()
    assert observer.hashing == 0
    place = anna.replica.places.get(Path(b"large"))
    assert place is not None
    (entry,) = anna.replica.heads(place)
    assert entry.meta.kind is Kind.FILE
    chunks = list(catalog.chunks(anna.replica.places, entry.meta.root, entry.meta.size))
    assert sum(size for _, _, size in chunks) == 5_000_000
    assert all(anna.replica.places.locate(chunk) for chunk, _, _ in chunks)
