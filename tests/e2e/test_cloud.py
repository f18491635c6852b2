# SPDX-License-Identifier: AGPL-3.0-or-later
"""The Nextcloud of these tests is one: it has people, sessions, app passwords, files and AppAPI."""

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
