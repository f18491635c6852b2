# SPDX-License-Identifier: AGPL-3.0-or-later
"""Why a path is not here yet: which content it waits for, from whom that comes, and why from there."""

from dataclasses import dataclass, field

from harp.base.errors import UsageError
from harp.identity.device import DeviceId
from harp.sync.model import Path
from harp.sync.service.applier import Applier
from harp.sync.service.courier import Courier
from harp.sync.service.replica import Replica
from harp.sync.store.places import SETTLED


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk or node that is missing, whom it is asked of or left to, and why that one."""

    id: bytes
    size: int
    device: DeviceId | None
    why: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """How a path stands, in words for people."""

    state: str
    size: int = 0
    pieces: list[Piece] = field(default_factory=list)


def explained(replica: Replica, applier: Applier, courier: Courier, path: Path, *, now: float) -> Explanation:
    """On the folder's thread. Raises :class:`UsageError` for a path that the folder never had."""
    place = replica.places.get(path)
    if place is None or not (place.heads or place.on_disk):
        raise UsageError("the folder never had this path", hint="a path is relative to the folder")
    size = sum(entry.meta.size for entry in replica.heads(place)[-1:])
    if place.pending == SETTLED:
        return Explanation("here, as the folder has it", size)
    if place.problem:
        return Explanation(f"waits for the disk: {place.problem}", size)
    roots = applier.awaits.get(path, frozenset())
    pieces = [piece for root in roots for piece in courier.explained(root, now=now)]
    if pieces:
        return Explanation("waits for content", size, [Piece(*piece) for piece in pieces])
    if roots:
        return Explanation("waits until other large files are done", size)
    return Explanation("about to be written", size)
