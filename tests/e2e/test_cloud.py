# SPDX-License-Identifier: AGPL-3.0-or-later
"""The Nextcloud of these tests is one: it has people, sessions, app passwords, files and AppAPI."""

import sqlite3
import threading
import time

import pytest

from tests.e2e import complaints, database
from tests.e2e.cloud import Cloud


def test_somebody_logs_in_with_a_password_and_clients_with_an_app_password(nextcloud: Cloud) -> None:
    alice = nextcloud.person("alice")

    whoami = "/ocs/v2.php/cloud/user?format=json"
    asked = {"OCS-APIRequest": "true"}
    assert nextcloud.browser("alice").get(whoami, asked).json["ocs"]["data"]["id"] == "alice"
    assert nextcloud.browser().get(whoami, asked | alice.basic).json["ocs"]["data"]["id"] == "alice"
    assert nextcloud.browser().get(whoami, asked).status == 401


def test_files_go_in_and_out_over_webdav(nextcloud: Cloud) -> None:
    client, alice = nextcloud.browser(), nextcloud.person("alice")
    path = "/remote.php/dav/files/alice/hello.txt"

    assert client.ask("PUT", path, alice.basic, b"hello").status == 201
    assert client.get(path, alice.basic).body == b"hello"
    assert (nextcloud.data / "alice" / "files" / "hello.txt").read_bytes() == b"hello"


def test_appapi_is_enabled(nextcloud: Cloud) -> None:
    assert "app_api" in nextcloud.occ("app:list", "--enabled")


@pytest.mark.skipif(database.chosen() != "sqlite", reason="only SQLite lets one writer alone at a time")
def test_a_login_that_another_writer_is_in_the_way_of_is_tried_again_and_said(nextcloud: Cloud) -> None:
    nextcloud.person("alice")
    ended, before = threading.Event(), len(nextcloud.log)

    def write_half_of_the_time() -> None:
        (place,) = nextcloud.data.glob("*.db")
        other = sqlite3.connect(place, timeout=60, isolation_level=None)
        while not ended.wait(0.03):
            other.execute("BEGIN IMMEDIATE")
            time.sleep(0.03)
            other.execute("ROLLBACK")
        other.close()

    writer = threading.Thread(target=write_half_of_the_time)
    writer.start()
    said: list[str] = []
    try:
        for _ in range(60):
            nextcloud.browser("alice")
            turned_away = [line for line in complaints.of(nextcloud.log[before:]) if "POST /index.php/login" in line]
            said = [line for line in turned_away if "createSessionToken" in line or "updatePasswords" in line]
            if said:
                break
    finally:
        ended.set()
        writer.join()
    assert said, "no login was turned away in sixty, where a token is made"
    assert "database is locked" in said[0]
