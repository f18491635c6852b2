# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every message, and how each becomes a frame and comes back (docs/protocol.md, section "Messages")."""

from collections.abc import Mapping

from harp.base.errors import RemoteProtocolError
from harp.sync.protocol import wire
from harp.sync.protocol.foldermessages import (
    Ask,
    Batches,
    Cancel,
    Content,
    Forked,
    Get,
    Offer,
    OfferEnd,
    Proof,
    State,
    Wanted,
    What,
)
from harp.sync.protocol.frames import frame
from harp.sync.protocol.linkmessages import (
    OLDEST_VERSION,
    PROTOCOL_VERSION,
    Addresses,
    Close,
    CloseCode,
    Hello,
    Join,
    Ping,
    Pong,
    Welcome,
)
from harp.sync.protocol.officemessages import Availability, Circle, Site

__all__ = [
    "OLDEST_VERSION",
    "PROTOCOL_VERSION",
    "Addresses",
    "Ask",
    "Availability",
    "Batches",
    "Cancel",
    "Circle",
    "Close",
    "CloseCode",
    "Content",
    "FolderMessage",
    "Forked",
    "Get",
    "Hello",
    "Join",
    "LinkMessage",
    "Message",
    "Offer",
    "OfferEnd",
    "Ping",
    "Pong",
    "Proof",
    "Site",
    "State",
    "Wanted",
    "Welcome",
    "What",
    "decode",
    "encode",
]

LinkMessage = Hello | Addresses | Ping | Pong | Close | Join | Welcome | Cancel | Site
FolderMessage = State | Proof | Get | Batches | Content | Ask | Offer | OfferEnd | Forked | Circle | Availability
"""Those that name a folder in their first field."""
Message = LinkMessage | FolderMessage

FIRST_IGNORED_TYPE = 128
"""From here on a type that is not known is ignored; below, it is an error."""

_ALL: tuple[type[Message], ...] = (
    Hello,
    State,
    Proof,
    Get,
    Batches,
    Content,
    Ask,
    Cancel,
    Offer,
    OfferEnd,
    Addresses,
    Ping,
    Pong,
    Close,
    Join,
    Welcome,
    Forked,
    Site,
    Circle,
    Availability,
)
MESSAGES: Mapping[int, type[Message]] = {message.TYPE: message for message in _ALL}
"""By type. An answer (8) is not here: it is no CBOR, see :mod:`harp.sync.protocol.frames`."""
_FIELDS: Mapping[type[Message], int] = {message: len(message.__slots__) for message in _ALL}


def encode(message: Message) -> bytes:
    """The whole frame of ``message``; equal messages give equal bytes.

    Raises :class:`LocalProtocolError` where it is longer than a frame.
    """
    return frame(message.TYPE, wire.encoded(message.fields()))


def decode(type: int, body: bytes) -> Message | None:
    """The message that a frame holds; None for a type of 128 or more that is not known.

    Raises :class:`RemoteProtocolError` for whatever breaks docs/protocol.md.
    """
    kind = MESSAGES.get(type)
    if kind is None:
        if type >= FIRST_IGNORED_TYPE:
            return None
        raise RemoteProtocolError(f"there is no message of type {type}")
    values = wire.fields(body, _FIELDS[kind])
    return wire.read(lambda: kind.of(*values))
