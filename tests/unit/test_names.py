# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a peer may call a file, and which names one disk takes for another's."""

import pytest

from harp.base.errors import RemoteProtocolError
from harp.sync.folder import names
from harp.sync.model import Path


@pytest.mark.parametrize(
    "path",
    [
        b"a",
        b"a/b/c.txt",
        b".hidden",
        b"..a",
        b"a..",
        b"...",
        b"new\nline",
        b"not utf-8 \xff\xfe",
        "🎶/naïve".encode(),
        b"x" * 255,
        b"/".join([b"d"] * 128),
        b".harpignore",
        b"sub/.harp",
        b"sub/.harpignore",
        ".hàrp".encode(),
        b"harp",
        b".har",
        b"C:\\windows",
    ],
)
def test_these_names_are_good(path: bytes) -> None:
    names.check(Path(path))
    assert names.refusal(Path(path)) == ""


@pytest.mark.parametrize(
    ("path", "why"),
    [
        (b"", "empty"),
        (b"/etc/passwd", "absolute"),
        (b"a//b", "empty"),
        (b"a/", "empty"),
        (b"..", "'..'"),
        (b"a/../b", "'..'"),
        (b"a/.", "'.'"),
        (b"a\0b", "NUL"),
        (b"x" * 256, "longer than 255"),
        (b"x/" * 2100 + b"x", "longer than 4096"),
        (b"/".join([b"d"] * 129), "deeper than 128"),
        (b".harp", "reserved"),
        (b".harp/tmp/x", "reserved"),
        (b".HARP/x", "reserved"),
        (b".harp-old", "reserved"),
        (b".harpignore/x", "reserved"),
        (b".HarpIgnore", "reserved"),
    ],
)
def test_these_names_are_refused(path: bytes, why: str) -> None:
    with pytest.raises(RemoteProtocolError, match=why):
        names.check(Path(path))


@pytest.mark.parametrize(
    "first",
    [
        ".ｈarp",
        "．harp",
        ".ℋarp",
        ".ʰarp",
        ".HARP\u200c",
        ".h\u200darp",
        "\ufeff.harp",
        ".ha\u00adrp",
        ".har\ufe0fp",
        ".har\u034fp",
        "․harp",
        ".𝓱𝓪𝓻𝓹",
    ],
)
def test_harp_is_reserved_in_every_disguise(first: str) -> None:
    assert names.is_reserved(Path(first.encode()))
    assert names.is_reserved(Path(first.encode() + b"/tmp"))


def test_a_reserved_name_with_bytes_that_are_not_utf8_is_still_reserved() -> None:
    assert names.is_reserved(Path(b".HARP\xff"))
    assert not names.is_reserved(Path(b"\xff.harp"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("README", "readme"),
        ("é", "e\u0301"),
        ("É", "e\u0301"),
        ("straße", "STRASSE"),
        ("a/Ångström", "A/a\u030angstro\u0308m"),
        ("x\u200dy", "xy"),
        ("ς", "Σ"),
    ],
)
def test_names_that_a_folding_disk_unites_have_one_key(one: str, other: str) -> None:
    assert names.folded(Path(one.encode())) == names.folded(Path(other.encode()))


def test_names_that_every_disk_tells_apart_have_two_keys() -> None:
    assert names.folded(Path("ﬁ".encode())) != names.folded(Path(b"f"))
    assert names.folded(Path(b"\xc3")) != names.folded(Path(b"\xe3"))
    assert names.folded(Path("x²".encode())) != names.folded(Path(b"x2"))


def test_an_invisible_character_between_stray_bytes_makes_no_other_name() -> None:
    stray = b"\xc3" + "\u200d".encode() + b"\xa9"
    assert names.folded(Path(stray)) != names.folded(Path("é".encode()))


def test_parent_name_and_join_take_a_path_apart_and_together() -> None:
    assert names.parent(Path(b"a/b/c")) == b"a/b"
    assert names.name(Path(b"a/b/c")) == b"c"
    assert names.parent(Path(b"c")) == b""
    assert names.join(Path(b""), b"c") == b"c"
    assert names.join(Path(b"a"), b"c") == b"a/c"


def test_ancestors_come_topmost_first() -> None:
    assert list(names.ancestors(Path(b"a/b/c"))) == [b"a", b"a/b"]
    assert list(names.ancestors(Path(b"a"))) == []


def test_below_is_strict_and_respects_component_borders() -> None:
    assert names.is_below(Path(b"a/b"), Path(b"a"))
    assert not names.is_below(Path(b"a"), Path(b"a"))
    assert not names.is_below(Path(b"ab"), Path(b"a"))
    assert names.is_below(Path(b"a"), Path(b""))
    assert not names.is_below(Path(b""), Path(b""))
