# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who had the right to grant, to cut and to leave: which of the facts about members take effect.

A *standing* is a grant that takes effect, with the *limits* that bind it: the cuts and leaves of its device that the
grant was not made upon. What a device writes upon a standing is bound by these; a grant made after a cut re-admits.

    a grant takes effect   if its author stands as owner there (within the limits, or seen by them: grants made before
                           a cut stand)
    a cut takes effect     if its author stands as owner there, and cuts another
    a leave takes effect   if its author stands there in any role, and an owner remains without it

That is circular where cuts reach each other, so it is solved as logic programs with negation are (the alternating
fixpoint of Van Gelder, 1989): what takes effect whatever the doubtful cuts do, then what may take effect at all. Where
the two differ, owners have cut each other, unseen: of the doubtful cuts whose author had seen none against itself, that
of the most senior author takes effect, and the rest is looked at again. Seniority is the age of the oldest grant that
made a device owner. Nothing here depends on the order of arrival.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harp.identity.device import DeviceId
from harp.sync.engine.facts import CutFact, GrantFact, LeaveFact, is_in_past, precedes
from harp.sync.model import ChainId, EntryId, Incarnation, Kind, Metadata, Role, Vector

Age = tuple[int, bytes]
"""HLC and device; the smaller is the older."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A cut or a leave that takes effect: ``last`` is what it accepts of its device, by incarnation."""

    fact: CutFact | LeaveFact
    device: DeviceId
    last: Mapping[Incarnation, int]

    def accepts(self, meta: Metadata) -> bool:
        """Whether an entry of the device counts in spite of this limit; a grant does where the limit has seen it."""
        if meta.kind is Kind.GRANT:
            return is_in_past(meta.chain, meta.sequence, self.fact.entry.meta, self.fact.vector)
        return meta.sequence <= self.last.get(meta.incarnation, 0)


@dataclass(frozen=True, slots=True)
class Standing:
    """A grant that takes effect, and the limits it was not made upon."""

    grant: GrantFact
    chain: ChainId
    sequence: int
    limits: tuple[Limit, ...]

    def admits(self, meta: Metadata, vector: Vector) -> bool:
        """Whether this grant lies in the causal past of ``meta`` and no limit lies between them."""
        if not is_in_past(self.chain, self.sequence, meta, vector):
            return False
        return not self.limits or all(limit.accepts(meta) for limit in self.limits)


Standings = Mapping[DeviceId, Sequence[Standing]]


@dataclass(frozen=True, slots=True)
class Settled:
    """What takes effect: the standings of each device, and the cuts and leaves by their entries' ids."""

    standings: Standings
    limits: Mapping[EntryId, Limit]
    ages: Mapping[EntryId, Age]
    reached: Standings
    """What would take effect if nobody had ever been cut or left: whatever arrives can only add to it."""


def is_admitted(standings: Standings, meta: Metadata, vector: Vector, role: Role) -> bool:
    """Whether ``meta``, made upon ``vector``, has an author who stood there with at least ``role``."""
    return any(
        standing.grant.role >= role and standing.admits(meta, vector) for standing in standings.get(meta.author, ())
    )


def settled(
    founding: GrantFact, grants: Iterable[GrantFact], cuts: Iterable[CutFact], leaves: Iterable[LeaveFact]
) -> Settled:
    """Which of the facts take effect in the folder of ``founding``; those of strangers never do.

    The last owner cannot leave: of leaves that would leave no owner, the latest has no effect, and of concurrent ones
    that of the most senior.
    """
    case = _Case(founding, grants, [*map(_cut_limit, cuts), *map(_leave_limit, leaves)])
    refused: set[EntryId] = set()
    while True:
        result = case.settled(refused)
        if any(_is_owner_now(of_one) for of_one in result.standings.values()):
            return result
        last = case.last_leave(result)
        if last is None:
            return result
        refused.add(last)


def _is_owner_now(standings: Sequence[Standing]) -> bool:
    return any(standing.grant.role is Role.OWNER and not standing.limits for standing in standings)


def _cut_limit(fact: CutFact) -> Limit:
    # Nobody can accept what it has not seen: so two cuts never accept each other.
    seen = {
        incarnation: min(sequence, fact.vector.get(ChainId(fact.device, incarnation), 0))
        for incarnation, sequence in fact.last.items()
    }
    return Limit(fact, fact.device, seen)


def _leave_limit(fact: LeaveFact) -> Limit:
    meta = fact.entry.meta
    seen = {chain.incarnation: sequence for chain, sequence in fact.vector.items() if chain.author == meta.author}
    return Limit(fact, meta.author, seen | {meta.incarnation: meta.sequence})


class _Case:
    """The facts that can matter at all: those whose author some chain of grants reaches, cuts left aside."""

    def __init__(self, founding: GrantFact, grants: Iterable[GrantFact], limits: Iterable[Limit]) -> None:
        self._founding = founding
        self._grants_by_author: dict[DeviceId, list[GrantFact]] = {}
        known = {grant.entry.id: grant for grant in grants if grant.entry.id != founding.entry.id}
        for grant in sorted(known.values(), key=_place):
            self._grants_by_author.setdefault(grant.entry.meta.author, []).append(grant)
        self._reached = reached = self._standings({})
        self._ages = _ages(founding, reached)
        self._seniority = _seniority(reached, self._ages)
        self._limits = {
            limit.fact.entry.id: limit for limit in limits if _is_sane(limit) and _is_entitled(limit, reached)
        }

    def settled(self, refused: set[EntryId]) -> Settled:
        """What takes effect where the leaves in ``refused`` do not."""
        limits = {entry: limit for entry, limit in self._limits.items() if entry not in refused}
        decreed: set[EntryId] = set()
        while True:
            certain, possible = self._alternating(limits, decreed)
            doubtful = possible - certain
            if not doubtful:
                effective = {entry: limits[entry] for entry in certain}
                return Settled(self._standings(_by_device(effective, certain)), effective, self._ages, self._reached)
            decreed.add(self._first([limits[entry] for entry in doubtful]))

    def last_leave(self, result: Settled) -> EntryId | None:
        """The leave of an owner, among those that take effect, to be refused first."""
        leaves = [
            limit
            for limit in result.limits.values()
            if isinstance(limit.fact, LeaveFact) and limit.device in self._seniority
        ]
        latest = [leave for leave in leaves if not any(precedes(leave.fact, other.fact) for other in leaves)]
        return min(latest, key=self._precedence).fact.entry.id if latest else None

    def _alternating(self, limits: Mapping[EntryId, Limit], decreed: set[EntryId]) -> tuple[set[EntryId], set[EntryId]]:
        """Those that take effect whatever the doubtful ones do, and those that may."""
        certain = set(decreed)
        while True:
            possible = self._effective(limits, certain) | decreed
            grown = self._effective(limits, possible) | decreed
            if grown == certain:
                return certain, possible
            certain = grown

    def _effective(self, limits: Mapping[EntryId, Limit], assumed: set[EntryId]) -> set[EntryId]:
        """Those whose author would have the right if exactly ``assumed`` took effect."""
        standings = self._standings(_by_device(limits, assumed))
        return {entry for entry, limit in limits.items() if _is_entitled(limit, standings)}

    def _standings(self, limits: Mapping[DeviceId, Sequence[Limit]]) -> dict[DeviceId, list[Standing]]:
        """The grants that take effect under ``limits``: from the founder outwards, to a fixed point."""
        standings: dict[DeviceId, list[Standing]] = {}
        done: set[EntryId] = set()
        outwards = deque([self._founding])
        while outwards:
            grant = outwards.popleft()
            meta = grant.entry.meta
            binding = tuple(limit for limit in limits.get(grant.device, ()) if not precedes(limit.fact, grant))
            standing = Standing(grant, meta.chain, meta.sequence, binding)
            standings.setdefault(grant.device, []).append(standing)
            if grant.role is not Role.OWNER:
                continue
            for made in self._grants_by_author.get(grant.device, ()):
                if made.entry.id not in done and standing.admits(made.entry.meta, made.vector):
                    done.add(made.entry.id)
                    outwards.append(made)
        return standings

    def _first(self, doubtful: list[Limit]) -> EntryId:
        """Who has seen that it was cut, and answers with a cut, comes too late: else a circle could leave nobody."""
        unaware = [limit for limit in doubtful if not any(_answers(limit, other) for other in doubtful)]
        return min(unaware or doubtful, key=self._precedence).fact.entry.id

    def _precedence(self, limit: Limit) -> tuple[Age, int, EntryId]:
        """Seniors first, and each in the order of its chain."""
        meta = limit.fact.entry.meta
        nobody = (2**64, bytes(meta.author))
        return self._seniority.get(meta.author, nobody), meta.sequence, limit.fact.entry.id


def _answers(limit: Limit, other: Limit) -> bool:
    """Whether ``limit`` was made by whom ``other`` limits, upon it."""
    return other.device == limit.fact.entry.meta.author and precedes(other.fact, limit.fact)


def _is_sane(limit: Limit) -> bool:
    """Who cuts itself would end its own right to; it can leave."""
    return isinstance(limit.fact, LeaveFact) or limit.device != limit.fact.entry.meta.author


def _is_entitled(limit: Limit, standings: Standings) -> bool:
    role = Role.SEALED if isinstance(limit.fact, LeaveFact) else Role.OWNER
    return is_admitted(standings, limit.fact.entry.meta, limit.fact.vector, role)


def _by_device(limits: Mapping[EntryId, Limit], entries: set[EntryId]) -> dict[DeviceId, list[Limit]]:
    grouped: dict[DeviceId, list[Limit]] = {}
    for entry, limit in limits.items():
        if entry in entries:
            grouped.setdefault(limit.device, []).append(limit)
    return grouped


def _place(fact: GrantFact) -> tuple[int, EntryId]:
    return fact.entry.meta.hlc, fact.entry.id


def _ages(founding: GrantFact, reached: Standings) -> dict[EntryId, Age]:
    """How old each grant is: its HLC, but never older than the grant by which its author made it.

    So a clock that runs slow, or lies, does not make a device senior to the one that admitted it.
    """
    ages: dict[EntryId, Age] = {founding.entry.id: (founding.entry.meta.hlc, bytes(founding.device))}
    grants = [standing.grant for of_one in reached.values() for standing in of_one]
    grants = sorted((grant for grant in grants if grant is not founding), key=_place)
    is_settled = False
    while not is_settled:
        is_settled = True
        for grant in grants:
            age = _age(grant, reached, ages)
            if age is not None and ages.get(grant.entry.id) != age:
                ages[grant.entry.id] = age
                is_settled = False
    return ages


def _age(grant: GrantFact, reached: Standings, ages: Mapping[EntryId, Age]) -> Age | None:
    meta = grant.entry.meta
    upon = [
        ages[standing.grant.entry.id][0]
        for standing in reached.get(meta.author, ())
        if standing.grant.role is Role.OWNER and standing.grant.entry.id in ages and standing.admits(meta, grant.vector)
    ]
    return (max(meta.hlc, min(upon) + 1), bytes(grant.device)) if upon else None


def _seniority(reached: Standings, ages: Mapping[EntryId, Age]) -> dict[DeviceId, Age]:
    """For each device that ever was an owner, the age of its oldest grant as such."""
    owners: dict[DeviceId, list[Age]] = {}
    for device, standings in reached.items():
        for standing in standings:
            if standing.grant.role is Role.OWNER:
                owners.setdefault(device, []).append(ages[standing.grant.entry.id])
    return {device: min(of_one) for device, of_one in owners.items()}
