# SPDX-License-Identifier: AGPL-3.0-or-later
"""A folder and an account, over real HTTP on loopback: both directions, and somebody else who writes in between.

Holds harp.sync.service.mirror, mirrordisk and mirrorwalk, harp.sync.cloud.dav and harp.sync.store.agreements.
"""

import copy
import os
import time
from datetime import UTC, datetime

import pytest

from harp.base.errors import CloudError, FolderError
from harp.sync.cloud import dav
from harp.sync.cloud.claims import Claim
from harp.sync.cloud.refusals import BusyError, RefusedError
from harp.sync.service import mirrorpost, mirrorwalk
from harp.sync.service.mirror import Mirror
from harp.sync.service.mirrorrivals import Rivals
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


async def test_small_files_in_a_new_folder_go_in_one_request_and_none_elsewhere(desk: Desk) -> None:
    desk.account.make("old")
    await desk.mirror.settle()
    (desk.folder / "new").mkdir()
    for number in range(20):
        (desk.folder / "new" / f"{number}").write_bytes(b"%d" % number)
        (desk.folder / "old" / f"{number}").write_bytes(b"%d" % number)
    desk.account.log.clear()
    await desk.mirror.settle()
    assert "BULK 20" in desk.account.log
    assert sum(line.startswith("PUT old/") for line in desk.account.log) == 20
    assert desk.here() == desk.there()
    assert await desk.mirror.settle() == 0


async def test_blanks_at_the_end_of_a_name_which_a_bulk_request_loses_do_not_overwrite_its_neighbour(
    desk: Desk,
) -> None:
    (desk.folder / "new").mkdir()
    for name in ("a", "a ", "b", "c", "d"):
        (desk.folder / "new" / name).write_bytes(name.encode())
    await desk.mirror.settle()
    assert "BULK 4" in desk.account.log
    assert desk.here() == desk.there()
    assert len(desk.there()) == 5


async def test_what_a_bulk_request_does_not_take_goes_one_by_one(desk: Desk) -> None:
    desk.account.bulk_refuses = {"new/3"}
    (desk.folder / "new").mkdir()
    for number in range(6):
        (desk.folder / "new" / f"{number}").write_bytes(b"%d" % number)
    await desk.mirror.settle()
    assert [line for line in desk.account.log if line.startswith("PUT")] == ["PUT new/3"]
    assert desk.here() == desk.there()
    assert not desk.mirror.problems


async def test_where_bulk_requests_are_switched_off_all_go_one_by_one(desk: Desk) -> None:
    desk.account.bulk_refuses = None
    (desk.folder / "new").mkdir()
    for number in range(6):
        (desk.folder / "new" / f"{number}").write_bytes(b"%d" % number)
    await desk.mirror.settle()
    assert sum(line.startswith("PUT new/") for line in desk.account.log) == 6
    assert desk.here() == desk.there()


def _put_six(desk: Desk, *, name: str = "old", has_bridge: bool = True) -> None:
    desk.account.has_bridge = has_bridge
    desk.account.make(name)
    (desk.folder / name).mkdir()
    for number in range(6):
        (desk.folder / name / f"{number}").write_bytes(b"%d" % number)


async def test_with_harp_bridge_new_files_share_a_request_wherever_they_lie(desk: Desk) -> None:
    _put_six(desk)
    await desk.mirror.settle()
    assert "NEW 6" in desk.account.log
    assert not [line for line in desk.account.log if line.startswith(("PUT", "BULK"))]
    assert desk.here() == desk.there()
    assert await desk.mirror.settle() == 0


async def test_such_a_request_overwrites_nothing_that_came_a_moment_earlier(desk: Desk) -> None:
    _put_six(desk)

    def somebody(method: str, path: str) -> None:
        if path == "new-files":
            desk.account.write("old/3", b"a moment earlier")

    desk.account.meddles = somebody
    await desk.mirror.settle()
    assert "NEW 5" in desk.account.log
    assert desk.here() == desk.there()
    assert sorted(desk.here().values()) == [b"0", b"1", b"2", b"3", b"4", b"5", b"a moment earlier"]


async def test_where_such_a_request_fails_all_go_one_by_one_and_none_by_the_way_that_overwrites(desk: Desk) -> None:
    _put_six(desk)
    desk.account.bridge_answers = 500
    await desk.mirror.settle()
    assert sum(line.startswith("PUT old/") for line in desk.account.log) == 6
    assert not [line for line in desk.account.log if line.startswith(("NEW", "BULK"))]
    assert desk.here() == desk.there()
    for name in ("more", "yet more"):
        _put_six(desk, name=name)
        await desk.mirror.settle()
    assert desk.here() == desk.there()
    assert desk.account.capabilities_asked == 2, "it says the same again, and is left in peace"


async def test_a_server_that_gets_harp_bridge_is_asked_anew_when_that_speaks(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    _put_six(desk, has_bridge=False)
    await desk.mirror.settle()
    _put_six(desk, name="soon after")
    desk.mirror.heard_bridge()
    await desk.mirror.settle()
    assert desk.account.capabilities_asked == 1, "what is heard may be about another server: it is asked now and then"
    assert not [line for line in desk.account.log if line.startswith("NEW")]
    monkeypatch.setattr(dav, "HINTED_S", 0.0)
    _put_six(desk, name="later")
    await desk.mirror.settle()
    assert (desk.account.capabilities_asked, desk.account.log.count("NEW 6")) == (2, 1)
    for name in ("more", "yet more"):
        _put_six(desk, name=name)
        desk.mirror.heard_bridge()
        await desk.mirror.settle()
    assert desk.account.capabilities_asked == 2, "it is known now"
    assert desk.here() == desk.there()


@pytest.mark.parametrize("status", [404, 501])
async def test_a_server_that_loses_harp_bridge_is_asked_at_once_and_has_it_again_when_it_speaks(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    _put_six(desk)
    await desk.mirror.settle()
    desk.account.bridge_answers = status
    _put_six(desk, name="without", has_bridge=False)
    await desk.mirror.settle()
    assert sum(line.startswith("PUT without/") for line in desk.account.log) == 6
    _put_six(desk, name="still without", has_bridge=False)
    await desk.mirror.settle()
    assert sum(line.startswith("PUT still without/") for line in desk.account.log) == 6
    assert desk.account.capabilities_asked == 2
    desk.account.bridge_answers = 200
    _put_six(desk, name="again")
    monkeypatch.setattr(dav, "HINTED_S", 0.0)
    desk.mirror.heard_bridge()
    await desk.mirror.settle()
    assert (desk.account.capabilities_asked, desk.account.log.count("NEW 6")) == (3, 2)
    assert desk.here() == desk.there()


async def test_a_request_for_many_that_went_wrong_is_not_tried_each_time_and_not_given_up(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def after_another_six() -> tuple[int, int]:
        """How many went in one request, and how many one by one."""
        desk.account.log.clear()
        for number in range(6):
            (desk.folder / "old" / f"{len(desk.here())} {number}").write_bytes(b"%d" % number)
        await desk.mirror.settle()
        assert desk.here() == desk.there()
        return desk.account.log.count("NEW 6"), sum(line.startswith("PUT old/") for line in desk.account.log)

    _put_six(desk)
    desk.account.bridge_answers = 404
    await desk.mirror.settle()
    assert desk.here() == desk.there()
    desk.account.bridge_answers = 200
    assert await after_another_six() == (0, 6)
    clock = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: clock() + mirrorpost.AGAIN.first_s)
    assert await after_another_six() == (1, 0)


async def test_a_write_that_leaves_the_etag_as_it_was_gets_another_so_that_other_clients_see_it(desk: Desk) -> None:
    desk.account.has_weak_etags = True
    desk.account.write("clock", b"11:59", 1_700_000_000)
    await desk.mirror.settle()
    before = desk.account.etags["clock"]
    (desk.folder / "clock").write_bytes(b"12:00")
    os.utime(desk.folder / "clock", ns=(0, 1_700_000_000_500_000_000))
    await desk.mirror.settle()
    assert desk.there() == {"clock": b"12:00"}
    assert desk.account.etags["clock"] != before
    assert await desk.mirror.settle() == 0


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


async def test_an_account_keeps_notes_of_its_mirrors_without_another_etag(desk: Desk) -> None:
    etag = desk.account.etags[""]
    kept, now = await desk.register.read()
    assert kept == ()
    note = Claim("m", "r", '<b>&"\u00e4', "/", now + 60)
    await desk.register.write([note])
    assert (await desk.register.read())[0] == (note,)
    assert desk.account.etags[""] == etag


async def test_a_server_that_keeps_no_notes_is_mirrored_all_the_same(desk: Desk) -> None:
    desk.account.claims = None
    with pytest.raises(RefusedError, match="keeps no properties"):
        await desk.register.write([])
    rivals = Rivals(desk.register, Claim("m", "r", "laptop", "/", 0), every_s=15.0, clock=lambda: 0.0)
    desk.account.write("a.txt", b"x")
    await Mirror(desk.dav, desk.disk, desk.store, rivals=rivals).settle()
    assert (desk.here(), rivals.found) == ({"a.txt": b"x"}, ())
