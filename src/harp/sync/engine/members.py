# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who is a member of a folder and in which role, and which entries count: a function of the merged history alone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from harp.base.errors import RemoteProtocolError
from harp.identity.device import DeviceId
from harp.sync.engine import authority, details
from harp.sync.engine.authority import Age, Standing
from harp.sync.engine.facts import CutFact, GrantFact, LeaveFact
from harp.sync.model import ChainId, Entry, EntryId, Kind, Member, Metadata, Role, Vector

Place = tuple[ChainId, int]


@dataclass(frozen=True, slots=True)
class Membership:
    """What the merged history says of a folder's members.

    ``members`` are those of now: devices with a grant that no cut or leave has ended since. Their role is the highest
    that such a grant gives, so a role is lowered only by a cut and a new grant.
    """

    members: Mapping[DeviceId, Member]
    _founding: Place = field(repr=False)
    _standings: Mapping[DeviceId, tuple[Standing, ...]] = field(repr=False)
    _limits: frozenset[Place] = field(repr=False)
    _reached: authority.Standings = field(repr=False)

    def role(self, device: DeviceId) -> Role | None:
        """What ``device`` may do now; None for one that is no member."""
        member = self.members.get(device)
        return None if member is None else member.role

    def counts(self, meta: Metadata, vector: Vector) -> bool:
        """Whether an entry that was made upon ``vector`` counts: whether its author had the right to say it.

        An entry about a path needs READ_WRITE, and so does the approval of a held set; a grant, a cut and the approval
        of a fork need OWNER; anybody may leave but the last owner. Takes a look at each grant of the author.
        """
        match meta.kind:
            case Kind.CUT | Kind.LEAVE:
                return (meta.chain, meta.sequence) in self._limits
            case Kind.APPROVE:
                return self._approves(meta, vector)
            case Kind.GRANT:
                is_founding = (meta.chain, meta.sequence) == self._founding
                return is_founding or authority.is_admitted(self._standings, meta, vector, Role.OWNER)
            case _:
                return authority.is_admitted(self._standings, meta, vector, Role.READ_WRITE)

    def knows(self, meta: Metadata, vector: Vector) -> bool:
        """Whether the author of an entry made upon ``vector`` had been admitted by then, whatever ended that since.

        Unlike :meth:`counts` this depends on nothing but the entry's causal past: all devices agree on it at once.
        """
        is_founding = (meta.chain, meta.sequence) == self._founding
        return is_founding or authority.is_admitted(self._reached, meta, vector, Role.SEALED)

    def may_matter(self, meta: Metadata, vector: Vector) -> bool:
        """Whether a grant, cut, approval or leave can have an effect, by what its author had been by then.

        What cannot need not be evaluated: however much of it somebody says, nobody's time is taken.
        """
        role = {Kind.LEAVE: Role.SEALED, Kind.APPROVE: Role.READ_WRITE}.get(meta.kind, Role.OWNER)
        return authority.is_admitted(self._reached, meta, vector, role)

    def recounted(self, before: "Membership") -> frozenset[DeviceId]:
        """The devices of which some merged entries may count otherwise than they did under ``before``."""
        now, then = self._rights(), before._rights()
        return frozenset(device for device in now.keys() | then.keys() if now.get(device) != then.get(device))

    def _approves(self, meta: Metadata, vector: Vector) -> bool:
        try:
            approval = details.parse_approve(meta.detail)
        except RemoteProtocolError:
            return False
        role = Role.READ_WRITE if isinstance(approval, details.HeldSet) else Role.OWNER
        return authority.is_admitted(self._standings, meta, vector, role)

    def _rights(self) -> dict[DeviceId, tuple[object, ...]]:
        """By device, what decides whether its entries count."""
        acts: dict[DeviceId, set[Place]] = {}
        for place in self._limits:
            acts.setdefault(place[0].author, set()).add(place)
        return {
            device: (frozenset(map(_terms, self._standings.get(device, ()))), frozenset(acts.get(device, ())))
            for device in self._standings.keys() | acts.keys()
        }


def evaluate(
    genesis: Entry, grants: Iterable[GrantFact], cuts: Iterable[CutFact], leaves: Iterable[LeaveFact]
) -> Membership:
    """The membership that all merged facts give, in any order and any number; ``grants`` may hold the genesis or not.

    Facts whose author had no right are without effect, so all that is merged may be handed in. The rules are in
    :mod:`harp.sync.engine.authority`. Raises RemoteProtocolError where ``genesis`` has no readable detail.
    """
    grant = details.parse_grant(genesis.meta.detail)
    founding = GrantFact(genesis, {}, grant.device, grant.role, grant.name)
    result = authority.settled(founding, grants, cuts, leaves)
    members = {
        device: _member(current, result.ages)
        for device, standings in result.standings.items()
        if (current := [standing.grant for standing in standings if not standing.limits])
    }
    return Membership(
        members,
        (genesis.meta.chain, genesis.meta.sequence),
        {device: tuple(standings) for device, standings in result.standings.items()},
        frozenset((limit.fact.entry.meta.chain, limit.fact.entry.meta.sequence) for limit in result.limits.values()),
        result.reached,
    )


def _member(grants: list[GrantFact], ages: Mapping[EntryId, Age]) -> Member:
    best = min(grants, key=lambda grant: (-grant.role, ages[grant.entry.id], grant.entry.id))
    return Member(best.device, best.role, best.name, best.entry.id, best.entry.meta.hlc)


def _terms(standing: Standing) -> tuple[EntryId, frozenset[EntryId]]:
    return standing.grant.entry.id, frozenset(limit.fact.entry.id for limit in standing.limits)
