# SPDX-License-Identifier: AGPL-3.0-or-later
"""A folder and an account of which something changes between two looks, or within the same second."""

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
