# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an account refuses, for a moment or for good: locks, quota, permissions, shares.

Holds harp.sync.service.mirror.
"""

import errno
import os
import shutil

import pytest

from harp.sync.folder.fs import Root
from harp.sync.model import Path as EntryPath
from tests.fakes.desk import Desk


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


async def test_what_comes_into_a_folder_in_the_moment_in_which_it_is_removed_is_brought_back(desk: Desk) -> None:
    desk.account.write("d/x", b"x")
    desk.account.make("d/empty")
    await desk.mirror.settle()
    shutil.rmtree(desk.folder / "d")

    def meddle(method: str, path: str) -> None:
        if (method, path) == ("DELETE", "d/empty"):
            desk.account.write("d/empty/late", b"late")

    desk.account.meddles = meddle
    await desk.mirror.settle()
    assert desk.here() == desk.there() == {"d/empty/late": b"late"}
    assert await desk.mirror.settle() == 0


async def test_a_file_that_may_not_be_read_here_is_named_and_stops_nothing_else(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Root.open_regular

    def denied(self: Root, path: EntryPath) -> int | None:
        if path == b"secret":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return opened(self, path)

    monkeypatch.setattr(Root, "open_regular", denied)
    (desk.folder / "secret").write_bytes(b"x")
    (desk.folder / "fine").write_bytes(b"x")
    await desk.mirror.settle()
    assert desk.there() == {"fine": b"x"}
    assert set(desk.mirror.problems) == {"secret"}


async def test_what_vanishes_between_the_look_and_the_reading_is_planned_anew(desk: Desk) -> None:
    (desk.folder / "d" / "e").mkdir(parents=True)
    (desk.folder / "d" / "e" / "x").write_bytes(b"x")

    def meddle(method: str, path: str) -> None:
        desk.account.meddles = lambda method, path: None
        os.rename(desk.folder / "d", desk.folder / "f")

    desk.account.write("other", b"base")
    await desk.mirror.settle()
    (desk.folder / "other").write_bytes(b"edited")
    (desk.folder / "d" / "e" / "y").write_bytes(b"y")
    desk.account.meddles = meddle
    await desk.mirror.settle()
    assert desk.here() == desk.there() == {"f/e/x": b"x", "f/e/y": b"y", "other": b"edited"}
