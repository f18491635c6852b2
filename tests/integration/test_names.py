# SPDX-License-Identifier: AGPL-3.0-or-later
"""Names of all kinds travel between two daemons byte by byte, both ways, and can be asked about."""

import json
import os
import unicodedata

import pytest

from tests.integration.office import NAME, Office

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

NFC = unicodedata.normalize("NFC", "Ünïcode é").encode()
NFD = unicodedata.normalize("NFD", "Ünïcode é").encode()
NAMES = [
    b"new\nline",
    b"tab\t and bell\a",
    "emoji 🎻 and 👩‍👩‍👧".encode(),
    b"x" * 255,
    "ü".encode() * 127 + b"y",
    b"not utf-8 \xff\xfe",
    b"\xc3",
    NFC,
    NFD,
    b"Case",
    b"case",
    b"CASE",
    b" leading and trailing ",
    b"-rf",
    b"*?[a-z]",
    b"back\\slash",
    b"trailing dot.",
    b"con",
    b"a:b",
    b"file.harp",
    b"\xe2\x80\xaegpj.exe",
]


def test_names_are_bytes(office: Office) -> None:
    ada, ben = office.pair()
    for number, name in enumerate(NAMES):
        desk = (ada, ben)[number % 2]
        desk.write(name, b"file " + name)
        desk.write(b"in directory " + name[:200] + b"/" + name, b"below " + name)
    shared = office.agreed(ada, ben)
    assert len(shared) == 3 * len(NAMES)
    for name in NAMES:
        assert ada.read(name) == ben.read(name) == b"file " + name

    for name in NAMES:
        ben.at(name).unlink()
        ada.at(b"in directory " + name[:200] + b"/" + name).rename(ada.at(b"in directory " + name[:200] + b"/moved"))
    shared = office.agreed(ada, ben)
    assert len(shared) == 2 * len(NAMES)
    ada.verified()
    ben.verified()


def test_deep_and_long_paths(office: Office) -> None:
    ada, ben = office.pair()
    deep = "/".join(["d"] * 100)
    ada.write(f"{deep}/file", b"deep")
    # Longer than PATH_MAX when the folder's own place is counted in: walked by descriptors.
    long = "/".join(["l" * 200] * 19)
    at = os.open(ada.folder, os.O_RDONLY)
    for part in long.split("/"):
        os.mkdir(part, dir_fd=at)
        below = os.open(part, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    with os.fdopen(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=at), "wb") as file:
        file.write(b"long")
    os.close(at)
    ada.settled()
    ben.settled()
    assert ben.read(f"{deep}/file") == b"deep"
    at = os.open(ben.folder, os.O_RDONLY)
    for part in long.split("/"):
        below = os.open(part, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    with os.fdopen(os.open("file", os.O_RDONLY, dir_fd=at), "rb") as file:
        assert file.read() == b"long"
    os.close(at)


def test_a_path_too_deep_to_share_is_noted_and_the_rest_goes_on(office: Office) -> None:
    ada, ben = office.pair()
    ada.write("/".join(["d"] * 140) + "/file", b"too deep")
    ada.write("other", b"o")
    ada.settled()
    assert ben.settled().read("other") == b"o"
    assert any("deep" in problem.why for problem in ada.status().problems)


def test_reserved_names_at_the_top_are_not_shared(office: Office) -> None:
    ada, ben = office.pair()
    ada.write(".harp-private", b"p")
    ada.write(".HARP", b"p")
    ada.write("sub/.harp-private", b"shared")
    ada.settled()
    assert ben.settled().tree().keys() == {b"sub", b"sub/.harp-private"}
    assert {".harp-private", ".HARP"} <= {problem.path for problem in ada.status().problems}


def test_odd_names_can_be_asked_about(office: Office) -> None:
    ada, ben = office.pair()
    name = b"odd \xff\nname"
    ada.write(name, b"one")
    office.agreed(ada, ben)
    ben.write(name, b"two")
    office.agreed(ada, ben)
    said = ada.run("history", NAME, os.fsdecode(name), "--json")
    versions = json.loads(said.out)["versions"]
    assert [version["author_name"] for version in versions] == ["ben", "ada"]
    ada.do("restore", NAME, os.fsdecode(name) + "@" + versions[1]["entry"])
    office.agreed(ada, ben)
    assert ben.read(name) == b"one"
