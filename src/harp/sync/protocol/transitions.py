# SPDX-License-Identifier: AGPL-3.0-or-later
"""The states of a session, as a table.

The theory. A link is a conversation of two devices that TLS has already named to each other. Both say Hello at once
and neither waits, so there is no client and no server in what follows; there are three *modes*, known before the first
byte, since the knock told which secret opened the door:

- MEMBER: both believe that they share a folder. After the two Hellos everything may be said.
- JOINER and INVITER: one shows a ticket, the other redeems it or hangs up. Nothing else is said before that.

      GREETING ──Hello──▶ OPEN                                                 (member)
      GREETING ──Hello──▶ JOINING ──Join──▶ DECIDING ──Welcome──▶ OPEN         (joiner says Join, inviter says Welcome)
      any but CLOSED ──Close, fault, expiry, loss──▶ CLOSED

Rule 1: what the table does not have, may not be. Heard, it is the peer's fault and ends the link; said, it is ours.
Rule 2: the table knows nothing of folders. Who may speak of which folder is the session's matter, and only in OPEN.
Rule 3: CLOSED is the end. Nothing is heard or said there, and there is no way out.
"""

from collections.abc import Mapping
from enum import Enum

from harp.identity.device import DeviceId


class Mode(Enum):
    """Why this link was made, as the knock told."""

    MEMBER = "member"
    JOINER = "joiner"
    INVITER = "inviter"


class State(Enum):
    """Where the conversation is."""

    GREETING = "greeting"
    """The peer's Hello is awaited."""
    JOINING = "joining"
    """The ticket has not been shown."""
    DECIDING = "deciding"
    """The ticket has been shown, and is not redeemed."""
    OPEN = "open"
    CLOSED = "closed"


class Stimulus(Enum):
    """What can happen to a conversation."""

    HEARD_HELLO = "heard hello"
    HEARD_JOIN = "heard join"
    HEARD_WELCOME = "heard welcome"
    HEARD_TRAFFIC = "heard traffic"
    """Any other message, and any answer."""
    HEARD_CLOSE = "heard close"
    SAID_JOIN = "said join"
    SAID_WELCOME = "said welcome"
    SAID_TRAFFIC = "said traffic"
    SAID_CLOSE = "said close"
    FAULT = "fault"
    """The peer broke the protocol."""
    EXPIRY = "expiry"
    """The peer was silent for too long."""
    LOSS = "loss"
    """The carrier broke."""


_ENDINGS: Mapping[Stimulus, State] = {
    Stimulus.HEARD_CLOSE: State.CLOSED,
    Stimulus.SAID_CLOSE: State.CLOSED,
    Stimulus.FAULT: State.CLOSED,
    Stimulus.EXPIRY: State.CLOSED,
    Stimulus.LOSS: State.CLOSED,
}
_OPEN: Mapping[Stimulus, State] = {
    Stimulus.HEARD_TRAFFIC: State.OPEN,
    Stimulus.SAID_TRAFFIC: State.OPEN,
    **_ENDINGS,
}

TRANSITIONS: Mapping[Mode, Mapping[State, Mapping[Stimulus, State]]] = {
    Mode.MEMBER: {
        State.GREETING: {Stimulus.HEARD_HELLO: State.OPEN, **_ENDINGS},
        State.OPEN: _OPEN,
        State.CLOSED: {},
    },
    Mode.JOINER: {
        State.GREETING: {Stimulus.HEARD_HELLO: State.JOINING, **_ENDINGS},
        State.JOINING: {Stimulus.SAID_JOIN: State.DECIDING, **_ENDINGS},
        State.DECIDING: {Stimulus.HEARD_WELCOME: State.OPEN, **_ENDINGS},
        State.OPEN: _OPEN,
        State.CLOSED: {},
    },
    Mode.INVITER: {
        State.GREETING: {Stimulus.HEARD_HELLO: State.JOINING, **_ENDINGS},
        State.JOINING: {Stimulus.HEARD_JOIN: State.DECIDING, **_ENDINGS},
        State.DECIDING: {Stimulus.SAID_WELCOME: State.OPEN, **_ENDINGS},
        State.OPEN: _OPEN,
        State.CLOSED: {},
    },
}


def successor(mode: Mode, state: State, stimulus: Stimulus) -> State | None:
    """Where ``stimulus`` leads from ``state``; None where the table does not allow it."""
    return TRANSITIONS[mode][state].get(stimulus)


def is_preferred(own: DeviceId, peer: DeviceId, *, is_dialler: bool) -> bool:
    """Of two open links between the same two devices, whether this is one that stays: the smaller id's dialling.

    Where both were dialled by the same device, the newer one stays, since the older one is the one that broke.
    """
    return (own < peer) == is_dialler
