# SPDX-License-Identifier: AGPL-3.0-or-later
"""The engine between a folder and an account, on a real Nextcloud: what it sends, and that it may be killed."""

import asyncio
import hashlib
import http.client
import os
import shutil
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from harp.sync.cloud.nodes import CloudPath, Local
from harp.sync.service.mirrordisk import MirrorDisk
from tests.e2e import mirrored
from tests.e2e.cloud import Cloud
from tests.e2e.desk import Desk

MIB = 1 << 20


async def test_trees_of_both_sides_become_one_and_stay_as_they_are(desk: Desk) -> None:
    for number in range(50):
        path = desk.folder / f"d{number % 3}" / f"ä {number}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(os.urandom(number * 100))
    desk.put("from the server", b"x")
    async with desk.opened() as mirror:
        assert await mirror.settle() == 54
        assert len(desk.here()) == 51
        assert desk.here() == desk.there()
        assert not mirror.problems
        assert await mirror.settle() == 0
    async with desk.opened() as mirror:
        assert await mirror.settle() == 0


async def test_a_copy_made_in_nextcloud_is_copied_here_and_not_fetched(desk: Desk) -> None:
    content = os.urandom(MIB)
    checksum = f"SHA256:{hashlib.sha256(content).hexdigest()}"
    desk.put("plan", content, OC_Checksum=checksum, X_OC_Mtime="1700000000")
    async with desk.opened() as mirror:
        await mirror.settle()
        headers = desk.alice.basic | {"Destination": f"{desk.cloud.url}{desk.at}/copy"}
        assert desk.cloud.browser().ask("COPY", f"{desk.at}/plan", headers).status == 201
        plan, copy = desk.told("plan"), desk.told("copy")
        assert (copy.etag, copy.mtime_s) == (plan.etag, plan.mtime_s), "what makes it likely"
        assert (plan.checksum, copy.checksum) == (checksum, ""), "a copy drops what its client said"
        assert [await mirror.settle() for _ in range(2)] == [1, 0]
        assert (desk.told("copy").etag, desk.told("copy").checksum) == (copy.etag, checksum), "the server has hashed it"
    assert desk.here() == desk.there() == {"plan": content, "copy": content}
    assert (desk.asked(f'"GET {desk.at}/plan HTTP'), desk.asked(f'"GET {desk.at}/copy HTTP')) == (1, 0)


async def test_names_that_a_bulk_request_would_change_or_that_are_forbidden_do_no_harm_to_their_neighbours(
    desk: Desk,
) -> None:
    (desk.folder / "new").mkdir()
    names = ("a", "a ", "b.part", ".htaccess", "c", "d", "e", "f", "g")
    for name in names:
        (desk.folder / "new" / name).write_bytes(name.encode())
    async with desk.opened() as mirror:
        await mirror.settle()
        assert set(mirror.problems) == {"new/b.part", "new/.htaccess"}
    assert desk.there() == {f"new/{name}": name.encode() for name in names if name not in ("b.part", ".htaccess")}


async def test_a_write_that_leaves_the_etag_as_it_was_is_seen_by_others_all_the_same(
    desk: Desk, tmp_path: Path
) -> None:
    if reason := mirrored.why_no_client():
        pytest.skip(reason)
    clock = desk.folder / "clock"
    other = tmp_path / "other"
    other.mkdir()
    async with desk.opened() as mirror:
        for minute in range(4):
            clock.write_bytes(b"12:%02d" % minute)
            os.utime(clock, ns=(0, 1_700_000_000_000_000_000 + minute))
            await mirror.settle()
            mirrored.nextcloudcmd(desk.cloud, desk.alice, other, desk.top)
            assert mirrored.content(other) == {"clock": b"12:%02d" % minute}


async def begun(desk: Desk, chunks: int) -> subprocess.Popen[bytes]:
    """A process that mirrors, once so many chunks of a large file are there."""
    process = mirrored.process(desk.cloud, desk.alice, desk.folder, desk.top)
    async with asyncio.timeout(300):
        while len(desk.begun_chunks()) < chunks:
            assert process.poll() is None, "all was sent already, or it failed"
            await asyncio.sleep(0.02)
    return process


async def test_a_large_file_goes_on_where_it_stopped_when_harp_was_killed(desk: Desk) -> None:
    large = os.urandom(100 * MIB)
    (desk.folder / "large").write_bytes(large)
    process = await begun(desk, 3)
    process.kill()
    process.wait()
    place = desk.begun_chunks()[0].parent.name
    async with desk.opened() as mirror:
        await mirror.settle()
        assert desk.there() == {"large": large}
        assert await mirror.settle() == 0
    assert not desk.begun_chunks()
    assert desk.asked(f"PUT /remote.php/dav/uploads/alice/{place}/00001") == 1
    assert desk.asked(f"MOVE /remote.php/dav/uploads/alice/{place}/.file") == 1


async def test_a_large_file_goes_on_where_it_stopped_when_the_server_was_killed(desk: Desk) -> None:
    large = os.urandom(80 * MIB)
    (desk.folder / "large").write_bytes(large)
    process = await begun(desk, 2)
    desk.cloud.stop()
    try:
        assert process.wait(60) != 0
    finally:
        desk.cloud.start()
    place = desk.begun_chunks()[0].parent.name
    async with desk.opened() as mirror:
        await mirror.settle()
    assert desk.there() == {"large": large}
    assert desk.asked(f'MOVE /remote.php/dav/uploads/alice/{place}/.file HTTP/1.1" 201') == 1


async def test_a_large_file_overwrites_no_later_one(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.put("large", b"base")
    async with desk.opened() as mirror:
        await mirror.settle()
        mine = os.urandom(40 * MIB)
        (desk.folder / "large").write_bytes(mine)
        join = mirror._dav.join_chunks

        async def late(*given: Any) -> object:
            monkeypatch.setattr(mirror._dav, "join_chunks", join)
            desk.put("large", b"a moment earlier")
            return await join(*given)

        monkeypatch.setattr(mirror._dav, "join_chunks", late)
        await mirror.settle()
        assert desk.here() == desk.there()
        assert desk.there()["large"] == b"a moment earlier"
        assert sorted(desk.there().values(), key=len) == [b"a moment earlier", mine]
        (desk.folder / "large").write_bytes(mine)
        await mirror.settle()
        assert desk.here() == desk.there()
        assert desk.there()["large"] == mine


def replaced(cloud: Cloud, source: Path, target: Path) -> None:
    """Copies the folders of data and database, with their owners, while the servers are down."""
    cloud.stop()
    target.mkdir(exist_ok=True)
    for name in (cloud.data.name, cloud.database.name):
        shutil.rmtree(target / name, ignore_errors=True)
        subprocess.run(["cp", "-a", str(source / name), str(target / name)], check=True)
    cloud.start()


async def test_a_nextcloud_brought_back_from_a_backup_does_not_take_what_came_since(desk: Desk, tmp_path: Path) -> None:
    desk.put("changed", b"old", X_OC_Mtime="1700000000")
    desk.put("kept", b"kept")
    async with desk.opened() as mirror:
        await mirror.settle()
        backup = tmp_path / "backup"
        replaced(desk.cloud, desk.cloud.scratch, backup)
        desk.put("changed", b"newer")
        desk.put("came since", b"from the browser")
        (desk.folder / "by a device").write_bytes(b"from a device")
        await mirror.settle()
        assert desk.here() == desk.there()
        newest = desk.here()

        replaced(desk.cloud, backup, desk.cloud.scratch)
        assert set(desk.there()) == {"changed", "kept"}
        await mirror.settle()
        assert "went back in time" in mirror.question
        assert desk.here() == newest

        await mirror.answer("merge", now=datetime.now(UTC))
        await mirror.settle()
        assert not mirror.question
        assert desk.here() == desk.there()
        assert newest.keys() <= desk.here().keys()
        assert set(newest.values()) <= set(desk.here().values())
        assert await mirror.settle() == 0


async def test_somebody_elses_folder_that_may_only_be_read_stays_as_it_is_and_is_left_not_deleted(desk: Desk) -> None:
    bob, share = desk.cloud.person("bob"), f"{desk.top}-shared"
    mirrored.make_folder(desk.cloud, bob, share)
    given = desk.cloud.browser().ask("PUT", f"/remote.php/dav/files/bob/{share}/x", bob.basic, b"bob's")
    assert given.status == 201
    form = f"path=/{share}&shareType=0&shareWith=alice&permissions=1".encode()
    shares = "/ocs/v2.php/apps/files_sharing/api/v1/shares"
    headers = bob.basic | {"OCS-APIRequest": "true", "Content-Type": "application/x-www-form-urlencoded"}
    assert desk.cloud.browser().ask("POST", shares, headers, form).status == 200
    moved = desk.cloud.browser().ask(
        "MOVE",
        f"/remote.php/dav/files/alice/{share}",
        desk.alice.basic | {"Destination": f"{desk.cloud.url}{desk.at}/share"},
    )
    assert moved.status == 201

    theirs = desk.cloud.data / "bob" / "files" / share
    async with desk.opened() as mirror:
        await mirror.settle()
        assert desk.here() == {"share/x": b"bob's"}
        (desk.folder / "share" / "x").write_bytes(b"mine")
        (desk.folder / "share" / "d").mkdir()
        (desk.folder / "share" / "d" / "y").write_bytes(b"new")
        (desk.folder / "fine").write_bytes(b"fine")
        await mirror.settle()
        assert set(mirror.problems) == {"share/x", "share/d", "share/d/y"}
        assert desk.there() == {"fine": b"fine"}
        assert mirrored.content(theirs) == {"x": b"bob's"}
        shutil.rmtree(desk.folder / "share" / "d")
        (desk.folder / "share" / "x").unlink()
        await mirror.settle()
        assert desk.here() == {"fine": b"fine", "share/x": b"bob's"}
        shutil.rmtree(desk.folder / "share")
        await mirror.settle()
        assert await mirror.settle() == 0
        assert not mirror.problems
    assert mirrored.content(theirs) == {"x": b"bob's"}
    left = desk.cloud.browser().ask("PROPFIND", f"{desk.at}/share", desk.alice.basic)
    assert left.status == 404


async def test_a_full_account_is_said_file_by_file_and_goes_on_when_there_is_room(desk: Desk) -> None:
    desk.cloud.occ("user:setting", "alice", "files", "quota", "1 B")
    try:
        (desk.folder / "file").write_bytes(b"some bytes")
        (desk.folder / "large").write_bytes(bytes(33 * MIB))
        async with desk.opened() as mirror:
            await mirror.settle()
            assert mirror.problems == dict.fromkeys(("file", "large"), "the account's quota is used up")
            assert desk.there() == {}
            assert not desk.begun_chunks()
            desk.cloud.occ("user:setting", "alice", "files", "quota", "none")
            await mirror.settle()
            assert not mirror.problems
            assert desk.here() == desk.there()
    finally:
        desk.cloud.occ("user:setting", "alice", "files", "quota", "none")


async def test_a_file_that_is_written_by_somebody_just_now_is_waited_for(desk: Desk) -> None:
    desk.put("busy", b"base")
    async with desk.opened() as mirror:
        await mirror.settle()
        (desk.folder / "busy").write_bytes(b"by the device")
        where = urlsplit(desk.cloud.url)
        slow = http.client.HTTPConnection(where.hostname or "", where.port, timeout=60)
        slow.putrequest("PUT", f"{desk.at}/busy")
        for name, value in (desk.alice.basic | {"Content-Length": "1000"}).items():
            slow.putheader(name, value)
        slow.endheaders(b"x" * 10)
        await asyncio.sleep(1)
        settling = asyncio.create_task(mirror.settle())
        while not desk.asked(f'PUT {desk.at}/busy HTTP/1.1" 423'):
            assert not settling.done(), desk.there()
            await asyncio.sleep(0.05)
        slow.close()
        await settling
        await mirror.settle()
        assert desk.here() == desk.there() == {"busy": b"by the device"}
        assert not mirror.problems


async def test_on_the_servers_own_host_a_large_file_is_read_from_its_disk(desk: Desk) -> None:
    large = os.urandom(8 * MIB)
    desk.put("large", large, X_OC_Mtime="1700000000")
    near = desk.cloud.data / "alice" / "files" / desk.top
    async with mirrored.opened(desk.cloud.url, desk.alice, desk.folder, desk.top, near) as mirror:
        await mirror.settle()
        assert desk.here() == {"large": large}
        assert not desk.asked(f"GET {desk.at}/large")
        desk.put("large", large[::-1])
        await mirror.settle()
        assert desk.here() == {"large": large[::-1]}
        assert not desk.asked(f"GET {desk.at}/large")


async def test_what_comes_within_the_second_under_the_same_etag_is_not_overwritten(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nextcloud keeps an etag where a file is written in the second that it has as its time already."""
    scan = MirrorDisk.scan
    kept: list[bool] = []
    for number in range(6):
        path = f"note {number}"
        second = int(time.time()) + 4
        desk.put(path, b"one", X_OC_Mtime=f"{second}")
        async with desk.opened() as mirror:
            await mirror.settle()

            def meddled(
                disk: MirrorDisk, path: str = path, second: int = second, number: int = number
            ) -> dict[CloudPath, Local]:
                """The account has been looked at by now, and is written to."""
                if len(kept) <= number:
                    before = desk.told(path).etag
                    time.sleep(max(second + 0.05 - time.time(), 0))
                    desk.put(path, b"by another one")
                    kept.append(desk.told(path).etag == before)
                return scan(disk)

            (desk.folder / path).write_bytes(b"by this device")
            await asyncio.sleep(max(second - 1.2 - time.time(), 0))
            monkeypatch.setattr(MirrorDisk, "scan", meddled)
            await mirror.settle()
            monkeypatch.setattr(MirrorDisk, "scan", scan)
        ours = {content for name, content in desk.here().items() if name.startswith(path)}
        assert ours == {b"by another one", b"by this device"}
        assert desk.here() == desk.there()
    assert any(kept), "the server was too slow to do it within the second, six times"


async def test_a_folder_that_two_people_share_gets_each_change_once(desk: Desk, tmp_path: Path) -> None:
    bob = desk.cloud.person("bob")
    form = f"path=/{desk.top}&shareType=0&shareWith=bob&permissions=31".encode()
    shares = "/ocs/v2.php/apps/files_sharing/api/v1/shares"
    headers = desk.alice.basic | {"OCS-APIRequest": "true", "Content-Type": "application/x-www-form-urlencoded"}
    assert desk.cloud.browser().ask("POST", shares, headers, form).status == 200
    others = tmp_path / "bobs"
    async with desk.opened() as mirror, mirrored.opened(desk.cloud.url, bob, others, desk.top) as bobs:
        (desk.folder / "plan").write_bytes(b"by alice")
        for side in (mirror, bobs, mirror, bobs):
            await side.settle()
        (others / "plan").write_bytes(b"then by bob")
        for side in (bobs, mirror):
            await side.settle()
        assert desk.here() == desk.there() == mirrored.content(others) == {"plan": b"then by bob"}
        assert [await side.settle() for side in (mirror, bobs)] == [0, 0]
    written = [desk.asked(f"PUT /remote.php/dav/files/{name}/{desk.top}/plan") for name in ("alice", "bob")]
    assert written == [1, 1]


async def test_what_comes_into_a_folder_as_it_goes_is_back(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    mirrored.make_folder(desk.cloud, desk.alice, f"{desk.top}/d")
    mirrored.make_folder(desk.cloud, desk.alice, f"{desk.top}/e")
    async with desk.opened() as mirror:
        await mirror.settle()
        for name in ("d", "e"):
            (desk.folder / name).rmdir()
        delete = mirror._dav._asked

        def late(method: str, url: str, **named: Any) -> object:
            if method == "DELETE" and url.endswith("/d"):
                desk.put("d/late", b"late")
            return delete(method, url, **named)

        monkeypatch.setattr(mirror._dav, "_asked", late)
        await mirror.settle()
        monkeypatch.setattr(mirror._dav, "_asked", delete)
        await mirror.settle()
        assert desk.here() == desk.there() == {"d/late": b"late"}
        assert not (desk.folder / "e").exists()
        assert await mirror.settle() == 0
