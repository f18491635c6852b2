# SPDX-License-Identifier: AGPL-3.0-or-later
"""What entries say about a folder's members, each with the causes that it was said upon."""

from collections.abc import Mapping
from dataclasses import dataclass

from harp.identity.device import DeviceId
from harp.sync.engine import details
from harp.sync.model import ChainId, Entry, Incarnation, Kind, Metadata, Role, Vector


@dataclass(frozen=True, slots=True)
class GrantFact:
    """``entry`` admits ``device``; whether it may is for the evaluation."""

    entry: Entry
    vector: Vector
    device: DeviceId
    role: Role
    name: str


@dataclass(frozen=True, slots=True)
class CutFact:
    """``entry`` accepts of ``device`` no more than ``last``, by incarnation."""

    entry: Entry
    vector: Vector
    device: DeviceId
    last: Mapping[Incarnation, int]


@dataclass(frozen=True, slots=True)
class LeaveFact:
    """The author of ``entry`` leaves: a cut of itself, at this entry."""

    entry: Entry
    vector: Vector


Fact = GrantFact | CutFact | LeaveFact


def fact(entry: Entry, vector: Vector) -> Fact | None:
    """What ``entry``, of a batch made upon ``vector``, says about members; None for paths and approvals.

    Raises :class:`~harp.base.errors.RemoteProtocolError` where its detail is malformed, which a checked batch's is not.
    """
    match entry.meta.kind:
        case Kind.GRANT:
            grant = details.parse_grant(entry.meta.detail)
            return GrantFact(entry, vector, grant.device, grant.role, grant.name)
        case Kind.CUT:
            cut = details.parse_cut(entry.meta.detail)
            return CutFact(entry, vector, cut.device, cut.last)
        case Kind.LEAVE:
            return LeaveFact(entry, vector)
        case _:
            return None


def is_in_past(chain: ChainId, sequence: int, meta: Metadata, vector: Vector) -> bool:
    """Whether the entry at ``sequence`` of ``chain`` lies in the causal past of ``meta``, made upon ``vector``.

    That is: its vector covers it, or it comes before it in its own chain (maybe in the same batch).
    """
    if chain == (meta.author, meta.incarnation):
        return sequence < meta.sequence
    return vector.get(chain, 0) >= sequence


def precedes(cause: Fact, effect: Fact) -> bool:
    """Whether ``effect``'s author had merged ``cause`` when it made ``effect``."""
    meta = cause.entry.meta
    return is_in_past(meta.chain, meta.sequence, effect.entry.meta, effect.vector)
