# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which facts about members take effect, looked at from within: limits, standings, ages."""

from harp.sync.engine import authority, facts
from harp.sync.engine.facts import CutFact, GrantFact, LeaveFact
from harp.sync.model import Batch, Hlc, Role
from tests.fakes.history import Replica, device_key, file_draft, incarnation


def settled(*batches: Batch) -> authority.Settled:
    """What takes effect of everything said in ``batches``, the first of them the genesis."""
    found = [fact for batch in batches for entry in batch.entries if (fact := facts.fact(entry, batch.vector))]
    founding, *_ = found
    assert isinstance(founding, GrantFact)
    return authority.settled(
        founding,
        [fact for fact in found if isinstance(fact, GrantFact)],
        [fact for fact in found if isinstance(fact, CutFact)],
        [fact for fact in found if isinstance(fact, LeaveFact)],
    )


def two_owners() -> tuple[Replica, Replica, list[Batch]]:
    founder, owner = Replica(device_key(1), incarnation(1)), Replica(device_key(2), incarnation(2))
    batches = [founder.found(hlc=10), founder.grant(owner.device, Role.OWNER, hlc=3)]
    owner.join(founder)
    return founder, owner, batches


def test_a_standing_admits_what_was_made_upon_its_grant() -> None:
    founder, owner, batches = two_owners()
    (standing,) = settled(*batches).standings[owner.device]
    written = owner.write(file_draft(b"a"))

    assert (standing.chain, standing.sequence, standing.limits) == (founder.chain, 2, ())
    assert standing.admits(written.entries[0].meta, written.vector)
    assert not standing.admits(written.entries[0].meta, {founder.chain: 1})


def test_a_limit_accepts_what_it_names_and_the_grants_that_it_has_seen() -> None:
    founder, owner, batches = two_owners()
    written = owner.write(file_draft(b"a"))
    granted = owner.grant(device_key(3).device_id, Role.READ_ONLY)
    founder.pull(owner)
    cut = founder.cut(owner.device, {owner.incarnation: 1})
    late = owner.grant(device_key(4).device_id, Role.READ_ONLY)
    result = settled(*batches, granted, cut, late)

    (limit,) = result.limits.values()
    assert (limit.device, limit.last) == (owner.device, {owner.incarnation: 1})
    assert limit.accepts(written.entries[0].meta)
    assert limit.accepts(granted.entries[0].meta), "named or not, it was seen: grants made before a cut stand"
    assert not limit.accepts(late.entries[0].meta)
    assert result.standings[owner.device][0].limits == (limit,)
    assert device_key(3).device_id in result.standings
    assert device_key(4).device_id not in result.standings


def test_a_grant_is_never_older_than_the_one_that_its_author_acted_upon() -> None:
    _, owner, batches = two_owners()
    third, fourth = device_key(3).device_id, device_key(4).device_id
    early, late = owner.grant(third, Role.OWNER, hlc=0), owner.grant(fourth, Role.OWNER, hlc=99)
    ages = settled(*batches, early, late).ages

    assert [ages[batch.entries[0].id] for batch in (*batches, early, late)] == [
        (10, batches[0].author),
        (11, owner.device),
        (12, third),
        (99, fourth),
    ]


def test_what_strangers_say_is_not_even_looked_at() -> None:
    founder, owner, batches = two_owners()
    stranger = Replica(device_key(9), incarnation(9))
    stranger.join(founder)
    said = [stranger.grant(stranger.device, Role.OWNER), stranger.cut(owner.device, {}), stranger.leave()]
    result = settled(*batches, *said)

    assert result.standings.keys() == {founder.device, owner.device}
    assert result.limits == {}
    assert all(batch.entries[0].id not in result.ages for batch in said)


def test_what_takes_effect_does_so_by_its_own_right_or_to_end_a_quarrel() -> None:
    founder, owner, batches = two_owners()
    one, other = founder.cut(owner.device), owner.cut(founder.device)
    result = settled(*batches, one, other)

    assert result.limits.keys() == {one.entries[0].id}
    assert authority.is_admitted(result.standings, one.entries[0].meta, one.vector, Role.OWNER)
    assert not authority.is_admitted(result.standings, other.entries[0].meta, other.vector, Role.OWNER)


def test_facts_that_can_never_have_been_merged_do_no_harm() -> None:
    founder, owner, batches = two_owners()
    one, other = founder.cut(owner.device), owner.cut(founder.device)
    cuts = [
        CutFact(batch.entries[0], {founder.chain: 99, owner.chain: 99}, device, {})
        for batch, device in ((one, owner.device), (other, founder.device))
    ]
    genesis, grant = (facts.fact(batch.entries[0], batch.vector) for batch in batches)
    assert isinstance(genesis, GrantFact)
    assert isinstance(grant, GrantFact)

    result = authority.settled(genesis, [grant], cuts, [])
    assert result.limits.keys() == {one.entries[0].id}, "each claims to have seen the other: the eldest's stands"
    assert genesis.entry.meta.hlc == Hlc(10)
