# SPDX-License-Identifier: AGPL-3.0-or-later
"""A linked peer in memory: it remembers what it is told, and can hand it on to another device's loop."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, cast

from harp.identity.device import DeviceId
from harp.sync.engine.fetcher import Reach
from harp.sync.model import FolderId
from harp.sync.protocol.asks import Asked
from harp.sync.protocol.foldermessages import What
from harp.sync.service.peer import Peer


@dataclass
class Backlog:
    """What a link says of itself; a test may fill it."""

    backlog_bytes: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    remote: tuple[str, int] = ("192.0.2.7", 8783)
    is_dialler: bool = True


@dataclass(eq=False)
class FakePeer:
    """Stands for ``device`` at somebody's. ``sent`` is all it was told, ``asked`` all it was asked for."""

    device: DeviceId
    reach: Reach = Reach.LAN
    name: str = "peer"
    is_open: bool = True
    link: Backlog = field(default_factory=Backlog)
    sent: list[Any] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    closed: list[tuple[object, str]] = field(default_factory=list)
    on_way: deque[Any] = field(default_factory=deque)
    """Messages and asks that were not delivered yet."""

    @property
    def as_peer(self) -> Peer:
        """For those who ask for the real thing."""
        return cast(Peer, self)

    def send(self, message: object) -> bool:
        if self.is_open:
            self.sent.append(message)
            self.on_way.append(message)
        return self.is_open

    def ask(self, folder: FolderId, wanted: Iterable[tuple[What, bytes]]) -> tuple[Asked, ...]:
        made = [Asked(len(self.asked) + number, folder, what, id_, 0.0) for number, (what, id_) in enumerate(wanted, 1)]
        self.asked += made
        self.on_way += made
        return tuple(made)

    def close(self, code: object, text: str = "") -> None:
        self.closed.append((code, text))

    def told(self, kind: type) -> list[Any]:
        """What it was told of one kind of message."""
        return [message for message in self.sent if isinstance(message, kind)]
