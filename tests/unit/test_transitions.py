# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every cell of the table of states, walked with real sessions; what the table leaves out is tried as well."""

from collections.abc import Callable

import pytest

from harp.base.errors import LocalProtocolError
from harp.sync.model import FolderId, Role
from harp.sync.protocol import messages
from harp.sync.protocol.events import Closed, CloseLink, Event, ReportLoss
from harp.sync.protocol.messages import CloseCode, Message
from harp.sync.protocol.session import Session
from harp.sync.protocol.transitions import TRANSITIONS, Mode, State, Stimulus, successor
from tests.fakes.link import hello

JOIN = messages.Join(bytes(32), "laptop")
WELCOME = messages.Welcome(FolderId(bytes(32)), "Photos", Role.OWNER, bytes(32), (), ())
ADDRESSES = messages.Addresses(())


def hears(message: Message) -> Callable[[Session], list[Event]]:
    data = messages.encode(message)
    return lambda session: session.receive(data[4], data[5:], now=1.0)


def says(message: Message) -> Callable[[Session], list[Event]]:
    def act(session: Session) -> list[Event]:
        session.send(message)
        return []

    return act


ACTS: dict[Stimulus, Callable[[Session], list[Event]]] = {
    Stimulus.HEARD_HELLO: hears(hello("peer")),
    Stimulus.HEARD_JOIN: hears(JOIN),
    Stimulus.HEARD_WELCOME: hears(WELCOME),
    Stimulus.HEARD_TRAFFIC: hears(ADDRESSES),
    Stimulus.HEARD_CLOSE: hears(messages.Close(CloseCode.SHUTDOWN)),
    Stimulus.SAID_JOIN: says(JOIN),
    Stimulus.SAID_WELCOME: says(WELCOME),
    Stimulus.SAID_TRAFFIC: says(ADDRESSES),
    Stimulus.SAID_CLOSE: lambda session: session.perform(CloseLink(CloseCode.NORMAL), now=1.0),
    Stimulus.FAULT: lambda session: session.receive(2, b"garbage", now=1.0),
    Stimulus.EXPIRY: lambda session: session.tick(now=1e6),
    Stimulus.LOSS: lambda session: session.perform(ReportLoss("reset"), now=1.0),
}
WAY: dict[tuple[Mode, State], list[Stimulus]] = {
    (Mode.MEMBER, State.OPEN): [Stimulus.HEARD_HELLO],
    (Mode.JOINER, State.JOINING): [Stimulus.HEARD_HELLO],
    (Mode.JOINER, State.DECIDING): [Stimulus.HEARD_HELLO, Stimulus.SAID_JOIN],
    (Mode.JOINER, State.OPEN): [Stimulus.HEARD_HELLO, Stimulus.SAID_JOIN, Stimulus.HEARD_WELCOME],
    (Mode.INVITER, State.JOINING): [Stimulus.HEARD_HELLO],
    (Mode.INVITER, State.DECIDING): [Stimulus.HEARD_HELLO, Stimulus.HEARD_JOIN],
    (Mode.INVITER, State.OPEN): [Stimulus.HEARD_HELLO, Stimulus.HEARD_JOIN, Stimulus.SAID_WELCOME],
    **{(mode, State.GREETING): [] for mode in Mode},
    **{(mode, State.CLOSED): [Stimulus.LOSS] for mode in Mode},
}


def session_in(mode: Mode, state: State) -> Session:
    session = Session(hello(), is_dialler=mode is not Mode.INVITER, mode=mode, now=0.0)
    for stimulus in WAY[mode, state]:
        ACTS[stimulus](session)
    assert session.state is state
    return session


@pytest.mark.parametrize("stimulus", Stimulus, ids=lambda stimulus: stimulus.value)
@pytest.mark.parametrize(("mode", "state"), WAY, ids=lambda part: part.value)
def test_every_cell_of_the_table(mode: Mode, state: State, stimulus: Stimulus) -> None:
    session = session_in(mode, state)
    after = successor(mode, state, stimulus)
    if state is State.CLOSED:
        assert after is None
        assert ACTS[stimulus](session) == []
        assert session.state is State.CLOSED
    elif after is not None:
        events = ACTS[stimulus](session)
        assert session.state is after
        assert (after is State.CLOSED) == any(isinstance(event, Closed) for event in events)
    elif stimulus.value.startswith("heard"):
        (event,) = ACTS[stimulus](session)
        assert event == Closed(CloseCode.PROTOCOL, f"{stimulus.value} while {state.value}", by_peer=False)
        assert session.state is State.CLOSED
    else:
        with pytest.raises(LocalProtocolError, match=f"cannot be said while {state.value}"):
            ACTS[stimulus](session)
        assert session.state is state


def test_the_walk_leaves_no_cell_out() -> None:
    assert set(ACTS) == set(Stimulus)
    assert set(WAY) == {(mode, state) for mode, states in TRANSITIONS.items() for state in states}


@pytest.mark.parametrize("mode", Mode)
def test_every_state_can_end_and_the_end_has_no_way_out(mode: Mode) -> None:
    endings = [Stimulus.HEARD_CLOSE, Stimulus.SAID_CLOSE, Stimulus.FAULT, Stimulus.EXPIRY, Stimulus.LOSS]
    for state, row in TRANSITIONS[mode].items():
        if state is State.CLOSED:
            assert row == {}
        else:
            assert all(row[ending] is State.CLOSED for ending in endings)
