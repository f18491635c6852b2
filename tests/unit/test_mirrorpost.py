# SPDX-License-Identifier: AGPL-3.0-or-later
"""How small files share requests: none too long, none that leaves a writer idle, again after one went wrong."""

from harp.sync.cloud.nodes import CloudPath, Local
from harp.sync.cloud.parcels import is_fit
from harp.sync.cloud.steps import Upload
from harp.sync.service import mirrorpost


def uploads(count: int, size: int = 4096) -> list[Upload]:
    return [Upload(CloudPath(f"new/{number}"), Local(False, number, size), None) for number in range(count)]


def sizes(files: list[Upload]) -> list[int]:
    groups = mirrorpost.grouped(files)
    assert [one for group in groups for one in group] == files
    return [len(group) for group in groups]


def test_a_way_that_goes_wrong_again_rests_for_longer_and_one_that_went_well_begins_anew() -> None:
    way, first_s = mirrorpost.Way(), mirrorpost.AGAIN.first_s
    assert way.is_open(now=0)
    way.went_wrong(now=0)
    way.went_wrong(now=1)
    assert [way.is_open(now=now) for now in (1, first_s - 1, first_s)] == [False, False, True]
    way.went_wrong(now=first_s)
    assert [way.is_open(now=first_s + after) for after in (first_s, 2 * first_s)] == [False, True]
    way.went_well()
    way.went_wrong(now=1000)
    assert way.is_open(now=1000 + first_s)


def test_a_thousand_files_take_six_requests_three_for_each_writer() -> None:
    assert sizes(uploads(1000)) == [167, 167, 167, 167, 167, 165]


def test_a_few_files_are_spread_over_the_writers_and_fewer_share_one_request() -> None:
    assert sizes(uploads(120)) == [30, 30, 30, 30]
    assert sizes(uploads(19)) == [19]


def test_a_request_has_a_length_that_a_server_takes() -> None:
    assert max(sizes(uploads(100_000, 1))) <= mirrorpost.BULK_FILES
    assert sizes(uploads(80, mirrorpost.SMALL_BYTES)) == [20] * 4
    assert sizes(uploads(4000, mirrorpost.SMALL_BYTES))[:2] == [28, 28]


def test_a_name_that_a_header_would_change_is_not_fit() -> None:
    fit = {name: is_fit(CloudPath(name)) for name in ("ä b.txt", " a", "a ", "a\u00a0", "a\u0085b", "a\u2028b")}
    assert fit == {"ä b.txt": True, " a": True, "a ": False, "a\u00a0": False, "a\u0085b": False, "a\u2028b": False}
