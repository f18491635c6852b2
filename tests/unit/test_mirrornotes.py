# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is agreed outlives a restart once it is kept, and a rename takes all below it along."""

from pathlib import Path

from harp.sync.cloud.nodes import Agreed, CloudPath, Etag, FileId, Local
from harp.sync.service.mirrornotes import KEPT_AFTER, Notes
from harp.sync.store.agreements import Agreements

ONE = Agreed(Local(False, 7, 3, 1_700_000_000_123_456_789), FileId("42"), Etag("e1"), "ab" * 32, "SGDNVm")
FOLDER = Agreed(Local(True, 8), FileId("43"), Etag("e2"))


async def test_what_is_kept_is_there_after_a_restart(tmp_path: Path) -> None:
    store = Agreements(tmp_path / "agreements.db")
    notes = Notes(store)
    notes.note(CloudPath("a"), ONE)
    notes.note(CloudPath("b"), ONE)
    notes.note(CloudPath("b"), None)
    assert Notes(store).agreed == {}
    await notes.keep()
    assert Notes(store).agreed == {"a": ONE}
    await notes.clear()
    assert Notes(store).agreed == {}
    store.close()


async def test_much_is_kept_before_the_end_and_little_is_not(tmp_path: Path) -> None:
    store = Agreements(tmp_path / "agreements.db")
    notes = Notes(store)
    for number in range(KEPT_AFTER):
        await notes.keep_some()
        assert Notes(store).agreed == {}
        notes.note(CloudPath(f"{number}"), ONE)
    await notes.keep_some()
    assert len(Notes(store).agreed) == KEPT_AFTER
    store.close()


async def test_a_folder_that_is_renamed_takes_along_what_lies_below_it_and_no_more(tmp_path: Path) -> None:
    store = Agreements(tmp_path / "agreements.db")
    notes = Notes(store)
    for path, one in {"d": FOLDER, "d/x": ONE, "dx": ONE}.items():
        notes.note(CloudPath(path), one)
    notes.rename(CloudPath("d"), CloudPath("e"))
    await notes.keep()
    assert Notes(store).agreed == {"e": FOLDER, "e/x": ONE, "dx": ONE}
    store.close()
