# SPDX-License-Identifier: AGPL-3.0-or-later
"""External storage, and shares of it, in a mirrored folder of a real Nextcloud: away, back, empty, removed, scanned."""

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from harp.sync.cloud import mounts
from harp.sync.cloud.refusals import AWAY
from harp.sync.service import mirror as mirrors
from harp.sync.service.mirror import Mirror
from tests.e2e import cloud, mirrored
from tests.e2e.cloud import WEB_USER, Cloud, Person

SHARES = "/ocs/v2.php/apps/files_sharing/api/v1/shares"
FORM = "application/x-www-form-urlencoded"
EXTERNAL = "external storage, whose changes Nextcloud does not see by itself"


class Storage:
    """A folder on the server's disk, and where an administrator has mounted it."""

    def __init__(self, cloud: Cloud, point: str, *, who: str) -> None:
        self.cloud, self.point = cloud, point
        self.disk = cloud.scratch / "external" / point.strip("/").replace("/", "-")
        self.put("1.txt", b"one")
        self.put("2.txt", b"two")
        self.put("sub/3.txt", b"three")
        self.number = mount(cloud, point, "local", "null::null", f"datadir={self.disk}", who=who)

    def put(self, path: str, content: bytes) -> None:
        """Behind Nextcloud's back."""
        target = self.disk / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        self._is_the_servers()

    def goes_away(self) -> None:
        self.disk.rename(self._elsewhere)

    def comes_back(self) -> None:
        self._elsewhere.rename(self.disk)
        self._is_newer(10)

    def is_unmounted(self) -> None:
        """As a disk after a start of the server without it: its folder is there, and empty."""
        self.goes_away()
        self.disk.mkdir()
        self._is_the_servers()
        self._is_newer(5)

    def is_mounted(self) -> None:
        self.disk.rmdir()
        self.comes_back()

    def option(self, name: str, value: str) -> None:
        self.cloud.occ("files_external:option", self.number, name, value)

    def remove(self) -> None:
        self.cloud.occ("files_external:delete", "--yes", self.number)

    @property
    def _elsewhere(self) -> Path:
        return self.disk.with_name(f"{self.disk.name}.away")

    def _is_newer(self, seconds: int) -> None:
        """Nextcloud tells a folder that changed by its time, in seconds."""
        os.utime(self.disk, (time.time() + seconds,) * 2)

    def _is_the_servers(self) -> None:
        if os.geteuid() == 0:
            for path in (self.disk, *self.disk.rglob("*")):
                shutil.chown(path, WEB_USER, WEB_USER)


def mount(cloud: Cloud, point: str, backend: str, login: str, *settings: str, who: str) -> str:
    """The mount's number."""
    told = [word for setting in settings for word in ("-c", setting)]
    said = cloud.occ("files_external:create", point, backend, login, *told)
    found = re.search(r"with id (\d+)", said)
    assert found is not None, said
    cloud.occ("files_external:applicable", found[1], "--add-user", who)
    return found[1]


class Desk:
    """Alice's folder on the disk, one of its name in her account, and ben, who shares things with her."""

    def __init__(self, cloud: Cloud, folder: Path, top: str) -> None:
        self.cloud, self.folder, self.top = cloud, folder, top
        self.alice, self.ben = cloud.person("alice"), cloud.person("ben")
        self.does(self.alice, "MKCOL", top)
        self.does(self.alice, "PUT", f"{top}/own.txt", b"own")

    def opened(self) -> AbstractAsyncContextManager[Mirror]:
        return mirrored.opened(self.cloud.url, self.alice, self.folder, self.top)

    def here(self) -> dict[str, bytes]:
        return mirrored.content(self.folder)

    def does(self, who: Person, method: str, path: str, body: bytes | None = None, to: str = "") -> bytes:
        target = f"files/{who.name}/{to}" if to else ""
        return self.cloud.dav(who, method, f"files/{who.name}/{path}", body, target)

    def shares(self, path: str) -> Callable[[], object]:
        """Ben shares a folder with alice, who has it in her mirrored one; how he takes it back."""
        self.does(self.ben, "PROPFIND", path)
        form = f"path=/{path}&shareType=0&shareWith=alice&permissions=31".encode()
        made = self.cloud.request(self.ben, "POST", f"{SHARES}?format=json", form, Content_Type=FORM)
        number = json.loads(made)["ocs"]["data"]["id"]
        # Nextcloud does that by itself, but where it finds SQLite locked just then.
        self.cloud.request(self.alice, "POST", f"{SHARES}/pending/{number}")
        self.does(self.alice, "PROPFIND", "")
        self.does(self.alice, "MOVE", path, to=f"{self.top}/share")
        return lambda: self.cloud.request(self.ben, "DELETE", f"{SHARES}/{number}")


@pytest.fixture
def desk(nextcloud: Cloud, tmp_path: Path) -> Iterator[Desk]:
    nextcloud.occ("app:enable", "files_external")
    folder = tmp_path / "folder"
    folder.mkdir()
    yield Desk(nextcloud, folder, tmp_path.name)
    for one in json.loads(nextcloud.occ("files_external:list", "--output=json")):
        nextcloud.occ("files_external:delete", "--yes", str(one["mount_id"]))
    nextcloud.occ("app:disable", "files_external")


async def test_external_storage_is_left_out_and_named_whatever_becomes_of_it(desk: Desk) -> None:
    local = Storage(desk.cloud, f"/{desk.top}/Disk", who="alice")
    Storage(desk.cloud, f"/{desk.top}/Archive", who="alice").option("readonly", "true")
    Storage(desk.cloud, "/Elsewhere", who="alice")
    desk.does(desk.ben, "MKCOL", f"Of-{desk.top}")
    desk.does(desk.ben, "PUT", f"Of-{desk.top}/r.txt", b"remote")
    to_ben = ("user=ben", f"password={desk.ben.app_password}", "secure=false", f"root=/Of-{desk.top}")
    host = f"host=127.0.0.1:{desk.cloud.port}/remote.php/dav/files/ben"
    mount(desk.cloud, f"/{desk.top}/Dav", "dav", "password::password", host, *to_ben, who="alice")
    left_out = {"Disk": EXTERNAL, "Archive": EXTERNAL, "Dav": EXTERNAL}
    async with desk.opened() as mirror:
        await mirror.settle()
        assert mirror.problems == left_out
        (desk.folder / "Disk").mkdir()
        (desk.folder / "Disk" / "mine.txt").write_bytes(b"mine")
        assert await mirror.settle() == 0
        assert mirror.problems == left_out
        local.goes_away()
        assert await mirror.settle() == 0
        assert mirror.problems == left_out
        local.comes_back()
        assert await mirror.settle() == 0
        assert not (local.disk / "mine.txt").exists()
        assert desk.here() == {"own.txt": b"own", "Disk/mine.txt": b"mine"}
        local.remove()
        assert await mirror.settle() == 2
        assert mirror.problems == {"Archive": EXTERNAL, "Dav": EXTERNAL}
    assert desk.here() == {"own.txt": b"own", "Disk/mine.txt": b"mine"}
    assert (desk.cloud.data / "alice" / "files" / desk.top / "Disk" / "mine.txt").read_bytes() == b"mine"
    assert (local.disk / "1.txt").read_bytes() == b"one"


async def test_a_share_whose_storage_is_away_loses_nothing_and_goes_on(desk: Desk) -> None:
    storage = Storage(desk.cloud, f"/Ext-{desk.top}", who="ben")
    storage.option("enable_sharing", "true")
    desk.shares(f"Ext-{desk.top}")
    whole = {"own.txt": b"own", "share/1.txt": b"one", "share/2.txt": b"two", "share/sub/3.txt": b"three"}
    async with desk.opened() as mirror:
        await mirror.settle()
        assert desk.here() == whole
        desk.does(desk.alice, "PUT", f"{desk.top}/share/late.txt", b"just before")
        storage.goes_away()
        listed = desk.does(desk.alice, "PROPFIND", f"{desk.top}/share")
        assert listed.count(b"<d:response>") == 1, "it is listed as empty: what makes it dangerous"
        assert await mirror.settle() == 0
        assert mirror.problems == {"share": AWAY}
        assert desk.here() == whole
        (desk.folder / "share" / "mine.txt").write_bytes(b"meanwhile")
        (desk.folder / "goes-on.txt").write_bytes(b"goes on")
        assert await mirror.settle() == 1
        assert mirror.problems == {"share": AWAY}
        storage.comes_back()
        assert await mirror.settle() == 2
        assert not mirror.problems
        assert await mirror.settle() == 0
    late = {"share/late.txt": b"just before", "share/mine.txt": b"meanwhile", "goes-on.txt": b"goes on"}
    assert desk.here() == whole | late
    assert mirrored.content(storage.disk) == {
        path.removeprefix("share/"): content for path, content in desk.here().items() if path.startswith("share/")
    }


async def test_a_disk_that_the_server_has_not_mounted_empties_no_device(desk: Desk) -> None:
    storage = Storage(desk.cloud, f"/Ext-{desk.top}", who="ben")
    storage.option("enable_sharing", "true")
    storage.option("filesystem_check_changes", "1")
    desk.shares(f"Ext-{desk.top}")
    async with desk.opened() as mirror:
        await mirror.settle()
        whole = desk.here()
        assert len(whole) == 4
        storage.is_unmounted()
        desk.does(desk.ben, "PROPFIND", f"Ext-{desk.top}")
        assert await mirror.settle() == 0
        assert mirror.problems == {"share": mounts.EMPTIED}
        assert desk.here() == whole
        storage.is_mounted()
        desk.does(desk.ben, "PROPFIND", f"Ext-{desk.top}")
        await mirror.settle()
        assert not mirror.problems
        assert await mirror.settle() == 0
    assert desk.here() == whole
    assert mirrored.content(storage.disk) == {"1.txt": b"one", "2.txt": b"two", "sub/3.txt": b"three"}


async def test_a_storage_that_the_administrator_removes_takes_nothing_from_a_device(desk: Desk) -> None:
    storage = Storage(desk.cloud, f"/Ext-{desk.top}", who="ben")
    storage.option("enable_sharing", "true")
    desk.shares(f"Ext-{desk.top}")
    async with desk.opened() as mirror:
        await mirror.settle()
        whole = desk.here()
        storage.remove()
        (desk.folder / "goes-on.txt").write_bytes(b"goes on")
        assert await mirror.settle() == 1
        assert mirror.problems == {"share": mounts.GONE}
        assert desk.here() == whole | {"goes-on.txt": b"goes on"}
        (desk.folder / "share" / "1.txt").rename(desk.folder / "kept.txt")
        shutil.rmtree(desk.folder / "share")
        await mirror.settle()
        assert not mirror.problems
    assert desk.here() == {"own.txt": b"own", "goes-on.txt": b"goes on", "kept.txt": b"one"}
    assert mirrored.content(desk.cloud.data / "alice" / "files" / desk.top) == desk.here()
    assert mirrored.content(storage.disk) == {"1.txt": b"one", "2.txt": b"two", "sub/3.txt": b"three"}


async def test_a_share_that_is_taken_back_stays_here_and_goes_on_when_it_is_given_again(desk: Desk) -> None:
    path = f"Of-{desk.top}"
    desk.does(desk.ben, "MKCOL", path)
    for name in ("1.txt", "2.txt"):
        desk.does(desk.ben, "PUT", f"{path}/{name}", name.encode())
    takes_back = desk.shares(path)
    async with desk.opened() as mirror:
        await mirror.settle()
        whole = desk.here()
        assert whole["share/1.txt"] == b"1.txt"
        takes_back()
        assert await mirror.settle() == 0
        assert mirror.problems == {"share": mounts.GONE}
        assert desk.here() == whole
        desk.does(desk.ben, "PUT", f"{path}/1.txt", b"meanwhile, by ben")
        (desk.folder / "share" / "2.txt").write_bytes(b"meanwhile, here")
        assert await mirror.settle() == 0
        desk.shares(path)
        await mirror.settle()
        assert not mirror.problems
        assert await mirror.settle() == 0
    assert desk.here() == whole | {"share/1.txt": b"meanwhile, by ben", "share/2.txt": b"meanwhile, here"}
    assert mirrored.content(desk.cloud.data / "ben" / "files" / path)["2.txt"] == b"meanwhile, here"


async def test_what_changed_on_the_servers_disk_comes_once_it_is_scanned(desk: Desk) -> None:
    storage = Storage(desk.cloud, f"/Ext-{desk.top}", who="ben")
    storage.option("enable_sharing", "true")
    desk.shares(f"Ext-{desk.top}")
    async with desk.opened() as mirror:
        await mirror.settle()
        before = desk.here()
        storage.put("1.txt", b"overwritten in place")
        storage.put("sub/new.txt", b"new")
        (storage.disk / "2.txt").unlink()
        assert await mirror.settle() == 0
        assert desk.here() == before
        desk.cloud.occ("files:scan", f"--path=/ben/files/Ext-{desk.top}")
        assert await mirror.settle() == 3
        assert await mirror.settle() == 0
        assert not mirror.problems
    assert desk.here() == {
        "own.txt": b"own",
        "share/1.txt": b"overwritten in place",
        "share/sub/3.txt": b"three",
        "share/sub/new.txt": b"new",
    }


@pytest.fixture(scope="module")
def other(nextcloud: Cloud) -> Iterator[Cloud]:
    """A second server; each is told of the other's people by its address."""
    with cloud.opened(Path(os.environ["NEXTCLOUD"]), apps=()) as opened:
        yield opened


async def test_a_federated_share_comes_and_goes_on_and_its_server_may_be_away(
    desk: Desk, other: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirrors, "KNOCK_S", 0.0)
    carl = other.person("carl")
    other.dav(carl, "MKCOL", "files/carl/Fed")
    other.dav(carl, "MKCOL", "files/carl/Fed/sub")
    other.dav(carl, "PUT", "files/carl/Fed/sub/1.txt", b"one")
    form = f"path=/Fed&shareType=6&shareWith=alice@{desk.cloud.url}&permissions=31".encode()
    other.request(carl, "POST", SHARES, form, Content_Type=FORM)
    pending = "/ocs/v2.php/apps/files_sharing/api/v1/remote_shares/pending"
    [offered] = json.loads(desk.cloud.request(desk.alice, "GET", f"{pending}?format=json"))["ocs"]["data"]
    desk.cloud.request(desk.alice, "POST", f"{pending}/{offered['id']}")
    desk.does(desk.alice, "PROPFIND", "Fed")
    desk.does(desk.alice, "MOVE", "Fed", to=f"{desk.top}/Fed")
    async with desk.opened() as mirror:
        await mirror.settle()
        assert desk.here() == {"own.txt": b"own", "Fed/sub/1.txt": b"one"}
        other.dav(carl, "PUT", "files/carl/Fed/sub/1.txt", b"changed over there")
        assert await mirror.settle() == 1
        desk.does(desk.alice, "PUT", f"{desk.top}/Fed/by-alice.txt", b"in the browser")
        assert await mirror.settle() == 1
        (desk.folder / "Fed" / "sub" / "here.txt").write_bytes(b"on the device")
        assert await mirror.settle() == 1
        assert other.dav(carl, "GET", "files/carl/Fed/sub/here.txt") == b"on the device"
        desk.does(desk.alice, "PUT", f"{desk.top}/Fed/late.txt", b"late")
        desk.does(desk.alice, "PROPFIND", f"{desk.top}/Fed")
        whole = desk.here()
        assert whole["Fed/by-alice.txt"] == b"in the browser"
        other.stop()
        (desk.folder / "goes-on.txt").write_bytes(b"goes on")
        assert await mirror.settle() == 1
        assert mirror.problems == {"Fed/late.txt": AWAY}
    assert desk.here() == whole | {"goes-on.txt": b"goes on"}
