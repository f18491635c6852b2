# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who is a member, told as conversations between devices."""

import random

import pytest

from harp.identity.device import DeviceId
from harp.sync.engine import details, facts, members
from harp.sync.engine.chain import Draft
from harp.sync.model import Batch, ChainId, EntryId, Hlc, Kind, Role
from tests.fakes.history import Replica, device_key, file_draft, incarnation


def folder_of(count: int, role: Role = Role.OWNER) -> list[Replica]:
    """A founder and ``count`` − 1 devices that it granted ``role``, the eldest first, all on the same state."""
    replicas = [Replica(device_key(number), incarnation(number)) for number in range(1, count + 1)]
    founder, *others = replicas
    founder.found()
    for hlc, other in enumerate(others, 10):
        founder.grant(other.device, role, hlc)
    for other in others:
        other.join(founder)
    return replicas


def meet(*replicas: Replica) -> None:
    """Everybody fetches from everybody until nobody lacks anything."""
    for _ in replicas:
        for replica in replicas:
            for other in replicas:
                replica.pull(other)
    assert len({frozenset(replica.vector.items()) for replica in replicas}) == 1


def counts(replica: Replica, batch: Batch) -> bool:
    entry = batch.entries[-1]
    return replica.membership().counts(entry.meta, batch.vector)


def owners(replica: Replica) -> set[DeviceId]:
    return {device for device, member in replica.membership().members.items() if member.role is Role.OWNER}


def test_the_founder_owns_the_folder() -> None:
    founder = Replica(device_key(1))
    batch = founder.found("desk", hlc=7)
    (member,) = founder.membership().members.values()

    assert (member.device, member.role, member.name, member.hlc) == (founder.device, Role.OWNER, "desk", 7)
    assert member.granted_by == batch.entries[0].id
    assert founder.membership().role(device_key(2).device_id) is None
    assert counts(founder, batch)


@pytest.mark.parametrize(
    ("role", "may_write", "may_grant"),
    [
        (Role.SEALED, False, False),
        (Role.READ_ONLY, False, False),
        (Role.READ_WRITE, True, False),
        (Role.OWNER, True, True),
    ],
)
def test_each_role_may_do_what_it_may(role: Role, may_write: bool, may_grant: bool) -> None:
    founder, member = folder_of(2, role)
    third = device_key(3).device_id
    written, granted, cut = member.write(file_draft(b"a")), member.grant(third, Role.OWNER), member.cut(founder.device)
    held = member.write(Draft(kind=Kind.APPROVE, detail=details.approve_detail(details.HeldSet(bytes(32)))))
    branches = details.ForkBranches(ChainId(third, incarnation(3)), (EntryId(bytes(32)), EntryId(b"1" * 32)))
    fork = member.write(Draft(kind=Kind.APPROVE, detail=details.approve_detail(branches)))
    meet(founder, member)

    assert founder.membership().role(member.device) is role
    assert counts(founder, written) is counts(founder, held) is may_write
    assert counts(founder, granted) is counts(founder, cut) is counts(founder, fork) is may_grant
    assert (founder.membership().role(third) is Role.OWNER) is may_grant
    assert (founder.membership().role(founder.device) is None) is may_grant


def test_what_a_stranger_writes_counts_nowhere() -> None:
    founder, _ = folder_of(2)
    stranger = Replica(device_key(9))
    stranger.join(founder)
    batches = [
        stranger.write(file_draft(b"a")),
        stranger.grant(stranger.device, Role.OWNER),
        stranger.cut(founder.device, {}),
        stranger.leave(),
        stranger.write(file_draft(b"b")),
    ]
    founder.pull(stranger)

    assert len(founder.entries) == 7, "merged, but without effect"
    assert not any(counts(founder, batch) for batch in batches)
    assert owners(founder) == {founder.device, device_key(2).device_id}


def test_what_was_written_before_the_grant_does_not_count() -> None:
    founder, _ = folder_of(2)
    guest = Replica(device_key(9))
    guest.join(founder)
    early = guest.write(file_draft(b"a"))
    founder.pull(guest)
    founder.grant(guest.device, Role.READ_WRITE)
    unaware = guest.write(file_draft(b"b"))
    guest.pull(founder)
    late = guest.write(file_draft(b"c"))
    founder.pull(guest)

    assert [counts(founder, batch) for batch in (early, unaware, late)] == [False, False, True]


def test_a_grant_of_a_member_who_was_cut_stands_if_it_was_seen_before_the_cut() -> None:
    founder, owner = folder_of(2)
    friend, late_friend = Replica(device_key(8)), Replica(device_key(9))
    owner.grant(friend.device, Role.READ_WRITE)
    founder.pull(owner)
    founder.cut(owner.device)
    owner.grant(late_friend.device, Role.READ_WRITE)
    friend.join(founder)
    meet(founder, owner)

    assert founder.membership().role(friend.device) is Role.READ_WRITE
    assert founder.membership().role(owner.device) is None
    assert founder.membership().role(late_friend.device) is None
    assert counts(founder, friend.write(file_draft(b"a")))


def test_a_cut_accepts_what_it_names_and_no_more() -> None:
    founder, member = folder_of(2, Role.READ_WRITE)
    first, second = member.write(file_draft(b"a")), member.write(file_draft(b"b"))
    founder.pull(member)
    founder.cut(member.device, {member.incarnation: 1})
    unaware = member.write(file_draft(b"c"))
    meet(founder, member)
    aware = member.write(file_draft(b"d"))
    again = Replica(device_key(2), incarnation(99))
    again.join(founder)
    other_chain = again.write(file_draft(b"e"))
    founder.pull(again)

    assert [counts(founder, batch) for batch in (first, second, unaware, aware, other_chain)] == [
        True, False, False, False, False,
    ]  # fmt: skip


def test_nobody_can_accept_what_it_has_not_seen() -> None:
    founder, member = folder_of(2, Role.READ_WRITE)
    founder.cut(member.device, {member.incarnation: 2**40})
    unseen = member.write(file_draft(b"a"))
    founder.pull(member)
    assert not counts(founder, unseen)


def test_a_cut_of_a_name_by_any_other_than_an_owner_is_without_effect() -> None:
    founder, writer = folder_of(2, Role.READ_WRITE)
    cut = writer.cut(founder.device, {})
    founder.pull(writer)
    assert not counts(founder, cut)
    assert counts(founder, founder.write(file_draft(b"a")))


def test_a_grant_made_upon_the_cut_admits_anew() -> None:
    founder, member = folder_of(2, Role.READ_WRITE)
    founder.cut(member.device)
    between = member.write(file_draft(b"between"))
    founder.pull(member)
    founder.grant(member.device, Role.READ_ONLY)
    member.pull(founder)
    read_only = member.write(file_draft(b"read only"))
    founder.grant(member.device, Role.READ_WRITE)
    member.pull(founder)
    after = member.write(file_draft(b"after"))
    founder.pull(member)

    assert founder.membership().role(member.device) is Role.READ_WRITE
    assert [counts(founder, batch) for batch in (between, read_only, after)] == [False, False, True]


def test_a_cut_beats_a_concurrent_grant() -> None:
    founder, owner, member = folder_of(3)
    founder.cut(member.device)
    owner.grant(member.device, Role.OWNER, hlc=10**9)
    member.pull(owner)
    written = member.write(file_draft(b"a"))
    meet(founder, owner, member)

    assert founder.membership().role(member.device) is None
    assert not counts(founder, written)


def test_a_role_is_raised_by_a_grant_and_not_lowered_by_one() -> None:
    founder, member = folder_of(2, Role.READ_ONLY)
    founder.grant(member.device, Role.READ_WRITE)
    founder.grant(member.device, Role.READ_ONLY)
    assert founder.membership().role(member.device) is Role.READ_WRITE


def test_of_two_owners_who_cut_each_other_the_elder_stays() -> None:
    founder, elder, younger = folder_of(3)
    one, other = younger.cut(elder.device), elder.cut(younger.device)
    meet(founder, elder, younger)

    assert owners(founder) == {founder.device, elder.device}
    assert (counts(founder, one), counts(founder, other)) == (False, True)


def test_seniority_goes_by_clock_then_by_the_smaller_key() -> None:
    founder = Replica(device_key(1))
    founder.found()
    one, other = Replica(device_key(2)), Replica(device_key(3))
    for replica in (one, other):
        founder.grant(replica.device, Role.OWNER, hlc=50)
    for replica in (one, other):
        replica.join(founder)
    one.cut(other.device)
    other.cut(one.device)
    meet(founder, one, other)

    assert owners(founder) == {founder.device, min(one.device, other.device)}


def test_a_clock_that_lies_makes_nobody_senior_to_who_admitted_it() -> None:
    founder = Replica(device_key(1))
    founder.found(hlc=1000)
    backdated = Replica(device_key(2), incarnation(2))
    founder.grant(backdated.device, Role.OWNER, hlc=0)
    backdated.join(founder)
    backdated.cut(founder.device)
    founder.cut(backdated.device)
    meet(founder, backdated)

    assert owners(founder) == {founder.device}


@pytest.mark.parametrize("accepts", [True, False])
def test_a_cut_in_answer_to_a_cut_is_too_late(accepts: bool) -> None:
    founder, owner = folder_of(2)
    owner.cut(founder.device)
    founder.pull(owner)
    answer = founder.cut(owner.device, None if accepts else {})
    meet(founder, owner)

    # Accepting the cut is giving in. Not accepting it is a quarrel of two, but one had a cut in its causal past.
    assert owners(founder) == {owner.device}
    assert not counts(founder, answer)


def test_a_cut_from_beyond_another_cut_is_without_effect() -> None:
    founder, owner, member = folder_of(3)
    founder.cut(owner.device)
    late = owner.cut(member.device)
    meet(founder, owner, member)

    assert not counts(founder, late)
    assert owners(founder) == {founder.device, member.device}


def test_three_who_cut_in_a_circle_leave_somebody() -> None:
    first, second, third = folder_of(3)
    first.cut(second.device)
    second.cut(third.device)
    third.cut(first.device)
    meet(first, second, third)

    assert owners(first) == {third.device}, "the eldest's cut stands, so the second's falls, so the third's stands"


def test_who_goes_on_cutting_after_it_was_cut_cannot_empty_a_folder() -> None:
    first, second, third = folder_of(3)
    second.cut(first.device)
    first.pull(second)
    answers = first.cut(second.device), first.cut(third.device)
    third.cut(second.device)
    meet(first, second, third)

    assert owners(first) == {third.device}
    assert [counts(first, answer) for answer in answers] == [False, False]


def test_nobody_cuts_itself() -> None:
    founder, owner = folder_of(2)
    cut = owner.cut(owner.device, {})
    founder.pull(owner)
    assert not counts(founder, cut)
    assert owners(founder) == {founder.device, owner.device}


def test_a_member_leaves_and_may_come_back() -> None:
    founder, member = folder_of(2, Role.READ_ONLY)
    left = member.leave()
    founder.pull(member)
    assert counts(founder, left)
    assert founder.membership().role(member.device) is None

    founder.grant(member.device, Role.READ_WRITE)
    member.pull(founder)
    assert counts(member, member.write(file_draft(b"a")))


def test_what_is_written_after_leaving_does_not_count() -> None:
    founder, member = folder_of(2, Role.READ_WRITE)
    before, left, after = member.write(file_draft(b"a")), member.leave(), member.write(file_draft(b"b"))
    founder.pull(member)
    assert [counts(founder, batch) for batch in (before, left, after)] == [True, True, False]


def test_who_leaves_stands_by_what_it_wrote_before_on_its_other_chains() -> None:
    founder, member = folder_of(2, Role.READ_WRITE)
    again = Replica(device_key(2), incarnation(99))
    again.join(member)
    before = member.write(file_draft(b"a"))
    again.pull(member)
    again.leave()
    unseen = member.write(file_draft(b"b"))
    meet(founder, member, again)

    assert [counts(founder, batch) for batch in (before, unseen)] == [True, False]


def test_a_member_leaves_even_if_the_last_owner_tried_to_before() -> None:
    founder, member = folder_of(2, Role.READ_ONLY)
    founder.leave()
    member.pull(founder)
    left = member.leave()
    founder.pull(member)

    assert counts(founder, left)
    assert founder.membership().members.keys() == {founder.device}


def test_the_last_owner_cannot_leave() -> None:
    founder, member = folder_of(2, Role.READ_WRITE)
    left = founder.leave()
    member.pull(founder)
    assert not counts(member, left)
    assert owners(member) == {founder.device}
    assert counts(founder, founder.write(file_draft(b"a")))

    successor = Replica(device_key(3))
    founder.grant(successor.device, Role.OWNER)
    left = founder.leave()
    assert counts(founder, left)
    assert owners(founder) == {successor.device}


def test_of_the_last_owners_who_leave_at_once_the_elder_stays() -> None:
    founder, elder, younger = folder_of(3)
    founder.leave()
    elder.pull(founder)
    younger.pull(founder)
    elder.leave()
    younger.leave()
    meet(founder, elder, younger)

    assert owners(founder) == {elder.device}


def test_who_left_long_ago_is_not_called_back_when_the_last_owner_leaves() -> None:
    founder, owner = folder_of(2)
    founder.leave()
    owner.pull(founder)
    owner.leave()
    founder.pull(owner)
    assert owners(founder) == {owner.device}


def test_the_order_and_the_number_of_facts_do_not_matter() -> None:
    replicas = folder_of(4)
    first, second, third, fourth = replicas
    first.cut(second.device)
    second.cut(first.device)
    third.grant(device_key(9).device_id, Role.READ_ONLY)
    fourth.leave()
    meet(*replicas)
    assert first.genesis
    found = [facts.fact(entry, vector) for entry, vector in first.entries.values()]
    expected = first.membership()

    for seed in range(20):
        shuffled = random.Random(seed).sample(found * 2, len(found) * 2)
        grants = (fact for fact in shuffled if isinstance(fact, facts.GrantFact))
        cuts = (fact for fact in shuffled if isinstance(fact, facts.CutFact))
        leaves = (fact for fact in shuffled if isinstance(fact, facts.LeaveFact))
        membership = members.evaluate(first.genesis, grants, cuts, leaves)
        assert membership.members == expected.members
        assert membership.recounted(expected) == frozenset()


def test_recounted_names_whose_entries_may_count_otherwise() -> None:
    founder, member, other = folder_of(3, Role.READ_WRITE)
    before = founder.membership()
    founder.write(file_draft(b"a"))
    assert founder.membership().recounted(before) == frozenset()

    founder.cut(member.device)
    assert founder.membership().recounted(before) == {member.device, founder.device}
    before = founder.membership()
    founder.grant(other.device, Role.OWNER)
    assert founder.membership().recounted(before) == {other.device}


def test_a_malformed_approval_does_not_count() -> None:
    (founder,) = folder_of(1)
    approved = founder.write(Draft(kind=Kind.APPROVE, detail=details.approve_detail(details.HeldSet(bytes(32)))))
    meta = Draft(kind=Kind.APPROVE, hlc=Hlc(1), detail=b"\x80").placed(
        approved.folder, founder.device, founder.incarnation, 3
    )
    assert counts(founder, approved)
    assert not founder.membership().counts(meta, founder.vector)
