# SPDX-License-Identifier: AGPL-3.0-or-later
"""The details of entries about members: written in one form, read in no other."""

import cbor2
import pytest

from harp.base.errors import LocalProtocolError, RemoteProtocolError
from harp.sync.engine import details
from harp.sync.model import ChainId, EntryId, Kind, Role
from tests.fakes.history import device_key, incarnation

A, B = sorted((device_key(1).device_id, device_key(2).device_id))
ONE, TWO = incarnation(1), incarnation(2)


def test_a_grant_names_device_role_and_name() -> None:
    detail = details.grant_detail(A, Role.READ_ONLY, "Ünïs laptop")

    assert details.parse_grant(detail) == details.Grant(A, Role.READ_ONLY, "Ünïs laptop")
    assert cbor2.loads(detail) == [A, 1, "Ünïs laptop"]


def test_a_genesis_is_an_owner_grant_with_a_nonce() -> None:
    grant = details.parse_grant(details.genesis_detail(A, "desk", b"n" * 32))

    assert (grant.device, grant.role, grant.nonce) == (A, Role.OWNER, b"n" * 32)


def test_a_cut_is_written_in_one_order_whatever_the_order_of_its_mappings() -> None:
    detail = details.cut_detail(A, {TWO: 7, ONE: 3}, {B: b"sealed", A: b"sealed too"})

    assert detail == details.cut_detail(A, {ONE: 3, TWO: 7}, {A: b"sealed too", B: b"sealed"})
    cut = details.parse_cut(detail)
    assert (cut.device, cut.last, cut.sealed_secrets) == (A, {ONE: 3, TWO: 7}, {A: b"sealed too", B: b"sealed"})
    assert "sealed" not in repr(cut)


def test_approvals_name_a_held_set_or_two_branches() -> None:
    held = details.HeldSet(details.held_digest([EntryId(b"b" * 32), EntryId(b"a" * 32)]))
    fork = details.ForkBranches(ChainId(A, ONE), (EntryId(b"b" * 32), EntryId(b"a" * 32)))

    assert details.parse_approve(details.approve_detail(held)) == held
    assert held.digest == details.held_digest([EntryId(b"a" * 32), EntryId(b"b" * 32), EntryId(b"a" * 32)])
    read = details.parse_approve(details.approve_detail(fork))
    assert read == details.ForkBranches(ChainId(A, ONE), (EntryId(b"a" * 32), EntryId(b"b" * 32)))


def test_a_leave_says_nothing_more() -> None:
    assert details.leave_detail() == b"\x80"
    details.parse_leave(b"\x80")


@pytest.mark.parametrize(
    "value",
    [
        (),
        (A, 3),
        (A, 9, "x"),
        (A, True, "x"),
        (A[:31], 3, "x"),
        (A, 3, b"x"),
        (A, 3, "two\nlines"),
        (A, 3, "x" * 256),
        (A, 3, "x", b"short nonce"),
        (A, 3, "x", b"n" * 32, 1),
        (A, 3.0, "x"),
        {"device": A},
        cbor2.CBORTag(55799, (A, 3, "x")),
    ],
)
def test_a_grant_of_any_other_form_is_refused(value: object) -> None:
    with pytest.raises(RemoteProtocolError):
        details.parse_grant(cbor2.dumps(value))


@pytest.mark.parametrize(
    "value",
    [
        (A, ()),
        (A, ((ONE, 0),), ()),
        (A, ((ONE, True),), ()),
        (A, ((ONE, 2**63),), ()),
        (A, ((ONE[:15], 1),), ()),
        (A, ((TWO, 1), (ONE, 1)), ()),
        (A, ((ONE, 1), (ONE, 1)), ()),
        (A, ((ONE, 1, 1),), ()),
        (A, (), ((B, b""),)),
        (A, (), ((B, b"s" * 513),)),
        (A, (), ((B, b"s"), (A, b"s"))),
        (A, 5, ()),
        (b"", (), ()),
    ],
)
def test_a_cut_of_any_other_form_is_refused(value: object) -> None:
    with pytest.raises(RemoteProtocolError):
        details.parse_cut(cbor2.dumps(value))


@pytest.mark.parametrize(
    "value",
    [
        (),
        (0, b"short"),
        (False, b"d" * 32),
        (2, b"d" * 32),
        (1, A, ONE, b"b" * 32, b"a" * 32),
        (1, A, ONE, b"a" * 32, b"a" * 32),
        (True, A, ONE, b"a" * 32, b"b" * 32),
        (1, A, ONE[1:], b"a" * 32, b"b" * 32),
        (1, A, ONE, b"a" * 31, b"b" * 32),
    ],
)
def test_an_approval_of_any_other_form_is_refused(value: object) -> None:
    with pytest.raises(RemoteProtocolError):
        details.parse_approve(cbor2.dumps(value))


def test_a_leave_with_anything_in_it_is_refused() -> None:
    with pytest.raises(RemoteProtocolError):
        details.parse_leave(cbor2.dumps((1,)))


def test_only_the_shortest_encoding_is_read() -> None:
    shortest = details.grant_detail(A, Role.OWNER, "x")
    longer = shortest.replace(b"\x03", b"\x18\x03", 1)

    assert cbor2.loads(longer) == cbor2.loads(shortest)
    with pytest.raises(RemoteProtocolError):
        details.parse_grant(longer)
    with pytest.raises(RemoteProtocolError):
        details.parse_grant(shortest + b"\x00")


def test_what_no_peer_would_read_is_not_written() -> None:
    with pytest.raises(LocalProtocolError):
        details.grant_detail(A, Role.OWNER, "a\x00b")
    with pytest.raises(LocalProtocolError):
        details.grant_detail(A, Role.OWNER, "lone \ud800 surrogate")
    with pytest.raises(LocalProtocolError):
        details.genesis_detail(A, "x", b"")
    with pytest.raises(LocalProtocolError):
        details.cut_detail(A, {ONE: 0}, {})


def test_entries_about_a_path_have_no_detail() -> None:
    details.check_detail(Kind.FILE, b"")
    for kind in (Kind.FILE, Kind.DIRECTORY, Kind.SYMLINK, Kind.TOMBSTONE):
        with pytest.raises(RemoteProtocolError):
            details.check_detail(kind, b"\x80")
    for kind in (Kind.GRANT, Kind.CUT, Kind.APPROVE, Kind.LEAVE):
        with pytest.raises(RemoteProtocolError):
            details.check_detail(kind, b"")
