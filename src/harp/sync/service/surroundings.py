# SPDX-License-Identifier: AGPL-3.0-or-later
"""The port by which a folder's loop tells the rest of the daemon what concerns it."""

from typing import Protocol

from harp.base.errors import HarpError
from harp.sync.model import FolderId
from harp.sync.service.peer import Peer
from harp.sync.transport.outflow import ReadInto


class Surroundings(Protocol):
    """What a folder's loop tells the rest of the daemon; called on its thread."""

    def members_changed(self, folder: FolderId) -> None:
        """Grants or cuts were merged: who is admitted, and who may find us, may have changed."""

    def serve(self, peer: Peer, request: int, id_: bytes, read_into: ReadInto) -> None:
        """A member asks for content: it is answered when its turn comes. On the thread of the link."""

    def stopped(self, folder: FolderId, error: HarpError) -> None:
        """The loop ended by an error: the folder stands still, the daemon goes on."""
