# SPDX-License-Identifier: AGPL-3.0-or-later
"""What reaches a folder's thread, from the watcher, from links, from helpers' threads and from people."""

import contextlib
import queue
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from harp.base.errors import HarpError
from harp.sync.folder.watch import Changes
from harp.sync.model import NodeId, Path
from harp.sync.protocol.foldermessages import Batches, Content, Forked, Get, Offer, OfferEnd, State
from harp.sync.protocol.officemessages import Availability, Circle
from harp.sync.service.peer import Peer

MAX_EVENTS = 4096
"""Taken in one turn."""
GATHERED_BYTES = 512 * 1024
"""Batches that are gathered into one message, at most: a message holds twice that."""


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


Sayable = State | Get | Batches | Content | Offer | OfferEnd | Forked | Circle | Availability
"""What a member says about the folder that has to wait for the folder's thread."""


@dataclass(frozen=True, slots=True)
class Said:
    """A member said something about the folder."""

    peer: Peer
    message: Sayable


@dataclass(frozen=True, slots=True)
class SegmentsRead:
    """Manifest nodes of a file that is still being read."""

    nodes: tuple[tuple[NodeId, bytes], ...]


@dataclass(frozen=True, slots=True)
class FileRead:
    """A large file was read to its end, or given up: all its segments came before this."""

    path: Path


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


Event = DiskChanged | PeerCame | PeerWent | Said | SegmentsRead | FileRead | Woken | Call | Stop


class Inbox:
    """Events in the order of their arrival; anyone puts in, the folder's thread takes out."""

    def __init__(self) -> None:
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.put = self._events.put

    def taken(self, timeout_s: float | None) -> list[Event]:
        """What waits, or comes within ``timeout_s``; batches that came one after the other are one message."""
        events: list[Event] = []
        try:
            events.append(self._events.get(timeout=timeout_s) if timeout_s != 0 else self._events.get_nowait())
            while len(events) < MAX_EVENTS:
                events.append(self._events.get_nowait())
        except queue.Empty:
            pass
        return _gathered(events)

    def refuse_calls(self, error: HarpError) -> None:
        """Nobody takes anything out any more: who waits for an answer gets this one."""
        with contextlib.suppress(queue.Empty):
            while True:
                event = self._events.get_nowait()
                if isinstance(event, Call) and event.answer.set_running_or_notify_cancel():
                    event.answer.set_exception(error)


def perform(call: Call) -> None:
    """Does what is asked, and answers; whatever goes wrong is the asker's to know."""
    if not call.answer.set_running_or_notify_cancel():
        return
    try:
        call.answer.set_result(call.what())
    except BaseException as error:  # noqa: BLE001 - whoever called is told
        call.answer.set_exception(error)


def _gathered(events: list[Event]) -> list[Event]:
    """Batches of one peer that follow each other become one message: one transaction in place of many."""
    gathered: list[Event] = []
    for event in events:
        last = gathered[-1] if gathered else None
        if (
            isinstance(event, Said)
            and isinstance(last, Said)
            and event.peer is last.peer
            and isinstance(event.message, Batches)
            and isinstance(last.message, Batches)
            and event.message.batches
            and last.message.batches
            and sum(map(len, event.message.batches + last.message.batches)) <= GATHERED_BYTES
        ):
            joined = Batches(event.message.folder, last.message.batches + event.message.batches)
            gathered[-1] = Said(event.peer, joined)
        else:
            gathered.append(event)
    return gathered
