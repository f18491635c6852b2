# SPDX-License-Identifier: AGPL-3.0-or-later
"""Laws of members: whatever owners, writers, readers and strangers do to each other, and whoever has seen what."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from harp.sync.engine import facts, members
from harp.sync.engine.facts import CutFact, GrantFact, LeaveFact
from harp.sync.model import Entry, Kind, Role, Vector
from tests.fakes.history import Replica, device_key, file_draft, incarnation

DEVICES = 5
WHO = st.integers(0, DEVICES - 1)
ANY_ROLE: st.SearchStrategy[Role] = st.sampled_from(Role)


@dataclass(frozen=True)
class History:
    """All that was ever said in a folder, merged by one replica."""

    replica: Replica
    entries: list[tuple[Entry, Vector]]
    found: list[facts.Fact]

    @property
    def membership(self) -> members.Membership:
        return self.replica.membership()


acts = st.one_of(
    st.tuples(st.just("pull"), WHO, WHO),
    st.tuples(st.just("pull"), WHO, WHO),
    st.tuples(st.just("write"), WHO, WHO),
    st.tuples(st.just("grant"), WHO, WHO, st.sampled_from(Role), st.integers(0, 3)),
    st.tuples(st.just("cut"), WHO, WHO, st.integers(0, 3)),
    st.tuples(st.just("leave"), WHO, WHO),
)


def act(replicas: list[Replica], what: str, who: int, whom: int, *how: int) -> None:
    actor, other = replicas[who], replicas[whom]
    match what:
        case "pull":
            actor.pull(other)
        case "write":
            actor.write(file_draft(b"a"))
        case "grant":
            actor.grant(other.device, Role(how[0]), hlc=how[1])
        case "cut":
            held = actor.vector.get(other.chain, 0) - how[0]
            actor.cut(other.device, {other.incarnation: held} if held > 0 else {})
        case _:
            actor.leave()


@st.composite
def histories(draw: st.DrawFn, roles: st.SearchStrategy[Role] = ANY_ROLE) -> History:
    replicas = [Replica(device_key(number), incarnation(number)) for number in range(1, DEVICES + 1)]
    founder, *others = replicas
    founder.found(hlc=draw(st.integers(0, 3)))
    for other in others[:-1]:
        founder.grant(other.device, draw(roles), hlc=draw(st.integers(0, 3)))
    for other in others:
        other.join(founder)
    for doing in draw(st.lists(acts, max_size=40)):
        act(replicas, *doing)
    for _ in replicas:
        for replica in replicas:
            founder.pull(replica)
    entries = list(founder.entries.values())
    found = [fact for entry, vector in entries if (fact := facts.fact(entry, vector))]
    return History(founder, entries, found)


owned = histories(st.just(Role.OWNER))
any_history = st.one_of(histories(), owned)


@given(any_history, st.randoms(use_true_random=False))
def test_membership_is_independent_of_order_and_number(history: History, chance: object) -> None:
    expected = history.membership
    shuffled = history.found * 2
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert history.replica.genesis
    membership = members.evaluate(
        history.replica.genesis,
        (fact for fact in shuffled if isinstance(fact, GrantFact)),
        (fact for fact in shuffled if isinstance(fact, CutFact)),
        (fact for fact in shuffled if isinstance(fact, LeaveFact)),
    )
    assert membership.members == expected.members
    assert membership.recounted(expected) == frozenset()
    for entry, vector in history.entries:
        assert membership.counts(entry.meta, vector) == expected.counts(entry.meta, vector)


@given(any_history)
def test_a_folder_always_has_an_owner(history: History) -> None:
    assert any(member.role is Role.OWNER for member in history.membership.members.values())


@given(any_history)
def test_nothing_counts_without_a_grant_of_sufficient_role_in_its_causal_past(history: History) -> None:
    membership = history.membership
    grants = [fact for fact in history.found if isinstance(fact, GrantFact)]
    needed = {Kind.FILE: Role.READ_WRITE, Kind.GRANT: Role.OWNER, Kind.CUT: Role.OWNER, Kind.LEAVE: Role.SEALED}
    for entry, vector in history.entries:
        meta = entry.meta
        if entry is not history.replica.genesis and membership.counts(meta, vector):
            assert any(
                grant.device == meta.author
                and grant.role >= needed[meta.kind]
                and facts.is_in_past(grant.entry.meta.chain, grant.entry.meta.sequence, meta, vector)
                and membership.counts(grant.entry.meta, grant.vector)
                for grant in grants
            )


@given(any_history)
def test_what_a_cut_or_departed_device_writes_beyond_its_end_counts_nowhere(history: History) -> None:
    membership = history.membership
    for end in history.found:
        if isinstance(end, GrantFact) or not membership.counts(end.entry.meta, end.vector):
            continue
        device = end.device if isinstance(end, CutFact) else end.entry.meta.author
        readmitted = [
            grant
            for grant in history.found
            if isinstance(grant, GrantFact)
            and grant.device == device
            and membership.counts(grant.entry.meta, grant.vector)
            and facts.precedes(end, grant)
        ]
        if readmitted:
            continue
        assert membership.role(device) is None
        for entry, vector in history.entries:
            meta = entry.meta
            if meta.author == device and meta.kind is Kind.FILE and not is_within(end, entry):
                assert not membership.counts(meta, vector)


def is_within(end: CutFact | LeaveFact, entry: Entry) -> bool:
    if isinstance(end, LeaveFact):
        return entry.meta.sequence <= end.entry.meta.sequence
    return entry.meta.sequence <= end.last.get(entry.meta.incarnation, 0)


@given(histories(st.sampled_from([Role.SEALED, Role.READ_ONLY])))
def test_what_a_device_without_the_right_to_write_writes_counts_nowhere(history: History) -> None:
    membership = history.membership
    grants = [fact for fact in history.found if isinstance(fact, GrantFact)]
    writers = {
        grant.device
        for grant in grants
        if grant.role >= Role.READ_WRITE and membership.counts(grant.entry.meta, grant.vector)
    }
    for entry, vector in history.entries:
        if entry.meta.author not in writers and entry.meta.kind is not Kind.LEAVE:
            assert not membership.counts(entry.meta, vector)


@given(any_history)
def test_a_member_has_the_role_that_a_counting_grant_gave_it(history: History) -> None:
    membership = history.membership
    by_id = {entry.id: (entry, vector) for entry, vector in history.entries}
    for device, member in membership.members.items():
        entry, vector = by_id[member.granted_by]
        fact = facts.fact(entry, vector)
        assert isinstance(fact, GrantFact)
        assert membership.counts(entry.meta, vector)
        assert (fact.device, fact.role, fact.name) == (device, member.role, member.name)


@given(st.lists(st.integers(0, 9), min_size=4, max_size=4), st.sets(WHO, min_size=2), st.data())
def test_mutual_cuts_leave_exactly_the_eldest(clocks: list[int], fighting: set[int], data: st.DataObject) -> None:
    replicas = [Replica(device_key(number), incarnation(number)) for number in range(1, DEVICES + 1)]
    founder, *others = replicas
    founder.found(hlc=0)
    for other, hlc in zip(others, clocks, strict=True):
        founder.grant(other.device, Role.OWNER, hlc)
    for other in others:
        other.join(founder)
    # A grant by the founder is younger than the founding, whatever its clock says.
    ages = [(0, founder.device)] + [(max(hlc, 1), other.device) for other, hlc in zip(others, clocks, strict=True)]
    for who, whom in data.draw(st.permutations([(a, b) for a in fighting for b in fighting if a != b])):
        replicas[who].cut(replicas[whom].device)
    founder.receive_all([batch for replica in replicas for batch in replica.merged])

    peaceful = {replicas[number].device for number in range(DEVICES) if number not in fighting}
    eldest = min(ages[number] for number in fighting)[1]
    assert founder.membership().members.keys() == peaceful | {eldest}


@given(any_history, st.integers(0, 200))
def test_only_those_whom_a_new_fact_concerns_are_recounted(history: History, number: int) -> None:
    number %= len(history.found)
    fewer = [fact for index, fact in enumerate(history.found) if index != number]
    assert history.replica.genesis
    before = members.evaluate(
        history.replica.genesis,
        [fact for fact in fewer if isinstance(fact, GrantFact)],
        [fact for fact in fewer if isinstance(fact, CutFact)],
        [fact for fact in fewer if isinstance(fact, LeaveFact)],
    )
    after = history.membership
    concerned = after.recounted(before)
    for entry, vector in history.entries:
        if entry.meta.author not in concerned:
            assert before.counts(entry.meta, vector) == after.counts(entry.meta, vector)
