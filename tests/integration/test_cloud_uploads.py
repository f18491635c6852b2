# SPDX-License-Identifier: AGPL-3.0-or-later
"""Many small files in one request, and large ones in chunks: what goes up, and what it never writes over.

Holds harp.sync.service.mirrorpost and mirrorchunks.
"""

import os

import pytest

from harp.base.errors import CloudError
from harp.sync.cloud import dav
from harp.sync.cloud.dav import BusyError
from harp.sync.service import mirrorchunks, mirrorpost
from tests.fakes.desk import Desk


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


@pytest.fixture
def in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of ten bytes, and files of twenty in chunks."""
    monkeypatch.setattr(dav, "CHUNK_BYTES", 10)
    monkeypatch.setattr(mirrorchunks, "CHUNK_BYTES", 10)
    monkeypatch.setattr(mirrorpost, "CHUNKED_FROM", 20)


def chunks_sent(desk: Desk) -> list[str]:
    sent = [line.removeprefix("PUT uploads ") for line in desk.account.log if line.startswith("PUT uploads")]
    desk.account.log.clear()
    return sent


@pytest.mark.usefixtures("in_chunks")
async def test_a_large_file_goes_up_in_chunks_and_over_exactly_what_was_there(desk: Desk) -> None:
    (desk.folder / "large").write_bytes(bytes(range(35)))
    await desk.mirror.settle()
    assert chunks_sent(desk) == ["00001", "00002", "00003", "00004"]
    (desk.folder / "large").write_bytes(bytes(range(40)))
    await desk.mirror.settle()
    assert desk.here() == desk.there() == {"large": bytes(range(40))}
    assert desk.account.uploads == {}
    assert await desk.mirror.settle() == 0


@pytest.mark.usefixtures("in_chunks")
async def test_an_upload_that_was_cut_off_goes_on_after_a_restart(desk: Desk) -> None:
    (desk.folder / "large").write_bytes(bytes(range(45)))

    def meddle(method: str, path: str) -> None:
        if path == "uploads 00003":
            desk.account.fails = 503

    desk.account.meddles = meddle
    with pytest.raises(BusyError):
        await desk.mirror.settle()
    assert chunks_sent(desk) == ["00001", "00002", "00003", "00004"]
    desk.account.meddles, desk.account.fails = (lambda method, path: None), 0
    desk.again()
    await desk.mirror.settle()
    assert chunks_sent(desk) == ["00004", "00005"]
    assert desk.here() == desk.there() == {"large": bytes(range(45))}


@pytest.mark.usefixtures("in_chunks")
async def test_an_upload_that_was_cut_off_begins_anew_where_the_file_changed_or_the_chunks_are_gone(desk: Desk) -> None:
    async def cut_off() -> None:
        def meddle(method: str, path: str) -> None:
            desk.account.fails = 503 if path == "uploads 00002" else 0

        desk.account.meddles = meddle
        with pytest.raises(BusyError):
            await desk.mirror.settle()
        desk.account.meddles, desk.account.fails = (lambda method, path: None), 0
        desk.account.log.clear()

    (desk.folder / "large").write_bytes(bytes(range(30)))
    await cut_off()
    (desk.folder / "large").write_bytes(bytes(range(31)))
    await desk.mirror.settle()
    assert chunks_sent(desk) == ["00001", "00002", "00003", "00004"]
    assert desk.account.uploads == {}
    (desk.folder / "large").write_bytes(bytes(range(33)))
    await cut_off()
    desk.account.uploads.clear()
    await desk.mirror.settle()
    assert chunks_sent(desk) == ["00001", "00002", "00003", "00004"]
    (desk.folder / "large").write_bytes(bytes(range(36)))
    await cut_off()
    (desk.folder / "large").unlink()
    await desk.mirror.settle()
    assert desk.account.uploads == {}
    assert desk.here() == desk.there()


@pytest.mark.usefixtures("in_chunks")
async def test_who_writes_while_chunks_go_up_is_not_overwritten(desk: Desk) -> None:
    desk.account.write("large", b"base")
    await desk.mirror.settle()
    (desk.folder / "large").write_bytes(bytes(range(30)))

    def meddle(method: str, path: str) -> None:
        if method == "MOVE":
            desk.account.meddles = lambda method, path: None
            desk.account.write("large", b"a moment earlier")

    desk.account.meddles = meddle
    await desk.mirror.settle()
    assert desk.here() == desk.there()
    assert desk.here()["large"] == b"a moment earlier"
    assert sorted(desk.here().values()) == [bytes(range(30)), b"a moment earlier"]


@pytest.mark.usefixtures("in_chunks")
async def test_a_large_file_that_arrived_though_no_answer_came_is_recognised_and_not_read_back(desk: Desk) -> None:
    (desk.folder / "large").write_bytes(bytes(range(30)))
    desk.account.loses_answers = True
    with pytest.raises(CloudError):
        await desk.mirror.settle()
    desk.account.loses_answers = False
    desk.account.log.clear()
    desk.again()
    await desk.mirror.settle()
    assert desk.here() == desk.there() == {"large": bytes(range(30))}
    assert not any(line.startswith(("GET", "PUT", "MOVE")) for line in desk.account.log)
