# SPDX-License-Identifier: AGPL-3.0-or-later
"""Large files go up in chunks, whatever is cut off in between.

Holds harp.sync.service.mirrorchunks.
"""

import pytest

from harp.base.errors import CloudError
from harp.sync.cloud import dav
from harp.sync.cloud.refusals import BusyError
from harp.sync.service import mirrorchunks, mirrorpost
from tests.fakes.desk import Desk


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
