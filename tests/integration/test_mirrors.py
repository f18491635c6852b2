# SPDX-License-Identifier: AGPL-3.0-or-later
"""``harp share NAME:/Documents`` with real daemons: the account's files reach a device, and its files the account.

Names harp.daemon.mirrors, harp.daemon.mirrorportraits, harp.daemon.waiting, harp.sync.service.mirrorloop and
harp.sync.service.stillness.
"""

import contextlib
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harp.bridge import model
from harp.cli.client import at
from tests.fakes.certificates import certificate
from tests.fakes.cloudserver import standing
from tests.fakes.webdav import Account
from tests.integration.office import Desk, Office, until


@pytest.fixture
def account() -> Account:
    made = Account()
    made.write("Documents/plan.txt", b"from the cloud")
    made.write("Private/diary.txt", b"not shared")
    return made


@pytest.fixture
def url(account: Account) -> Iterator[str]:
    with standing(account) as address:
        yield address


class Hub:
    """A daemon with one account, whose Documents it mirrors."""

    def __init__(self, desk: Desk, account: Account, url: str) -> None:
        self.desk, self.account, self.url = desk, account, url
        self.log_in()
        self.id = desk.do("share", "work:/Documents").strip()

    def log_in(self) -> None:
        self.desk.do("account", "add", "work", self.url, "--user", "alice", typed=self.password + "\n")

    @property
    def password(self) -> str:
        return max(self.account.passwords)

    @property
    def folder(self) -> Path:
        return Path(self.status.location)

    @property
    def status(self) -> model.FolderStatus:
        return self.desk.client.get(at("status"), model.Status).folders[0]

    @property
    def mirror(self) -> model.MirrorStatus:
        found = self.status.mirror
        assert found is not None
        return found

    def same(self) -> "Hub":
        """Waits until both sides are the same."""
        until(lambda: self.mirror.state is model.MirrorState.SAME and self.here() == self.there(), "both are the same")
        return self

    def here(self) -> dict[str, bytes]:
        found = {}
        for path in self.folder.rglob("*"):
            name = str(path.relative_to(self.folder))
            # What is renamed while we look is found the next time.
            with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                if not name.startswith(".harp"):
                    found[name] = path.read_bytes()
        return found

    def there(self) -> dict[str, bytes]:
        whole = {path: content for path, (content, _) in self.account.files.items()}
        return {path.removeprefix("Documents/"): content for path, content in whole.items() if "Documents/" in path}

    def held(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.desk.ask("held", "Documents")["held"]
        return found


@pytest.fixture
def hub(office: Office, account: Account, url: str) -> Hub:
    return Hub(office.desk("ada", account_poll_s="1").start(), account, url)


def test_an_account_reaches_a_device_and_a_device_the_account(hub: Hub, office: Office, account: Account) -> None:
    hub.same()
    assert hub.here() == {"plan.txt": b"from the cloud"}
    assert hub.folder == hub.desk.home / "cloud" / "work" / "Documents"
    ben = office.desk("ben").start()
    ticket = hub.desk.ask("invite", "Documents")["ticket"]
    ben.do("join", ticket, ben.folder)
    until((ben.folder / "plan.txt").exists, "ben has the account's file")
    (ben.folder / "reply.txt").write_bytes(b"from ben")
    until(lambda: "Documents/reply.txt" in account.files, "the account has ben's file")
    account.write("Documents/plan.txt", b"changed in the browser")
    until(lambda: (ben.folder / "plan.txt").read_bytes() == b"changed in the browser", "ben has the change")
    account.remove("Documents/reply.txt")
    until(lambda: not (ben.folder / "reply.txt").exists(), "it is gone from ben's disk")
    (ben.folder / "plan.txt").rename(ben.folder / "plan-2.txt")
    until(lambda: "Documents/plan-2.txt" in account.files, "the account has the new name")
    hub.same()
    assert "MOVE Documents/plan.txt" in account.log, "nothing was sent for a rename"
    assert account.files["Private/diary.txt"][0] == b"not shared"


def test_large_files_are_read_from_the_servers_own_disk_and_from_no_other(
    office: Office, account: Account, url: str, tmp_path: Path
) -> None:
    large = b"large" * 300_000
    account.write("Documents/large.bin", large, 1_700_000_000)
    files = tmp_path / "data" / "alice" / "files" / "Documents"
    files.mkdir(parents=True)
    (files / "large.bin").write_bytes(large)
    os.utime(files / "large.bin", (1_700_000_000, 1_700_000_000))
    for instance, is_asked in (("ocelsewhere", True), ("ocabc", False)):
        (tmp_path / "data" / f"appdata_{instance}").mkdir()
        account.log.clear()
        desk = office.desk(f"ada-{instance}", account_poll_s="1", nextcloud_data=str(tmp_path / "data")).start()
        hub = Hub(desk, account, url).same()
        assert hub.here()["large.bin"] == large
        assert ("GET Documents/large.bin" in account.log) == is_asked


def test_what_was_deleted_or_replaced_in_the_account_is_restored_on_the_device_that_mirrors(
    hub: Hub, account: Account
) -> None:
    hub.same()
    account.write("Documents/plan.txt", b"worse", 1_700_000_100)
    hub.same()
    older = hub.desk.ask("history", "Documents", "plan.txt")["versions"][-1]
    assert older["is_restorable"]
    hub.desk.do("restore", "Documents", f"plan.txt@{older['entry']}")
    hub.same()
    assert hub.there() == {"plan.txt": b"from the cloud"}
    account.remove("Documents/plan.txt")
    hub.same()
    assert hub.here() == {}
    newest = partial(hub.desk.ask, "history", "Documents", "plan.txt")
    until(lambda: newest()["versions"][0]["kind"] == "tombstone", "the folder knows it")
    hub.desk.do("restore", "Documents", f"plan.txt@{older['entry']}")
    hub.same()
    assert hub.there() == {"plan.txt": b"from the cloud"}


def test_the_same_share_twice_is_one_and_an_account_in_use_stays(hub: Hub) -> None:
    hub.same()
    assert hub.desk.do("share", "work:/Documents/").strip() == hub.id
    assert len(hub.desk.ask("folders")["folders"]) == 1
    assert hub.desk.ask("account", "list")["accounts"][0]["folders"] == ["Documents"]
    assert "a folder mirrors the account" in hub.desk.refuses("account", "remove", "work").err
    hub.desk.do("leave", "Documents")
    assert list((hub.desk.home / "mirrors").iterdir()) == []
    hub.desk.do("account", "remove", "work")


def test_what_cannot_be_shared_is_said_in_one_line(hub: Hub, tmp_path: Path) -> None:
    hub.same()
    assert "no account 'home'" in hub.desk.refuses("share", "home:/Documents").err
    assert "has no folder /Nothing" in hub.desk.refuses("share", "work:/Nothing").err
    assert "is a file" in hub.desk.refuses("share", "work:/Private/diary.txt").err
    assert "is no folder of an account" in hub.desk.refuses("share", "work:/Documents/../Private").err
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_bytes(b"x")
    assert "is not empty" in hub.desk.refuses("share", "work:/Private", "--at", tmp_path / "full").err
    assert "--at and --merge are for" in hub.desk.refuses("share", str(tmp_path / "full"), "--merge").err
    hub.desk.do("share", "work:/Private", "--at", tmp_path / "full", "--merge")
    until(lambda: "Private/mine.txt" in hub.account.files, "both contents are put together")
    until((tmp_path / "full" / "diary.txt").exists, "on this side too")


def test_a_daemon_that_was_killed_goes_on_where_it_was(hub: Hub, account: Account) -> None:
    hub.same()
    hub.desk.kill()
    account.write("Documents/meanwhile.txt", b"in the cloud")
    place = hub.desk.home / "cloud" / "work" / "Documents"
    (place / "here.txt").write_bytes(b"on the disk")
    hub.desk.start()
    hub.same()
    assert set(hub.here()) == {"plan.txt", "meanwhile.txt", "here.txt"}


def test_a_revoked_password_is_said_and_a_new_one_takes_the_mirror_up_again(hub: Hub, account: Account) -> None:
    hub.same()
    account.passwords = {"renewed"}
    account.write("Documents/later.txt", b"x")
    until(lambda: hub.mirror.state is model.MirrorState.STOPPED, "the mirror stands still")
    assert "the app password of alice was revoked" in hub.status.error
    assert f"harp account add work {hub.url}" in hub.desk.do("status")
    asked = len(account.log)
    report = json.loads(hub.desk.run("doctor", "--json").out)
    [check] = [one for one in report["checks"] if one["name"] == "account work:/Documents"]
    assert (check["ok"], check["remedy"]) == (False, f"harp account add work {hub.url}")
    assert "revoked" in hub.desk.ask("account", "list")["accounts"][0]["error"]
    assert len(account.log) == asked, "a refused password is not tried again and again"
    hub.log_in()
    hub.same()
    assert "later.txt" in hub.here()


@pytest.mark.parametrize("status", [503, 429, 423, 500])
def test_bad_weather_passes(hub: Hub, account: Account, status: int) -> None:
    hub.same()
    account.fails = status
    (hub.folder / "kept.txt").write_bytes(b"x")
    until(lambda: hub.mirror.error != "", "the trouble is said")
    account.fails = 0
    hub.same()
    assert hub.mirror.error == ""


def test_a_server_that_is_away_is_found_again(office: Office, account: Account) -> None:
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(standing(account))
        hub = Hub(office.desk("ada", account_poll_s="1").start(), account, url)
        hub.same()
        stack.close()
        until(lambda: "cannot be reached" in hub.mirror.error, "it is said")
        account.write("Documents/back.txt", b"x")
        stack.enter_context(standing(account, port=int(url.rpartition(":")[2])))
        hub.same()


def test_a_certificate_that_is_not_trusted_any_more_is_said_until_it_is(
    office: Office, account: Account, tmp_path: Path
) -> None:
    good, strange = (certificate(tmp_path, name) for name in ("127.0.0.1", "elsewhere.example"))
    trusted = tmp_path / "authority.pem"
    trusted.write_bytes(good.path.read_bytes())
    desk = office.desk("ada", account_poll_s="1").start()
    with standing(account, good.path) as url:
        typed = account_password(account)
        desk.do("account", "add", "work", url, "--user", "alice", "--ca", str(trusted), typed=typed)
        desk.do("share", "work:/Documents")
        desk.do("wait", "Documents", "--timeout", "60")
        desk.stop()
        trusted.write_bytes(strange.path.read_bytes())
        desk.start()
        until(lambda: f"the certificate of {url} is not trusted" in desk.do("status"), "it is said")
        assert "harp account add NAME URL --ca FILE" in desk.do("status")
        desk.stop()
        trusted.write_bytes(good.path.read_bytes())
        desk.start()
        desk.do("wait", "Documents", "--timeout", "60")
        assert "not trusted" not in desk.do("status")
        desk.stop()


def account_password(account: Account) -> str:
    return max(account.passwords) + "\n"


def test_a_file_that_stays_locked_is_named_and_goes_up_when_it_is_free(hub: Hub, account: Account) -> None:
    hub.same()
    account.locked["Documents/plan.txt"] = 10**6
    (hub.folder / "plan.txt").write_bytes(b"mine")
    (hub.folder / "other.txt").write_bytes(b"free")
    until(lambda: [one.path for one in hub.status.problems] == ["plan.txt"], "it is named")
    assert "waits: plan.txt: a file is locked there" in hub.desk.do("status")
    assert account.files["Documents/other.txt"][0] == b"free"
    account.locked.clear()
    hub.desk.do("wait", "Documents", "--timeout", "60")
    assert account.files["Documents/plan.txt"][0] == b"mine"


def test_a_name_that_nextcloud_forbids_is_said_and_the_file_stays(hub: Hub, account: Account) -> None:
    hub.same()
    (hub.folder / "song.part").write_bytes(b"half of it")
    (hub.folder / "other.txt").write_bytes(b"goes up")
    until(lambda: "Documents/other.txt" in account.files, "the rest goes on")
    line = "waits: song.part: its name ends with “.part”, which this Nextcloud forbids"
    until(lambda: line in hub.desk.do("status"), "it is said")
    assert (hub.folder / "song.part").read_bytes() == b"half of it"
    (hub.folder / "song.part").rename(hub.folder / "song.txt")
    until(lambda: "Documents/song.txt" in account.files, "it goes up under a name that is free")
    hub.same()
    until(lambda: hub.status.problems == [], "and nothing waits")


def test_a_full_quota_is_said_file_by_file_and_the_rest_goes_on(hub: Hub, account: Account) -> None:
    hub.same()
    account.is_full = True
    (hub.folder / "big.bin").write_bytes(b"x" * 1000)
    until(lambda: any(one.path == "big.bin" for one in hub.status.problems), "it is said")
    assert "quota" in hub.desk.do("status")
    account.write("Documents/down.txt", b"x")
    until((hub.folder / "down.txt").exists, "what needs no room goes on")
    account.is_full = False
    hub.desk.do("pause", "Documents")
    hub.desk.do("resume", "Documents")
    hub.same()


def test_a_folder_that_is_gone_from_the_account_is_asked_about_and_deletes_nothing(hub: Hub, account: Account) -> None:
    hub.same()
    account.move("Documents", "Papers")
    until(lambda: hub.mirror.state is model.MirrorState.ASKING, "it is asked about")
    assert hub.status.state is model.FolderState.HELD
    [held] = hub.held()
    assert (held["kind"], held["can_be_approved"]) == ("account", False)
    assert "not in the account any more" in held["what"]
    assert "cannot be followed" in hub.desk.refuses("approve", "Documents", held["id"]).err
    assert hub.here() == {"plan.txt": b"from the cloud"}
    assert "nothing is removed" in hub.desk.do("reject", "Documents", held["id"])
    hub.same()
    assert account.files["Documents/plan.txt"][0] == account.files["Papers/plan.txt"][0]
    assert hub.held() == []
    account.move("Documents", "Elsewhere")
    until(lambda: hub.mirror.state is model.MirrorState.ASKING, "it is asked about again")
    account.move("Elsewhere", "Documents")
    # It is looked for once a minute by itself, and at once where somebody waits.
    hub.desk.run("wait", "Documents")
    hub.same()
    assert hub.held() == []


def test_an_account_that_was_emptied_is_asked_about_and_followed_on_approval(hub: Hub, account: Account) -> None:
    for number in range(30):
        account.write(f"Documents/{number}.txt", b"x")
    hub.same()
    for number in range(30):
        account.remove(f"Documents/{number}.txt")
    until(lambda: hub.mirror.state is model.MirrorState.ASKING, "it is asked about")
    assert len(hub.here()) == 31
    [held] = hub.held()
    assert "are gone from the account at once" in held["what"]
    hub.desk.do("approve", "Documents", held["id"])
    hub.same()
    assert hub.here() == {"plan.txt": b"from the cloud"}


def test_what_the_folders_guard_holds_is_not_done_in_the_account_either(hub: Hub, account: Account) -> None:
    for number in range(150):
        account.write(f"Documents/many/{number}.txt", b"%d" % number)
    hub.same()
    # In one instant: of those that go one by one, the first few are gone there before they are many.
    (hub.folder / "many").rename(hub.folder.with_name("taken away"))
    until(hub.held, "the deletions are held")
    time.sleep(4.0)  # longer than the mirror's second look
    assert len(hub.there()) == 151
    [held] = hub.held()
    assert held["kind"] == "deletions"
    hub.desk.do("approve", "Documents", str(held["id"]))
    until(lambda: set(hub.there()) == {"plan.txt"}, "what was approved is done there as well")


def test_a_paused_folder_leaves_its_account_alone(hub: Hub, account: Account) -> None:
    hub.same()
    hub.desk.do("pause", "Documents")
    until(lambda: hub.mirror.state is model.MirrorState.WAITING, "the mirror waits")
    account.write("Documents/later.txt", b"x")
    (hub.folder / "mine.txt").write_bytes(b"x")
    asked = len(account.log)
    until(lambda: hub.mirror.state is model.MirrorState.WAITING, "it still does")
    assert len(account.log) == asked
    hub.desk.do("resume", "Documents")
    hub.same()
    assert set(hub.here()) == {"plan.txt", "later.txt", "mine.txt"}


def test_waiting_for_a_folder_waits_for_its_account_too(hub: Hub, office: Office, account: Account) -> None:
    hub.desk.do("wait", "Documents", "--timeout", "120")
    assert hub.here() == {"plan.txt": b"from the cloud"}
    (hub.folder / "mine.txt").write_bytes(b"from here")
    account.write("Documents/theirs.txt", b"from there")
    hub.desk.do("wait", "Documents", "--timeout", "120")
    assert hub.here() == hub.there()
    assert len(hub.here()) == 3
    ben = office.desk("ben").start()
    ben.do("join", hub.desk.ask("invite", "Documents")["ticket"], ben.folder)
    account.write("Documents/later.txt", b"from there")
    hub.desk.do("wait", "Documents", "--timeout", "120")
    assert (ben.folder / "later.txt").read_bytes() == b"from there"


def test_waiting_ends_with_what_the_account_refuses(hub: Hub, account: Account) -> None:
    hub.desk.do("wait", "Documents", "--timeout", "120")
    (hub.folder / "a\\b.txt").write_bytes(b"no Nextcloud has a backslash in a name")
    assert "not the same in the account: a\\b.txt: its name has" in hub.desk.refuses("wait", "Documents").err
    (hub.folder / "a\\b.txt").unlink()
    hub.desk.do("wait", "Documents", "--timeout", "120")
    account.is_in_maintenance = True
    said = hub.desk.refuses("wait", "Documents", "--timeout", "2").err
    assert "not within 2 s: work: " in said
    assert "maintenance" in said
    account.is_in_maintenance = False
    hub.desk.do("wait", "Documents", "--timeout", "120")
    account.passwords.clear()
    said = hub.desk.refuses("wait", "Documents").err
    assert "work: the app password of alice was revoked" in said
    assert f"harp account add work {hub.url}" in said


def test_who_waits_while_the_password_is_renewed_waits_on(hub: Hub, account: Account) -> None:
    hub.desk.do("wait", "Documents", "--timeout", "120")
    account.fails = 503
    (hub.folder / "kept.txt").write_bytes(b"x")
    until(lambda: hub.mirror.error != "", "the server is busy")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(hub.desk.run, "wait", "Documents", "--timeout", "50")
        time.sleep(1.0)  # until it waits for the mirror that is replaced now
        hub.log_in()
        account.fails = 0
        said = waiting.result(60)
    assert said.code == 0, said
    assert account.files["Documents/kept.txt"][0] == b"x"


def test_two_daemons_for_one_folder_are_told_of_one_another_and_lose_nothing(
    hub: Hub, office: Office, account: Account, url: str
) -> None:
    hub.same()
    tower = Hub(office.desk("tower", account_poll_s="1").start(), account, url).same()
    until(lambda: "work:/Documents is mirrored by another daemon too: ada (/Documents)" in tower.status.error, "said")
    assert tower.mirror.state is model.MirrorState.SAME
    assert "leave it on one of them" in tower.desk.do("status")
    report = json.loads(tower.desk.run("doctor", "--json").out)
    [check] = [one for one in report["checks"] if one["name"] == "account work:/Documents"]
    assert not check["ok"]
    for number in range(20):
        (hub.folder / f"ada {number}.txt").write_bytes(b"ada")
        (tower.folder / f"tower {number}.txt").write_bytes(b"tower")
    (hub.folder / "plan.txt").write_bytes(b"ada's plan")
    (tower.folder / "plan.txt").write_bytes(b"the tower's")
    until(lambda: len(hub.there()) >= 42, "all has arrived, and both plans")
    until(lambda: hub.here() == tower.here() == hub.there(), "all three are the same")
    assert {b"ada's plan", b"the tower's"} <= set(hub.there().values())
    # Ada has been told by a restart at the latest; it leaves, and the tower is alone.
    hub.desk.stop()
    hub.desk.start()
    until(lambda: "another daemon too: tower" in hub.status.error, "ada is told as well")
    hub.desk.do("leave", "Documents")
    assert "ada" not in (account.claims or "")
    tower.desk.stop()
    tower.desk.start()
    assert tower.same().status.error == ""


def test_a_clock_that_is_an_hour_off_is_said_and_no_newer_file_is_taken_for_an_old_one(
    hub: Hub, account: Account
) -> None:
    hub.same()
    assert hub.mirror.error == ""
    account.clock_off_s = -3600
    for number in range(9):
        (hub.folder / f"{number}.txt").write_bytes(b"from here")
    hub.same()
    until(lambda: "this device's clock is 60 minutes ahead of Nextcloud's" in hub.status.error, "it is said")
    assert "timedatectl" in hub.desk.do("status")
    assert hub.mirror.state is model.MirrorState.SAME
    for number in range(9):
        account.write(f"Documents/{number}.txt", b"edited there", int(time.time() + account.clock_off_s + 60))
    hub.same()
    assert hub.here()["8.txt"] == b"edited there"
    account.clock_off_s = 0
    until(lambda: hub.status.error == "", "and is over")


def test_two_people_who_share_a_folder_are_told_that_it_is_kept_for_both(
    hub: Hub, account: Account, tmp_path: Path
) -> None:
    hub.same()
    assert hub.mirror.note == ""
    bens = Account("ben")
    bens.make("Shared")
    # One folder has one number, under whatever name somebody sees it.
    bens.numbers["Shared"], bens.letters["Shared"] = account.numbers["Documents"], "RGDNVCKm"
    with standing(bens) as url:
        hub.desk.do("account", "add", "bens", url, "--user", "ben", typed=account_password(bens))
        hub.desk.do("share", "bens:/", "--at", tmp_path / "bens")
        told = "what is shared in it is mirrored here for ben too: each change is written into Nextcloud once"
        until(lambda: told in hub.mirror.note, "it is said")
        assert told.replace("ben", "alice") in hub.desk.do("status")
        assert (hub.mirror.error, hub.status.error) == ("", "")
        report = json.loads(hub.desk.run("doctor", "--json").out)
        checks = {one["name"]: one for one in report["checks"]}
        assert checks["account work:/Documents"]["ok"]
        assert "for ben too" in checks["account work:/Documents"]["text"]
