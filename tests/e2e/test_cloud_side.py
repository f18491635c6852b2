# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real Nextcloud, the hub beside it and a device: what is done on one side is on the other, as if done there.

``hub`` is a daemon that runs as the web server's user and mirrors folders of anna and ben; ``laptop`` is anna's device.
"""

import contextlib
import hashlib
import html
import json
import os
import re
import shutil
import statistics
import tempfile
import time
import urllib.error
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harp.bridge import model
from harp.cli.client import at
from tests.e2e.cloud import WEB_USER, Cloud, Person, as_web_user
from tests.integration.office import INSTALLED, Desk, Office, until
from tests.integration.office import opened as office_opened

SHARED = "files/anna/Documents"
PATIENCE_S = 60.0


class Side:
    """A folder on a device or in the account, as names and contents."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def holds(self) -> dict[str, bytes]:
        found = {}
        for path in self.folder.rglob("*"):
            name = str(path.relative_to(self.folder))
            # What is renamed while we look is found the next time.
            with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                if not name.startswith(".harp"):
                    found[name] = path.read_bytes()
        return found


class Line:
    """Nextcloud, hub and laptop."""

    def __init__(self, cloud: Cloud, hub: Desk, laptop: Desk) -> None:
        self.cloud, self.hub, self.laptop = cloud, hub, laptop
        self.anna, self.ben = cloud.person("anna"), cloud.person("ben")
        self.device = Side(laptop.folder)
        self.disk = Side(cloud.data / "anna" / "files" / "Documents")

    def does(self, method: str, path: str, body: bytes | None = None, to: str = "") -> bytes:
        """What anna does in Nextcloud, below Documents."""
        return self.cloud.dav(self.anna, method, f"{SHARED}/{path}", body, f"{SHARED}/{to}" if to else "")

    def reaches_device(self, path: str, content: bytes | None) -> None:
        until(lambda: self.device.holds().get(path) == content, f"the device has {path}", PATIENCE_S)

    def reaches_cloud(self, path: str, content: bytes | None) -> None:
        until(lambda: self.disk.holds().get(path) == content, f"Nextcloud has {path}", PATIENCE_S)

    def are_the_same(self) -> dict[str, bytes]:
        until(lambda: self.mirror().state is model.MirrorState.SAME, "the mirror is at rest", PATIENCE_S)
        until(lambda: self.device.holds() == self.disk.holds(), "device and Nextcloud are the same", PATIENCE_S)
        return self.device.holds()

    def mirror(self, folder: str = "Documents") -> model.MirrorStatus:
        status = self.hub.client.get(at("status"), model.Status)
        found = next(one.mirror for one in status.folders if one.name == folder)
        assert found is not None
        return found

    def fileid(self, path: str) -> str:
        asked = (
            b'<d:propfind xmlns:d="DAV:" xmlns:oc="http://owncloud.org/ns"><d:prop><oc:fileid/></d:prop></d:propfind>'
        )
        said = self.does("PROPFIND", path, asked).decode()
        found = re.search(r"<oc:fileid>(\d+)<", said)
        assert found is not None
        return found[1]


@pytest.fixture(scope="module")
def office() -> Iterator[Office]:
    place = Path(tempfile.mkdtemp(prefix="harp-side-"))
    place.chmod(0o755)
    with office_opened(place) as found:
        yield found
    shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(scope="module")
def hub(harpbridge: Cloud, office: Office) -> Iterator[Desk]:
    sockets = Path(tempfile.mkdtemp(prefix="harp-run-"))
    desk = office.desk("hub", bridge_socket=str(sockets / "bridge.sock"), account_poll_s="60")
    desk.home.mkdir(mode=0o700)
    desk.program = (*as_web_user(), *INSTALLED)
    if os.geteuid() == 0:
        for path in (desk.home, sockets):
            shutil.chown(path, WEB_USER, WEB_USER)
    sockets.chmod(0o755)
    desk.start()
    harpbridge.occ("config:app:set", "harpbridge", "control_socket", f"--value={desk.home}/harp.sock")
    harpbridge.occ_tried("harpbridge:setup", f"--bridge-socket={sockets}/bridge.sock")
    yield desk
    harpbridge.occ("config:app:delete", "harpbridge", "control_socket")
    shutil.rmtree(sockets)


@pytest.fixture(scope="module")
def line(nextcloud: Cloud, hub: Desk, office: Office) -> Line:
    anna = nextcloud.person("anna")
    nextcloud.dav(anna, "MKCOL", SHARED)
    nextcloud.dav(anna, "PUT", f"{SHARED}/first.txt", b"from the browser")
    hub.do("account", "add", "anna", nextcloud.url, "--user", "anna", typed=anna.app_password + "\n")
    hub.do("share", "anna:/Documents")
    laptop = office.desk("laptop").start()
    laptop.do("join", hub.ask("invite", "Documents")["ticket"], laptop.folder)
    made = Line(nextcloud, hub, laptop)
    made.reaches_device("first.txt", b"from the browser")
    return made


def test_what_anna_does_in_nextcloud_is_done_on_the_device(line: Line) -> None:
    line.does("PUT", "plan.txt", b"one")
    line.reaches_device("plan.txt", b"one")
    line.does("PUT", "plan.txt", b"two, overwritten")
    line.reaches_device("plan.txt", b"two, overwritten")
    line.does("MKCOL", "2026")
    line.does("MOVE", "plan.txt", to="2026/renamed.txt")
    line.reaches_device("2026/renamed.txt", b"two, overwritten")
    line.reaches_device("plan.txt", None)
    line.does("COPY", "2026/renamed.txt", to="copy.txt")
    line.reaches_device("copy.txt", b"two, overwritten")
    line.does("MOVE", "2026", to="2027")
    line.reaches_device("2027/renamed.txt", b"two, overwritten")
    line.does("DELETE", "copy.txt")
    line.reaches_device("copy.txt", None)
    line.are_the_same()


def test_what_comes_out_of_nextclouds_trash_comes_back_to_the_device(line: Line) -> None:
    line.does("PUT", "lost.txt", b"and found")
    line.reaches_device("lost.txt", b"and found")
    line.does("DELETE", "lost.txt")
    line.reaches_device("lost.txt", None)
    listed = line.cloud.dav(line.anna, "PROPFIND", "trashbin/anna/trash").decode()
    found = re.search(r"/remote\.php/dav/(trashbin/anna/trash/lost\.txt[^<]*)<", listed)
    assert found is not None
    line.cloud.dav(line.anna, "MOVE", found[1], to="trashbin/anna/restore/lost.txt")
    line.reaches_device("lost.txt", b"and found")


def test_what_is_done_on_the_device_is_done_in_nextcloud_with_versions_and_trash(line: Line) -> None:
    folder = line.laptop.folder
    (folder / "letter.txt").write_bytes(b"one")
    line.reaches_cloud("letter.txt", b"one")
    number = line.fileid("letter.txt")
    time.sleep(1.1)  # Nextcloud keeps one version a second
    (folder / "letter.txt").write_bytes(b"two, overwritten")
    line.reaches_cloud("letter.txt", b"two, overwritten")
    assert line.fileid("letter.txt") == number
    versions = line.cloud.dav(line.anna, "PROPFIND", f"versions/anna/versions/{number}").decode()
    assert versions.count("<d:response>") >= 2, "the version before is there"
    told = line.cloud.request(line.anna, "GET", "/ocs/v2.php/apps/activity/api/v2/activity?format=json&limit=200")
    done = {(one["type"], path) for one in json.loads(told)["ocs"]["data"] for path in one["objects"].values()}
    assert {("file_created", "/Documents/letter.txt"), ("file_changed", "/Documents/letter.txt")} <= done
    (folder / "sub").mkdir()
    (folder / "letter.txt").rename(folder / "sub" / "moved.txt")
    line.reaches_cloud("sub/moved.txt", b"two, overwritten")
    line.reaches_cloud("letter.txt", None)
    assert line.fileid("sub/moved.txt") == number, "a rename keeps shares, versions and comments"
    (folder / "sub").rename(folder / "sub2")
    line.reaches_cloud("sub2/moved.txt", b"two, overwritten")
    line.reaches_cloud("sub/moved.txt", None)
    assert line.fileid("sub2/moved.txt") == number
    (folder / "sub2" / "moved.txt").unlink()
    line.reaches_cloud("sub2/moved.txt", None)
    assert "moved.txt" in line.cloud.dav(line.anna, "PROPFIND", "trashbin/anna/trash").decode()
    line.are_the_same()


def test_a_large_file_goes_both_ways(line: Line) -> None:
    large = hashlib.shake_256(b"large").digest(40 * 1024 * 1024)
    (line.laptop.folder / "large.bin").write_bytes(large)
    line.reaches_cloud("large.bin", large)
    line.does("PUT", "larger.bin", large + b"and more")
    line.reaches_device("larger.bin", large + b"and more")
    line.does("DELETE", "larger.bin")
    (line.laptop.folder / "large.bin").unlink()
    line.are_the_same()


@pytest.mark.timeout(1300)  # all that it waits for, one after the other
def test_a_file_of_a_gibibyte_goes_up_and_its_copy_comes_without_being_fetched(line: Line) -> None:
    here, digest = line.laptop.folder / "huge.bin", hashlib.sha256()
    with here.open("wb") as target:
        for number in range(1024):
            block = hashlib.shake_256(b"%d" % number).digest(1 << 20)
            digest.update(block)
            target.write(block)
    there, copy = line.disk.folder / "huge.bin", line.laptop.folder / "copy.bin"
    started = time.monotonic()
    until(lambda: there.exists() and there.stat().st_size == 1 << 30, "Nextcloud has it", 600)
    print(f"1 GiB, device to Nextcloud: {time.monotonic() - started:.1f} s")
    line.does("COPY", "huge.bin", to="copy.bin")
    until(lambda: copy.exists() and copy.stat().st_size == 1 << 30, "the copy is on the device", 600)
    print(f"and its copy, on the device: {time.monotonic() - started:.1f} s")
    for path in (there, copy):
        with path.open("rb") as source:
            assert hashlib.file_digest(source, "sha256").digest() == digest.digest()
    assert "/Documents/copy.bin HTTP" in (line.cloud.scratch / "nginx-access.log").read_text()
    assert not re.search(r'"GET \S+/(huge|copy)\.bin ', (line.cloud.scratch / "nginx-access.log").read_text())
    here.unlink()
    copy.unlink()
    until(lambda: not (there.exists() or there.with_name("copy.bin").exists()), "both are gone", PATIENCE_S)


def test_what_a_scan_finds_on_the_servers_disk_reaches_the_device(line: Line) -> None:
    found = line.disk.folder / "found.txt"
    found.write_bytes(b"put there behind Nextcloud's back")
    if os.geteuid() == 0:
        shutil.chown(found, WEB_USER, WEB_USER)
    line.cloud.occ("files:scan", "anna")
    line.reaches_device("found.txt", b"put there behind Nextcloud's back")


def test_a_journal_that_was_emptied_by_hand_is_said_and_nothing_is_lost(line: Line) -> None:
    line.does("PUT", "before.txt", b"1")
    line.reaches_device("before.txt", b"1")
    line.cloud.sql("DELETE FROM *PREFIX*harpbridge_journal")
    # As the background job does, and the administrator's page.
    line.cloud.occ_tried("harpbridge:self-test")
    said = "Nextcloud's journal was emptied, or begun anew: nothing is lost"
    until(lambda: f"! {said}" in line.hub.do("status"), "the daemon says so", PATIENCE_S)
    _, told = line.cloud.occ_tried("harpbridge:self-test", "--output=json")
    assert said in next(one["text"] for one in json.loads(told)["checks"] if one["name"] == "folders")
    line.does("PUT", "after.txt", b"2")
    line.reaches_device("after.txt", b"2")


@pytest.mark.timeout(1300)  # all that it waits for, one after the other
def test_a_thousand_small_files_go_both_ways(line: Line) -> None:
    here = line.laptop.folder / "many"
    here.mkdir()
    started = time.monotonic()
    for number in range(1000):
        (here / f"{number:04}.txt").write_bytes(b"%04d" % number * 1024)
    until(lambda: len(list(line.disk.folder.glob("many/*.txt"))) == 1000, "all are in Nextcloud", 390)
    print(f"1,000 files of 4 KiB, device to Nextcloud: {time.monotonic() - started:.1f} s")
    line.are_the_same()
    started = time.monotonic()
    line.does("COPY", "many", to="again")
    until(lambda: len(list(line.laptop.folder.glob("again/*.txt"))) == 1000, "all are on the device", 390)
    print(f"1,000 files of 4 KiB, copied in Nextcloud, to the device: {time.monotonic() - started:.1f} s")
    for name in ("many", "again"):
        line.does("DELETE", name)
    line.hub.client.post(at("folders", "Documents", "rescan"), model.Done, {})
    until(lambda: line.mirror().state is model.MirrorState.ASKING, "so many deletions are asked about", PATIENCE_S)
    [held] = line.hub.ask("held", "Documents")["held"]
    line.hub.do("approve", "Documents", held["id"])
    until(lambda: not (line.device.folder / "again" / "0001.txt").exists() or _approved(line), "they are gone", 120)
    line.are_the_same()


def _approved(line: Line) -> bool:
    """The device's own guard asks once more: a whole folder at once is much for it too."""
    for desk in (line.hub, line.laptop):
        for folder in desk.ask("folders")["folders"]:
            for held in desk.ask("held", folder["name"])["held"]:
                desk.do("approve", folder["name"], held["id"])
    return False


def test_a_daemon_killed_in_between_loses_nothing(line: Line) -> None:
    for number in range(40):
        (line.laptop.folder / f"kill-{number}.bin").write_bytes(os.urandom(200_000))
    until((line.disk.folder / "kill-3.bin").exists, "the first are there", PATIENCE_S)
    line.hub.kill()
    line.does("PUT", "meanwhile.txt", b"in the browser")
    (line.laptop.folder / "meanwhile-2.txt").write_bytes(b"on the device")
    line.hub.start()
    until(lambda: "kill-39.bin" in line.disk.holds() and "meanwhile-2.txt" in line.disk.holds(), "the rest", PATIENCE_S)
    line.reaches_device("meanwhile.txt", b"in the browser")
    held = line.are_the_same()
    assert not [name for name in held if "conflict" in name]


def test_a_shared_folder_reaches_the_other_persons_devices_and_stops_when_unshared(line: Line) -> None:
    cloud, ben, anna = line.cloud, line.ben, line.anna
    cloud.dav(ben, "MKCOL", "files/ben/Team")
    cloud.dav(ben, "PUT", "files/ben/Team/from-ben.txt", b"hello")
    share = b"path=/Team&shareType=0&shareWith=anna&permissions=31"
    form = "application/x-www-form-urlencoded"
    made = cloud.request(ben, "POST", "/ocs/v2.php/apps/files_sharing/api/v1/shares", share, Content_Type=form)
    number = re.search(rb"<id>(\d+)</id>", made)
    assert number is not None
    # Nextcloud does that by itself, but where it finds SQLite locked just then: then the share waits for anna.
    cloud.request(anna, "POST", f"/ocs/v2.php/apps/files_sharing/api/v1/shares/pending/{number[1].decode()}")
    line.hub.do("share", "anna:/Team")
    place = Path(next(f["location"] for f in line.hub.ask("folders")["folders"] if f["name"] == "Team"))
    until((place / "from-ben.txt").exists, "anna's hub has ben's file", PATIENCE_S)
    cloud.dav(ben, "PUT", "files/ben/Team/later.txt", b"and again")
    until((place / "later.txt").exists, "and the next one, at once", 15)
    (place / "from-anna.txt").write_bytes(b"thanks")
    if os.geteuid() == 0:
        shutil.chown(place / "from-anna.txt", WEB_USER, WEB_USER)
    until((cloud.data / "ben" / "files" / "Team" / "from-anna.txt").exists, "ben has anna's", PATIENCE_S)
    line.hub.do("account", "add", "ben", cloud.url, "--user", "ben", typed=ben.app_password + "\n")
    line.hub.do("share", "ben:/Team")
    status = partial(line.hub.client.get, at("status"), model.Status)
    until(
        lambda: {"anna", "ben"} <= set(re.findall(r"mirrored here for (\w+) too", str(status()))),
        "each is told of the other",
        PATIENCE_S,
    )
    assert "another daemon" not in str(status())
    [bens] = [one for one in status().folders if one.mirror is not None and one.mirror.account == "ben"]
    line.hub.do("leave", bens.id)
    line.hub.do("account", "remove", "ben")
    cloud.request(ben, "DELETE", f"/ocs/v2.php/apps/files_sharing/api/v1/shares/{number[1].decode()}")
    cloud.dav(anna, "PUT", f"{SHARED}/stir.txt", b"x")  # a datagram
    until(lambda: line.mirror("Team").state is model.MirrorState.ASKING, "it is asked about", PATIENCE_S)
    assert (place / "from-ben.txt").read_bytes() == b"hello"
    line.hub.do("leave", "Team")
    assert (place / "from-ben.txt").read_bytes() == b"hello"


def test_a_person_pairs_a_device_in_nextcloud(line: Line, office: Office) -> None:
    """What the personal page and ``occ harpbridge:pair`` ask of the daemon."""
    ben = line.ben
    line.cloud.dav(ben, "MKCOL", "files/ben/Pictures")
    line.cloud.dav(ben, "PUT", "files/ben/Pictures/cat.jpg", b"a cat")
    said = line.cloud.occ("harpbridge:pair", "ben", "/Pictures", "--output=json")
    ticket = re.search(r'"ticket":"([^"]+)"', said)
    assert ticket is not None, said
    phone = office.desk("phone").start()
    phone.do("join", ticket[1], phone.folder)
    until((phone.folder / "cat.jpg").exists, "ben's phone has the picture", PATIENCE_S)
    (phone.folder / "dog.jpg").write_bytes(b"a dog")
    until((line.cloud.data / "ben" / "files" / "Pictures" / "dog.jpg").exists, "and back", PATIENCE_S)
    again = line.cloud.occ("harpbridge:pair", "ben", "/Pictures", "--output=json")
    assert '"ticket"' in again


def test_a_second_daemon_for_the_folder_is_told_of_the_first_and_nothing_is_lost(line: Line, office: Office) -> None:
    tower = office.desk("tower", account_poll_s="2").start()
    typed = line.anna.app_password + "\n"
    tower.do("account", "add", "anna", line.cloud.url, "--user", "anna", typed=typed)
    etag = line.does("PROPFIND", "", b'<d:propfind xmlns:d="DAV:"><d:prop><d:getetag/></d:prop></d:propfind>')
    tower.do("share", "anna:/Documents")
    tower.do("wait", "Documents", "--timeout", "120")
    place = Path(tower.ask("folders")["folders"][0]["location"])
    until(lambda: "is mirrored by another daemon too: hub (/Documents)" in tower.do("status"), "it is said", PATIENCE_S)
    assert "another daemon too" in tower.run("doctor").out
    again = line.does("PROPFIND", "", b'<d:propfind xmlns:d="DAV:"><d:prop><d:getetag/></d:prop></d:propfind>')
    assert again == etag, "no other client is woken by it"
    (place / "from-tower.txt").write_bytes(b"tower")
    (line.laptop.folder / "from-laptop.txt").write_bytes(b"laptop")
    line.reaches_device("from-tower.txt", b"tower")
    until((place / "from-laptop.txt").exists, "the tower has the laptop's", PATIENCE_S)
    tower.do("leave", "Documents")
    tower.stop()
    assert line.are_the_same()["from-tower.txt"] == b"tower"


class PersonalPage:
    """What the page “Harp” of a person asks and shows, by their own login in a browser."""

    def __init__(self, cloud: Cloud, name: str) -> None:
        self._browser = cloud.browser(name)
        self._headers = {
            "requesttoken": self._browser.request_token,
            "OCS-APIRequest": "true",
            "Accept": "application/json",
            "Content-Type": "application/json",
        }

    def asks(self, method: str, below: str = "", **body: str) -> Any:
        place = f"/ocs/v2.php/apps/harpbridge/api/v1/folders{below}"
        sent = json.dumps(body).encode() if body else None
        reply = self._browser.ask(method, place, self._headers, sent)
        assert reply.status == 200, reply.text
        return reply.json["ocs"]["data"]

    def folder(self, path: str) -> dict[str, Any]:
        time.sleep(0.6)  # a page that looks more often than 120 times a minute is refused
        found: list[dict[str, Any]] = [one for one in self.asks("GET")["folders"] if one["path"] == path]
        return found[0] if found else {}

    @property
    def text(self) -> str:
        return html.unescape(self._browser.get("/index.php/settings/user/harpbridge").text)


def test_the_personal_page_says_what_is_wrong_and_ends_the_sharing_though_devices_are_in(
    line: Line, office: Office
) -> None:
    cloud, page = line.cloud, PersonalPage(line.cloud, "ben")
    cloud.dav(line.ben, "MKCOL", "files/ben/Notes")
    cloud.dav(line.ben, "PUT", "files/ben/Notes/one.txt", b"1")
    id_ = page.asks("POST", path="/Notes")["id"]
    tablet = office.desk("tablet").start()
    tablet.do("join", page.asks("POST", f"/{id_}/invitations")["ticket"], tablet.folder)
    until((tablet.folder / "one.txt").exists, "the tablet has it", PATIENCE_S)

    cloud.occ("user:setting", "ben", "files", "quota", "1 B")
    try:
        (tablet.folder / "large.bin").write_bytes(b"x" * 100_000)
        until(lambda: page.folder("/Notes")["problems"] != [], "the full quota is said", PATIENCE_S)
        assert page.folder("/Notes")["problems"] == ["large.bin: the account's quota is used up"]
        assert "large.bin: the account's quota is used up" in page.text
        cloud.occ("user:setting", "ben", "core", "lang", "de")
        assert "large.bin: Der Speicherplatz des Kontos ist aufgebraucht" in page.text
        assert page.folder("/Notes")["problems"] == ["large.bin: Der Speicherplatz des Kontos ist aufgebraucht"]
    finally:
        cloud.occ("user:setting", "ben", "files", "quota", "none")
        cloud.occ("user:setting", "ben", "core", "lang", "--delete")

    listed = json.loads(cloud.occ("user:auth-tokens:list", "ben", "--output=json"))
    [token] = [one for one in listed if one["name"] == "Harp (hub of this server)"]
    cloud.occ("user:auth-tokens:delete", "ben", str(token["id"]))

    def is_stopped() -> bool:
        # The web server's cache has the password for ten seconds more: a command does not reach it there.
        cloud.dav(line.ben, "PUT", "files/ben/Notes/stir", b"a datagram")
        return bool(page.folder("/Notes")["mirror"] == "stopped")

    until(is_stopped, "the revoked password is said", PATIENCE_S)
    cloud.dav(line.ben, "PUT", "files/ben/Notes/two.txt", b"2")
    assert "was revoked" in page.text
    assert page.asks("POST", path="/Notes")["id"] == id_
    until((tablet.folder / "two.txt").exists, "Harp was let in again", PATIENCE_S)
    assert page.folder("/Notes")["mirror"] != "stopped"

    cloud.dav(line.ben, "MOVE", "files/ben/Notes", to="files/ben/Papers")
    until(lambda: page.folder("/Notes")["mirror"] == "asking", "a renamed folder is asked about", PATIENCE_S)
    assert "not in the account any more" in page.folder("/Notes")["error"]
    assert "If the folder was renamed" in page.text
    cloud.dav(line.ben, "MOVE", "files/ben/Papers", to="files/ben/Notes")

    page.asks("DELETE", f"/{id_}")
    assert page.folder("/Notes") == {}
    until(lambda: "ended the sharing" in tablet.status().error, "the tablet has heard of it", PATIENCE_S)
    cloud.dav(line.ben, "PUT", "files/ben/Notes/three.txt", b"3")
    assert {path.name for path in tablet.folder.glob("*.*") if path.is_file()} == {"one.txt", "two.txt", "large.bin"}


def test_a_revoked_app_password_is_said_and_loses_nothing(line: Line) -> None:
    cloud, anna = line.cloud, line.anna
    cloud.dav(anna, "MKCOL", "files/anna/Revoked")
    own = cloud.app_password("anna")
    line.hub.do("account", "add", "short", cloud.url, "--user", "anna", typed=own + "\n")
    line.hub.do("share", "short:/Revoked")
    until(lambda: line.mirror("Revoked").state is model.MirrorState.SAME, "it stands", PATIENCE_S)
    person = Person("anna", "", own)
    cloud.request(person, "DELETE", "/ocs/v2.php/core/apppassword")
    with pytest.raises(urllib.error.HTTPError):
        cloud.dav(person, "PROPFIND", "files/anna/")
    cloud.dav(anna, "PUT", "files/anna/Revoked/x", b"x")
    until(lambda: line.mirror("Revoked").state is model.MirrorState.STOPPED, "it is noticed", PATIENCE_S)
    assert "was revoked" in line.mirror("Revoked").error
    line.hub.do("leave", "Revoked")
    line.hub.do("account", "remove", "short")


def test_a_server_in_maintenance_is_waited_for(line: Line) -> None:
    line.cloud.occ("maintenance:mode", "--on")
    try:
        (line.laptop.folder / "patient.txt").write_bytes(b"x")
        until(lambda: "maintenance" in line.mirror().error, "it is said", PATIENCE_S)
    finally:
        line.cloud.occ("maintenance:mode", "--off")


def test_a_file_saved_in_nextcloud_is_on_the_device_within_half_a_second(line: Line) -> None:
    took = []
    for number in range(21):
        name = f"fast-{number}.txt"
        line.does("PUT", name, b"%d" % number * 100)
        saved = time.monotonic()
        target = line.laptop.folder / name
        while not target.exists():
            assert time.monotonic() - saved < 30, f"{name} does not come"
            time.sleep(0.002)
        took.append(time.monotonic() - saved)
    print("from a PUT in Nextcloud to the device, s:", ", ".join(f"{one:.2f}" for one in took))
    print(f"median {statistics.median(took):.3f} s")
    assert statistics.median(took) <= 0.5
