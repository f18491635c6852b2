# SPDX-License-Identifier: AGPL-3.0-or-later
"""Shares and storages in a mirrored folder that are away, empty or gone: no device loses anything, and it is said.

Holds harp.sync.cloud.mounts and what harp.sync.service.mirrorwalk leaves out. What the account answers meanwhile was
seen on a real Nextcloud (tests/e2e/test_external_storage.py).
"""

import copy
import os
import shutil
import time
from collections.abc import Mapping

import pytest

from harp.base.errors import CloudError, StaleError
from harp.sync.cloud import mounts
from harp.sync.cloud.multistatus import Found
from harp.sync.cloud.nodes import Agreed, CloudPath, Etag, FileId, Local, Remote
from harp.sync.cloud.refusals import AWAY, AwayError, RefusedError
from harp.sync.service import mirror
from harp.sync.service.mirrorwalk import TOP, Walk
from tests.fakes.desk import Desk

SHARED = {"share/1": b"one", "share/2": b"two", "share/in/3": b"three"}


async def with_share(desk: Desk, beside: Mapping[str, bytes] | None = None) -> None:
    """What somebody else shares with the account lies on both sides, beside something of one's own."""
    desk.account.write("own", b"own")
    for path, content in SHARED.items():
        desk.account.write(path, content)
    desk.account.letters["share"] = "SRGDNVCKm"
    await desk.mirror.settle()
    assert await desk.mirror.settle() == 0
    assert desk.here() == {"own": b"own", **SHARED, **(beside or {})}


async def test_a_share_whose_storage_is_away_is_not_empty_and_goes_on_when_it_is_back(desk: Desk) -> None:
    await with_share(desk)
    desk.account.write("share/late", b"just before")
    desk.account.away = {"share"}
    assert await desk.mirror.settle() == 0
    assert desk.mirror.problems == {"share": AWAY}
    (desk.folder / "share" / "mine").write_bytes(b"meanwhile")
    (desk.folder / "share" / "1").unlink()
    desk.account.write("own", b"goes on")
    assert await desk.mirror.settle() == 1
    assert {"share/1"} | desk.here().keys() == {"own", "share/mine", *SHARED}
    assert desk.here()["own"] == b"goes on"
    desk.account.away = set()
    await desk.mirror.settle()
    assert not desk.mirror.problems
    assert desk.here() == desk.there()
    assert desk.here().keys() == {"own", "share/2", "share/in/3", "share/late", "share/mine"}


async def test_a_storage_that_goes_after_the_look_holds_up_its_own_files_only(desk: Desk) -> None:
    await with_share(desk)
    desk.account.away = {"share"}
    (desk.folder / "share" / "mine").write_bytes(b"mine")
    (desk.folder / "new").write_bytes(b"new")
    await desk.mirror.settle()
    assert desk.mirror.problems == {"share": AWAY}
    assert desk.there()["new"] == b"new"


async def test_a_mirrored_folder_that_is_such_a_share_itself_waits(desk: Desk) -> None:
    await with_share(desk)
    desk.account.away = {""}
    desk.account.touch("")
    with pytest.raises(AwayError):
        await desk.mirror.settle()
    assert desk.here() == {"own": b"own", **SHARED}


async def test_a_mirrored_folder_over_which_a_storage_was_mounted_is_left_alone(desk: Desk) -> None:
    await with_share(desk)
    desk.account.mounted = {""}
    desk.account.touch("")
    (desk.folder / "new").write_bytes(b"new")
    with pytest.raises(CloudError, match="cannot be mirrored any more: external storage"):
        await desk.mirror.settle()
    assert "new" not in desk.there()


async def test_what_lies_in_external_storage_is_left_out_on_both_sides_and_said(desk: Desk) -> None:
    await with_share(desk)
    desk.account.write("disk/a", b"theirs")
    desk.account.mounted = {"disk"}
    (desk.folder / "disk").mkdir()
    (desk.folder / "disk" / "mine").write_bytes(b"mine")
    await desk.mirror.settle()
    assert list(desk.mirror.problems) == ["disk"]
    assert desk.here() == {"own": b"own", "disk/mine": b"mine", **SHARED}
    assert desk.there() == {"own": b"own", "disk/a": b"theirs", **SHARED}
    assert await desk.mirror.settle() == 0


async def test_a_share_that_was_taken_back_stays_on_the_disk_until_it_is_deleted_there(desk: Desk) -> None:
    await with_share(desk)
    desk.account.remove("share")
    desk.account.write("own", b"goes on")
    assert await desk.mirror.settle() == 1
    assert desk.mirror.problems == {"share": mounts.GONE}
    assert desk.here() == {"own": b"goes on", **SHARED}
    desk.again()
    assert await desk.mirror.settle() == 0
    shutil.rmtree(desk.folder / "share")
    await desk.mirror.settle()
    assert not desk.mirror.problems
    assert desk.here() == desk.there() == {"own": b"goes on"}
    assert not [one for one in desk.mirror.agreed if one.startswith("share")]


async def test_what_was_in_a_share_that_was_taken_back_is_ones_own_where_it_is_moved(desk: Desk) -> None:
    await with_share(desk)
    desk.account.remove("share")
    await desk.mirror.settle()
    os.rename(desk.folder / "share", desk.folder / "kept")
    await desk.mirror.settle()
    assert not desk.mirror.problems
    assert desk.here() == desk.there()
    assert desk.there()["kept/in/3"] == b"three"


async def test_a_share_that_is_given_again_goes_on(desk: Desk) -> None:
    await with_share(desk)
    state = copy.deepcopy(desk.account.state())
    desk.account.remove("share")
    await desk.mirror.settle()
    (desk.folder / "share" / "1").write_bytes(b"edited meanwhile")
    desk.account.bring_back(state)
    desk.account.touch("")
    await desk.mirror.settle()
    assert not desk.mirror.problems
    assert desk.here() == desk.there() == {"own": b"own", **SHARED, "share/1": b"edited meanwhile"}


async def test_a_share_in_a_folder_that_was_deleted_stays_with_the_folder(desk: Desk) -> None:
    desk.account.write("team/own", b"own")
    desk.account.write("team/share/1", b"one")
    desk.account.letters["team/share"] = "SRGDNVCKm"
    await desk.mirror.settle()
    desk.account.remove("team")
    assert await desk.mirror.settle() == 0
    assert desk.mirror.problems == {"team": mounts.GONE}
    assert desk.here() == {"team/own": b"own", "team/share/1": b"one"}


async def test_another_share_under_the_name_is_not_the_deletion_of_the_first(desk: Desk) -> None:
    await with_share(desk)
    desk.account.remove("share")
    desk.account.write("share/other", b"other")
    await desk.mirror.settle()
    assert desk.mirror.problems == {"share": mounts.GONE}
    assert desk.here() == {"own": b"own", **SHARED}


async def test_a_share_that_is_moved_is_moved(desk: Desk) -> None:
    await with_share(desk)
    desk.account.make("place")
    desk.account.move("share", "place/share")
    desk.account.letters["place/share"] = desk.account.letters.pop("share")
    await desk.mirror.settle()
    assert not desk.mirror.problems
    assert desk.here() == desk.there()
    assert desk.here()["place/share/1"] == b"one"


async def test_a_share_that_is_empty_at_once_is_not_emptied_here(desk: Desk) -> None:
    """So looks a disk that the server has not mounted."""
    await with_share(desk)
    for path in ("share/1", "share/2", "share/in"):
        desk.account.remove(path)
    assert await desk.mirror.settle() == 0
    assert desk.mirror.problems == {"share": mounts.EMPTIED}
    desk.account.write("share/1", b"one")
    await desk.mirror.settle()
    assert desk.here() == desk.there() == {"own": b"own", "share/1": b"one"}


async def test_a_share_with_a_file_or_two_may_be_emptied(desk: Desk) -> None:
    await with_share(desk)
    desk.account.remove("share/in")
    await desk.mirror.settle()
    desk.account.remove("share/1")
    desk.account.remove("share/2")
    await desk.mirror.settle()
    assert desk.here() == desk.there() == {"own": b"own"}
    assert not desk.mirror.problems


async def test_a_federated_share_whose_etag_comes_again_is_no_server_that_went_back(desk: Desk) -> None:
    await with_share(desk)
    first = desk.account.etags["share"]
    desk.account.write("share/4", b"four")
    await desk.mirror.settle()
    desk.account.remove("share/1")
    desk.account.etags["share"] = first
    await desk.mirror.settle()
    assert not desk.mirror.question
    assert desk.here() == desk.there()


async def test_what_happens_to_a_federated_share_on_its_own_server_is_asked_for(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.account.write("local/1", b"one")
    desk.account.letters["local"] = "SRGDNVCKm"
    desk.account.owners = {"share": "ben@cloud.example", "local": "ben"}
    await with_share(desk, {"local/1": b"one"})
    desk.account.unseen["share"] = lambda: desk.account.write("share/new", b"new")
    desk.account.log.clear()
    assert await desk.mirror.settle() == 0
    assert desk.account.log == ["PROPFIND "], "not each time"
    clock = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: clock() + mirror.KNOCK_S)
    desk.account.log.clear()
    assert await desk.mirror.settle() == 1
    assert desk.here()["share/new"] == b"new"
    assert "PROPFIND local" not in desk.account.log, "what lies here says by itself that it is another"


async def test_a_federated_share_that_cannot_be_asked_for_holds_nothing_up(desk: Desk) -> None:
    await with_share(desk)
    desk.account.owners = {"share": "ben@cloud.example"}
    desk.account.touch("share")
    await desk.mirror.settle()
    desk.account.remove("share")
    desk.again()
    assert await desk.mirror.settle() == 0
    assert desk.mirror.problems == {"share": mounts.GONE}


class Emptied:
    """An account whose folder ``share`` lists as empty; what was in it is answered as it is said here."""

    def __init__(self, answer: CloudError | None) -> None:
        self.answer = answer

    async def listing(self, path: CloudPath, depth: int) -> list[Found]:
        if path == "share/1" and self.answer is not None:
            raise self.answer
        listed = [path, *([CloudPath("share")] if path == TOP else ())]
        return [Found(one, Remote(True, FileId(f"n{one}"), Etag("new")), "", "1") for one in listed]


@pytest.mark.parametrize(
    ("answer", "is_left_out"),
    [(AwayError("away"), True), (RefusedError("not for you"), True), (None, True), (StaleError("gone"), False)],
)
async def test_nothing_but_not_found_proves_that_a_folder_is_empty(
    answer: CloudError | None, is_left_out: bool
) -> None:
    agreed = {CloudPath("share/1"): Agreed(Local(False, 1), FileId("2"), Etag("old"))}
    walked = await Walk(Emptied(answer), agreed, {}).walk()
    assert walked.refused == ({"share": AWAY} if is_left_out else {})
    assert ("share" in walked.found) is not is_left_out
