# SPDX-License-Identifier: AGPL-3.0-or-later
"""Many files in one request: what leaves is what was meant, and of an answer only what was sent counts."""

import hashlib
import json

from hypothesis import given
from hypothesis import strategies as st

from harp.sync.cloud import parcels
from harp.sync.cloud.nodes import CloudPath
from harp.sync.cloud.parcels import SmallFile


def small(path: str, content: bytes = b"x", mtime_s: int = 5) -> SmallFile:
    return SmallFile(CloudPath(path), content, hashlib.sha256(content).hexdigest(), mtime_s)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.binary(max_size=99)))
def test_each_content_is_found_by_its_size(contents: dict[str, bytes]) -> None:
    line, _, rest = parcels.new_files_body({path: small(path, one) for path, one in contents.items()}).partition(b"\n")
    for said in json.loads(line):
        content, rest = rest[: said["size"]], rest[said["size"] :]
        assert content == contents[said["path"]]
        assert said["sha256"] == hashlib.sha256(content).hexdigest()
    assert rest == b""


def test_a_file_from_before_1970_gets_the_first_second_that_nextcloud_takes() -> None:
    said = json.loads(parcels.new_files_body({"a": small("a", mtime_s=-3)}).partition(b"\n")[0])
    assert said[0]["mtime"] == 1


def test_only_what_was_sent_counts_as_made() -> None:
    parcel = {"top/a": small("a"), "top/b": small("b")}
    made: list[object] = [
        {"path": "top/a", "fileid": "12", "etag": "e1"},
        {"path": "top/z", "fileid": "13", "etag": "e2"},
        None,
        [],
    ]
    told = {"ocs": {"data": {"made": made}}}
    assert list(parcels.made_by_bridge(told, parcel)) == [(parcel["top/a"], "12", "e1")]
    answers: list[object] = [None, [], {"ocs": None}, {"ocs": {"data": {"made": "all"}}}, {"ocs": {"data": [1]}}]
    for nonsense in answers:
        assert list(parcels.made_by_bridge(nonsense, parcel)) == []


def test_of_nextclouds_own_request_only_what_went_well_was_made() -> None:
    parcel = {"top/a": small("a"), "b": small("b")}
    told = {"/top/a": {"error": False, "fileid": "12oc", "etag": '"e1"'}, "/b": {"error": True, "message": "no"}}
    assert list(parcels.made_by_bulk(told, parcel)) == [(parcel["top/a"], "12oc", "e1")]
    assert list(parcels.made_by_bulk([], parcel)) == []
