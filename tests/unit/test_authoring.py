# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is said of a change on the disk, by example."""

from dataclasses import replace

from harp.sync.engine.authoring import Observed, adoptable, changed, is_same
from harp.sync.engine.chain import Draft
from harp.sync.engine.merge import conflict_path
from harp.sync.model import MAX_REPLACES, Entry, EntryId, FileKind, Hlc, Kind, OnDisk, Path, RootId, Stat
from tests.fakes.tree import directory, head, lying, symlink, tombstone

PATH = Path(b"d/plan.txt")
NOW = 1_000
WALL = Hlc(NOW << 16)


def file(held: bytes, *, mtime_ns: int = 0, executable: bool = False, path: Path = PATH) -> Observed:
    entry = head(path, bytes_=held)
    return Observed(path, Stat(FileKind.FILE, len(held), mtime_ns, 5, 5, executable), entry.meta.root)


def of_kind(kind: FileKind, target: bytes = b"") -> Observed:
    return Observed(PATH, Stat(kind, 0, 3, 5, 5, False), target=target)


def say(
    before: OnDisk | None,
    after: Observed | None,
    *,
    heads: tuple[Entry, ...] = (),
    copies: tuple[tuple[Path, OnDisk, Entry], ...] = (),
    path: Path = PATH,
    hlc_zero: bool = False,
) -> list[Draft]:
    return changed(path, before, after, (), heads, copies, now_ms=NOW, hlc_zero=hlc_zero)


def test_a_new_file_replaces_nothing() -> None:
    (draft,) = say(None, file(b"new", mtime_ns=7, executable=True))
    assert (draft.kind, draft.path, draft.size, draft.mtime_ns, draft.executable) == (Kind.FILE, PATH, 3, 7, True)
    assert (draft.root, draft.hlc, draft.replaces) == (file(b"new").root, WALL, ())


def test_a_new_file_replaces_the_tombstones_that_said_there_was_none_but_no_edit_that_waits() -> None:
    gone, waits = tombstone(PATH), head(PATH, bytes_=b"waits", hlc=WALL + 5)
    (draft,) = say(None, file(b"new"), heads=(gone, waits))
    assert draft.replaces == (gone.id,)
    assert draft.hlc == WALL + 6


def test_an_edit_replaces_what_lay_there_and_not_what_was_merely_received() -> None:
    mine, received = head(PATH, bytes_=b"mine"), head(PATH, bytes_=b"received", hlc=WALL + 1)
    (draft,) = say(lying(mine), file(b"edited"), heads=(received,))
    assert draft.replaces == (mine.id,)
    assert draft.hlc == WALL + 2
    assert (draft.executable, draft.mtime_ns) == (False, 0)


def test_a_deletion_is_a_tombstone_of_what_lay_there() -> None:
    mine = head(PATH, bytes_=b"mine")
    assert say(lying(mine), None, heads=(mine,)) == [
        Draft(kind=Kind.TOMBSTONE, path=PATH, hlc=WALL, replaces=(mine.id,))
    ]


def test_all_entries_of_equal_bytes_that_lay_there_are_replaced() -> None:
    one, same = head(PATH, bytes_=b"same"), head(PATH, bytes_=b"same", author=2)
    (draft,) = say(lying(one, applied=[one.id, same.id]), None)
    assert draft.replaces == (one.id, same.id)


def test_what_is_the_same_says_nothing() -> None:
    mine = head(PATH, bytes_=b"mine", mtime_ns=7)
    assert say(lying(mine), file(b"mine", mtime_ns=7)) == []
    assert say(None, None) == []
    assert say(lying(directory(PATH)), of_kind(FileKind.DIRECTORY)) == []
    assert say(lying(symlink(PATH, b"x")), of_kind(FileKind.SYMLINK, b"x")) == []


def test_another_inode_and_change_time_are_no_change() -> None:
    before = lying(head(PATH, bytes_=b"mine"), inode=1)
    assert is_same(before, file(b"mine"))
    assert not is_same(before, file(b"mine", executable=True))
    assert not is_same(before, file(b"Mine"))
    assert not is_same(before, None)


def test_a_touch_says_new_attributes_and_leaves_the_copies_alone() -> None:
    mine, loser = head(PATH, bytes_=b"mine", hlc=9), head(PATH, bytes_=b"lost")
    shown = (conflict_path(PATH, loser), lying(loser, copy_of=PATH), loser)
    (draft,) = say(lying(mine), file(b"mine", mtime_ns=8), copies=(shown,))
    assert (draft.mtime_ns, draft.replaces) == (8, (mine.id,))


def test_what_a_disk_could_not_hold_is_no_change_and_is_kept_by_an_edit() -> None:
    wanted = head(PATH, bytes_=b"tool", mtime_ns=1_234_567, executable=True)
    weak = lying(wanted)
    weak = replace(
        weak,
        stat=weak.stat._replace(mtime_ns=1_000_000, executable=False),
        wanted_mtime_ns=1_234_567,
        wanted_executable=True,
    )
    assert say(weak, file(b"tool", mtime_ns=1_000_000)) == []
    (draft,) = say(weak, file(b"edited", mtime_ns=2_000_000))
    assert (draft.mtime_ns, draft.executable) == (2_000_000, True)
    (draft,) = say(weak, file(b"tool", mtime_ns=1_000_000, executable=True))
    assert (draft.mtime_ns, draft.executable) == (1_234_567, True)


def test_a_file_that_becomes_a_directory_or_a_symlink_is_one_change() -> None:
    mine = head(PATH, bytes_=b"mine")
    assert say(lying(mine), of_kind(FileKind.DIRECTORY)) == [
        Draft(kind=Kind.DIRECTORY, path=PATH, hlc=WALL, replaces=(mine.id,))
    ]
    (draft,) = say(lying(mine), of_kind(FileKind.SYMLINK, b"there"))
    assert (draft.kind, draft.target, draft.size, draft.root) == (Kind.SYMLINK, b"there", 0, RootId(b""))


def test_a_directory_that_was_only_implied_goes_without_a_word() -> None:
    implied = OnDisk(Stat(FileKind.DIRECTORY, 0, 0, 0, 1, False), ())
    assert say(implied, None) == []


def test_a_fifo_says_nothing_not_even_that_the_file_is_gone() -> None:
    assert say(lying(head(PATH, bytes_=b"mine")), of_kind(FileKind.OTHER)) == []
    assert adoptable(of_kind(FileKind.OTHER), []) == ()


def test_an_edit_settles_the_conflict_and_gives_each_copy_an_entry_of_its_own() -> None:
    mine, loser = head(PATH, bytes_=b"mine", hlc=9), head(PATH, bytes_=b"lost", mtime_ns=4, executable=True)
    alike = head(PATH, bytes_=b"lost", author=3, hlc=0)
    place = conflict_path(PATH, loser)
    shown = (place, lying(loser, copy_of=PATH, applied=[loser.id, alike.id]), loser)
    edit, copy = say(lying(mine), file(b"edited"), heads=(mine, loser, alike), copies=(shown,))
    assert edit.replaces == (mine.id, loser.id, alike.id)
    assert copy == Draft(
        kind=Kind.FILE, path=place, size=4, mtime_ns=4, executable=True, root=loser.meta.root, hlc=WALL, replaces=()
    )


def test_deleting_the_winner_settles_the_conflict_too() -> None:
    mine, loser = head(PATH, bytes_=b"mine", hlc=9), symlink(PATH, b"lost")
    shown = (conflict_path(PATH, loser), lying(loser, copy_of=PATH), loser)
    gone, copy = say(lying(mine), None, copies=(shown,))
    assert (gone.kind, gone.replaces) == (Kind.TOMBSTONE, (mine.id, loser.id))
    assert (copy.kind, copy.target) == (Kind.SYMLINK, b"lost")


def test_deleting_a_copy_replaces_the_loser_alone() -> None:
    winner, loser = head(PATH, bytes_=b"winner", hlc=WALL + 9), head(PATH, bytes_=b"lost")
    place = conflict_path(PATH, loser)
    drafts = say(lying(loser, copy_of=PATH), None, path=place, heads=(loser, winner))
    assert drafts == [Draft(kind=Kind.TOMBSTONE, path=PATH, hlc=Hlc(WALL + 10), replaces=(loser.id,))]


def test_editing_a_copy_makes_it_a_file_of_its_own() -> None:
    winner, loser = head(PATH, bytes_=b"winner", hlc=WALL + 9), head(PATH, bytes_=b"lost")
    place = conflict_path(PATH, loser)
    after = file(b"edited", path=place)
    gone, own = say(lying(loser, copy_of=PATH), after, path=place, heads=(loser, winner))
    assert (gone.kind, gone.path, gone.replaces) == (Kind.TOMBSTONE, PATH, (loser.id,))
    assert (own.kind, own.path, own.root, own.replaces, own.hlc) == (Kind.FILE, place, after.root, (), WALL)


def test_what_lay_there_before_a_join_has_no_clock_and_replaces_nothing() -> None:
    gone = tombstone(PATH, hlc=5)
    (draft,) = say(None, file(b"old"), heads=(gone,), hlc_zero=True)
    assert (draft.hlc, draft.replaces) == (Hlc(0), ())


def test_what_the_folder_has_already_can_be_adopted() -> None:
    same, other = head(PATH, bytes_=b"same"), head(PATH, bytes_=b"other")
    assert adoptable(file(b"same", mtime_ns=99), [other, same]) == (same.id,)
    assert adoptable(of_kind(FileKind.SYMLINK, b"x"), [symlink(PATH, b"y")]) == ()
    here = directory(PATH)
    assert adoptable(of_kind(FileKind.DIRECTORY), [here, same]) == (here.id,)


def test_more_than_an_entry_can_replace_is_spread_over_tombstones() -> None:
    mine = head(PATH, bytes_=b"mine")
    ids = [EntryId(number.to_bytes(32, "big")) for number in range(2 * MAX_REPLACES + 1)]
    edit, second, third = say(lying(mine, applied=ids), file(b"edited"))
    assert (edit.kind, second.kind, third.kind) == (Kind.FILE, Kind.TOMBSTONE, Kind.TOMBSTONE)
    assert [*edit.replaces, *second.replaces, *third.replaces] == ids
    assert third.path == PATH
