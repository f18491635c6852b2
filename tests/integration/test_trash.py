# SPDX-License-Identifier: AGPL-3.0-or-later
"""The trash on a real disk: what went in can be told, read, restored, and goes for good only by age or for room."""

import errno
import os
from pathlib import Path as OsPath

import pytest

from harp.base.errors import FolderError
from harp.sync.folder import rename
from harp.sync.folder.trash import Trash, TrashItem, awake_now
from harp.sync.model import EntryId, FileKind, Path
from tests.fakes.folder import NOW, Folder, folder_at

DAY_S = 24 * 3600
ENTRIES = (EntryId(b"e" * 32),)


@pytest.fixture
def folder(tmp_path: OsPath) -> Folder:
    return folder_at(tmp_path)


def throw(
    folder: Folder, name: bytes, content: bytes = b"x", *, now: float = NOW, entries: tuple[EntryId, ...] = ENTRIES
) -> Path:
    """Into the trash with it; its place."""
    folder.put(name, content)
    above, _, last = name.rpartition(b"/")
    holder = folder.root.directory(Path(above))
    return folder.trash.take(holder, last, Path(name), entries, now=now).path


def expired(folder: Folder, *, now: float) -> list[bytes]:
    """What the trash lets go of by age alone."""
    return [item.path for item in folder.trash.expire(now=now, disk_bytes=10**12)]


def only(folder: Folder) -> TrashItem:
    (item,) = folder.trash.list()
    return item


@pytest.mark.parametrize(
    "name",
    [
        b"plain",
        b"deep/er/x",
        b"new\nline",
        "🎶/naïve".encode(),
        b"not utf-8 \xff",
        b"100%2Fsure%25",
        b"about.me",
        b"@",
        b"a.@.@",
        b".dots...",
        b"x" * 255,
        b"/".join([b"y" * 200] * 10),
    ],
)
@pytest.mark.parametrize("count", [0, 1, 9])
def test_an_item_says_what_it_was(folder: Folder, name: bytes, count: int) -> None:
    entries = tuple(EntryId(bytes([number]) * 32) for number in range(count))
    folder.put(name, b"content")
    stat = folder.known(name).stat
    place = throw(folder, name, b"content", entries=entries)
    item = only(folder)
    assert (item.path, item.entries, item.when_ms, item.place) == (name, entries, int(NOW * 1000), place)
    assert (item.stat.kind, item.stat.size, item.stat.inode) == (FileKind.FILE, 7, stat.inode)
    fd = folder.trash.open_item(item)
    assert os.read(fd, 100) == b"content"
    os.close(fd)


def test_one_item_is_found_by_its_place_as_the_list_has_it(folder: Folder) -> None:
    places = [throw(folder, b"a"), throw(folder, b"d/" + b"long" * 60)]
    assert [folder.trash.item(place) for place in places] == sorted(folder.trash.list(), key=lambda one: one.path)
    folder.trash.make_room(1 << 40)
    assert folder.trash.item(places[0]) is None
    assert folder.trash.item(Path(b".harp/trash/2000-01-01/none")) is None


def test_the_oldest_come_first_and_equal_names_do_not_meet(folder: Folder) -> None:
    throw(folder, b"a", b"second", now=NOW + 1)
    throw(folder, b"a", b"first", now=NOW)
    throw(folder, b"a", b"third", now=NOW + 2 * DAY_S)
    throw(folder, b"a", b"also second", now=NOW + 1)
    contents = [folder.read(item.place) for item in folder.trash.list()]
    assert contents[0] == b"first"
    assert sorted(contents[1:3]) == [b"also second", b"second"]
    assert contents[3] == b"third"


def test_two_runs_in_the_same_millisecond_do_not_meet(folder: Folder) -> None:
    throw(folder, b"a", b"1")
    folder.trash = Trash(folder.root, folder.running)
    throw(folder, b"a", b"2")
    assert sorted(folder.read(item.place) for item in folder.trash.list()) == [b"1", b"2"]


def test_restoring_moves_it_back_but_never_over_anything(folder: Folder) -> None:
    throw(folder, b"a/b", b"old")
    item = only(folder)
    folder.put("a/b", b"the user's")
    with pytest.raises(FolderError, match="something else lies there"):
        folder.trash.restore(item, Path(b"a/b"))
    stat = folder.trash.restore(item, Path(b"new/place/b"))
    assert stat == folder.root.stat(Path(b"new/place/b"))
    assert folder.read("new/place/b") == b"old"
    assert folder.read("a/b") == b"the user's"
    assert folder.trash.list() == []
    with pytest.raises(FolderError, match="gone"):
        folder.trash.restore(item, Path(b"again"))
    with pytest.raises(FolderError, match="gone"):
        folder.trash.open_item(item)


def test_a_long_name_leaves_nothing_behind_when_it_is_restored_or_removed(folder: Folder) -> None:
    for _ in range(2):
        throw(folder, b"x" * 255)
    first, second = folder.trash.list()
    folder.trash.restore(first, Path(b"back"))
    folder.trash.make_room(1)
    assert folder.trash.list() == []
    day = second.place.rpartition(b"/")[0]
    assert folder.root.names(Path(day)) == []


def test_an_item_whose_note_is_lost_still_has_its_content(folder: Folder) -> None:
    throw(folder, b"x" * 255, b"content")
    above, _, name = only(folder).place.rpartition(b"/")
    (folder.at / os.fsdecode(above) / ("about." + os.fsdecode(name))).unlink()
    item = only(folder)
    assert (item.path, item.entries) == (b"unknown", ())
    assert folder.read(item.place) == b"content"


def test_a_disk_with_short_names_gets_short_names(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    real = rename.to_free_name

    def short(source: object, name: bytes, target: object, new: bytes) -> None:
        if len(new) > 60:
            raise OSError(errno.ENAMETOOLONG, "long")
        real(source, name, target, new)  # type: ignore[arg-type]

    monkeypatch.setattr(rename, "to_free_name", short)
    throw(folder, b"a/" + b"y" * 100)
    assert (only(folder).path, only(folder).entries) == (b"a/" + b"y" * 100, ENTRIES)


def test_what_is_too_old_goes_and_the_rest_stays(folder: Folder) -> None:
    throw(folder, b"old")
    folder.running.goes_on(5 * DAY_S)
    throw(folder, b"young", now=NOW + 5 * DAY_S)
    folder.running.goes_on(24 * DAY_S)
    assert expired(folder, now=NOW + 29 * DAY_S) == []
    folder.running.goes_on(2 * DAY_S)
    assert expired(folder, now=NOW + 31 * DAY_S) == [b"old"]
    assert only(folder).path == b"young"
    assert len(list((folder.at / ".harp/trash").glob("*-*-*"))) == 1, "and its day with it"


@pytest.mark.parametrize("when", [0.0, NOW - 60 * DAY_S, NOW, NOW + 400 * DAY_S])
def test_a_clock_that_jumps_takes_nothing_away(folder: Folder, when: float) -> None:
    throw(folder, b"removed before the clock was right", now=when)
    assert expired(folder, now=when) == []
    folder.running.goes_on(300)
    for jump in (NOW, NOW + 60 * DAY_S, NOW - 60 * DAY_S, 4e9, 0.0, NOW):
        assert expired(folder, now=jump) == []
    folder.running.goes_on(30 * DAY_S)
    assert expired(folder, now=0.0) == [b"removed before the clock was right"]


def test_time_for_which_the_computer_was_off_does_not_count(folder: Folder) -> None:
    throw(folder, b"before the journey")
    folder.running.goes_on(29 * DAY_S)
    folder.trash.keep_age()
    folder.running.starts_again()
    folder.trash = Trash(folder.root, folder.running)
    assert expired(folder, now=NOW + 100 * DAY_S) == []
    folder.running.goes_on(2 * DAY_S)
    assert expired(folder, now=NOW + 102 * DAY_S) == [b"before the journey"]


def test_another_process_goes_on_counting_where_the_first_was_killed(folder: Folder) -> None:
    assert expired(folder, now=NOW) == []
    throw(folder, b"a")
    folder.running.goes_on(20 * DAY_S)
    folder.trash = Trash(folder.root, folder.running)
    throw(folder, b"b")
    folder.running.goes_on(11 * DAY_S)
    assert expired(folder, now=NOW) == [b"a"]


@pytest.mark.parametrize("left", [None, b"", b"5\n", b"\xff\x00", b"x y z\n"])
def test_a_count_that_is_lost_begins_at_the_latest_item(folder: Folder, left: bytes | None) -> None:
    throw(folder, b"old")
    folder.running.goes_on(20 * DAY_S)
    throw(folder, b"young")
    age = folder.at / ".harp/trash/age"
    if left is not None:
        age.write_bytes(left)
    folder.running.starts_again()
    folder.trash = Trash(folder.root, folder.running)
    assert expired(folder, now=NOW) == []
    folder.running.goes_on(11 * DAY_S)
    assert expired(folder, now=NOW) == [b"old"]


def test_an_item_without_a_stamp_is_as_old_as_the_count(folder: Folder) -> None:
    throw(folder, b"a")
    place = folder.at / os.fsdecode(only(folder).place)
    when, _, rest = place.name.partition("-")
    place.rename(place.with_name(when + "." + rest.partition(".")[2]))
    assert (only(folder).path, only(folder).stamp, only(folder).when_ms) == (b"a", 0, int(NOW * 1000))
    folder.running.goes_on(29 * DAY_S)
    assert expired(folder, now=NOW) == []
    folder.running.goes_on(2 * DAY_S)
    assert expired(folder, now=NOW) == [b"a"]


def test_the_computer_says_how_long_it_has_been_awake() -> None:
    first, second = awake_now(), awake_now()
    assert first.boot == second.boot != ""
    assert first.seconds <= second.seconds


def test_the_oldest_go_until_the_rest_fits_its_share(folder: Folder) -> None:
    for number in range(4):
        throw(folder, b"%d" % number, b"x" * 100_000, now=NOW + number)
    size = folder.trash.list()[0].disk_bytes
    assert size >= 100_000
    removed = folder.trash.expire(now=NOW + 10, max_share=0.1, disk_bytes=20 * size)
    assert [item.path for item in removed] == [b"0", b"1"]
    assert folder.trash.expire(now=NOW + 10, max_share=0.1, disk_bytes=20 * size) == []


def test_the_share_is_of_the_real_disk_unless_told(folder: Folder) -> None:
    throw(folder, b"a")
    assert folder.trash.expire(now=NOW) == []
    assert [item.path for item in folder.trash.expire(now=NOW, max_share=0)] == [b"a"]


def test_room_is_made_from_the_oldest_and_no_more_than_wanted(folder: Folder) -> None:
    for number in range(3):
        throw(folder, b"%d" % number, b"x" * 50_000, now=NOW + number)
    size = folder.trash.list()[0].disk_bytes
    assert folder.trash.make_room(0) == 0
    assert folder.trash.make_room(size + 1) == 2 * size
    assert only(folder).path == b"2"
    assert folder.trash.make_room(10**12) == size
    assert folder.trash.make_room(1) == 0


def test_what_fits_in_no_case_leaves_the_trash_alone(folder: Folder) -> None:
    throw(folder, b"precious", b"x" * 50_000)
    room = folder.root.free_bytes() + 2**30
    assert folder.trash.make_room(2**62, needed_bytes=room) == 0
    assert only(folder).path == b"precious"
    assert folder.trash.make_room(1, needed_bytes=room - 2**31) >= 50_000
    assert folder.trash.list() == []


def test_a_trash_that_was_removed_by_hand_is_made_anew(folder: Folder) -> None:
    throw(folder, b"a")
    for item in folder.trash.list():
        (folder.at / os.fsdecode(item.place)).unlink()
    for day in (folder.at / ".harp/trash").iterdir():
        day.rmdir()
    throw(folder, b"b")
    assert only(folder).path == b"b"
    (folder.at / os.fsdecode(only(folder).place)).unlink()
    for day in (folder.at / ".harp/trash").iterdir():
        day.rmdir()
    (folder.at / ".harp/trash").rmdir()
    assert folder.trash.list() == []
    throw(folder, b"c")
    assert only(folder).path == b"c"


def test_what_is_no_item_is_neither_listed_nor_removed(folder: Folder) -> None:
    throw(folder, b"a")
    day = (folder.at / os.fsdecode(only(folder).place)).parent
    (day / "notes.txt").write_bytes(b"the user's")
    (day.parent / "file").write_bytes(b"the user's")
    assert only(folder).path == b"a"
    folder.running.goes_on(40 * DAY_S)
    assert expired(folder, now=NOW + 40 * DAY_S) == [b"a"]
    assert (day / "notes.txt").read_bytes() == b"the user's"
    assert (day.parent / "file").read_bytes() == b"the user's"


def test_symlinks_lie_in_the_trash_as_they_are_and_are_not_followed(folder: Folder) -> None:
    (folder.at / "link").symlink_to("/etc/passwd")
    folder.trash.take(folder.root.directory(Path(b"")), b"link", Path(b"link"), ENTRIES, now=NOW)
    item = only(folder)
    assert item.stat.kind == FileKind.SYMLINK
    with pytest.raises(FolderError):
        folder.trash.open_item(item)
    assert folder.trash.restore(item, Path(b"link")).kind == FileKind.SYMLINK


def test_a_disk_that_refuses_is_said(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    throw(folder, b"a")

    def fails(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "no")

    monkeypatch.setattr(os, "unlink", fails)
    with pytest.raises(FolderError, match="read-only"):
        folder.trash.make_room(1)
    assert only(folder).path == b"a"
