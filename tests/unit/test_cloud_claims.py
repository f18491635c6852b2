# SPDX-License-Identifier: AGPL-3.0-or-later
"""The notes by which the mirrors of an account know one another: read, kept, and hostile ones left out.

Names harp.sync.cloud.claims.
"""

import json

import pytest

from harp.sync.cloud import claims
from harp.sync.cloud.claims import Claim

NOW = 1_800_000_000
LAPTOP = Claim("m1", "r1", "laptop", "/Documents", NOW + 60)


def test_what_is_written_is_read_until_it_ends() -> None:
    text = claims.written([LAPTOP])
    assert claims.read(text, now=NOW) == (LAPTOP,)
    assert claims.read(text, now=NOW + 60) == ()
    assert claims.read(text, now=NOW - claims.LONGEST_S) == (), "it says that it holds for longer than any does"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "{}",
        "[1]",
        "[{}]",
        '[{"mirror": "m", "run": "r", "device": "d", "path": "/", "until": "soon"}]',
        '[{"mirror": "m", "run": "r", "device": 7, "path": "/", "until": 1800000060}]',
        json.dumps([{"mirror": "m", "run": "r", "device": "d" * 500, "path": "/", "until": NOW + 60}]),
        "[" * 100_000,
    ],
)
def test_what_is_no_note_counts_as_not_said(text: str) -> None:
    assert claims.read(text, now=NOW) == ()


def test_the_notes_that_hold_longest_are_kept() -> None:
    many = [Claim(f"m{number}", "r", "d", "/", NOW + number) for number in range(1, 2 * claims.MOST + 1)]
    kept = claims.read(claims.written(many), now=NOW)
    assert len(kept) == claims.MOST
    assert min(one.until for one in kept) == NOW + claims.MOST + 1


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ("/Documents", "/Documents", True),
        ("/", "/Documents", True),
        ("/Documents/Work", "/Documents", True),
        ("/Documents", "/Doc", False),
        ("/Documents", "/Pictures", False),
    ],
)
def test_mirrors_meet_where_they_have_files_in_common(one: str, other: str, meet: bool) -> None:
    mine, theirs = Claim("a", "", "", one, 0), Claim("b", "", "", other, 0)
    assert (mine.meets(theirs), theirs.meets(mine)) == (meet, meet)
