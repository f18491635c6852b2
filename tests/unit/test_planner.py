# SPDX-License-Identifier: AGPL-3.0-or-later
"""Plans by example."""

from dataclasses import replace

from harp.sync.engine.merge import IMPLIED_DIRECTORY, NOTHING, PathView
from harp.sync.engine.planner import Move, moves, ordered, plan, plan_copies, shows
from harp.sync.model import (
    Action,
    Entry,
    FileKind,
    MakeDirectory,
    OnDisk,
    Path,
    RemoveDirectory,
    RemoveFile,
    SetAttributes,
    Stat,
    WriteFile,
    WriteSymlink,
)
from tests.fakes.tree import directory, head, lying, symlink

PATH = Path(b"plan.txt")
COPY = Path(b"plan (conflict).txt")
MINE = head(PATH, bytes_=b"mine")
THEIRS = head(PATH, bytes_=b"theirs", author=2)


def local_only(entry: Entry) -> OnDisk:
    return lying(entry, applied=[])


def write(path: bytes, held: bytes, expected: OnDisk | None = None) -> WriteFile:
    return WriteFile(Path(path), head(path, bytes_=held), expected)


def remove(path: bytes, held: bytes) -> RemoveFile:
    return RemoveFile(Path(path), lying(head(path, bytes_=held)))


def make(path: bytes) -> MakeDirectory:
    return MakeDirectory(Path(path), None)


def remove_directory(path: bytes) -> RemoveDirectory:
    return RemoveDirectory(Path(path), lying(directory(path)))


def test_a_new_file_is_written_where_nothing_may_lie() -> None:
    assert plan(PATH, PathView(MINE), None) == [WriteFile(PATH, MINE, None)]


def test_a_newer_file_takes_the_place_of_exactly_the_known_one() -> None:
    assert plan(PATH, PathView(THEIRS), lying(MINE)) == [WriteFile(PATH, THEIRS, lying(MINE))]


def test_what_lies_there_already_is_left_alone() -> None:
    assert plan(PATH, PathView(MINE), lying(MINE)) == []
    assert plan(PATH, NOTHING, None) == []
    assert plan(PATH, IMPLIED_DIRECTORY, lying(directory(PATH))) == []


def test_equal_bytes_of_another_entry_change_attributes_only() -> None:
    touched = head(PATH, bytes_=b"mine", mtime_ns=7)
    assert plan(PATH, PathView(touched), lying(MINE)) == [SetAttributes(PATH, touched, lying(MINE))]
    same = head(PATH, bytes_=b"mine", author=2)
    assert plan(PATH, PathView(same), lying(MINE)) == [SetAttributes(PATH, same, lying(MINE))]


def test_what_the_disk_could_not_hold_is_not_asked_of_it_again() -> None:
    entry = head(PATH, bytes_=b"mine", mtime_ns=1_234_567, executable=True)
    weak = lying(MINE, applied=[entry.id])
    assert plan(PATH, PathView(entry), weak) == [SetAttributes(PATH, entry, weak)]
    for half in (weak.stat._replace(mtime_ns=1_234_567), weak.stat._replace(executable=True)):
        assert plan(PATH, PathView(entry), replace(weak, stat=half)) != []
    told = replace(weak, wanted_mtime_ns=1_234_567, wanted_executable=True)
    assert plan(PATH, PathView(entry), told) == []


def test_a_deleted_file_goes_to_the_trash_and_a_directory_goes_if_it_is_empty() -> None:
    assert plan(PATH, NOTHING, lying(MINE)) == [RemoveFile(PATH, lying(MINE))]
    here = lying(directory(PATH))
    assert plan(PATH, NOTHING, here) == [RemoveDirectory(PATH, here)]


def test_a_symlink_is_written_as_one() -> None:
    link = symlink(PATH, b"there")
    assert plan(PATH, PathView(link), lying(MINE)) == [WriteSymlink(PATH, link, lying(MINE))]
    assert plan(PATH, PathView(link), lying(link)) == []
    assert plan(PATH, PathView(MINE), lying(link)) == [WriteFile(PATH, MINE, lying(link))]


def test_a_file_that_has_to_be_a_directory_goes_first_and_so_does_an_empty_directory() -> None:
    here = directory(PATH)
    assert plan(PATH, PathView(here), lying(MINE)) == [RemoveFile(PATH, lying(MINE)), MakeDirectory(PATH, here)]
    assert plan(PATH, IMPLIED_DIRECTORY, lying(MINE))[1] == MakeDirectory(PATH, None)
    assert plan(PATH, PathView(MINE), lying(here)) == [RemoveDirectory(PATH, lying(here)), WriteFile(PATH, MINE, None)]


def test_a_directory_that_gets_an_entry_of_its_own_is_noted() -> None:
    here = directory(PATH)
    implied = lying(here, applied=[])
    assert plan(PATH, PathView(here), implied) == [MakeDirectory(PATH, here)]


def test_what_was_never_authored_is_neither_removed_nor_replaced_but_may_be_adopted() -> None:
    assert plan(PATH, NOTHING, local_only(MINE)) == []
    assert plan(PATH, PathView(THEIRS), local_only(MINE)) == [WriteFile(PATH, THEIRS, None)]
    assert plan(PATH, IMPLIED_DIRECTORY, local_only(MINE)) == [MakeDirectory(PATH, None)]
    assert plan(PATH, PathView(MINE), local_only(MINE)) == [SetAttributes(PATH, MINE, local_only(MINE))]


def test_a_fifo_is_never_touched() -> None:
    fifo = OnDisk(Stat(FileKind.OTHER, 0, 0, 0, 1, False), ())
    assert plan(PATH, NOTHING, fifo) == []
    assert plan(PATH, PathView(MINE), fifo) == [WriteFile(PATH, MINE, None)]
    assert not shows(MINE, fifo)


def test_the_copies_of_the_view_are_what_lies_beside_the_path() -> None:
    view = PathView(MINE, copies=((COPY, THEIRS),))
    assert plan_copies(PATH, view, {}) == [WriteFile(COPY, THEIRS, None, PATH)]
    shown = lying(THEIRS, copy_of=PATH)
    assert plan_copies(PATH, view, {COPY: shown}) == []
    assert plan_copies(PATH, PathView(MINE), {COPY: shown}) == [RemoveFile(COPY, shown)]


def test_a_copy_waits_where_something_else_has_its_place() -> None:
    view = PathView(MINE, copies=((COPY, THEIRS),))
    assert plan_copies(PATH, view, {COPY: lying(MINE)}) == []
    assert plan_copies(PATH, view, {}, owned={COPY}) == []
    assert plan_copies(PATH, PathView(MINE), {COPY: lying(MINE, copy_of=Path(b"another"))}) == []


def test_a_copy_that_gets_an_entry_of_its_own_is_kept_and_becomes_a_file_like_others() -> None:
    shown = lying(THEIRS, copy_of=PATH)
    own = head(COPY, bytes_=b"theirs")
    assert plan_copies(PATH, PathView(MINE), {COPY: shown}, owned={COPY}) == []
    assert plan(COPY, PathView(own), shown) == [SetAttributes(COPY, own, shown, None)]
    assert plan(COPY, NOTHING, shown) == []


def test_directories_come_first_and_removals_last_and_from_below() -> None:
    replaced = write(b"f", b"new", lying(head(b"f", bytes_=b"old")))
    actions: list[Action] = [
        remove_directory(b"old"),
        replaced,
        remove(b"old/f", b"x"),
        remove_directory(b"old/in"),
        write(b"new/in/f", b"y"),
        make(b"new/in"),
        make(b"new"),
    ]
    assert [action.path for action in ordered(actions)] == [
        b"new", b"new/in", b"new/in/f", b"f", b"old/in", b"old/f", b"old",
    ]  # fmt: skip


def test_a_file_and_a_directory_can_change_places() -> None:
    actions: list[Action] = [
        remove(b"a", b"was a"),
        make(b"a"),
        write(b"a/x", b"was b/x"),
        remove(b"b/x", b"was b/x"),
        remove_directory(b"b"),
        write(b"b", b"was a"),
        write(b"c", b"new"),
    ]
    assert [(type(action).__name__, action.path) for action in ordered(actions)] == [
        ("WriteFile", b"c"),
        ("RemoveFile", b"b/x"),
        ("RemoveDirectory", b"b"),
        ("RemoveFile", b"a"),
        ("MakeDirectory", b"a"),
        ("WriteFile", b"a/x"),
        ("WriteFile", b"b"),
    ]


def test_what_one_action_keeps_no_other_removes() -> None:
    lies = lying(THEIRS, copy_of=PATH)
    kept = SetAttributes(COPY, head(COPY, bytes_=b"theirs"), lies)
    assert ordered([RemoveFile(COPY, lies), kept]) == [kept]


def test_a_rename_is_one_move_and_no_content() -> None:
    new, old = write(b"new", b"same"), remove(b"old", b"same")
    assert moves(ordered([make(b"d"), new, old, remove(b"x", b"other")])) == (
        [Move(old, new)],
        [make(b"d"), remove(b"x", b"other")],
    )


def test_each_file_that_goes_is_moved_once() -> None:
    pairs, rest = moves(ordered([write(b"n1", b"same"), write(b"n2", b"same"), remove(b"old", b"same")]))
    assert [(pair.source.path, pair.target.path) for pair in pairs] == [(b"old", b"n1")]
    assert rest == [write(b"n2", b"same")]
    pairs, rest = moves(ordered([write(b"n1", b"s"), remove(b"o1", b"s"), remove(b"o2", b"s")]))
    assert len(pairs) == len(rest) == 1


def test_empty_files_symlinks_and_replacements_are_not_moved() -> None:
    actions: list[Action] = [
        WriteFile(Path(b"empty"), head(b"empty"), None),
        remove(b"gone", b""),
        WriteSymlink(Path(b"link"), symlink(b"link", b"x"), None),
        RemoveFile(Path(b"unlinked"), lying(symlink(b"unlinked", b"x"))),
        write(b"f", b"same", lying(head(b"f", bytes_=b"old"))),
        remove(b"g", b"same"),
    ]
    plan = ordered(actions)
    assert moves(plan) == ([], plan)


def test_what_is_in_the_way_is_not_moved() -> None:
    plan = ordered([remove(b"a", b"same"), make(b"a"), write(b"a/a", b"same"), write(b"b", b"same")])
    assert moves(plan) == ([], plan)
