# SPDX-License-Identifier: AGPL-3.0-or-later
"""Many new files in one request of Harp Bridge, in a real Nextcloud: as if each had been uploaded, and over nothing."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from harp.sync.cloud import multistatus, parcels
from harp.sync.cloud.nodes import CloudPath
from harp.sync.cloud.parcels import SmallFile
from tests.e2e import mirrored
from tests.e2e.cloud import Cloud, Person

AT = "/ocs/v2.php/apps/harpbridge/api/v1/new-files?format=json"
SECOND = 1_700_000_000


@pytest.fixture
def alice(harpbridge: Cloud) -> Person:
    return harpbridge.person("alice")


def sent(cloud: Cloud, person: Person, contents: dict[str, bytes]) -> set[str]:
    """Which of these were made, so the server says."""
    parcel = {
        path: SmallFile(CloudPath(path), content, hashlib.sha256(content).hexdigest(), SECOND)
        for path, content in contents.items()
    }
    headers = person.basic | {"OCS-APIRequest": "true", "Content-Type": "application/octet-stream"}
    answer = cloud.browser().ask("POST", AT, headers, parcels.new_files_body(parcel))
    assert answer.status == 200, answer.text[:300]
    return {str(one.path) for one, _, _ in parcels.made_by_bridge(json.loads(answer.body), parcel)}


def there(cloud: Cloud, person: Person, path: str) -> bytes:
    return cloud.dav(person, "GET", f"files/{person.name}/{path}")


async def test_small_files_go_into_a_folder_that_was_there_before_in_one_request(
    harpbridge: Cloud, alice: Person, tmp_path: Path
) -> None:
    top = tmp_path.name
    mirrored.make_folder(harpbridge, alice, top)
    folder = tmp_path / "folder"
    folder.mkdir()
    log = harpbridge.scratch / "nginx-access.log"
    begun = len(log.read_text())
    async with mirrored.opened(harpbridge.url, alice, folder, top) as mirror:
        await mirror.settle()
        for number in range(20):
            path = folder / f"Übung {number}"
            path.write_bytes(os.urandom(100 * number))
            os.utime(path, (SECOND + number, SECOND + number))
        assert await mirror.settle() == 20
        assert await mirror.settle() == 0
    assert mirrored.content(folder) == mirrored.content(harpbridge.data / "alice" / "files" / top)
    asked = log.read_text()[begun:]
    assert asked.count(f'"POST {AT} HTTP/1.1" 200') == 1
    assert f'"PUT /remote.php/dav/files/alice/{top}/' not in asked
    headers = alice.basic | {"Depth": "1"}
    at = f"/remote.php/dav/files/alice/{top}"
    listed = multistatus.parsed(harpbridge.browser().ask("PROPFIND", at, headers, multistatus.REQUEST).body, at)
    assert sorted(one.remote.mtime_s for one in listed[1:]) == [SECOND + number for number in range(20)]


def test_what_lies_there_stays_and_the_others_are_made(harpbridge: Cloud, alice: Person) -> None:
    harpbridge.dav(alice, "PUT", "files/alice/taken", b"hers")
    harpbridge.dav(alice, "MKCOL", "files/alice/folder")
    contents = {
        "taken": b"mine",
        "folder": b"mine",
        "folder/new": b"",
        "gone/new": b"x",
        ".htaccess": b"x",
        "free": b"x",
    }
    assert sent(harpbridge, alice, contents) == {"folder/new", "free"}
    assert there(harpbridge, alice, "taken") == b"hers"
    assert there(harpbridge, alice, "free") == b"x"


def test_each_is_in_the_journal_and_in_the_activities(harpbridge: Cloud, alice: Person) -> None:
    read = "/ocs/v2.php/apps/harpbridge/api/v1/journal?since=0&limit=1000&format=json"
    assert sent(harpbridge, alice, {f"told {number}": b"x" for number in range(5)}) == {f"told {n}" for n in range(5)}
    rows = json.loads(harpbridge.request(alice, "GET", read))["ocs"]["data"]["rows"]
    assert {row["path"] for row in rows if row["kind"] == "written"} >= {f"told {number}" for number in range(5)}
    asked = "/ocs/v2.php/apps/activity/api/v2/activity/self?format=json&limit=50"
    said = [one["subject"] for one in json.loads(harpbridge.request(alice, "GET", asked))["ocs"]["data"]]
    assert any("told 4" in one for one in said), said


def test_into_a_share_that_may_only_be_read_nothing_is_made(harpbridge: Cloud, alice: Person) -> None:
    ben = harpbridge.person("ben")
    harpbridge.dav(ben, "MKCOL", "files/ben/shown")
    form = b"path=/shown&shareType=0&shareWith=alice&permissions=1"
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    harpbridge.request(ben, "POST", "/ocs/v2.php/apps/files_sharing/api/v1/shares?format=json", form, **kind)
    harpbridge.dav(alice, "PROPFIND", "files/alice/shown/")
    assert sent(harpbridge, alice, {"shown/a": b"x", "beside": b"x"}) == {"beside"}


def test_more_than_the_quota_is_not_made_and_nothing_is_left_of_it(harpbridge: Cloud) -> None:
    carl = harpbridge.person("carl")
    harpbridge.occ("user:setting", "carl", "files", "quota", "300 KB")
    harpbridge.dav(carl, "PROPFIND", "files/carl/")
    made = sent(harpbridge, carl, {f"{number}": os.urandom(100_000) for number in range(5)})
    assert 0 < len(made) < 5
    lie_there = {path.name for path in (harpbridge.data / "carl" / "files").iterdir() if path.stat().st_size == 100_000}
    assert lie_there == made


def test_nobody_makes_anything_and_nonsense_is_one_line(harpbridge: Cloud, alice: Person) -> None:
    headers = {"OCS-APIRequest": "true", "Content-Type": "application/octet-stream"}
    assert harpbridge.browser().ask("POST", AT, headers, b"[]\n").status == 401
    answer = harpbridge.browser().ask("POST", AT, headers | alice.basic, b"nonsense")
    assert answer.status == 400
    assert "the body begins with one line of JSON" in answer.text
