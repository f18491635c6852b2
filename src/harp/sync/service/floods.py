# SPDX-License-Identifier: AGPL-3.0-or-later
"""Authors that write more history than anybody would: what they write further waits until a person has decided."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import cbor2

from harp.identity.device import DeviceId
from harp.sync.engine import guard
from harp.sync.engine.quota import Quota
from harp.sync.model import Batch, ChainId, Vector
from harp.sync.service.replica import Replica

MAX_AUTHOR_CHAINS = 64
"""A device begins a chain with each ledger that it makes: as a member, after a restore, after a fork. A vector names
4,096 chains at most, so nobody may begin them without end."""
MOST_AUTHOR_CHAINS = 1024
"""However many others stand on them: an accomplice can say so too."""
MOST_ABOUT_MEMBERS = 500
"""Within an hour, where the limit is not smaller: each makes everyone find out anew who is a member."""
_FACT = "barred"
"""In the ledger, so that a restart lets nobody go on: CBOR rows of author and time (s)."""


@dataclass(frozen=True, slots=True)
class Flood:
    """One author that is held. ``id`` is what a person decides on it by."""

    id: str
    author: DeviceId
    since_s: float


class Floods:
    """For the folder's thread. The counts of the last hour are lost with a restart, who is barred is not."""

    def __init__(self, replica: Replica, limit: int) -> None:
        self._replica = replica
        self._limit = limit
        self._quota = Quota(limit)
        self._barred: dict[DeviceId, float] = {}
        self._let_pass: dict[ChainId, int] = {}
        """What was there when a person approved passes, however much it is."""
        self._chains_let_pass: dict[DeviceId, int] = {}
        self.refresh()

    def refresh(self) -> None:
        """Reads who is barred again: after opening, and after a transaction was rolled back."""
        rows = cbor2.loads(self._replica.ledger.fact(_FACT) or cbor2.dumps([]))
        self._barred = {DeviceId(author): since_s for author, since_s in rows}

    @property
    def held(self) -> Sequence[Flood]:
        """Members that wait for a person. What a former member wrote has no effect, and needs no decision."""
        is_member = self._replica.membership.members
        return [_flood(author, since_s) for author, since_s in self._barred.items() if author in is_member]

    def find(self, held_id: str) -> Flood | None:
        return next((flood for flood in self.held if flood.id == held_id), None)

    def is_barred(self, author: DeviceId) -> bool:
        return author in self._barred

    def admits(self, batch: Batch) -> bool:
        """Whether a batch that could be merged may be, and counts it; otherwise its author is barred from now on."""
        now = time.time()
        if batch.author == self._replica.device or batch.last_sequence <= self._let_pass.get(batch.chain, 0):
            return True
        weight = self._weight(batch)
        if weight > self._quota.room(batch.author, now=now) or self._begins_too_many(batch):
            self._barred[batch.author] = now
            self._keep()
            return False
        self._quota.charge(batch.author, weight, now=now)
        return True

    def _weight(self, batch: Batch) -> int:
        about_members = max(1, self._limit // MOST_ABOUT_MEMBERS)
        return sum(1 if entry.meta.kind.is_about_path else about_members for entry in batch.entries)

    def _begins_too_many(self, batch: Batch) -> bool:
        if batch.first_sequence > 1:
            return False
        return self._chains(batch.author) - self._chains_let_pass.get(batch.author, 0) >= MAX_AUTHOR_CHAINS

    def _chains(self, author: DeviceId) -> int:
        return sum(known.merged > 0 and known.id.author == author for known in self._replica.ledger.chains())

    def _has_most_chains(self, author: DeviceId) -> bool:
        return self._chains(author) >= MOST_AUTHOR_CHAINS

    def vouched(self, waiting: Iterable[Batch], merged: Vector) -> Mapping[ChainId, tuple[int, DeviceId]]:
        """How far others have merged the chains of who is barred, and who of them says so: as far as that we follow.

        So whatever they wrote since does not wait. It is counted as theirs, and for nothing where they used up their
        own hour: two who work together get no further than each alone.
        """
        if not self._barred:
            return {}
        found: dict[ChainId, tuple[int, DeviceId]] = {}
        now = time.time()
        for batch in waiting:
            if batch.author in self._barred or not self._quota.room(batch.author, now=now):
                continue
            for chain, sequence in batch.vector.items():
                if chain.author not in self._barred or (chain not in merged and self._has_most_chains(chain.author)):
                    continue
                if sequence > max(merged.get(chain, 0), found.get(chain, (0,))[0]):
                    found[chain] = sequence, batch.author
        return found

    def answers_for(self, author: DeviceId, batch: Batch) -> bool:
        """Whether ``author`` may still vouch for another's batch; then that is counted as its own."""
        now = time.time()
        if not self._quota.room(author, now=now) or (batch.first_sequence == 1 and self._has_most_chains(batch.author)):
            return False
        self._quota.charge(author, self._weight(batch), now=now)
        return True

    def release(self, author: DeviceId, up_to: Vector | None = None) -> None:
        """Its hour begins anew, and what is named in ``up_to`` is not counted. Within a transaction."""
        self._quota.forgive(author)
        self._chains_let_pass[author] = self._chains(author)
        self._let_pass.update((chain, last) for chain, last in (up_to or {}).items() if chain.author == author)
        if self._barred.pop(author, None) is not None:
            self._keep()

    def _keep(self) -> None:
        self._replica.ledger.set_fact(_FACT, cbor2.dumps([[author, since] for author, since in self._barred.items()]))


def _flood(author: DeviceId, since_s: float) -> Flood:
    return Flood(guard.held_id([author, repr(since_s).encode()]), author, since_s)
