# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whom to ask for which chunk: a function of what is wanted, who has it and how they are reached.

Locality first. A chunk that a peer on the LAN holds is asked there and nowhere else, even if that peer's window is full
just now. The WAN is asked only for what the neighbours leave to us (:mod:`harp.sync.engine.neighbours`). Within a class
the peer with most room in its window is asked.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from harp.identity.device import DeviceId
from harp.sync.model import MIN_CHUNK, ChunkId

FULL_BYTES: Final = MIN_CHUNK
"""A window with less room than this is full: nobody looks through thousands of wants for one that is small enough."""

LOOK_AHEAD: Final = 1000
"""How many wants that wait for a full peer are passed over in search of one for a peer that is idle."""


class Reach(Enum):
    """How a peer is reached."""

    LAN = "lan"
    WAN = "wan"


class Want(NamedTuple):
    """A chunk that is missing here; a smaller ``priority`` is asked for sooner."""

    id: ChunkId
    size: int
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Source:
    """A linked peer. ``free`` is the room in its window, in bytes; a whole window has at least ``MAX_CHUNK``.

    ``benched_until``: it failed to keep its word, and is neither asked nor waited for before then.
    """

    device: DeviceId
    reach: Reach
    free: int
    has: Callable[[ChunkId], bool]
    benched_until: float = 0.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of the questions for a chunk: whose answer is awaited, and who said no (NOT_HELD, GONE, bad bytes)."""

    device: DeviceId | None = None
    refused: frozenset[DeviceId] = frozenset()


class Ask(NamedTuple):
    """Ask ``device`` for the chunk ``id`` of ``size`` bytes."""

    device: DeviceId
    id: ChunkId
    size: int


class Why(Enum):
    """Why a chunk is not there yet, in words for people."""

    ASKED = "asked for"
    READY = "about to be asked for"
    FULL = "waits for a peer that is busy"
    NEIGHBOUR = "left to a neighbour"
    BENCHED = "waits for a peer that failed a moment ago"
    REFUSED = "no connected peer could serve it"
    NOBODY = "no connected peer has it"


_NEVER_ASKED: Final = Asked()
IsOurs = Callable[[ChunkId], bool]
"""Whether the neighbours leave it to us to ask the WAN for a chunk."""


def _always(_: ChunkId) -> bool:
    return True


def in_order(wants: Iterable[Want]) -> list[Want]:
    """``wants`` as :func:`assign` takes them: by priority, and as they came where that is equal."""
    return sorted(wants, key=lambda want: want.priority)


def assign(
    wants: Iterable[Want],
    peers: Mapping[DeviceId, Source],
    asked: Mapping[ChunkId, Asked],
    *,
    now: float,
    is_ours: IsOurs = _always,
) -> list[Ask]:
    """The questions to send now. ``wants`` are in the order in which they are to be asked for (:func:`in_order`).

    A want is asked for if nobody is asked yet and, of the peers in the nearest class that holds it, neither benched nor
    refusing, the roomiest has room for it and for ``FULL_BYTES``. Nothing is asked twice, no window is overrun.
    Stops reading ``wants`` once all windows are full, or once ``LOOK_AHEAD`` of them wait for a window.
    """
    usable = [peer for peer in peers.values() if peer.benched_until <= now]
    lan = [peer for peer in usable if peer.reach is Reach.LAN]
    wan = [peer for peer in usable if peer.reach is Reach.WAN]
    free = {peer.device: peer.free for peer in usable}
    most = max(free.values(), default=0)
    asks: list[Ask] = []
    done: set[ChunkId] = set()
    waiting = 0
    for id, size, _ in wants:
        if most < FULL_BYTES or waiting >= LOOK_AHEAD:
            break
        if size > most or id in done:
            continue
        before = asked.get(id, _NEVER_ASKED)
        if before.device is not None:
            continue
        holders = _holders(id, lan, before.refused)
        if not holders:
            holders = _holders(id, wan, before.refused)
            if holders and not is_ours(id):
                continue
        device = _roomiest(holders, free)
        if device is None:
            continue
        if free[device] < max(size, FULL_BYTES):
            waiting += 1
            continue
        free[device] -= size
        most = max(free.values())
        done.add(id)
        asks.append(Ask(device, id, size))
    return asks


def why(
    want: Want,
    peers: Mapping[DeviceId, Source],
    asked: Mapping[ChunkId, Asked],
    *,
    now: float,
    is_ours: IsOurs = _always,
) -> Why:
    """Why ``want`` is not there yet; the answer that :func:`assign` acts upon."""
    before = asked.get(want.id, _NEVER_ASKED)
    if before.device is not None:
        return Why.ASKED
    usable = [peer for peer in peers.values() if peer.benched_until <= now]
    lan = [peer for peer in usable if peer.reach is Reach.LAN]
    holders = _holders(want.id, lan, before.refused)
    if not holders:
        holders = _holders(want.id, usable, before.refused)
        if holders and not is_ours(want.id):
            return Why.NEIGHBOUR
    if holders:
        room = max(peer.free for peer in holders)
        return Why.READY if room >= max(want.size, FULL_BYTES) else Why.FULL
    return _why_nobody(want.id, peers.values(), before.refused)


def next_deadline(peers: Mapping[DeviceId, Source], *, now: float) -> float | None:
    """When time alone may change what :func:`assign` answers, ``is_ours`` apart: a bench ends; None for never."""
    return min((peer.benched_until for peer in peers.values() if peer.benched_until > now), default=None)


def _holders(id: ChunkId, peers: Iterable[Source], refused: frozenset[DeviceId]) -> list[Source]:
    return [peer for peer in peers if peer.has(id) and peer.device not in refused]


def _roomiest(holders: list[Source], free: Mapping[DeviceId, int]) -> DeviceId | None:
    """The holder with most room; of two the smaller device id, so that the answer is a function of its arguments."""
    if len(holders) == 1:
        return holders[0].device
    return min((peer.device for peer in holders), key=lambda device: (-free[device], device), default=None)


def _why_nobody(id: ChunkId, peers: Iterable[Source], refused: frozenset[DeviceId]) -> Why:
    having = [peer for peer in peers if peer.has(id)]
    if not having:
        return Why.NOBODY
    return Why.REFUSED if all(peer.device in refused for peer in having) else Why.BENCHED
