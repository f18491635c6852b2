# SPDX-License-Identifier: AGPL-3.0-or-later
"""The books of one link: what we asked for, what the peer asked for, and which offers stand open."""

from collections.abc import Iterable
from typing import NamedTuple

from harp.base.errors import LocalProtocolError, RemoteProtocolError
from harp.sync.model import FolderId
from harp.sync.protocol.foldermessages import MAX_ASKS, MAX_REQUEST, Wanted, What

MAX_OPEN_OFFERS = 64
"""At any moment, in one direction of a link."""


class Asked(NamedTuple):
    """One ask of ours that is not answered yet; ``at`` is when it was made."""

    request: int
    folder: FolderId
    what: What
    id: bytes
    at: float


class Asks:
    """What we asked the peer for. :meth:`answered` alone may be called from another thread: it is one ``dict.pop``."""

    def __init__(self) -> None:
        self._open: dict[int, Asked] = {}
        self._next = 1

    @property
    def room(self) -> int:
        """How many more can be made before the peer has to answer some."""
        return MAX_ASKS - len(self._open)

    def made(self, folder: FolderId, wanted: Iterable[tuple[What, bytes]], *, now: float) -> tuple[Asked, ...]:
        """New asks with numbers of their own. Raises :class:`LocalProtocolError` where there is no :attr:`room`."""
        new = tuple(Asked(self._number(), folder, what, id, now) for what, id in wanted)
        if len(new) > self.room:
            raise LocalProtocolError(f"{len(new)} asks, where the peer takes {self.room} more")
        self._open.update((asked.request, asked) for asked in new)
        return new

    def answered(self, request: int) -> Asked | None:
        """The ask that this number belongs to, which is closed by that; None where there is none."""
        return self._open.pop(request, None)

    def cancelled(self, requests: Iterable[int]) -> tuple[Asked, ...]:
        """Those of ``requests`` that were open, and are no longer."""
        found = (self._open.pop(request, None) for request in requests)
        return tuple(asked for asked in found if asked is not None)

    def of_folder(self, folder: FolderId) -> tuple[int, ...]:
        return tuple(asked.request for asked in tuple(self._open.values()) if asked.folder == folder)

    def all(self) -> tuple[int, ...]:
        return tuple(self._open)

    def _number(self) -> int:
        number = self._next
        while number in self._open:
            number = number % MAX_REQUEST + 1
        self._next = number % MAX_REQUEST + 1
        return number


class Owed:
    """What the peer asked us for. :meth:`settle` alone may be called from another thread: it is one ``dict.pop``."""

    def __init__(self) -> None:
        self._open: dict[int, FolderId] = {}

    def __len__(self) -> int:
        return len(self._open)

    def owe(self, folder: FolderId, wanted: tuple[Wanted, ...]) -> None:
        """Raises :class:`RemoteProtocolError` for more than MAX_ASKS, or for a number that is not answered yet."""
        if len(self._open) + len(wanted) > MAX_ASKS:
            raise RemoteProtocolError(f"more than {MAX_ASKS} asks before an answer")
        if any(ask.request in self._open for ask in wanted):
            raise RemoteProtocolError("an ask has the number of one that is not answered yet")
        self._open.update((ask.request, folder) for ask in wanted)

    def settle(self, request: int) -> bool:
        """Whether an answer is still owed; it no longer is."""
        return self._open.pop(request, None) is not None

    def forget(self, requests: Iterable[int]) -> tuple[int, ...]:
        """Those of ``requests`` for which an answer was still owed."""
        return tuple(request for request in requests if self.settle(request))

    def of_folder(self, folder: FolderId) -> tuple[int, ...]:
        return tuple(request for request, owed in tuple(self._open.items()) if owed == folder)


class Offers:
    """The offers that stand open in one direction."""

    def __init__(self) -> None:
        self._open: dict[int, FolderId] = {}

    def __len__(self) -> int:
        return len(self._open)

    def is_sound(self, folder: FolderId, offer: int) -> bool:
        """Whether an Offer goes on with an open one of its folder, or begins one of at most MAX_OPEN_OFFERS."""
        if offer in self._open:
            return self._open[offer] == folder
        return len(self._open) < MAX_OPEN_OFFERS

    def begin(self, folder: FolderId, offer: int) -> None:
        self._open[offer] = folder

    def end(self, folder: FolderId, offer: int) -> bool:
        """Whether this offer of this folder was open; it no longer is."""
        if self._open.get(offer) != folder:
            return False
        del self._open[offer]
        return True

    def forget(self, folder: FolderId) -> None:
        self._open = {offer: owner for offer, owner in self._open.items() if owner != folder}
