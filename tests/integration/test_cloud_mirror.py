# SPDX-License-Identifier: AGPL-3.0-or-later
"""A folder and an account, over real HTTP on loopback: both directions, and somebody else who writes in between.

Holds harp.sync.service.mirror, mirrordisk and mirrorwalk, harp.sync.cloud.dav and harp.sync.store.agreements.
"""

import copy
import os
import shutil
from datetime import UTC, datetime

import pytest

from harp.base.errors import CloudError, FolderError
from harp.sync.cloud.dav import BusyError
from harp.sync.service import mirrorwalk
from tests.fakes.desk import Desk


async def test_each_side_gets_what_the_other_has(desk: Desk) -> None:
    (desk.folder / "down").mkdir()
    (desk.folder / "down" / "a.txt").write_bytes(b"from the disk")
    desk.account.write("up/b.txt", b"from the account", 1_600_000_000)
    await desk.mirror.settle()
    assert desk.here() == desk.there() == {"down/a.txt": b"from the disk", "up/b.txt": b"from the account"}
    assert (desk.folder / "up" / "b.txt").stat().st_mtime == 1_600_000_000
    assert await desk.mirror.settle() == 0


async def test_a_settled_account_is_asked_once_and_survives_a_restart(desk: Desk) -> None:
    desk.account.write("a/b/c/d.txt", b"deep")
    await desk.mirror.settle()
    await desk.mirror.settle()
    desk.again()
    desk.account.log.clear()
    assert await desk.mirror.settle() == 0
    assert desk.account.log == ["PROPFIND "]


async def test_edits_renames_and_deletions_go_both_ways_without_content_where_none_changed(desk: Desk) -> None:
    desk.account.write("d/x", b"one")
    desk.account.write("d/y", b"two")
    await desk.mirror.settle()
    os.rename(desk.folder / "d", desk.folder / "e")
    desk.account.log.clear()
    await desk.mirror.settle()
    assert "MOVE d" in desk.account.log
    assert not any(line.startswith(("PUT", "GET")) for line in desk.account.log)
    desk.account.move("e/x", "e/z")
    desk.account.remove("e/y")
    await desk.mirror.settle()
    assert desk.here() == desk.there() == {"e/z": b"one"}
    (desk.folder / "e" / "z").unlink()
    (desk.folder / "e").rmdir()
    await desk.mirror.settle()
    assert desk.here() == desk.there() == {}
    assert desk.account.folders == {""}


async def test_both_edit_and_both_versions_survive_on_both_sides(desk: Desk) -> None:
    desk.account.write("note.txt", b"base")
    await desk.mirror.settle()
    (desk.folder / "note.txt").write_bytes(b"by the device")
    desk.account.write("note.txt", b"in the browser")
    await desk.mirror.settle()
    assert desk.here() == desk.there()
    assert desk.here()["note.txt"] == b"in the browser"
    assert sorted(desk.here().values()) == [b"by the device", b"in the browser"]
    assert any(name.startswith("note (conflict ") and name.endswith(".txt") for name in desk.here())


async def test_who_writes_between_the_plan_and_the_write_is_not_overwritten(desk: Desk) -> None:
    desk.account.write("note.txt", b"base")
    await desk.mirror.settle()
    (desk.folder / "note.txt").write_bytes(b"by the device")

    def meddle(method: str, path: str) -> None:
        desk.account.meddles = lambda method, path: None
        desk.account.write("note.txt", b"a moment earlier")

    desk.account.meddles = meddle
    await desk.mirror.settle()
    assert desk.here() == desk.there()
    assert sorted(desk.here().values()) == [b"a moment earlier", b"by the device"]


async def test_a_server_that_went_back_in_time_is_asked_about_and_newer_files_stay(desk: Desk) -> None:
    for number in range(5):
        desk.account.write(f"{number}", b"new", 1_700_000_000)
    await desk.mirror.settle()
    for number in range(5):
        desk.account.write(f"{number}", b"old", 1_600_000_000)
    await desk.mirror.settle()
    assert "went back to older versions" in desk.mirror.question
    assert set(desk.here().values()) == {b"new"}
    await desk.mirror.answer("merge", now=datetime.now(UTC))
    await desk.mirror.settle()
    assert desk.here() == desk.there()
    assert sorted(desk.here().values()) == [b"new"] * 5 + [b"old"] * 5


async def test_a_server_brought_back_from_a_backup_does_not_take_what_came_since(desk: Desk) -> None:
    desk.account.write("d/kept", b"1")
    await desk.mirror.settle()
    backup = copy.deepcopy(desk.account.state())
    desk.account.write("d/one more", b"2")
    await desk.mirror.settle()
    (desk.folder / "d" / "by the device").write_bytes(b"3")
    await desk.mirror.settle()
    desk.account.bring_back(backup)
    desk.again()
    await desk.mirror.settle()
    assert "went back in time" in desk.mirror.question
    assert set(desk.here()) == {"d/kept", "d/one more", "d/by the device"}
    await desk.mirror.settle()
    assert "went back in time" in desk.mirror.question
    await desk.mirror.answer("merge", now=datetime.now(UTC))
    await desk.mirror.settle()
    assert set(desk.here()) == {"d/kept", "d/one more", "d/by the device"}
    assert desk.here() == desk.there()
    desk.account.remove("d/kept")
    await desk.mirror.settle()
    assert not desk.mirror.question
    assert desk.here() == desk.there()


async def test_a_server_that_was_brought_back_can_be_followed(desk: Desk) -> None:
    desk.account.write("d/kept", b"1")
    await desk.mirror.settle()
    backup = copy.deepcopy(desk.account.state())
    desk.account.write("d/one more", b"2")
    await desk.mirror.settle()
    desk.account.bring_back(backup)
    await desk.mirror.settle()
    await desk.mirror.answer("follow", now=datetime.now(UTC))
    await desk.mirror.settle()
    assert not desk.mirror.question
    assert desk.here() == desk.there() == {"d/kept": b"1"}


async def test_an_emptied_account_does_not_empty_the_disk_unasked(desk: Desk) -> None:
    for number in range(30):
        desk.account.write(f"{number}", b"x")
    await desk.mirror.settle()
    for number in range(30):
        desk.account.remove(f"{number}")
    await desk.mirror.settle()
    assert desk.mirror.question == "30 of 30 files are gone from the account at once"
    assert len(desk.here()) == 30
    await desk.mirror.answer("follow", now=datetime.now(UTC))
    await desk.mirror.settle()
    assert desk.here() == {}


@pytest.mark.parametrize(("status", "kind"), [(503, BusyError), (401, CloudError), (500, CloudError)])
async def test_bad_weather_changes_nothing(desk: Desk, status: int, kind: type[CloudError]) -> None:
    desk.account.write("a", b"x")
    await desk.mirror.settle()
    desk.account.fails = status
    with pytest.raises(kind):
        await desk.mirror.settle()
    assert desk.here() == {"a": b"x"}
    desk.account.fails = 0
    assert await desk.mirror.settle() == 0


async def test_a_file_that_is_locked_for_a_moment_is_waited_for_and_one_that_stays_locked_is_named(desk: Desk) -> None:
    desk.account.write("a", b"x")
    desk.account.write("b", b"x")
    await desk.mirror.settle()
    desk.account.locked = {"a": 2, "b": 1000}
    for name in ("a", "b", "c"):
        (desk.folder / name).write_bytes(b"edited")
    await desk.mirror.settle()
    assert desk.there() == {"a": b"edited", "b": b"x", "c": b"edited"}
    assert desk.mirror.problems == {"b": "a file is locked there"}
    desk.account.locked = {}
    await desk.mirror.settle()
    assert desk.there()["b"] == b"edited"


async def test_a_full_account_is_said_file_by_file_and_what_fits_goes_up(desk: Desk) -> None:
    desk.account.room = 10
    (desk.folder / "large").write_bytes(b"x" * 11)
    (desk.folder / "small").write_bytes(b"x" * 3)
    await desk.mirror.settle()
    assert desk.there() == {"small": b"xxx"}
    assert desk.mirror.problems == {"large": "the account's quota is used up"}
    assert len([line for line in desk.account.log if line == "PUT large"]) <= 2
    desk.account.room = 100
    await desk.mirror.settle()
    assert desk.here() == desk.there()


async def test_a_share_that_may_only_be_read_stays_as_it_is_and_each_refusal_is_named(desk: Desk) -> None:
    desk.account.write("share/x", b"theirs")
    desk.account.make("share/sub")
    desk.account.letters = {"share": "SGDNVm", "share/x": "SG", "share/sub": "SG"}
    await desk.mirror.settle()
    (desk.folder / "share" / "x").write_bytes(b"mine")
    (desk.folder / "share" / "y").write_bytes(b"new")
    (desk.folder / "share" / "d" / "e").mkdir(parents=True)
    (desk.folder / "share" / "d" / "e" / "z").write_bytes(b"deep")
    desk.account.log.clear()
    await desk.mirror.settle()
    assert desk.there() == {"share/x": b"theirs"}
    assert set(desk.mirror.problems) == {"share/x", "share/y", "share/d", "share/d/e", "share/d/e/z"}
    assert not any(line.startswith(("PUT", "MKCOL")) for line in desk.account.log)
    (desk.folder / "share" / "x").unlink()
    await desk.mirror.settle()
    assert (desk.folder / "share" / "x").read_bytes() == b"theirs"


async def test_who_deletes_a_share_takes_leave_of_it_and_deletes_nothing_in_it(desk: Desk) -> None:
    desk.account.write("share/x", b"theirs")
    desk.account.write("share/sub/y", b"theirs too")
    desk.account.letters = {"share": "SRGDNVCKm"}
    await desk.mirror.settle()
    desk.again()
    shutil.rmtree(desk.folder / "share")
    desk.account.log.clear()
    await desk.mirror.settle()
    assert [line for line in desk.account.log if line.startswith("DELETE")] == ["DELETE share"]
    assert desk.here() == desk.there() == {}
    assert await desk.mirror.settle() == 0


async def test_a_share_in_which_somebody_wrote_meanwhile_comes_back(desk: Desk) -> None:
    desk.account.write("share/x", b"theirs")
    desk.account.write("share/y", b"theirs")
    desk.account.letters = {"share": "SRGDNVCKm"}
    await desk.mirror.settle()
    shutil.rmtree(desk.folder / "share")
    desk.account.write("share/x", b"newer")
    await desk.mirror.settle()
    assert desk.here() == desk.there() == {"share/x": b"newer", "share/y": b"theirs"}


async def test_a_rename_that_the_account_refuses_goes_as_a_new_file_and_stops_nothing_else(desk: Desk) -> None:
    desk.account.write("a", b"x")
    await desk.mirror.settle()
    desk.account.refuses_moves = True
    os.rename(desk.folder / "a", desk.folder / "b")
    (desk.folder / "other").write_bytes(b"y")
    await desk.mirror.settle()
    assert desk.here() == desk.there() == {"b": b"x", "other": b"y"}


async def test_a_disk_that_is_not_mounted_is_no_deletion(desk: Desk) -> None:
    desk.account.write("a", b"x")
    await desk.mirror.settle()
    os.rename(desk.folder / ".harp", desk.place / "elsewhere")
    (desk.folder / "a").unlink()
    with pytest.raises(FolderError):
        await desk.mirror.settle()
    assert desk.there() == {"a": b"x"}


async def test_what_an_account_cannot_hold_is_said_file_by_file(desk: Desk) -> None:
    (desk.folder / "link").symlink_to("elsewhere")
    (desk.folder / "back\\slash").write_bytes(b"x")
    (desk.folder / "fine").write_bytes(b"x")
    await desk.mirror.settle()
    assert desk.there() == {"fine": b"x"}
    assert set(desk.mirror.problems) == {"link", "back\\slash"}


async def test_a_file_that_is_renamed_to_what_an_account_cannot_hold_stays_there_as_it_was(desk: Desk) -> None:
    for number, name in enumerate(("a", "b", "c")):
        desk.account.write(name, b"%d" % number)
    await desk.mirror.settle()
    os.rename(desk.folder / "a", desk.folder / "a.part")
    os.rename(desk.folder / "b", desk.folder / "e\u0301")
    os.rename(desk.folder / "c", desk.folder / "d")
    await desk.mirror.settle()
    assert set(desk.there()) == {"a", "b", "d"}
    assert set(desk.here()) == {"a.part", "e\u0301", "d"}
    assert set(desk.mirror.problems) == {"a", "a.part", "b", "e\u0301"}
    os.rename(desk.folder / "a.part", desk.folder / "e")
    os.rename(desk.folder / "e\u0301", desk.folder / "f")
    await desk.mirror.settle()
    assert desk.here() == desk.there() == {"e": b"0", "f": b"1", "d": b"2"}


def test_the_walk_begins_at_the_top() -> None:
    assert mirrorwalk.TOP == ""
