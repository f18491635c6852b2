# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who of one LAN fetches what over the WAN: a function of what its devices tell each other about one folder.

Each device tells its neighbours what it lacks, what it has come to hold, and what it fetches. A chunk that nobody near
holds is fetched by one of those that lack it: the first by (standing cache, BLAKE3(chunk ‖ device)) of those that may
use the WAN and reach a source. Everybody computes that order alone; where two see different neighbours and so disagree,
the source answers the later one with the device it serves already (docs/protocol.md, "The office").

A claim counts for ``STALL_S`` after it was last heard to make sense: when it was made, when the source confirmed it, or
when something that was claimed before it (and so stood before it in the source's one queue) was delivered. After that
the next device asks the source, which knows better; if the source gives the chunk away, the claim was a lie.

Ids are those of chunks and of manifest nodes alike. ``now`` is a monotonic clock in seconds.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from blake3 import blake3

from harp.identity.device import DeviceId
from harp.sync.engine.claims import STALL_S, Claim, KeptClaims, Tidings
from harp.sync.model import ChunkId

GATHER_S: Final = 0.01
"""How long what is to be told to a neighbour is gathered."""
HEAR_S: Final = 0.03
"""How long after a chunk came to be wanted others may take to say that they want it too."""
GREET_S: Final = 0.3
"""How long a neighbour that has just come may take to say something; after that it is not waited for."""
BENCH_S: Final = 60.0
MAX_BENCH_S: Final = 3600.0
FORGIVEN: Final = 3
"""So often a neighbour that was benched while it was silent is taken back as soon as it is heard again."""
MAX_KNOWN: Final = 65_536
"""Ids kept of what one neighbour lacks; of what is above it is told again when it asks."""
_NEVER: Final = float("inf")


class Verdict(NamedTuple):
    """Whether the WAN may be asked for a chunk now; if not, on whom it waits (None: on nobody yet) and until when."""

    is_ours: bool
    awaited: DeviceId | None = None
    until: float = _NEVER


OURS: Final = Verdict(is_ours=True)


class Heard(NamedTuple):
    """What follows from a neighbour's tidings: it asks for ``sought``, and may be asked for what it came to hold."""

    sought: list[ChunkId]
    held: list[ChunkId]


@dataclass(slots=True)
class _Record:
    """How well a device keeps its word; it outlives its links."""

    offences: int = 0
    benched_until: float = 0.0
    was_silent: bool = False
    """It was heard of no more when it was benched: rather out of reach than a liar."""


@dataclass(slots=True)
class _Neighbour:
    came_at: float
    has_spoken: bool = False
    reaches: bool = False
    is_cache: bool = False
    linked: frozenset[DeviceId] = frozenset()
    missing: dict[ChunkId, float] = field(default_factory=dict)
    holds: set[ChunkId] = field(default_factory=set)
    claims: dict[ChunkId, Claim] = field(default_factory=dict)
    heard_at: float = 0.0
    record: _Record = field(default_factory=_Record)
    out: Tidings = field(default_factory=Tidings)
    due_at: float = _NEVER


@dataclass(slots=True)
class _Want:
    since: float
    verdict: Verdict | None = None
    version: int = 0
    source: DeviceId | None = None
    """Whom we have asked over the WAN."""
    asked_at: float = 0.0
    suspects: set[DeviceId] = field(default_factory=set)
    """Whose claims had become too old when we asked."""
    insists: bool = False
    """The source named a device that we do not know: it is to be asked again at once."""


class Neighbourhood:
    """One folder's neighbours, as one device knows them."""

    def __init__(self, own: DeviceId, *, quiet_until: float = 0.0) -> None:
        self.own = own
        self.sources: frozenset[DeviceId] = frozenset()
        """Whom we may ask over the WAN, and are linked to."""
        self.is_cache = False
        self.quiet_until = quiet_until
        """The WAN is not asked before: neighbours are being found."""
        self._neighbours: dict[DeviceId, _Neighbour] = {}
        self._records: dict[DeviceId, _Record] = {}
        self._wants: dict[ChunkId, _Want] = {}
        self._kept = KeptClaims()
        self._version = 0
        self.wake_at = _NEVER
        """The earliest end of what verdicts waited for; whoever asks for verdicts sets it back before."""

    # --- who is there -------------------------------------------------------------------------------------------------

    def __contains__(self, device: object) -> bool:
        return device in self._neighbours

    @property
    def neighbours(self) -> tuple[DeviceId, ...]:
        return tuple(sorted(self._neighbours))

    def came(self, device: DeviceId, *, now: float) -> None:
        """A member on the LAN began to speak of the folder: it is told at once what we lack and what we fetch."""
        known = self._neighbours[device] = _Neighbour(came_at=now, record=self._records.get(device, _Record()))
        self._forgive(known, now)
        for id_, want in self._wants.items():
            if want.source is None:
                known.out.missing[id_] = None
            else:
                known.out.fetching[id_] = want.source
        known.due_at = now
        self._version += 1

    def went(self, device: DeviceId, *, now: float) -> None:
        """It is gone; what it held or fetched is sought anew among those that remain."""
        known = self._neighbours.pop(device, None)
        if known is None:
            return
        self._records[device] = known.record
        self._version += 1
        for id_ in [id_ for id_ in (*known.holds, *known.claims) if id_ in self._wants]:
            want = self._wants[id_]
            if want.source is None:
                want.since = now
                for other in self._neighbours.values():
                    self._say(other, now).missing[id_] = None

    def placed(self, device: DeviceId, *, reaches: bool, is_cache: bool, linked: Iterable[DeviceId]) -> None:
        """A neighbour told whether it reaches a source, whether it is the standing cache, and whom it is linked to."""
        known = self._neighbours.get(device)
        if known is not None:
            known.has_spoken, known.reaches, known.is_cache = True, reaches, is_cache
            known.linked = frozenset(linked)
            self._version += 1

    @property
    def reaches(self) -> bool:
        return bool(self.sources)

    def stand(self, *, sources: frozenset[DeviceId], is_cache: bool) -> None:
        """Sets what is so of ourselves."""
        if (sources, is_cache) != (self.sources, self.is_cache):
            self.sources, self.is_cache = sources, is_cache
            self._version += 1

    def settled(self, device: DeviceId) -> None:
        """It has all that it knows of, so it lacks nothing."""
        known = self._neighbours.get(device)
        if known is not None and known.missing:
            known.missing.clear()
            self._version += 1

    # --- what we want -------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._wants)

    def is_wanted(self, id_: ChunkId) -> bool:
        return id_ in self._wants

    def want(self, id_: ChunkId, *, now: float, besides: frozenset[DeviceId] = frozenset()) -> None:
        """We lack it; all neighbours are told but those of ``besides``, who are known to hold it."""
        if id_ in self._wants:
            return
        self._wants[id_] = _Want(since=now)
        for device, known in self._neighbours.items():
            if device not in besides:
                self._say(known, now).missing[id_] = None

    def asked(self, id_: ChunkId, source: DeviceId, *, now: float) -> None:
        """We have asked ``source`` for it, over the WAN: a claim, of which those that lack it are told."""
        want = self._wants.get(id_)
        if want is None:
            return
        want.source, want.asked_at, want.insists = source, now, False
        want.suspects = {
            device for device, known in self._neighbours.items() if self._is_doubted(known, id_, source, now)
        }
        for known in self._neighbours.values():
            if id_ in known.missing:
                self._say(known, now).fetching[id_] = source

    def _is_doubted(self, known: _Neighbour, id_: ChunkId, source: DeviceId, now: float) -> bool:
        """Whether ``source`` gives us what it claims shows that it lied; of what others give it, they know.

        Who asks because the source named somebody unknown crosses claims that are as good as its own.
        """
        claim = known.claims.get(id_)
        if claim is None or self._has_claim(known, id_, now):
            return False
        return claim.source == source or claim.source not in {None, *self.sources}

    def unasked(self, id_: ChunkId, *, now: float) -> None:
        """What we asked for over the WAN will not come from there: others may try."""
        want = self._wants.get(id_)
        if want is None or want.source is None:
            return
        want.source, want.verdict, want.since = None, None, now
        for known in self._neighbours.values():
            if id_ in known.missing or id_ in known.out.fetching:
                self._say(known, now).missing[id_] = None

    def refused(self, id_: ChunkId, device: DeviceId, *, now: float) -> None:
        """Whom we asked has it not, or sent something else."""
        known = self._neighbours.get(device)
        if known is not None:
            known.holds.discard(id_)
        else:
            self.unasked(id_, now=now)

    def lost(self, source: DeviceId, *, now: float) -> None:
        """What we had asked a source for will not come."""
        for id_ in [id_ for id_, want in self._wants.items() if want.source == source]:
            self.unasked(id_, now=now)

    def elsewhere(self, id_: ChunkId, device: DeviceId, *, now: float) -> None:
        """The source says that it serves ``device`` with it: that claim is true, whatever we thought of it."""
        want = self._wants.get(id_)
        if want is None:
            return
        source, want.source, want.verdict = want.source, None, None
        want.suspects.discard(device)
        known = self._neighbours.get(device)
        if known is None:
            known = next((one for one in self._neighbours.values() if self._will_have(one, id_, device, now)), None)
            source = None
        if known is None or known.record.benched_until > now:
            want.insists = True
            return
        claim = known.claims.setdefault(id_, Claim(now, now, source))
        claim.good_until = now + STALL_S
        for other_device, other in self._neighbours.items():
            if id_ in other.missing and other_device != device and other is not known:
                # It takes the place of our own claim.
                self._say(other, now).expected[id_] = None

    def _will_have(self, known: _Neighbour, id_: ChunkId, device: DeviceId, now: float) -> bool:
        """Whether a neighbour will get it from a device that we do not know."""
        if known.record.benched_until > now:
            return False
        return self._has_claim(known, id_, now) or (id_ in known.missing and device in known.linked)

    def came_in(self, id_: ChunkId, giver: DeviceId | None, *, now: float) -> None:
        """It is here now: from ``giver``, or (None) found on this disk. Those that lack it are told, unless they know.

        What came over the WAN although a neighbour had claimed it shows that the neighbour lied, or is in trouble.
        """
        want = self._wants.pop(id_, None)
        is_from_afar = giver is not None and giver not in self._neighbours
        if is_from_afar and want is not None and want.source is not None:
            self._kept.add(want.asked_at, now=now)
            for device in want.suspects:
                self.bench(device, now=now)
        for device, known in self._neighbours.items():
            known.claims.pop(id_, None)
            known.holds.discard(id_)
            lacks = known.missing.pop(id_, None) is not None
            if lacks and device != giver and (is_from_afar or giver is None or giver not in known.linked):
                self._say(known, now).held[id_] = None
            known.out.missing.pop(id_, None)
            known.out.fetching.pop(id_, None)

    def drop(self, id_: ChunkId, *, now: float) -> None:
        """We do not want it any more."""
        if self._wants.pop(id_, None) is None:
            return
        for known in self._neighbours.values():
            known.claims.pop(id_, None)
            known.holds.discard(id_)
            known.out.missing.pop(id_, None)
            known.out.fetching.pop(id_, None)
            self._say(known, now).dropped[id_] = None

    # --- what neighbours tell -----------------------------------------------------------------------------------------

    def heard(self, device: DeviceId, tidings: Tidings, *, now: float) -> Heard:
        """Takes in what a neighbour tells; in an order in which a list never undoes what another one of them says."""
        known = self._neighbours.get(device)
        if known is None:
            return Heard([], [])
        known.has_spoken, known.heard_at = True, now
        self._forgive(known, now)
        for id_ in tidings.dropped:
            self._released(known, id_)
            known.missing.pop(id_, None)
        sought = [id_ for id_ in tidings.missing if self._hear_missing(known, id_, now)]
        for id_, source in tidings.fetching.items():
            self._hear_claim(device, known, id_, source, now)
        for id_ in tidings.expected:
            self._hear_claim(device, known, id_, None, now)
        held = [id_ for id_ in tidings.held if self._hear_held(known, id_, now)]
        return Heard(sought, held)

    def have(self, device: DeviceId, ids: Iterable[ChunkId], *, now: float) -> None:
        """We hold these of what a neighbour sought."""
        known = self._neighbours.get(device)
        if known is not None:
            for id_ in ids:
                known.missing.pop(id_, None)
                self._say(known, now).held[id_] = None

    def _hear_missing(self, known: _Neighbour, id_: ChunkId, now: float) -> bool:
        """Whether it is to be looked up here; what we want ourselves is not."""
        self._released(known, id_)
        if len(known.missing) < MAX_KNOWN:
            known.missing.setdefault(id_, now)
        want = self._wants.get(id_)
        if want is None:
            return True
        want.verdict = None
        if want.source is not None:
            self._say(known, now).fetching[id_] = want.source
        else:
            self._pass_on(known, id_, now)
        return False

    def _hear_claim(
        self, device: DeviceId, known: _Neighbour, id_: ChunkId, source: DeviceId | None, now: float
    ) -> None:
        want = self._wants.get(id_)
        if len(known.missing) < MAX_KNOWN:
            known.missing.setdefault(id_, now)
        if want is None:
            return
        want.verdict = None
        known.claims[id_] = Claim(now, now + STALL_S, source)
        if source is not None and want.source is None:
            for other_device, other in self._neighbours.items():
                if other_device != device and id_ in other.missing and device not in other.linked:
                    self._say(other, now).expected[id_] = None

    def _pass_on(self, asker: _Neighbour, id_: ChunkId, now: float) -> None:
        """Tells of claims by neighbours that the asker is not linked to: by one hop, so never of what was passed on."""
        for device, other in self._neighbours.items():
            claim = other.claims.get(id_)
            if other is not asker and claim is not None and claim.source is not None and device not in asker.linked:
                self._say(asker, now).expected[id_] = None

    def _hear_held(self, known: _Neighbour, id_: ChunkId, now: float) -> bool:
        known.missing.pop(id_, None)
        claim = known.claims.pop(id_, None)
        want = self._wants.get(id_)
        if want is None:
            return False
        if claim is not None:
            known.record.offences = 0
            if claim.source is not None:
                self._kept.add(claim.at, now=now)
        known.holds.add(id_)
        want.verdict = None
        return True

    def _released(self, known: _Neighbour, id_: ChunkId) -> None:
        known.holds.discard(id_)
        if known.claims.pop(id_, None) is not None and id_ in self._wants:
            self._wants[id_].verdict = None

    # --- whom to ask --------------------------------------------------------------------------------------------------

    def holds(self, device: DeviceId, id_: ChunkId) -> bool:
        """Whether a neighbour has said that it can serve a chunk that we want."""
        known = self._neighbours.get(device)
        return known is not None and id_ in known.holds

    def verdict(self, id_: ChunkId, *, now: float) -> Verdict:
        """Whether the WAN may be asked for a chunk that no neighbour is known to hold."""
        want = self._wants.get(id_)
        if want is None:
            if self.reaches and now < self.quiet_until:
                self.wake_at = min(self.wake_at, self.quiet_until)
                return Verdict(is_ours=False, until=self.quiet_until)
            return OURS if self.reaches else Verdict(is_ours=False)
        verdict = want.verdict
        if verdict is None or want.version != self._version or now >= verdict.until:
            verdict = want.verdict = self._judged(id_, want, now)
            want.version = self._version
        if not verdict.is_ours:
            self.wake_at = min(self.wake_at, verdict.until)
        return verdict

    def _judged(self, id_: ChunkId, want: _Want, now: float) -> Verdict:
        if not want.insists:
            for device, known in self._neighbours.items():
                if self._has_claim(known, id_, now):
                    return Verdict(is_ours=False, awaited=device, until=self._kept.good_until(known.claims[id_]))
        if not self.reaches:
            return Verdict(is_ours=False)
        if now < self.quiet_until:
            return Verdict(is_ours=False, until=self.quiet_until)
        if want.insists or not self._neighbours:
            return OURS
        ready_at = self._ready_at(want, now)
        if now < ready_at:
            return Verdict(is_ours=False, until=ready_at)
        return self._in_turn(id_, want, now)

    def _in_turn(self, id_: ChunkId, want: _Want, now: float) -> Verdict:
        """The first of those that want it has ``STALL_S`` to claim it, then it is the next one's turn, and so on."""
        ours = self.rank(id_, self.own, is_cache=self.is_cache)
        before = [
            (self.rank(id_, device, is_cache=known.is_cache), max(want.since, known.missing[id_]), device)
            for device, known in self._neighbours.items()
            if id_ in known.missing and known.reaches and known.record.benched_until <= now and id_ not in known.claims
        ]
        turn_ends = want.since
        for rank, since, device in sorted(before, reverse=True):
            if rank < ours:
                break
            turn_ends = max(turn_ends, since) + STALL_S
            if now < turn_ends:
                return Verdict(is_ours=False, awaited=device, until=turn_ends)
        return OURS

    @staticmethod
    def rank(id_: ChunkId, device: DeviceId, *, is_cache: bool) -> tuple[bool, bytes]:
        """The greatest of those that want a chunk fetches it."""
        return is_cache, blake3(id_ + device).digest()

    def _ready_at(self, want: _Want, now: float) -> float:
        greeted = [known.came_at + GREET_S for known in self._neighbours.values() if not known.has_spoken]
        return max([want.since + HEAR_S, *(until for until in greeted if until > now)])

    def _has_claim(self, known: _Neighbour, id_: ChunkId, now: float) -> bool:
        """Whether it fetches the chunk, as far as can be believed."""
        claim = known.claims.get(id_)
        return claim is not None and known.record.benched_until <= now and now < self._kept.good_until(claim)

    # --- who fails ----------------------------------------------------------------------------------------------------

    def bench(self, device: DeviceId, *, now: float) -> None:
        """It did not keep its word: it is neither asked nor waited for, each time twice as long."""
        known = self._neighbours.get(device)
        if known is None or known.record.benched_until > now:
            return
        record = known.record
        record.offences += 1
        record.benched_until = now + min(BENCH_S * 2 ** (record.offences - 1), MAX_BENCH_S)
        record.was_silent = known.heard_at <= now - STALL_S
        self._version += 1

    def _forgive(self, known: _Neighbour, now: float) -> None:
        """Who was out of reach and is heard again is not benched any longer; but not for ever again."""
        record = known.record
        if record.benched_until > now and record.was_silent and record.offences <= FORGIVEN:
            record.benched_until = now
            self._version += 1

    def benched_until(self, device: DeviceId) -> float:
        known = self._neighbours.get(device)
        return 0.0 if known is None else known.record.benched_until

    # --- what we tell -------------------------------------------------------------------------------------------------

    def outgoing(self, *, now: float) -> list[tuple[DeviceId, Tidings]]:
        """What is to be told now, to whom."""
        due = [(device, known) for device, known in self._neighbours.items() if known.due_at <= now]
        told = [(device, known.out) for device, known in due if known.out]
        for _, known in due:
            known.out, known.due_at = Tidings(), _NEVER
        return told

    def next_deadline(self) -> float:
        """When :meth:`outgoing` or a verdict has something new; infinite for not before something happens."""
        return min((known.due_at for known in self._neighbours.values()), default=_NEVER)

    def _say(self, known: _Neighbour, now: float) -> Tidings:
        known.due_at = min(known.due_at, now + GATHER_S)
        return known.out
