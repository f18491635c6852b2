# SPDX-License-Identifier: AGPL-3.0-or-later
"""Laws of the guard: it counts what is lost, in a window that rolls, and an approval is for one set."""

from hypothesis import given
from hypothesis import strategies as st

from harp.sync.engine.guard import Guard, Hold, Limits, Losses, Pass, held_id, is_reverted, losses
from harp.sync.engine.merge import Content, content
from harp.sync.model import Entry, EntryId, Kind
from tests.fakes.tree import head

CONTENTS = st.sampled_from([Content(Kind.FILE, 3, bytes([i]) * 32) for i in range(4)])
HISTORIES = st.lists(st.tuples(st.floats(0, 2000), st.integers(0, 200)), max_size=10)
LOSSES = st.builds(Losses, removed=st.integers(0, 300), reverted=st.integers(0, 300), moved=st.integers(0, 1000))


@given(st.lists(CONTENTS), st.lists(CONTENTS))
def test_what_goes_is_either_removed_or_moved(gone: list[Content], came: list[Content]) -> None:
    found = losses(gone, came)
    assert found.removed + found.moved == len(gone)
    assert found.moved <= len(came)
    assert losses(gone, []).removed == len(gone)


@given(st.lists(CONTENTS), st.randoms(use_true_random=False))
def test_moving_loses_nothing_in_whatever_order(gone: list[Content], random: object) -> None:
    came = list(gone)
    random.shuffle(came)  # type: ignore[attr-defined]
    assert losses(gone, came).count == 0


@given(HISTORIES, st.integers(0, 1000), LOSSES)
def test_what_loses_nothing_always_passes_and_more_loss_never_turns_hold_into_pass(
    history: list[tuple[float, int]], files: int, new: Losses
) -> None:
    guard = Guard()
    assert guard.verdict(history, files, Losses(moved=new.moved), now=2000) == Pass()
    if isinstance(guard.verdict(history, files, new, now=2000), Hold):
        worse = Losses(new.removed + 1, new.reverted, new.moved)
        assert isinstance(guard.verdict(history, files, worse, now=2000), Hold)


@given(HISTORIES, st.integers(0, 1000), LOSSES)
def test_only_the_last_ten_minutes_count(history: list[tuple[float, int]], files: int, new: Losses) -> None:
    guard = Guard()
    recent = guard.recent(history, now=2000)
    assert guard.verdict(history, files, new, now=2000) == guard.verdict(recent, files, new, now=2000)
    assert all(when > 1400 for when, _ in recent)
    assert guard.verdict(history, files, new, now=1e6) == guard.verdict([], files, new, now=1e6)


@given(st.integers(10, 5000), st.lists(st.integers(1, 100), min_size=1))
def test_a_folder_cannot_be_emptied_in_small_steps(files: int, steps: list[int]) -> None:
    guard, left = Guard(), files
    history: list[tuple[float, int]] = []
    for second, step in enumerate(steps * files):
        step = min(step, left)
        if step == 0 or isinstance(guard.verdict(history, files, Losses(removed=step), now=second / 1e3), Hold):
            break
        history.append((second / 1e3, step))
        left -= step
    assert left > 0
    limits = Limits()
    assert files - left <= max(limits.files, limits.share * files)


@given(st.lists(st.binary(max_size=8), max_size=6), st.lists(st.binary(max_size=8), max_size=6))
def test_the_id_of_what_is_held_is_that_of_the_set(one: list[bytes], other: list[bytes]) -> None:
    assert (held_id(one) == held_id(other)) == (set(one) == set(other))
    assert held_id(one + one) == held_id(reversed(one))


@given(st.lists(st.sampled_from([b"one", b"two", b"three"]), min_size=1, max_size=8), st.sampled_from([b"one", b"new"]))
def test_a_file_goes_back_exactly_when_it_takes_a_content_it_had_and_has_not(past: list[bytes], new: bytes) -> None:
    chain: list[Entry] = []
    for number, held in enumerate(past):
        chain.append(head(b"f", bytes_=held, sequence=number + 1, replaces=[entry.id for entry in chain[-1:]]))
    known: dict[EntryId, Entry] = {entry.id: entry for entry in chain}
    draft = content(head(b"f", bytes_=new).meta)
    assert is_reverted(draft, [chain[-1].id], known.get) == (new in past and new != past[-1])
