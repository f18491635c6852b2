# SPDX-License-Identifier: AGPL-3.0-or-later
"""Names on their way to a terminal and back: nothing is obeyed, nothing is lost."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harp.base.errors import UsageError
from harp.bridge import naming

A, B = bytes.fromhex("aa" * 32), bytes.fromhex("aab" + "b" * 61)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"plain.txt", "plain.txt"),
        ("Grüße 👩‍👩‍👧 (2).txt".encode(), "Grüße 👩‍👩‍👧 (2).txt"),
        (b"a\\nb", "a\\nb"),
        (b"a\nb\r\t", "a\\nb\\r\\t"),
        (b"\x1b[2Jgone", "\\x1b[2Jgone"),
        (b"caf\xe9", "caf\\xe9"),
        ("\u202egnp.exe".encode(), "\\u202egnp.exe"),
        ("\x9b31m".encode(), "\\x9b31m"),
        ("a\u2028b".encode(), "a\\u2028b"),
    ],
)
def test_a_path_is_shown_on_one_line_and_kept_exactly(raw: bytes, shown: str) -> None:
    fields = naming.path_fields(raw)
    assert fields["path"] == shown
    assert (fields["path_b64"] is None) == (shown.encode() == raw)
    assert naming.raw_path(**fields) == raw


@given(st.binary())
def test_every_path_comes_back_as_the_bytes_it_was(raw: bytes) -> None:
    assert naming.raw_path(**json.loads(json.dumps(naming.path_fields(raw)))) == raw


@given(st.text())
def test_whatever_is_shown_has_nothing_that_a_terminal_obeys(text: str) -> None:
    shown = naming.printable(text)
    assert not any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 or 0xD800 <= ord(c) < 0xE000 for c in shown)
    assert naming.printable(shown) == shown
    assert shown.encode().decode() == shown


def test_a_path_that_is_not_base64_is_refused() -> None:
    with pytest.raises(UsageError, match="base64"):
        naming.raw_path("", "not base64!")
    with pytest.raises(UsageError, match="no text"):
        naming.raw_path("\ud800", None)


def test_a_folder_is_found_by_name_by_id_and_by_the_beginning_of_its_id() -> None:
    folders = [(A, "Photos"), (B, "aaaa")]
    assert naming.chosen_folder("Photos", folders) == A
    assert naming.chosen_folder(A.hex().upper(), folders) == A
    assert naming.chosen_folder("aabb", folders) == B
    assert naming.chosen_folder("aaaa", folders) == B, "a name comes before the beginning of another's id"


def test_a_folder_that_is_none_or_several_is_refused_with_a_way_out() -> None:
    twins = [(A, "Photos"), (B, "Photos")]
    with pytest.raises(UsageError, match="more than one") as caught:
        naming.chosen_folder("Photos", twins)
    assert A.hex()[:12] in caught.value.hint
    with pytest.raises(UsageError, match="no folder aab"):
        naming.chosen_folder("aab", twins)
    with pytest.raises(UsageError, match=r"no folder \\x1b"):
        naming.chosen_folder("\x1b", twins)
    with pytest.raises(UsageError) as empty:
        naming.chosen_folder("Photos", [])
    assert "harp share" in empty.value.hint
