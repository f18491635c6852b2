# SPDX-License-Identifier: AGPL-3.0-or-later
"""What reaches a folder's thread, from the watcher, from links, from helpers' threads and from people."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from harp.sync.folder.watch import Changes
from harp.sync.model import NodeId
from harp.sync.protocol.foldermessages import Batches, Content, Forked, Get, Offer, OfferEnd, State
from harp.sync.service.peer import Peer


@dataclass(frozen=True, slots=True)
class DiskChanged:
    """The watcher saw something."""

    changes: Changes


@dataclass(frozen=True, slots=True)
class PeerCame:
    """A member is linked, and its link admits this folder."""

    peer: Peer


@dataclass(frozen=True, slots=True)
class PeerWent:
    """The link ended, or its device is no member any more; what it was asked for will not come."""

    peer: Peer


@dataclass(frozen=True, slots=True)
class Said:
    """A member said something about the folder."""

    peer: Peer
    message: State | Get | Batches | Content | Offer | OfferEnd | Forked


@dataclass(frozen=True, slots=True)
class SegmentsRead:
    """Manifest nodes of a file that is still being read."""

    nodes: tuple[tuple[NodeId, bytes], ...]


@dataclass(frozen=True, slots=True)
class Woken:
    """Something that was done elsewhere is finished: look at what waits."""


@dataclass(frozen=True, slots=True)
class Call:
    """A person or another part asks for something to be done in the folder's thread."""

    what: Callable[[], Any]
    answer: Future[Any]


@dataclass(frozen=True, slots=True)
class Stop:
    """End after this."""


Event = DiskChanged | PeerCame | PeerWent | Said | SegmentsRead | Woken | Call | Stop
