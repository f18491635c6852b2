# SPDX-License-Identifier: AGPL-3.0-or-later
"""The observer on a real folder: what is told of twice in one turn is said once."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path as FilePath

import pytest

from harp.identity import keyring
from harp.sync.engine.guard import Limits
from harp.sync.model import Entry, Kind, Path
from harp.sync.service import opening
from harp.sync.service.author import Author
from harp.sync.service.departures import Departures
from harp.sync.service.inquiry import Inquiry
from harp.sync.service.observer import Observer
from harp.sync.service.offers import Offering
from harp.sync.service.replica import Replica
from harp.sync.service.sentry import Sentry


@pytest.fixture
def replica(tmp_path: FilePath) -> Iterator[Replica]:
    home, place = tmp_path / "home", tmp_path / "folder"
    place.mkdir()
    key = keyring.load_or_make(home)
    replica = opening.opened(home, key, opening.found(home, key, place, "Notes"))
    yield replica
    replica.ledger.close()


@pytest.fixture
def observer(replica: Replica) -> Iterator[Observer]:
    with ThreadPoolExecutor(1) as executor:
        offering = Offering(replica.root, replica.keys, replica.folder, lambda _: None, lambda _: None)
        departures = Departures(replica, Sentry(replica, Limits()), lambda: True)
        departures.settle_s = 0.0
        yield Observer(replica, executor, offering, lambda _: False, departures)


def said(replica: Replica, observer: Observer) -> list[Entry]:
    """What one turn says of what it found."""
    group = observer.step()
    observer.gone_drafts(group.lost, group)
    written, _ = Author(replica).write(group.changes, group.seen)
    return [entry for item in written for entry in item.batch.entries]


def test_an_event_and_a_scan_in_one_turn_make_one_entry(
    tmp_path: FilePath, replica: Replica, observer: Observer
) -> None:
    (tmp_path / "folder" / "list.txt").write_text("bread")
    observer.look([Path(b"list.txt")])
    observer.scan()
    [entry] = said(replica, observer)
    assert entry.meta.kind is Kind.FILE
    assert len([one for one in Inquiry(replica).history(Path(b"list.txt")) if one.is_current]) == 1


def test_what_changed_between_the_two_looks_is_looked_at_in_the_next_turn(
    tmp_path: FilePath, replica: Replica, observer: Observer
) -> None:
    file = tmp_path / "folder" / "list.txt"
    file.write_text("bread")
    observer.look([Path(b"list.txt")])
    observer.scan()
    [first] = said(replica, observer)
    file.write_text("bread and milk")
    assert observer.can_step
    [second] = said(replica, observer)
    assert second.meta.replaces == (first.id,)


def test_a_deletion_told_of_twice_is_one_tombstone(tmp_path: FilePath, replica: Replica, observer: Observer) -> None:
    file = tmp_path / "folder" / "list.txt"
    file.write_text("bread")
    observer.scan()
    said(replica, observer)
    while observer.can_step:
        observer.step()
    file.unlink()
    observer.look([Path(b"list.txt")])
    observer.scan()
    [entry] = said(replica, observer)
    assert entry.meta.kind is Kind.TOMBSTONE
