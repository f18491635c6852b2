# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where the daemon runs on the server's own host: what is read from its disk, and what is not.

Holds harp.sync.service.mirrornear.
"""

import os
from pathlib import Path

import pytest

from harp.sync.cloud.multistatus import Found
from harp.sync.cloud.nodes import CloudPath
from harp.sync.service import mirrornear
from harp.sync.service.mirror import Mirror
from tests.fakes.desk import Desk


class ServersDisk:
    """The server's own folder of alice's files, and a desk whose mirror may read there; files of 4 bytes are large."""

    def __init__(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(mirrornear, "NEAR_FROM", 4)
        self.desk, self.files = desk, desk.place / "data" / "alice" / "files"
        self.files.mkdir(parents=True)
        self.near = mirrornear.Near(desk.dav, self.files)
        desk.mirror = Mirror(desk.dav, desk.disk, desk.store, self.near)

    def write(self, path: str, content: bytes) -> Path:
        """By Nextcloud: on its disk and in its database."""
        self.desk.account.write(path, content, 1_700_000_000)
        target = self.files / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        os.utime(target, (1_700_000_000, 1_700_000_000))
        return target

    async def settled(self) -> list[str]:
        """What had to be read through the server; both sides are the same then."""
        self.desk.account.log.clear()
        await self.desk.mirror.settle()
        assert self.desk.here() == self.desk.there()
        return [line.removeprefix("GET ") for line in self.desk.account.log if line.startswith("GET")]


@pytest.fixture
def servers_disk(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> ServersDisk:
    return ServersDisk(desk, monkeypatch)


async def test_on_the_servers_own_host_large_files_are_read_from_its_disk(servers_disk: ServersDisk) -> None:
    servers_disk.write("d/large", b"many bytes")
    servers_disk.write("tiny", b"x")
    assert await servers_disk.settled() == ["tiny"]
    assert not servers_disk.near.trouble


async def test_what_the_servers_disk_has_otherwise_than_it_says_is_read_through_the_server(
    servers_disk: ServersDisk,
) -> None:
    servers_disk.write("longer", b"1234567").write_bytes(b"12345678")
    os.utime(servers_disk.write("newer", b"1234567"), (1_700_000_001, 1_700_000_001))
    servers_disk.write("link", b"1234567").unlink()
    (servers_disk.files / "link").symlink_to("longer")
    servers_disk.write("gone", b"1234567").unlink()
    encrypted = servers_disk.write("encrypted", b"plain text")
    encrypted.write_bytes(b"HBEGIN:oc_")
    os.utime(encrypted, (1_700_000_000, 1_700_000_000))
    servers_disk.write("shared", b"1234567").write_bytes(b"7654321")
    os.utime(servers_disk.files / "shared", (1_700_000_000, 1_700_000_000))
    servers_disk.desk.account.letters = {"shared": "SRGNVWm"}
    read = await servers_disk.settled()
    assert sorted(read) == ["encrypted", "gone", "link", "longer", "newer", "shared"]


async def test_what_is_written_while_it_is_read_from_the_servers_disk_is_read_again(
    servers_disk: ServersDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers_disk.write("large", b"old bytes")
    listing = servers_disk.desk.dav.listing

    async def written_first(path: CloudPath, depth: int) -> list[Found]:
        if depth == 0:
            monkeypatch.setattr(servers_disk.desk.dav, "listing", listing)
            servers_disk.write("large", b"new bytes")
        return await listing(path, depth)

    monkeypatch.setattr(servers_disk.desk.dav, "listing", written_first)
    assert await servers_disk.settled() == ["large"]
    assert servers_disk.desk.here() == {"large": b"new bytes"}


async def test_a_servers_disk_that_may_not_be_read_is_named_and_nothing_stops(servers_disk: ServersDisk) -> None:
    servers_disk.write("large", b"many bytes")
    os.rename(servers_disk.files, servers_disk.files.with_name("elsewhere"))
    assert await servers_disk.settled() == ["large"]
    assert str(servers_disk.files) in servers_disk.near.trouble
