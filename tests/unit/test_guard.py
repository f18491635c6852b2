# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the guard lets pass and what it holds, by example."""

import pytest

from harp.sync.engine.guard import MAX_ANCESTORS, Guard, Hold, Limits, Losses, Pass, held_id, is_reverted, losses
from harp.sync.engine.merge import Content, content
from harp.sync.model import Entry, Kind
from tests.fakes.tree import directory, head, tombstone

ONE, TWO = (content(head(b"f", bytes_=held).meta) for held in (b"one", b"two"))


def is_held(lost: int, files: int, history: list[tuple[float, int]] | None = None, *, now: float = 1000) -> bool:
    return isinstance(Guard().verdict(history or [], files, Losses(removed=lost), now=now), Hold)


@pytest.mark.parametrize(
    ("lost", "files", "held"),
    [
        (100, 300, False),
        (101, 300, True),
        (101, 404, False),
        (102, 404, True),
        (100, 101, False),
        (9, 9, False),
        (9, 10, False),
        (10, 10, True),
        (100, 100, True),
        (0, 0, False),
    ],
)
def test_the_limits(lost: int, files: int, held: bool) -> None:
    assert is_held(lost, files) is held


def test_ten_minutes_are_taken_together_and_then_forgotten() -> None:
    assert is_held(1, 300, [(900, 100)])
    assert is_held(1, 300, [(401, 100)])
    assert not is_held(1, 300, [(400, 100)])
    assert Guard().recent([(400, 5), (401, 6)], now=1000) == [(401, 6)]


def test_files_that_go_back_in_time_count_like_removed_ones() -> None:
    verdict = Guard().verdict([], 200, Losses(removed=51, reverted=50, moved=9), now=0)
    assert verdict == Hold("101 of 200 files lost within 10 minutes: 51 removed, 50 back to an earlier version now")


def test_what_only_moves_passes_even_in_a_bad_moment() -> None:
    assert Guard().verdict([(999, 5000)], 10, Losses(moved=10), now=1000) == Pass()


def test_the_limits_can_be_others() -> None:
    strict = Guard(Limits(files=1, share=0.0, window_s=60))
    assert isinstance(strict.verdict([(941, 1)], 1000, Losses(removed=1), now=1000), Hold)
    assert strict.verdict([(940, 1)], 1000, Losses(removed=1), now=1000) == Pass()


def test_a_file_that_reappears_is_moved_and_one_that_does_not_is_removed() -> None:
    assert losses([ONE, TWO], [ONE]) == Losses(removed=1, moved=1)
    assert losses([ONE, ONE], [ONE]) == Losses(removed=1, moved=1)
    assert losses([], [ONE], reverted=3) == Losses(reverted=3)


def test_directories_and_tombstones_are_no_files() -> None:
    gone = [content(directory(b"d").meta), content(tombstone(b"t").meta)]
    assert losses(gone, []) == Losses()
    assert losses([Content(Kind.SYMLINK, 0, b"x")], []) == Losses(removed=1)


def chain(*held: bytes) -> list[Entry]:
    entries: list[Entry] = []
    for number, one in enumerate(held):
        entries.append(head(b"f", bytes_=one, sequence=number, replaces=[entry.id for entry in entries[-1:]]))
    return entries


def test_a_file_goes_back_when_it_takes_a_content_from_before_the_present_one() -> None:
    entries = chain(b"one", b"two", b"three")
    known = {entry.id: entry for entry in entries}
    assert is_reverted(ONE, [entries[-1].id], known.get)
    assert not is_reverted(TWO, [entries[1].id], known.get)
    assert not is_reverted(content(tombstone(b"f").meta), [entries[-1].id], known.get)
    assert not is_reverted(ONE, [], known.get)


def test_what_is_not_kept_any_more_is_not_looked_for() -> None:
    entries = chain(b"one", b"two", b"three")
    known = {entry.id: entry for entry in entries[::2]}
    assert not is_reverted(ONE, [entries[-1].id], known.get)


def test_the_way_back_is_bounded() -> None:
    entries = chain(b"one", *[b"%d" % number for number in range(MAX_ANCESTORS + 1)])
    known = {entry.id: entry for entry in entries}
    looked_at: list[object] = []

    def entry_of(id: object) -> Entry | None:
        looked_at.append(id)
        return known.get(id)  # type: ignore[call-overload, no-any-return]

    assert not is_reverted(ONE, [entries[-1].id], entry_of)
    assert len(looked_at) == MAX_ANCESTORS + 1
    assert is_reverted(ONE, [entries[-2].id], entry_of)


def test_an_approval_is_for_the_set_that_was_shown() -> None:
    assert held_id([b"b", b"a"]) == held_id([b"a", b"b", b"a"]) == "53ecdad91527"
    assert held_id([b"ab"]) != held_id([b"a", b"b"])
