# SPDX-License-Identifier: AGPL-3.0-or-later
"""Laws of a conversation: two sessions agree or both end, the end is the end, and no deadline lies in the past."""

import itertools
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from harp.base.errors import LocalProtocolError
from harp.sync.model import FolderId, Role
from harp.sync.protocol import messages
from harp.sync.protocol.events import AdmitFolder, Claimed, Closed, CloseLink, Event, FolderWithdrawn, WithdrawFolder
from harp.sync.protocol.foldermessages import MAX_ASKS
from harp.sync.protocol.frames import Status, answer_frame
from harp.sync.protocol.messages import CloseCode, FolderMessage, What
from harp.sync.protocol.pulse import DEAD_AFTER_S, HANDSHAKE_S
from harp.sync.protocol.session import MAX_PONGS, Session
from harp.sync.protocol.transitions import Mode, State
from tests.fakes.link import FakeLink, hello
from tests.fakes.words import about_folders, any_message, ids

FOLDER = FolderId(bytes(31) + b"F")
OTHER = FolderId(bytes(31) + b"O")
LONG_S = HANDSHAKE_S + 2 * DEAD_AFTER_S

modes = st.sampled_from(Mode)
pairs = st.sampled_from([(Mode.MEMBER, Mode.MEMBER), (Mode.JOINER, Mode.INVITER)])
mixed_pairs = st.tuples(st.sampled_from([Mode.MEMBER, Mode.JOINER]), st.sampled_from([Mode.MEMBER, Mode.INVITER]))
seconds = st.floats(0, 60, allow_nan=False)
pieces = st.lists(st.integers(1, 40), min_size=1, max_size=6)


def session(mode: Mode, *, now: float = 0.0) -> Session:
    return Session(hello(), is_dialler=mode is not Mode.INVITER, mode=mode, now=now)


def converse(link: FakeLink) -> None:
    """What devices do of themselves: the joiner shows its ticket, the inviter redeems it."""
    joiner, inviter = link.dialler.session, link.listener.session
    if joiner.state is State.JOINING:
        joiner.send(messages.Join(bytes(32), "laptop"))
    if inviter.state is State.DECIDING:
        inviter.send(messages.Welcome(FOLDER, "Photos", Role.READ_WRITE, bytes(32), (), ()))


def run(link: FakeLink, total_s: float, step_s: float) -> None:
    for _ in range(int(total_s / step_s)):
        link.advance(step_s)
        converse(link)
    link.advance(LONG_S)


@given(pairs, st.floats(0, 2), pieces)
def test_over_a_wire_that_is_slow_and_cuts_both_reach_open(
    modes: tuple[Mode, Mode], delay_s: float, lengths: list[int]
) -> None:
    link = FakeLink(modes, delay_s=delay_s, pieces=itertools.cycle(lengths))
    run(link, total_s=20, step_s=0.5)
    assert link.states == (State.OPEN, State.OPEN)
    assert link.dialler.closed is None
    assert link.listener.closed is None


@given(mixed_pairs, st.floats(0, 20), pieces, seconds, st.sampled_from(["break", "silence"]))
def test_over_a_wire_that_breaks_or_falls_silent_both_close(
    modes: tuple[Mode, Mode], delay_s: float, lengths: list[int], until_s: float, how: str
) -> None:
    link = FakeLink(modes, delay_s=delay_s, pieces=itertools.cycle(lengths))
    link.advance(until_s / 2)
    converse(link)
    link.advance(until_s / 2)
    if how == "break":
        link.lose()
    else:
        link.is_silent = True
    link.advance(LONG_S)
    assert link.states == (State.CLOSED, State.CLOSED)
    for end in link.ends:
        assert [isinstance(event, Closed) for event in end.events].count(True) == 1


@given(mixed_pairs, st.floats(0, 20), st.integers(1, 6), st.integers(1, 6), st.integers(1, 6))
def test_in_the_long_run_both_are_open_or_both_are_closed(
    modes: tuple[Mode, Mode], delay_s: float, oldest: int, newest: int, theirs: int
) -> None:
    hellos = (hello("laptop", oldest=min(oldest, newest), newest=newest), hello("desk", oldest=theirs, newest=theirs))
    link = FakeLink(modes, hellos=hellos, delay_s=delay_s)
    run(link, total_s=70, step_s=0.5)
    assert link.states in ((State.OPEN, State.OPEN), (State.CLOSED, State.CLOSED))
    if link.states == (State.OPEN, State.OPEN):
        assert link.dialler.session.version == link.listener.session.version == min(newest, theirs)


actions: st.SearchStrategy[Callable[[Session, float], list[Event]]] = st.one_of(
    any_message.map(lambda message: lambda session, now: heard(session, message, now)),
    st.tuples(st.integers(0, 255), st.binary(max_size=30)).map(
        lambda frame: lambda session, now: session.receive(*frame, now=now)
    ),
    st.just(lambda session, now: heard(session, hello("peer"), now)),
    st.just(lambda session, now: session.tick(now=now)),
    st.just(lambda session, now: session.perform(AdmitFolder(FOLDER), now=now)),
    st.just(lambda session, now: session.perform(WithdrawFolder(FOLDER), now=now)),
    st.sampled_from(CloseCode).map(lambda code: lambda session, now: session.perform(CloseLink(code), now=now)),
)
steps = st.lists(st.tuples(st.floats(0, 20, allow_nan=False), actions), max_size=12)


def heard(session: Session, message: messages.Message, now: float) -> list[Event]:
    data = messages.encode(message)
    return session.receive(data[4], data[5:], now=now)


@given(modes, steps)
def test_the_end_comes_once_and_nothing_happens_after_it(
    mode: Mode, steps: list[tuple[float, Callable[[Session, float], list[Event]]]]
) -> None:
    subject, now, ends = session(mode), 0.0, 0
    for elapsed_s, act in steps:
        now += elapsed_s
        was_closed = subject.state is State.CLOSED
        events = act(subject, now)
        assert not (was_closed and events)
        assert not any(isinstance(event, Closed) for event in events[:-1])
        ends += bool(events) and isinstance(events[-1], Closed)
        assert ends == (subject.state is State.CLOSED)


@given(modes, steps)
def test_a_deadline_never_lies_in_the_past(
    mode: Mode, steps: list[tuple[float, Callable[[Session, float], list[Event]]]]
) -> None:
    subject, now = session(mode), 0.0
    for elapsed_s, act in steps:
        now += elapsed_s
        subject.tick(now=now)
        act(subject, now)
        deadline = subject.next_deadline()
        assert (deadline is None) == (subject.state is State.CLOSED)
        assert deadline is None or deadline > now


@given(st.lists(st.floats(0, 100, allow_nan=False), max_size=20))
def test_ticking_at_each_deadline_ends_every_silent_conversation(waits: list[float]) -> None:
    subject = session(Mode.MEMBER)
    heard(subject, hello("peer"), 1.0)
    ticks = 0
    while (deadline := subject.next_deadline()) is not None:
        subject.tick(now=deadline)
        ticks += 1
        assert ticks < 10
    assert ticks == DEAD_AFTER_S / 15


def open_session() -> Session:
    subject = session(Mode.MEMBER)
    heard(subject, hello("peer"), 0.0)
    subject.data_to_send()
    return subject


@given(st.lists(st.one_of(*about_folders.values()), max_size=8))
def test_a_folder_that_is_not_admitted_gets_no_answer_at_all(said: list[FolderMessage]) -> None:
    """And so none that differs from the answer for a folder that does not exist."""
    subject = open_session()
    subject.perform(AdmitFolder(OTHER), now=0.0)
    for message in said:
        events = heard(subject, message, 0.0)
        assert events == ([Claimed(message)] if isinstance(message, messages.State | messages.Proof) else [])
    assert subject.state is State.OPEN
    assert subject.data_to_send() == b""


@given(
    st.lists(st.one_of(st.tuples(st.just("ask"), st.integers(1, 900)), st.tuples(st.just("answer"), st.integers(0, 9))))
)
def test_every_ask_is_answered_at_most_once_and_their_number_is_bounded(steps: list[tuple[str, int]]) -> None:
    subject = open_session()
    subject.perform(AdmitFolder(FOLDER), now=0.0)
    heard(subject, messages.State(FOLDER, {}, True, 0, 0), 0.0)
    unanswered: list[int] = []
    numbers: set[int] = set()
    for what, count in steps:
        if what == "ask":
            wanted = [(What.CHUNK, bytes(32))] * count
            try:
                asked = subject.ask(FOLDER, wanted, now=0.0)
            except LocalProtocolError:
                assert len(unanswered) + count > MAX_ASKS
                continue
            unanswered += [ask.request for ask in asked]
            assert numbers.isdisjoint(unanswered[-count:])
            numbers.update(unanswered)
        elif unanswered:
            request = unanswered.pop(count % len(unanswered))
            body = answer_frame(request, Status.OK, b"x")[5:]
            assert len(subject.receive(8, body, now=0.0)) == 1
            assert subject.receive(8, body, now=0.0) == []
        assert subject.ask_room == MAX_ASKS - len(unanswered)


@given(st.integers(1, 200))
def test_a_flood_of_pings_is_not_hoarded(count: int) -> None:
    subject = open_session()
    for nonce in range(count):
        assert heard(subject, messages.Ping(nonce), 0.0) == []
    assert subject.data_to_send() == b"".join(messages.encode(messages.Pong(n)) for n in range(min(count, MAX_PONGS)))


@given(st.lists(ids, min_size=1, max_size=20))
def test_a_withdrawn_folder_leaves_nothing_owed_and_nothing_asked(chunk_ids: list[bytes]) -> None:
    subject = open_session()
    for folder in (FOLDER, OTHER):
        subject.perform(AdmitFolder(folder), now=0.0)
        heard(subject, messages.State(folder, {}, True, 0, 0), 0.0)
    theirs = tuple(messages.Wanted(number, What.NODE, id) for number, id in enumerate(chunk_ids))
    heard(subject, messages.Ask(FOLDER, theirs), 0.0)
    ours = subject.ask(FOLDER, [(What.CHUNK, id) for id in chunk_ids], now=0.0)
    kept = subject.ask(OTHER, [(What.CHUNK, id) for id in chunk_ids], now=0.0)
    assert subject.perform(WithdrawFolder(FOLDER), now=0.0) == [
        FolderWithdrawn(FOLDER, tuple(ask.request for ask in theirs), ours)
    ]
    assert subject.ask_room == MAX_ASKS - len(kept)
    assert not any(subject.settle(ask.request) for ask in theirs)
