# SPDX-License-Identifier: AGPL-3.0-or-later
"""A folder and an account of which something changes between two looks, or within the same second."""

import time

import pytest

from harp.sync.cloud.multistatus import Found
from harp.sync.cloud.nodes import CloudPath, Local
from tests.fakes.desk import Desk


async def test_a_directory_that_is_renamed_just_after_it_was_made_leaves_nothing_behind(desk: Desk) -> None:
    (desk.folder / "a").mkdir()

    def hurry(method: str, path: str) -> None:
        """Somebody renames it between two looks of the mirror."""
        desk.account.meddles = lambda method, path: None
        (desk.folder / "a").rename(desk.folder / "b")

    (desk.folder / "x").write_bytes(b"x")
    desk.account.meddles = hurry
    await desk.mirror.settle()
    await desk.mirror.settle()
    assert desk.account.folders == {"", "b"}
    assert {path.name for path in desk.folder.iterdir()} == {".harp", "b", "x"}


async def test_an_overwrite_within_the_same_second_is_seen_although_the_etag_comes_again(desk: Desk) -> None:
    desk.account.write("note.txt", b"one")
    await desk.mirror.settle()
    before = desk.account.etags["note.txt"]
    desk.account.write("note.txt", b"two, longer")
    desk.account.etags["note.txt"] = before
    await desk.mirror.settle()
    assert desk.here() == {"note.txt": b"two, longer"}


async def test_a_folder_that_this_run_made_takes_files_by_the_hundred_until_somebody_else_is_at_work_there(
    desk: Desk,
) -> None:
    (desk.folder / "new").mkdir()
    for batch in (range(5), range(5, 15)):
        for number in batch:
            (desk.folder / "new" / f"{number}").write_bytes(b"%d" % number)
        await desk.mirror.settle()
    assert [line for line in desk.account.log if line.startswith("BULK")] == ["BULK 5", "BULK 10"]
    desk.account.write("new/strange", b"by somebody else")
    await desk.mirror.settle()
    for number in range(15, 25):
        (desk.folder / "new" / f"{number}").write_bytes(b"%d" % number)
    await desk.mirror.settle()
    assert sum(line.startswith("BULK") for line in desk.account.log) == 2
    assert desk.here() == desk.there()


async def test_a_change_in_one_folder_is_not_passed_by_because_something_moved_in_another_in_the_same_turn(
    desk: Desk,
) -> None:
    desk.account.write("e/three.txt", b"as it was")
    desk.account.write("d/one.txt", b"one")
    for _ in range(2):
        await desk.mirror.settle()
    (desk.folder / "d" / "one.txt").rename(desk.folder / "d" / "two.txt")
    desk.account.write("e/three.txt", b"changed by somebody")
    await desk.mirror.settle()
    assert desk.here() == desk.there() == {"e/three.txt": b"changed by somebody", "d/two.txt": b"one"}


async def test_what_the_rules_leave_out_no_more_comes_although_nobody_touched_it(desk: Desk) -> None:
    desk.rules.names = ("draft.txt",)
    desk.account.write("d/draft.txt", b"left out")
    desk.account.write("d/plan.txt", b"plan")
    await desk.mirror.settle()
    assert await desk.mirror.settle() == 0
    assert desk.here() == {"d/plan.txt": b"plan"}
    desk.rules.names = ()
    await desk.mirror.settle(only_news=True)
    assert desk.here() == {"d/draft.txt": b"left out", "d/plan.txt": b"plan"}


async def test_what_moves_behind_the_back_of_a_walk_is_not_taken_for_deleted(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.account.make("b")
    for path in ("a/x", "b/c/plan.txt", "b/c/y"):
        desk.account.write(path, path.encode())
    for _ in range(2):
        await desk.mirror.settle()
    number = (desk.folder / "b" / "c" / "plan.txt").stat().st_ino
    listing = desk.dav.listing

    async def meddled(path: CloudPath, depth: int) -> list[Found]:
        """Somebody moves it to where the walk has been, before the walk comes to where it was."""
        if path == "b/c" and "b/c/plan.txt" in desk.account.files:
            desk.account.move("b/c/plan.txt", "a/plan.txt")
        return await listing(path, depth)

    monkeypatch.setattr(desk.dav, "listing", meddled)
    desk.account.write("a/x", b"so that it is listed")
    desk.account.write("b/c/y", b"and this too")
    await desk.mirror.settle()
    assert desk.here() == desk.there()
    assert (desk.folder / "a" / "plan.txt").stat().st_ino == number, "it was moved here, too"


async def test_what_is_deleted_while_much_happens_in_the_account_goes_here_with_the_next_walk(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in ("busy", "d/gone"):
        desk.account.write(path, path.encode())
    for _ in range(2):
        await desk.mirror.settle()
    desk.account.remove("d/gone")
    listing = desk.dav.listing

    async def meddled(path: CloudPath, depth: int) -> list[Found]:
        desk.account.write("busy", f"{len(desk.account.log)}".encode())
        return await listing(path, depth)

    monkeypatch.setattr(desk.dav, "listing", meddled)
    await desk.mirror.settle()
    assert not (desk.folder / "d" / "gone").exists()


async def test_what_somebody_wrote_within_the_second_under_the_same_etag_is_not_overwritten(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = int(time.time())
    desk.account.write("note.txt", b"one", now_s)
    await desk.mirror.settle()
    (desk.folder / "note.txt").write_bytes(b"by this device")
    scan = desk.disk.scan

    def meddled() -> dict[CloudPath, Local]:
        """The account has been looked at by now, and is written to."""
        if desk.account.files["note.txt"][0] == b"one":
            etag = desk.account.etags["note.txt"]
            desk.account.write("note.txt", b"by another one", now_s)
            desk.account.etags["note.txt"] = etag
        return scan()

    monkeypatch.setattr(desk.disk, "scan", meddled)
    await desk.mirror.settle()
    assert desk.here() == desk.there()
    assert sorted(desk.here().values()) == [b"by another one", b"by this device"]
