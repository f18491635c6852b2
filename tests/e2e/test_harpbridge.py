# SPDX-License-Identifier: AGPL-3.0-or-later
"""Harp Bridge in a real Nextcloud: what people do with their files is in the journal, and the daemon is called."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cloud import WEB_USER, Cloud, Person, as_web_user


class Bridged:
    """One person's files behind the app, and the end of its socket."""

    def __init__(self, cloud: Cloud, ear: socket.socket, socket_path: Path) -> None:
        self.cloud, self.ear, self.socket_path = cloud, ear, socket_path
        self.cursor = 0

    def read(self, person: Person, since: int = 0) -> dict[str, Any]:
        path = f"/ocs/v2.php/apps/harpbridge/api/v1/journal?since={since}&limit=1000&format=json"
        found: dict[str, Any] = json.loads(self.cloud.request(person, "GET", path))["ocs"]["data"]
        return found

    def news(self, person: Person) -> list[tuple[str, str]]:
        """Kind and path of the rows since the last look."""
        rows: list[tuple[str, str]] = []
        while (read := self.read(person, self.cursor))["cursor"] != self.cursor:
            rows += [(row["kind"], row["path"]) for row in read["rows"]]
            self.cursor = read["cursor"]
        return rows

    def cost_of(self, socket_path: Path) -> Any:
        """What hook_cost.php measures, in microseconds."""
        script = self.socket_path.with_name("hook_cost.php")
        shutil.copyfile(Path(__file__).with_name("hook_cost.php"), script)
        script.chmod(0o644)
        measured = subprocess.run(
            [*as_web_user(), "php", "-d", "memory_limit=512M", str(script), str(self.cloud.tree), str(socket_path)],
            env={"PATH": os.environ["PATH"], "NEXTCLOUD_CONFIG_DIR": str(self.cloud.scratch / "config")},
            cwd=self.cloud.tree,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        return json.loads(measured.stdout)

    def calls(self) -> list[int]:
        """The ids of the datagrams that have come."""
        ids: list[int] = []
        while True:
            try:
                said = self.ear.recv(1024)
            except BlockingIOError:
                return ids
            found = re.fullmatch(rb"harpbridge 1 (\d+)\n", said)
            assert found is not None
            assert len(said) <= 64
            ids.append(int(found[1]))


@pytest.fixture(scope="module")
def bridged(harpbridge: Cloud) -> Iterator[Bridged]:
    folder = Path(tempfile.mkdtemp(prefix="harp-bridge-"))
    folder.chmod(0o755)
    path = folder / "bridge.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(path))
        ear.setblocking(False)
        if os.geteuid() == 0:
            shutil.chown(path, WEB_USER, WEB_USER)
        harpbridge.occ_tried("harpbridge:setup", f"--bridge-socket={path}")
        for name in ("anna", "ben"):
            harpbridge.person(name)
        made = Bridged(harpbridge, ear, path)
        anna = harpbridge.people["anna"]
        harpbridge.dav(anna, "PROPFIND", "files/anna/")
        yield made
    shutil.rmtree(folder)


@pytest.fixture
def anna(bridged: Bridged) -> Person:
    person = bridged.cloud.people["anna"]
    bridged.news(person)
    bridged.calls()
    return person


def test_a_files_life_is_told_once_a_step(bridged: Bridged, anna: Person) -> None:
    steps = [
        ("PUT", "files/anna/x", b"one", "", [("written", "x")]),
        ("PUT", "files/anna/x", b"two!", "", [("written", "x")]),
        ("MKCOL", "files/anna/dir", None, "", [("written", "dir")]),
        ("MOVE", "files/anna/x", None, "files/anna/dir/y", [("renamed", "dir/y")]),
        ("MOVE", "files/anna/dir", None, "files/anna/dir2", [("renamed", "dir2")]),
        ("DELETE", "files/anna/dir2/y", None, "", [("deleted", "dir2/y")]),
    ]
    for method, path, body, to, told in steps:
        bridged.cloud.dav(anna, method, path, body, to)
        assert bridged.news(anna) == told, (method, path)
        assert bridged.calls() == [bridged.cursor], (method, path)


def test_the_modules_of_its_pages_come_as_what_they_are(bridged: Bridged) -> None:
    browser = bridged.cloud.browser("anna")
    page = browser.get("/index.php/settings/user/harpbridge").text
    [address] = re.findall(r'src="([^"]*/harpbridge/js/personal\.mjs[^"]*)"', page)
    assert browser.get(address).headers.get_content_type() == "text/javascript"


def test_what_comes_out_of_the_trash_is_restored(bridged: Bridged, anna: Person) -> None:
    bridged.cloud.dav(anna, "PUT", "files/anna/lost", b"and found")
    bridged.cloud.dav(anna, "DELETE", "files/anna/lost")
    bridged.news(anna)
    listed = bridged.cloud.dav(anna, "PROPFIND", "trashbin/anna/trash").decode()
    found = re.search(r"/remote\.php/dav/(trashbin/anna/trash/lost[^<]*)<", listed)
    assert found is not None
    bridged.cloud.dav(anna, "MOVE", found[1], to="trashbin/anna/restore/lost")
    assert bridged.news(anna) == [("restored", "lost")]


def test_an_upload_in_chunks_is_one_row(bridged: Bridged, anna: Person) -> None:
    bridged.cloud.dav(anna, "MKCOL", "uploads/anna/u1", to="files/anna/big")
    for number in (1, 2, 3):
        bridged.cloud.dav(anna, "PUT", f"uploads/anna/u1/{number:05}", os.urandom(100_000), "files/anna/big")
    assert bridged.news(anna) == []
    bridged.cloud.dav(anna, "MOVE", "uploads/anna/u1/.file", to="files/anna/big")
    assert bridged.news(anna) == [("written", "big")]
    assert bridged.calls() == [bridged.cursor]


def test_a_scan_tells_what_was_done_behind_nextclouds_back(bridged: Bridged, anna: Person) -> None:
    files = bridged.cloud.data / "anna" / "files"
    (files / "dropped").write_text("by hand")
    if os.geteuid() == 0:
        shutil.chown(files / "dropped", WEB_USER, WEB_USER)
    bridged.cloud.occ("files:scan", "anna")
    assert ("changed", "dropped") in bridged.news(anna)
    (files / "dropped").unlink()
    bridged.cloud.occ("files:scan", "anna")
    assert ("deleted", "dropped") in bridged.news(anna)
    assert bridged.calls()[-1] <= bridged.cursor


def test_in_a_shared_folder_each_reads_their_own_paths_and_no_others(bridged: Bridged, anna: Person) -> None:
    ben = bridged.cloud.people["ben"]
    bridged.cloud.dav(anna, "MKCOL", "files/anna/team")
    share = b"path=/team&shareType=0&shareWith=ben&permissions=31"
    bridged.cloud.request(
        *(anna, "POST", "/ocs/v2.php/apps/files_sharing/api/v1/shares", share),
        Content_Type="application/x-www-form-urlencoded",
    )
    bridged.cloud.dav(anna, "PUT", "files/anna/secret", b"not for ben")
    start = bridged.cursor
    bridged.cloud.dav(ben, "PUT", "files/ben/team/x", b"from ben")
    bridged.cloud.dav(ben, "MOVE", "files/ben/team/x", to="files/ben/mine")
    of_ben = [(row["kind"], row["path"], row.get("from")) for row in bridged.read(ben, start)["rows"]]
    assert of_ben[-2:] == [("written", "team/x", None), ("renamed", "mine", "team/x")]
    assert not [row for row in of_ben if "secret" in row[1]]
    assert bridged.news(anna)[-2:] == [("written", "team/x"), ("deleted", "team/x")]


def test_a_journal_begun_anew_is_noticed(bridged: Bridged, anna: Person) -> None:
    newest, oldest = bridged.cursor, bridged.read(anna)["oldest"]
    assert oldest > 0
    assert bridged.read(anna, newest + 10**6) == {"cursor": newest, "oldest": oldest, "rows": []}


def test_a_device_learns_what_there_is(bridged: Bridged, anna: Person) -> None:
    said = bridged.cloud.request(anna, "GET", "/ocs/v2.php/cloud/capabilities?format=json")
    told = json.loads(said)["ocs"]["data"]["capabilities"]["harpbridge"]
    assert (told["journal"], told["hub"]) == (1, None)


def test_nobody_shares_by_an_app_password_alone(bridged: Bridged, anna: Person) -> None:
    """An app password is on devices; what pairs wants the person."""
    for method, path in (("POST", "folders"), ("DELETE", "folders/ab"), ("DELETE", "folders/ab/devices/cd")):
        with pytest.raises(urllib.error.HTTPError) as refused:
            bridged.cloud.request(anna, method, f"/ocs/v2.php/apps/harpbridge/api/v1/{path}?format=json", b"path=/team")
        with refused.value as answer:
            assert (answer.code, b"app password" in answer.read()) == (403, True)


def test_people_cannot_change_the_administrators_settings(bridged: Bridged, anna: Person) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        bridged.cloud.request(anna, "GET", "/ocs/v2.php/apps/harpbridge/api/v1/self-test?format=json")
    with refused.value as answer:
        assert answer.code == 403


@pytest.mark.parametrize("section", ["user", "admin"])
def test_the_pages_are_there(bridged: Bridged, section: str) -> None:
    page = bridged.cloud.browser("admin").get(f"/index.php/settings/{section}/harpbridge")
    assert page.status == 200
    assert b"harpbridge-" + (b"personal" if section == "user" else b"admin") in page.body
    assert b'type="module"' in page.body


def test_the_self_test_names_what_is_wrong(bridged: Bridged, tmp_path: Path) -> None:
    code, said = bridged.cloud.occ_tried("harpbridge:self-test", "--output=json")
    checks = {check["name"]: check for check in json.loads(said)["checks"]}
    assert code == 1
    assert checks["bridge socket"]["ok"]
    assert "no control socket" in checks["daemon"]["text"]
    try:
        _, said = bridged.cloud.occ_tried("harpbridge:setup", "--bridge-socket=/nowhere/b.sock", "--output=json")
        gone = next(check for check in json.loads(said)["checks"] if check["name"] == "bridge socket")
        assert (gone["ok"], "start the daemon" in gone["remedy"]) == (False, True)
    finally:
        bridged.cloud.occ_tried("harpbridge:setup", f"--bridge-socket={bridged.socket_path}")
    code, said = bridged.cloud.occ_tried("harpbridge:setup", "--bridge-socket=relative")
    assert (code, "absolute path" in said) == (1, True)


def test_the_self_test_names_each_fault_of_the_socket_and_who_has_it(bridged: Bridged) -> None:
    def bridge_socket(path: Path) -> tuple[str, str]:
        _, said = bridged.cloud.occ_tried("harpbridge:setup", f"--bridge-socket={path}", "--output=json")
        [check] = [one for one in json.loads(said)["checks"] if one["name"] == "bridge socket"]
        assert not check["ok"]
        return check["text"], check["remedy"]

    folder = bridged.socket_path.parent
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as full:
            full.bind(str(folder / "full.sock"))
            (folder / "full.sock").chmod(0o777)
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as caller, contextlib.suppress(BlockingIOError):
                caller.setblocking(False)
                while True:
                    caller.sendto(b"x", str(folder / "full.sock"))
            text, remedy = bridge_socket(folder / "full.sock")
            assert ("queue" in text, "the daemon hangs" in remedy) == (True, True)
        text, remedy = bridge_socket(folder / "full.sock")
        assert ("nobody listens" in text, "start the daemon" in remedy) == (True, True)
        (folder / "file").write_bytes(b"")
        (folder / "file").chmod(0o666)
        text, _ = bridge_socket(folder / "file")
        assert "nobody listens" in text
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
            stream.bind(str(folder / "stream.sock"))
            (folder / "stream.sock").chmod(0o777)
            text, remedy = bridge_socket(folder / "stream.sock")
            assert ("takes no datagrams" in text, "has to be a datagram socket" in remedy) == (True, True)
        if os.geteuid() == 0:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as theirs:
                theirs.bind(str(folder / "theirs.sock"))
                (folder / "theirs.sock").chmod(0o600)
                text, remedy = bridge_socket(folder / "theirs.sock")
                assert "this user may not write to" in text
                assert "theirs.sock is a socket of root:root with mode 600" in remedy
    finally:
        bridged.cloud.occ_tried("harpbridge:setup", f"--bridge-socket={bridged.socket_path}")


def test_an_administrator_reads_the_checks_in_german_and_occ_says_them_in_english(bridged: Bridged) -> None:
    cloud = bridged.cloud
    cloud.occ("user:setting", "admin", "core", "lang", "de")
    try:
        browser = cloud.browser("admin")
        page = browser.get("/index.php/settings/admin/harpbridge").text
        checked = browser.get("/index.php/settings/ajax/checksetup", {"requesttoken": browser.request_token})
    finally:
        cloud.occ("user:setting", "admin", "core", "lang", "--delete")
    assert f"<strong>Brücken-Socket</strong>: {bridged.socket_path} nimmt Datagramme an" in page
    assert re.search(r"<strong>Journal</strong>: \d+ Zeilen?, die letzte ID ist \d+\s", page)
    assert "kein Steuer-Socket" in page
    assert "harpbridge" in checked.json, checked.text[:500]
    said = {check["name"]: check["description"] for check in checked.json["harpbridge"].values()}
    assert said["Harp: der Brücken-Socket"] == f"{bridged.socket_path} nimmt Datagramme an"
    assert "liegt kein Steuer-Socket: starte den Dienst" in said["Harp: der Dienst"]
    _, plain = cloud.occ_tried("harpbridge:self-test")
    assert f"bridge socket: {bridged.socket_path} takes datagrams" in plain


def test_a_journal_that_was_emptied_by_hand_goes_on(bridged: Bridged, anna: Person) -> None:
    bridged.cloud.sql("DELETE FROM *PREFIX*harpbridge_journal")
    bridged.cloud.dav(anna, "PUT", "files/anna/after", b"x")
    assert bridged.calls()
    read = bridged.read(anna, bridged.cursor)
    assert [(row["kind"], row["path"]) for row in read["rows"]] == [("written", "after")]
    assert read["oldest"] > bridged.cursor
    _, said = bridged.cloud.occ_tried("harpbridge:self-test", "--output=json")
    assert next(one for one in json.loads(said)["checks"] if one["name"] == "journal")["ok"]


def test_an_upload_works_as_ever_when_the_journal_is_gone(bridged: Bridged, anna: Person) -> None:
    bridged.cloud.sql("ALTER TABLE *PREFIX*harpbridge_journal RENAME TO *PREFIX*elsewhere")
    try:
        bridged.cloud.dav(anna, "PUT", "files/anna/still", b"works")
        assert bridged.cloud.dav(anna, "GET", "files/anna/still") == b"works"
        assert "journal cannot be written" in bridged.cloud.log
    finally:
        bridged.cloud.sql("ALTER TABLE *PREFIX*elsewhere RENAME TO *PREFIX*harpbridge_journal")


def test_a_daemon_that_is_gone_or_hangs_costs_no_more_than_one_that_is_there(bridged: Bridged) -> None:
    hung = bridged.cost_of(bridged.socket_path)
    gone = bridged.cost_of(bridged.socket_path.with_name("nobody"))
    assert set(hung["became"]) == {"full"}, "what the rounds before sent has filled the queue"
    assert gone["became"] == {"missing": 1000}
    for figures in (hung, gone):
        print("the listener, µs:", figures)
        assert figures["datagram"]["median"] <= 50
        assert figures["datagram"]["p99"] <= 500
        assert figures["whole without the disk"]["median"] <= 1000
