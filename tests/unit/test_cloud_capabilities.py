# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a Nextcloud will not have by its name, as it says itself, and what becomes of nonsense."""

import pytest

from harp.sync.cloud import capabilities
from harp.sync.cloud.capabilities import Capabilities

PLAIN = {
    "forbidden_filenames": [".htaccess"],
    "forbidden_filename_basenames": [],
    "forbidden_filename_characters": ["\\", "/"],
    "forbidden_filename_extensions": [".filepart", ".part"],
}
WINDOWS = {
    "forbidden_filenames": [".htaccess"],
    "forbidden_filename_basenames": ["con", "prn", "aux", "nul", "com0", "lpt9"],
    "forbidden_filename_characters": ["<", ">", ":", '"', "|", "?", "*", "\\", "/"],
    "forbidden_filename_extensions": [" ", ".", ".filepart", ".part"],
}


def told(files: object, dav: object = None, **more: object) -> object:
    return {"ocs": {"data": {"capabilities": {"files": files, "dav": dav or {"bulkupload": "1.0"}, **more}}}}


@pytest.mark.parametrize("name", ["a.txt", "Übung (1).odt", "con", "a:b", "end.", "x" * 250, ".htaccess.bak"])
def test_a_plain_server_has_most_names(name: str) -> None:
    assert capabilities.read(told(PLAIN)).refusal(name) == ""


@pytest.mark.parametrize(
    ("name", "part"),
    [
        (".HTACCESS", "is one"),
        ("a.part", "“.part”"),
        ("a\\b", "“\\”"),
        ("a\nb", "a control character"),
        ("ä" * 126, "250 bytes"),
    ],
)
def test_a_plain_server_refuses_a_few(name: str, part: str) -> None:
    assert part in capabilities.read(told(PLAIN)).refusal(name)


@pytest.mark.parametrize(
    ("name", "part"),
    [("CON", "“con”"), ("con.tar.gz", "“con”"), ("a:b", "“:”"), ("a ", "“ ”"), ("a.", "“.”"), ("lpt9.x", "“lpt9”")],
)
def test_a_server_with_the_rules_of_windows_refuses_more(name: str, part: str) -> None:
    assert part in capabilities.read(told(WINDOWS)).refusal(name)


def test_a_dot_in_front_is_part_of_the_stem() -> None:
    assert capabilities.read(told(WINDOWS)).refusal(".con") == ""


@pytest.mark.parametrize("nonsense", [None, [], "x", {"ocs": 3}, told([]), told({"forbidden_filenames": "a"}), told(7)])
def test_nonsense_counts_as_not_said(nonsense: object) -> None:
    read = capabilities.read(nonsense)
    assert read.refusal("a.txt") == ""
    assert read.refusal("a\\b")
    assert read.forbidden_ends == ()


def test_bulk_is_only_where_it_is_said() -> None:
    assert capabilities.read(told(PLAIN)).has_bulk
    assert not capabilities.read(told(PLAIN, {"chunking": "1.0"})).has_bulk
    assert not Capabilities().has_bulk


def test_harp_bridge_makes_many_files_where_it_says_so_in_the_form_that_is_spoken_here() -> None:
    assert capabilities.read(told(PLAIN, harpbridge={"newFiles": 1})).has_new_files
    for said in ({"journal": 1}, {"newFiles": 2}, "1", None):
        assert not capabilities.read(told(PLAIN, harpbridge=said)).has_new_files
