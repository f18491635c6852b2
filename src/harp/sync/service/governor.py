# SPDX-License-Identifier: AGPL-3.0-or-later
"""Says who is a member: grants, cuts, leaves and approvals of this device, proofs, and the knocking secrets."""

import secrets
import time
from collections.abc import Iterable, Mapping, Sequence

import nacl.bindings
import nacl.exceptions
import nacl.public

from harp.base.errors import RemoteProtocolError, TrustError
from harp.identity.device import DeviceId, short
from harp.sync.engine import chain, details, facts, members, merge
from harp.sync.engine.chain import Draft
from harp.sync.engine.details import Approval, ForkBranches
from harp.sync.model import Entry, EntryId, FolderKeys, Hlc, Incarnation, Kind, Path, Role
from harp.sync.protocol import batchform
from harp.sync.protocol.linkmessages import SECRET_BYTES
from harp.sync.service.author import Author, Written
from harp.sync.service.replica import Replica

MAX_EPOCHS = 32


class Governor:
    """For the folder's thread. What it writes must still be published."""

    def __init__(self, replica: Replica, author: Author) -> None:
        self._replica = replica
        self._author = author
        self.owes_secret = self._has_left_since()
        """Whether a member left by itself, and still knows the newest secret: an owner makes another."""

    def grant(self, device: DeviceId, role: Role, name: str) -> list[Written]:
        """Makes a device a member. Raises :class:`TrustError` where this device is no owner."""
        self._demand_owner()
        return self._say(Draft(kind=Kind.GRANT, hlc=self._hlc(), detail=details.grant_detail(device, role, name)))

    def cut(self, device: DeviceId) -> list[Written]:
        """Ends a membership: what this device has merged of it is the last that counts; a new knocking secret follows.

        Raises :class:`TrustError` where this device is no owner, or the other no member.
        """
        self._demand_owner()
        replica = self._replica
        if replica.membership.role(device) is None:
            raise TrustError(f"{short(device)} is no member of {replica.name}")
        last = {known.id.incarnation: known.upheld for known in replica.ledger.chains() if known.id.author == device}
        return self._cut(device, {chain_: sequence for chain_, sequence in last.items() if sequence})

    def renewed(self) -> list[Written]:
        """A new secret for those that remain. Several owners may each make one: the newest counts everywhere."""
        self._demand_owner()
        return self._cut(details.NOBODY, {})

    def _cut(self, device: DeviceId, last: Mapping[Incarnation, int]) -> list[Written]:
        replica = self._replica
        epoch = secrets.token_bytes(SECRET_BYTES)
        remaining = [member for member in replica.membership.members if member != device]
        sealed = {member: sealed_for(member, epoch) for member in remaining}
        hlc = self._hlc()
        said = details.cut_details(device, last, sealed)
        written = self._say(*(Draft(kind=Kind.CUT, hlc=hlc, detail=detail) for detail in said))
        self.learn_epochs()
        return written

    def leave(self) -> list[Written]:
        """Ends this device's own membership; the last owner's has no effect."""
        return self._say(Draft(kind=Kind.LEAVE, hlc=self._hlc(), detail=details.leave_detail()))

    def approve(self, approval: Approval) -> list[Written]:
        """Signs that a person here stands by what was held. Raises :class:`TrustError` for a fork, but for an owner."""
        if isinstance(approval, ForkBranches):
            self._demand_owner()
        return self._say(Draft(kind=Kind.APPROVE, hlc=self._hlc(), detail=details.approve_detail(approval)))

    def stand_by(self, written: Iterable[Written], paths: Iterable[Path]) -> list[Written]:
        """Signs that a person here stands by what was just said of these paths."""
        meant = frozenset(paths)
        said = [entry.id for item in written for entry in item.batch.entries if entry.meta.path in meant]
        return self.approve(details.HeldSet(details.held_digest(said))) if said else []

    def learn_epochs(self) -> bool:
        """Opens the knocking secrets of all cuts that count; whether there was a new one.

        What came with the welcome is older than all of them; of two owners' cuts the later is the newer on each device.
        """
        replica = self._replica
        opened: dict[bytes, None] = {}
        for entry, batch in sorted(replica.ledger.governance(), key=lambda one: (one[0].meta.hlc, one[0].id)):
            if entry.meta.kind is not Kind.CUT or not replica.membership.counts(entry.meta, batch.vector):
                continue
            sealed = details.parse_cut(entry.meta.detail).sealed_secrets.get(replica.device)
            secret = None if sealed is None else opened_by(replica.key.seed + replica.device, sealed)
            if secret is not None:
                opened[secret] = None
        self.owes_secret = self._has_left_since()
        known = tuple(replica.secrets.epochs)
        epochs = (*(secret for secret in known if secret not in opened), *opened)[-MAX_EPOCHS:]
        if epochs == known:
            return False
        replica.secrets = FolderKeys(replica.secrets.content, epochs)
        with replica.ledger.db.transaction():
            replica.ledger.set_keys(replica.secrets)
        return True

    def _has_left_since(self) -> bool:
        """Whether there is a leave that no cut was made upon, for an owner to see to."""
        if self._replica.role is not Role.OWNER:
            return False
        counting = [
            fact
            for entry, batch in self._replica.ledger.governance()
            if self._replica.membership.counts(entry.meta, batch.vector)
            and (fact := facts.fact(entry, batch.vector)) is not None
        ]
        cuts = [fact for fact in counting if isinstance(fact, facts.CutFact)]
        leaves = [fact for fact in counting if isinstance(fact, facts.LeaveFact)]
        return any(not any(facts.precedes(leave, cut) for cut in cuts) for leave in leaves)

    # --- proofs -------------------------------------------------------------------------------------------------------

    def proof(self, device: DeviceId) -> list[bytes]:
        """The batches of the grants that lead from the founder to ``device``, causes first; empty if there are none."""
        history = self._replica.ledger.governance()
        granted_by = {member: found.granted_by for member, found in self._replica.membership.members.items()}
        by_id = {entry.id: (order, entry, batch) for order, (entry, batch) in enumerate(history)}
        wanted: dict[EntryId, int] = {}
        todo = [granted_by.get(device)]
        while todo:
            entry_id = todo.pop()
            if entry_id is None or entry_id in wanted or entry_id not in by_id:
                continue
            order, entry, _ = by_id[entry_id]
            wanted[entry_id] = order
            todo += [
                other.id
                for other, _ in history
                if other.meta.kind is Kind.GRANT and details.parse_grant(other.meta.detail).device == entry.meta.author
            ]
        batches = {by_id[id_][2].signature: by_id[id_][2] for id_ in sorted(wanted, key=lambda id_: wanted[id_])}
        return [batchform.encode_batch(batch) for batch in batches.values()]

    def proves(self, device: DeviceId, proof: Iterable[bytes]) -> bool:
        """Whether the batches, with the cuts that are known here, make ``device`` a member.

        Raises :class:`RemoteProtocolError` for batches that are not right in themselves.
        """
        batches = [batchform.decode_batch(data) for data in proof]
        for batch in batches:
            chain.check(batch)
            if batch.folder != self._replica.folder:
                raise RemoteProtocolError("a proof speaks of another folder")
        said = [(entry, batch.vector) for batch in batches for entry in batch.entries]
        said += [(entry, batch.vector) for entry, batch in self._replica.ledger.governance()]
        found = [fact for entry, vector in said if (fact := facts.fact(entry, vector)) is not None]
        genesis = next((entry for entry, _ in said if chain.is_genesis(entry)), None)
        if genesis is None:
            return False
        membership = members.evaluate(
            genesis,
            [one for one in found if isinstance(one, facts.GrantFact)],
            [one for one in found if isinstance(one, facts.CutFact)],
            [one for one in found if isinstance(one, facts.LeaveFact)],
        )
        return membership.role(device) is not None

    def _say(self, *drafts: Draft) -> list[Written]:
        written, _ = self._author.write([drafts], {})
        self._replica.learn_members()
        return written

    def _hlc(self) -> Hlc:
        said: Sequence[Entry] = [entry for entry, _ in self._replica.ledger.governance()]
        return merge.next_hlc(said, now_ms=time.time_ns() // 1_000_000)

    def _demand_owner(self) -> None:
        if self._replica.role is not Role.OWNER:
            raise TrustError(f"this device does not own {self._replica.name}", hint="ask for it on a device that does")


def sealed_for(device: DeviceId, secret: bytes) -> bytes:
    """``secret``, readable by that device alone (libsodium's sealed box, X25519 of its Ed25519 key)."""
    public = nacl.bindings.crypto_sign_ed25519_pk_to_curve25519(device)
    return nacl.public.SealedBox(nacl.public.PublicKey(public)).encrypt(secret)


def opened_by(key: bytes, sealed: bytes) -> bytes | None:
    """What was sealed for the owner of ``key`` (Ed25519 seed and public key); None for anything else."""
    private = nacl.bindings.crypto_sign_ed25519_sk_to_curve25519(key)
    try:
        secret = nacl.public.SealedBox(nacl.public.PrivateKey(private)).decrypt(sealed)
    except (nacl.exceptions.CryptoError, ValueError):
        return None
    return secret if len(secret) == SECRET_BYTES else None
