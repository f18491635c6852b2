# SPDX-License-Identifier: AGPL-3.0-or-later
"""Conversations, told from one side: what is heard, what comes of it, what is said."""

import pytest

from harp.base.errors import LocalProtocolError
from harp.identity.device import DeviceId
from harp.sync.model import ChunkId, ChunkRef, FolderId, Role, RootId
from harp.sync.protocol import messages
from harp.sync.protocol.asks import MAX_OPEN_OFFERS
from harp.sync.protocol.events import (
    AdmitFolder,
    Answered,
    Claimed,
    Closed,
    CloseLink,
    Event,
    Greeted,
    Received,
    WithdrawFolder,
)
from harp.sync.protocol.foldermessages import MAX_ASKS
from harp.sync.protocol.frames import FrameSplitter, Status, answer_frame, decode_answer
from harp.sync.protocol.gate import CLAIM_BURST
from harp.sync.protocol.messages import CloseCode, Message, Wanted, What
from harp.sync.protocol.session import MAX_PONGS, Session
from harp.sync.protocol.transitions import Mode, State, is_preferred
from tests.fakes.link import FakeLink, hello

FOLDER = FolderId(bytes([1] * 32))
OTHER = FolderId(bytes([2] * 32))
CHUNK = bytes([3] * 32)
STATE = messages.State(FOLDER, {}, True, 0, 0)


def member(*, ours: messages.Hello | None = None) -> Session:
    return Session(ours or hello(), is_dialler=True, mode=Mode.MEMBER, now=0.0)


def opened(*folders: FolderId) -> Session:
    """An open session, all said; the folders are shared."""
    session = member()
    hear(session, hello("peer"))
    for folder in folders:
        session.perform(AdmitFolder(folder), now=0.0)
        hear(session, messages.State(folder, {}, True, 0, 0))
    session.data_to_send()
    return session


def hear(session: Session, message: Message, *, now: float = 0.0) -> list[Event]:
    data = messages.encode(message)
    return session.receive(data[4], data[5:], now=now)


def said(session: Session) -> list[Message | None]:
    return [messages.decode(type, body) for type, body in FrameSplitter().feed(session.data_to_send())]


def test_both_say_hello_at_once_and_are_open_when_they_heard_it() -> None:
    session = member(ours=hello("laptop"))
    assert said(session) == [hello("laptop")]
    assert said(session) == []
    assert hear(session, hello("desk")) == [Greeted(hello("desk"), 1)]
    assert (session.state, session.version) == (State.OPEN, 1)


def test_of_the_versions_that_both_speak_the_newest_is_spoken() -> None:
    session = member(ours=hello(oldest=3, newest=4))
    assert hear(session, hello("peer", oldest=2, newest=3)) == [Greeted(hello("peer", oldest=2, newest=3), 3)]


def test_without_a_common_version_the_link_ends_with_that_reason() -> None:
    link = FakeLink(hellos=(hello(oldest=3, newest=4), hello(oldest=1, newest=2)))
    link.advance(1)
    for end in link.ends:
        assert end.closed is not None
        assert end.closed.code is CloseCode.VERSION


def test_nothing_but_a_hello_is_heard_first() -> None:
    session = member()
    assert hear(session, messages.Ping(1)) == [Closed(CloseCode.PROTOCOL, "heard traffic while greeting", False)]
    assert said(session) == [hello(), messages.Close(CloseCode.PROTOCOL, "heard traffic while greeting")]
    early = member()
    assert isinstance(early.receive(200, b"", now=0.0)[0], Closed)


def test_an_answer_before_the_greeting_is_a_fault_like_any_other_word() -> None:
    assert isinstance(member().receive(8, answer_frame(1, Status.OK)[5:], now=0.0)[0], Closed)


def test_whoever_is_told_goodbye_says_nothing_more() -> None:
    session = opened(FOLDER)
    hear(session, messages.Ask(FOLDER, (Wanted(1, What.CHUNK, CHUNK),)))
    hear(session, messages.Close(CloseCode.SHUTDOWN))
    session.answer(1, Status.OK, b"content")
    assert session.data_to_send() == b""


def test_pings_are_answered_again_once_the_pongs_have_left() -> None:
    session = opened()
    for _ in range(2):
        for nonce in range(MAX_PONGS):
            hear(session, messages.Ping(nonce))
        assert said(session) == [messages.Pong(nonce) for nonce in range(MAX_PONGS)]


def test_a_flood_of_claims_is_dropped_after_a_while() -> None:
    session = opened()
    heard = [bool(hear(session, STATE)) for _ in range(CLAIM_BURST + 1)]
    assert heard == [True] * CLAIM_BURST + [False]
    assert session.state is State.OPEN


def test_a_withdrawn_folders_offers_are_forgotten_on_both_sides() -> None:
    session = opened(FOLDER, OTHER)
    for number in range(MAX_OPEN_OFFERS):
        hear(session, messages.Offer(FOLDER, number, 0, ()))
        session.send(messages.Offer(FOLDER, number, 0, ()))
    session.perform(WithdrawFolder(FOLDER), now=0.0)
    offer = messages.Offer(OTHER, 1, 0, ())
    session.send(offer)
    assert hear(session, offer) == [Received(offer)]


def test_a_type_from_the_future_is_ignored_and_one_from_nowhere_is_not() -> None:
    session = opened()
    assert session.receive(200, b"anything", now=0.0) == []
    assert session.dropped_messages == 1
    assert session.receive(100, b"", now=0.0) == [Closed(CloseCode.PROTOCOL, "there is no message of type 100", False)]


def test_a_join_from_the_ticket_to_the_welcome() -> None:
    link = FakeLink((Mode.JOINER, Mode.INVITER), delay_s=0.1)
    link.advance(1)
    joiner, inviter = link.dialler, link.listener
    join = messages.Join(b"s" * 32, "laptop")
    joiner.session.send(join)
    link.advance(1)
    assert inviter.messages() == [join]
    welcome = messages.Welcome(FOLDER, "Photos", Role.READ_WRITE, b"c" * 32, (b"e" * 32,), (b"batch",))
    inviter.session.send(welcome)
    inviter.session.perform(AdmitFolder(FOLDER), now=link.now)
    inviter.session.send(STATE)
    link.advance(1)
    assert joiner.messages() == [welcome, STATE]
    assert joiner.events[-1] == Claimed(STATE)
    assert link.states == (State.OPEN, State.OPEN)


def test_a_bad_ticket_ends_the_link_with_the_reason() -> None:
    link = FakeLink((Mode.JOINER, Mode.INVITER))
    link.advance(1)
    link.dialler.session.send(messages.Join(bytes(32), "laptop"))
    link.advance(1)
    end = CloseLink(CloseCode.TICKET_EXPIRED, "ask for a new one")
    link.listener.events += link.listener.session.perform(end, now=link.now)
    link.advance(1)
    assert link.dialler.closed == Closed(CloseCode.TICKET_EXPIRED, "ask for a new one", by_peer=True)
    assert link.listener.closed == Closed(CloseCode.TICKET_EXPIRED, "ask for a new one", by_peer=False)


def test_a_joiner_dials_and_an_inviter_is_dialled() -> None:
    for mode, is_dialler in ((Mode.JOINER, False), (Mode.INVITER, True)):
        with pytest.raises(LocalProtocolError):
            Session(hello(), is_dialler=is_dialler, mode=mode, now=0.0)


def test_a_folder_has_to_be_admitted_before_its_messages_are_heard() -> None:
    session = opened()
    proof, get = messages.Proof(FOLDER, (b"grant",)), messages.Get(FOLDER, {})
    assert hear(session, STATE) == [Claimed(STATE)]
    assert hear(session, proof) == [Claimed(proof)]
    assert hear(session, get) == []
    assert session.dropped_messages == 1
    session.perform(AdmitFolder(FOLDER), now=0.0)
    assert hear(session, STATE) == [Received(STATE)]
    assert hear(session, get) == [Received(get)]
    session.perform(WithdrawFolder(FOLDER), now=0.0)
    assert hear(session, get) == []


def test_an_ask_about_a_folder_that_is_not_admitted_is_not_even_refused() -> None:
    session = opened()
    hear(session, messages.Ask(FOLDER, (Wanted(1, What.CHUNK, CHUNK),)))
    session.answer(1, Status.REFUSED)
    assert session.data_to_send() == b""


def test_we_speak_of_a_folder_only_once_both_sides_admit_it() -> None:
    session = opened()
    with pytest.raises(LocalProtocolError, match="not admitted"):
        session.send(STATE)
    session.perform(AdmitFolder(FOLDER), now=0.0)
    session.send(STATE)
    session.send(messages.Proof(FOLDER, ()))
    assert not session.is_shared(FOLDER)
    with pytest.raises(LocalProtocolError, match="not said yet"):
        session.send(messages.Get(FOLDER, {}))
    with pytest.raises(LocalProtocolError, match="not said yet"):
        session.ask(FOLDER, [(What.CHUNK, CHUNK)], now=0.0)
    hear(session, STATE)
    assert session.is_shared(FOLDER)
    session.send(messages.Get(FOLDER, {}))


def test_what_is_asked_is_answered_under_its_number() -> None:
    session = opened(FOLDER)
    first, second = session.ask(FOLDER, [(What.CHUNK, CHUNK), (What.NODE, CHUNK)], now=7.0)
    assert said(session) == [messages.Ask(FOLDER, (Wanted(1, What.CHUNK, CHUNK), Wanted(2, What.NODE, CHUNK)))]
    assert session.receive(8, answer_frame(2, Status.OK, b"node")[5:], now=8.0) == [
        Answered(second, Status.OK, b"node")
    ]
    assert session.answered(1, now=8.0) == first
    assert session.answered(1, now=8.0) is None
    assert session.unawaited_answers == 1


def test_a_cancelled_ask_is_told_and_a_late_answer_to_it_dropped() -> None:
    session = opened(FOLDER)
    (asked,) = session.ask(FOLDER, [(What.CHUNK, CHUNK)], now=0.0)
    assert session.cancel([asked.request, 99]) == (asked,)
    assert session.cancel([asked.request]) == ()
    assert said(session)[1:] == [messages.Cancel((asked.request,))]
    assert session.receive(8, answer_frame(asked.request, Status.OK, b"late")[5:], now=0.0) == []
    assert session.ask(FOLDER, [], now=0.0) == ()
    assert said(session) == []


def test_an_ask_of_the_peers_is_answered_once() -> None:
    session = opened(FOLDER)
    ask = messages.Ask(FOLDER, (Wanted(5, What.CHUNK, CHUNK), Wanted(6, What.CHUNK, CHUNK)))
    assert hear(session, ask) == [Received(ask)]
    session.answer(5, Status.GONE)
    session.answer(5, Status.OK, b"twice")
    hear(session, messages.Cancel((6,)))
    session.answer(6, Status.OK, b"cancelled")
    ((type, body),) = FrameSplitter().feed(session.data_to_send())
    assert (type, decode_answer(body).status) == (8, Status.GONE)


def test_a_peer_that_asks_under_a_number_in_use_breaks_the_protocol() -> None:
    session = opened(FOLDER)
    ask = messages.Ask(FOLDER, (Wanted(5, What.CHUNK, CHUNK),))
    hear(session, ask)
    assert isinstance(hear(session, ask)[0], Closed)


def test_a_peer_that_asks_for_more_than_4096_things_at_once_breaks_the_protocol() -> None:
    session = opened(FOLDER)
    hear(session, messages.Ask(FOLDER, tuple(Wanted(n, What.CHUNK, CHUNK) for n in range(MAX_ASKS))))
    assert session.state is State.OPEN
    (end,) = hear(session, messages.Ask(FOLDER, (Wanted(MAX_ASKS, What.CHUNK, CHUNK),)))
    assert end == Closed(CloseCode.PROTOCOL, "more than 4096 asks before an answer", False)


def test_an_offer_goes_on_until_its_end() -> None:
    session = opened(FOLDER, OTHER)
    offer = messages.Offer(FOLDER, 1, 300, (ChunkRef(ChunkId(CHUNK), 100),))
    end = messages.OfferEnd(FOLDER, 1, RootId(CHUNK))
    assert [hear(session, message) for message in (offer, offer, end)] == [
        [Received(offer)],
        [Received(offer)],
        [Received(end)],
    ]
    assert hear(session, end) == []
    hear(session, offer)
    assert isinstance(hear(session, messages.Offer(OTHER, 1, 300, ()))[0], Closed)


def test_there_are_at_most_64_open_offers_in_each_direction() -> None:
    session = opened(FOLDER)
    for number in range(MAX_OPEN_OFFERS):
        hear(session, messages.Offer(FOLDER, number, 0, ()))
        session.send(messages.Offer(FOLDER, number, 0, ()))
    with pytest.raises(LocalProtocolError, match="too many"):
        session.send(messages.Offer(FOLDER, 64, 0, ()))
    session.send(messages.OfferEnd(FOLDER, 3, RootId(b"")))
    session.send(messages.Offer(FOLDER, 64, 0, ()))
    assert session.state is State.OPEN
    assert isinstance(hear(session, messages.Offer(FOLDER, 64, 0, ()))[0], Closed)


def test_the_end_names_what_was_asked_and_will_not_come() -> None:
    session = opened(FOLDER)
    asked = session.ask(FOLDER, [(What.CHUNK, CHUNK)], now=0.0)
    assert hear(session, messages.Close(CloseCode.OVERLOADED, "later")) == [
        Closed(CloseCode.OVERLOADED, "later", by_peer=True, asked=asked)
    ]
    assert session.ask(FOLDER, [(What.CHUNK, CHUNK)], now=0.0) == ()
    session.send(STATE)
    session.data_to_send()
    session.answer(1, Status.OK)
    assert session.data_to_send() == b""


def test_a_close_code_of_a_later_version_is_passed_on_as_a_number() -> None:
    (end,) = hear(opened(), messages.Close(250, "new reason"))
    assert end == Closed(250, "new reason", by_peer=True)


@pytest.mark.parametrize("message", [hello(), messages.Close(0), messages.Ping(1), messages.Pong(1)])
def test_some_messages_are_not_sent_by_hand(message: Message) -> None:
    with pytest.raises(LocalProtocolError, match="by hand"):
        opened().send(message)


def test_a_peer_that_is_silent_is_pinged_and_then_given_up() -> None:
    session = opened()
    assert session.next_deadline() == 15.0
    session.tick(now=14.9)
    assert said(session) == []
    session.tick(now=15.0)
    assert said(session) == [messages.Ping(1)]
    assert session.next_deadline() == 30.0
    session.tick(now=30.0)
    assert said(session) == [messages.Ping(2)]
    assert session.next_deadline() == 45.0
    (end,) = session.tick(now=45.0)
    assert end == Closed(CloseCode.TIMEOUT, "nothing was heard for too long", by_peer=False)
    assert session.next_deadline() is None


def test_a_pong_shows_the_round_trip_and_any_word_puts_the_end_off() -> None:
    session = opened(FOLDER)
    session.tick(now=15.0)
    hear(session, messages.Pong(9), now=15.1)
    unmeasured = session.round_trip_s
    hear(session, messages.Pong(1), now=15.25)
    assert (unmeasured, session.round_trip_s) == (None, 0.25)
    assert session.next_deadline() == 30.25
    session.answered(1, now=20.0)
    assert session.next_deadline() == 35.0


def test_two_idle_devices_stay_together_for_a_day() -> None:
    link = FakeLink(delay_s=0.2)
    link.advance(86_400)
    assert link.states == (State.OPEN, State.OPEN)
    assert link.dialler.session.round_trip_s == pytest.approx(0.4)


def test_a_listener_that_never_says_hello_is_given_up_after_30_s() -> None:
    session = member()
    assert session.next_deadline() == 30.0
    (end,) = hear(session, hello("late"), now=30.0)
    assert end == Closed(CloseCode.TIMEOUT, "nothing was heard for too long", by_peer=False)


def test_a_command_that_comes_after_the_time_to_get_acquainted_finds_the_link_over() -> None:
    session = member()
    (end,) = session.perform(AdmitFolder(FOLDER), now=30.0)
    assert end == Closed(CloseCode.TIMEOUT, "nothing was heard for too long", by_peer=False)
    late = opened()
    assert late.perform(AdmitFolder(FOLDER), now=1e6) == [], "bytes may lie unread"
    assert late.is_admitted(FOLDER)


def test_of_two_links_the_one_that_the_smaller_id_dialled_stays_and_both_know_it() -> None:
    small, great = DeviceId(bytes(32)), DeviceId(bytes([255] * 32))
    assert is_preferred(small, great, is_dialler=True)
    assert is_preferred(great, small, is_dialler=False)
    assert not is_preferred(small, great, is_dialler=False)
    assert not is_preferred(great, small, is_dialler=True)


def test_what_a_session_says_of_itself_holds_no_secret() -> None:
    session = opened(FOLDER)
    assert repr(session) == "Session('peer', member, open, 1 folders)"
    secret = b"\x17" * 32
    for message in (
        messages.Join(secret, "laptop"),
        messages.Welcome(FOLDER, "Photos", Role.OWNER, secret, (secret,), (secret,)),
    ):
        assert "\\x17" not in repr(Received(message))
