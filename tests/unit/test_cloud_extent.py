# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which mirrors of different people keep the same shared folder, by the numbers of what they see."""

import pytest

from harp.sync.cloud.extent import Extent, extent
from harp.sync.cloud.nodes import ALL_LETTERS, MOUNT, CloudPath, Etag, FileId, Remote

SHARED = ALL_LETTERS + MOUNT


def folder(number: str, letters: str = ALL_LETTERS) -> Remote:
    return Remote(True, FileId(number), Etag("e"), permissions=letters)


def seen(root: str, instance: str = "ocabc", **below: Remote) -> Extent:
    return extent(f"{root:0>8}{instance}", instance, {CloudPath(path): one for path, one in below.items()})


ALICE = seen("2", Team=folder("7"), Photos=folder("8"))
"""All her files; Team is hers, and she shares it."""
BOB = seen("40", Group=folder("7", SHARED), Own=folder("41"))
"""All his files, what is shared with him among them."""


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        (ALICE, BOB, True),
        (ALICE, seen("7"), True),
        (seen("7"), seen("7"), True),
        (seen("2", Photos=folder("8")), BOB, False),
        (ALICE, seen("40", Own=folder("41")), False),
        (ALICE, seen("40", "ocxyz", Group=folder("7", SHARED)), False),
        (ALICE, Extent(), False),
        (Extent(), Extent(), False),
    ],
)
def test_a_folder_that_two_people_see_is_one(one: Extent, other: Extent, is_same: bool) -> None:
    assert one.meets(other) == other.meets(one) == is_same


def test_a_file_that_is_shared_alone_is_no_folder() -> None:
    letter = Remote(False, FileId("9"), Etag("e"), permissions=SHARED)
    assert not seen("2", letter=letter).meets(seen("40", letter=letter))
