# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a session says happened, and what it can be told to do."""

from dataclasses import dataclass, field

from harp.sync.model import FolderId
from harp.sync.protocol.asks import Asked
from harp.sync.protocol.frames import Status
from harp.sync.protocol.linkmessages import Hello
from harp.sync.protocol.messages import CloseCode, Message, Proof, State


@dataclass(frozen=True, slots=True)
class Greeted:
    """The peer's Hello came and there is a version both speak. A link between members is open from here on."""

    peer: Hello
    version: int


@dataclass(frozen=True, slots=True)
class Received:
    """A message that is allowed here and now; a folder that it names is admitted. Its truth is still to be checked."""

    message: Message


@dataclass(frozen=True, slots=True)
class Claimed:
    """The peer speaks of a folder that is not admitted: admit it, if our own history or the proof says so.

    Whoever claims must get no answer that differs from the one for a folder that does not exist: none.
    """

    message: State | Proof


@dataclass(frozen=True, slots=True)
class Answered:
    """An ask of ours was answered; ``payload`` is content that still has to be verified."""

    asked: Asked
    status: Status
    payload: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class FolderWithdrawn:
    """A folder is no longer admitted; asks about it, theirs (by number) and ours, are void."""

    folder: FolderId
    owed: tuple[int, ...]
    asked: tuple[Asked, ...]


@dataclass(frozen=True, slots=True)
class Closed:
    """The last event of a session. ``code`` is None where the carrier broke without a word."""

    code: CloseCode | int | None
    text: str
    by_peer: bool
    asked: tuple[Asked, ...] = ()
    """What we asked for and will not get here."""


Event = Greeted | Received | Claimed | Answered | FolderWithdrawn | Closed


@dataclass(frozen=True, slots=True)
class AdmitFolder:
    """The peer is a member of this folder: what it says of it is heard from now on."""

    folder: FolderId


@dataclass(frozen=True, slots=True)
class WithdrawFolder:
    """The peer is no longer a member, or the folder is no longer here."""

    folder: FolderId


@dataclass(frozen=True, slots=True)
class CloseLink:
    """Say why, and end."""

    code: CloseCode
    text: str = ""


@dataclass(frozen=True, slots=True)
class ReportLoss:
    """The carrier broke: no more bytes will come or go."""

    why: str


Command = AdmitFolder | WithdrawFolder | CloseLink | ReportLoss
