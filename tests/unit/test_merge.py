# SPDX-License-Identifier: AGPL-3.0-or-later
"""Merging one path, by example."""

from datetime import UTC, datetime

import pytest

from harp.sync.engine.merge import (
    IMPLIED_DIRECTORY,
    MAX_HLC,
    NOTHING,
    PathView,
    conflict_path,
    merged_heads,
    next_hlc,
    shown,
    surviving,
    view,
)
from harp.sync.model import Entry, EntryId, Hlc, Path
from tests.fakes.tree import directory, head, symlink, tombstone

PATH = Path(b"d/plan.txt")
NOON = int(datetime(2026, 11, 23, 4, 15, 0, 999_000, UTC).timestamp() * 1000) << 16


def view_of(*heads: Entry, below: bool = False) -> PathView:
    return view(PATH, heads, lives_below=below)


def test_one_head_is_what_lies_there() -> None:
    one = head(PATH, bytes_=b"one")
    assert view_of(one) == PathView(one)


def test_nothing_known_or_only_deleted_is_nothing() -> None:
    assert view_of() == NOTHING
    assert view_of(tombstone(PATH)) == NOTHING
    assert view_of(tombstone(PATH), tombstone(PATH, author=2)) == NOTHING


def test_of_two_edits_the_later_has_the_name_and_the_other_lies_beside_it() -> None:
    late, early = head(PATH, bytes_=b"late", hlc=9), head(PATH, bytes_=b"early", hlc=8)
    assert view_of(early, late) == PathView(late, copies=((conflict_path(PATH, early), early),))


def test_with_equal_clocks_the_greater_entry_id_has_the_name() -> None:
    a, b = head(PATH, bytes_=b"aa"), head(PATH, bytes_=b"bb")
    assert view_of(a, b).at_path == max(a, b, key=lambda entry: entry.id)


def test_equal_bytes_make_no_copy_and_the_greater_gives_the_attributes() -> None:
    old, new = head(PATH, bytes_=b"same", hlc=1), head(PATH, bytes_=b"same", hlc=2, mtime_ns=7, executable=True)
    assert view_of(new, old) == PathView(new)
    assert shown(new, [old, new]) == (new.id, old.id)


def test_several_losers_of_equal_bytes_make_one_copy() -> None:
    winner = head(PATH, bytes_=b"winner", hlc=9)
    losers = [head(PATH, bytes_=b"lost", hlc=hlc, author=hlc) for hlc in (3, 5, 4)]
    assert view_of(winner, *losers).copies == ((conflict_path(PATH, losers[1]), losers[1]),)
    assert shown(losers[1], losers) == (losers[1].id, losers[2].id, losers[0].id)


def test_symlinks_are_compared_by_target() -> None:
    one, other = symlink(PATH, b"x", hlc=1), symlink(PATH, b"x", hlc=2)
    assert view_of(one, other) == PathView(other)
    assert len(view_of(one, symlink(PATH, b"y", hlc=3)).copies) == 1


def test_an_edit_beats_a_concurrent_delete() -> None:
    edit = head(PATH, bytes_=b"edit", hlc=1)
    assert view_of(tombstone(PATH, hlc=9), edit) == PathView(edit)


def test_a_directory_lives_while_anything_lives_below_it() -> None:
    assert view_of(tombstone(PATH), below=True) == IMPLIED_DIRECTORY
    assert view_of(below=True) == IMPLIED_DIRECTORY
    here = directory(PATH)
    assert view_of(here, tombstone(PATH, hlc=5), below=True) == PathView(here)


def test_a_directory_keeps_the_name_against_a_file_however_late() -> None:
    here, file = directory(PATH, hlc=1), head(PATH, bytes_=b"file", hlc=9)
    copy = ((conflict_path(PATH, file), file),)
    assert view_of(file, here) == PathView(here, copies=copy)
    assert view_of(file, below=True) == PathView(None, implied_directory=True, copies=copy)
    assert view_of(file, below=True).is_directory


def test_an_entry_takes_the_place_of_what_it_replaces() -> None:
    one = head(PATH, bytes_=b"one")
    two = head(PATH, bytes_=b"two", replaces=[one.id])
    assert merged_heads([one], two) == (two,)
    assert merged_heads([two], two) == (two,)
    assert merged_heads([two], one, lambda id: id == one.id) == (two,)
    assert surviving([one, two, two], {one.id}) == (two,)


def test_an_entry_that_replaces_nothing_joins_the_heads_in_their_order() -> None:
    low, high = head(PATH, bytes_=b"low", hlc=1), head(PATH, bytes_=b"high", hlc=2)
    assert merged_heads([high], low) == (low, high)


def test_the_clock_follows_the_wall_and_is_never_behind_the_paths_heads() -> None:
    assert next_hlc([], now_ms=5) == 5 << 16
    assert next_hlc([head(PATH, hlc=7 << 16)], now_ms=5) == (7 << 16) + 1
    assert next_hlc([head(PATH, hlc=7)], now_ms=5) == 5 << 16
    assert next_hlc([head(PATH, hlc=MAX_HLC)], now_ms=5) == MAX_HLC
    assert next_hlc([], now_ms=-5) == Hlc(0)


@pytest.mark.parametrize(
    ("name", "stem", "extension"),
    [
        (b"plan.txt", b"plan", b".txt"),
        (b"plan.tar.gz", b"plan.tar", b".gz"),
        (b"plan", b"plan", b""),
        (b".bashrc", b".bashrc", b""),
        (b".config.toml", b".config", b".toml"),
        (b"dot.", b"dot", b"."),
        (b"a." + b"x" * 31, b"a", b"." + b"x" * 31),
        (b"a." + b"x" * 32, b"a." + b"x" * 32, b""),
        (b"\xff\xfe.bin", b"\xff\xfe", b".bin"),
        (b".harpignore", b"harpignore", b""),
    ],
)
def test_a_copy_is_named_after_its_path_time_and_id(name: bytes, stem: bytes, extension: bytes) -> None:
    loser = head(name, bytes_=b"x", hlc=NOON)
    tag = f" (conflict 2026-11-23 041500Z {loser.id.hex()[:8]})".encode()
    assert conflict_path(Path(name), loser) == stem + tag + extension


def test_only_the_folders_own_ignore_file_loses_its_dot() -> None:
    inner = Path(b"d/.harpignore")
    assert conflict_path(inner, head(inner, bytes_=b"x")).startswith(b"d/.harpignore (conflict 1970-01-01 000000Z ")


def test_a_long_name_is_cut_in_its_stem_between_characters() -> None:
    name = "é".encode() * 125 + b".tx"
    made = conflict_path(Path(name), head(name, bytes_=b"x"))
    assert len(made) == 254
    assert made.decode().startswith("é" * 106 + " (conflict ")
    assert made.endswith(b").tx")


def test_a_long_name_that_is_not_text_is_cut_at_the_byte() -> None:
    name = b"\xff" * 255
    assert len(conflict_path(Path(name), head(name, bytes_=b"x"))) == 255


def test_a_copys_path_stays_within_the_limit_of_a_path() -> None:
    path = Path(b"/".join([b"d" * 200] * 20) + b"/" + b"n" * 76)
    assert len(path) == 4096
    assert len(conflict_path(path, head(path, bytes_=b"x"))) == 4096


def test_a_forged_id_that_begins_like_another_does_not_hide_a_copy() -> None:
    winner = head(PATH, bytes_=b"winner", hlc=9)
    losers = [
        Entry(EntryId(b"same" + bytes([number]) * 28), made.id, made.meta)
        for number, made in enumerate([head(PATH, bytes_=b"one", hlc=1), head(PATH, bytes_=b"two", hlc=1)])
    ]
    copies = dict(view_of(winner, *losers).copies)
    assert sorted(copies.values(), key=lambda entry: entry.id) == losers
    assert [len(name) for name in sorted(copies, key=len)] == [49, 57]
