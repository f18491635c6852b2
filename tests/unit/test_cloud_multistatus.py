# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a Nextcloud lists, and what a hostile server does: parsed, or refused in one line."""

import pytest

from harp.base.errors import CloudError
from harp.sync.cloud import multistatus

ROOT = "/remote.php/dav/files/alice/Documents"


def answer(href: str, properties: str, status: str = "HTTP/1.1 200 OK") -> bytes:
    return (
        '<?xml version="1.0"?><d:multistatus xmlns:d="DAV:" xmlns:oc="http://owncloud.org/ns"'
        f' xmlns:nc="http://nextcloud.org/ns"><d:response><d:href>{href}</d:href><d:propstat><d:prop>{properties}'
        f"</d:prop><d:status>{status}</d:status></d:propstat></d:response></d:multistatus>"
    ).encode()


FILE = (
    "<d:getetag>&quot;e1&quot;</d:getetag><d:resourcetype/><d:getcontentlength>5</d:getcontentlength>"
    "<d:getlastmodified>Thu, 26 Nov 2026 11:10:26 GMT</d:getlastmodified><oc:id>00000074ocabc</oc:id>"
    "<oc:fileid>74</oc:fileid><oc:permissions>RGDNVW</oc:permissions>"
)


def test_a_file_is_read_with_all_that_a_write_is_planned_from() -> None:
    (found,) = multistatus.parsed(answer(f"{ROOT}/a%20b/%C3%A4.txt", FILE), ROOT)
    assert found.path == "a b/ä.txt"
    assert (found.remote.fileid, found.remote.etag, found.remote.size) == ("74", "e1", 5)
    assert found.remote.mtime_s == 1795691426
    assert found.remote.may("W")
    assert not found.remote.may("C")
    assert found.whole_id == "00000074ocabc"
    assert found.remote.refusal == ""


def test_properties_that_the_server_does_not_have_are_not_taken() -> None:
    (found,) = multistatus.parsed(answer(f"{ROOT}/x", FILE, "HTTP/1.1 404 Not Found"), ROOT)
    assert found.remote.refusal == "the server names no version of it"


def test_what_cannot_be_mirrored_says_why() -> None:
    folder = FILE.replace("<d:resourcetype/>", "<d:resourcetype><d:collection/></d:resourcetype>")
    (secret,) = multistatus.parsed(answer(f"{ROOT}/s/", folder + "<nc:is-encrypted>1</nc:is-encrypted>"), ROOT)
    (mounted,) = multistatus.parsed(answer(f"{ROOT}/m/", folder + "<nc:mount-type>external</nc:mount-type>"), ROOT)
    assert "end-to-end encrypted" in secret.remote.refusal
    assert secret.remote.is_directory
    assert "external storage" in mounted.remote.refusal


@pytest.mark.parametrize(("owner", "letters"), [("ben", "RGDNVWm"), ("ben@cloud.example", "RGDNVWmf"), ("", "RGDNVWm")])
def test_a_mount_that_may_lie_on_another_server_is_told_by_its_owner(owner: str, letters: str) -> None:
    mount = f"<nc:is-mount-root>true</nc:is-mount-root><oc:owner-id>{owner}</oc:owner-id>"
    (found,) = multistatus.parsed(answer(f"{ROOT}/x", FILE + mount), ROOT)
    assert found.remote.permissions == letters
    (inside,) = multistatus.parsed(answer(f"{ROOT}/x/y", FILE + mount.replace("true", "false")), ROOT)
    assert inside.remote.permissions == "RGDNVW"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<html>",
        b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>',
        answer("/remote.php/dav/files/bob/x", FILE),
        answer(f"{ROOT}/../x", FILE),
        answer(f"{ROOT}/a/%2e%2e/x", FILE),
        answer(f"{ROOT}//x", FILE),
    ],
)
def test_what_is_no_listing_of_the_folder_is_refused(raw: bytes) -> None:
    with pytest.raises(CloudError):
        multistatus.parsed(raw, ROOT)
