# SPDX-License-Identifier: AGPL-3.0-or-later
"""Questions: as much is asked as a window holds, who refuses is asked no more, who lies or says nothing is benched."""

from collections.abc import Iterable

import pytest

from harp.sync.engine.fetcher import Ask, Asked, Reach, Source
from harp.sync.model import ChunkId, FolderId
from harp.sync.protocol.asks import Asked as SessionAsked
from harp.sync.protocol.foldermessages import What
from harp.sync.protocol.frames import Status
from harp.sync.service.correspondent import Correspondent
from harp.sync.service.questions import (
    ANSWER_TIMEOUT_S,
    BENCH_S,
    WAKE_ANSWERS,
    WAKE_BYTES,
    WINDOW_BYTES,
    Arrival,
    Questions,
)
from tests.fakes.history import device_key
from tests.fakes.peers import FakePeer

FOLDER = FolderId(b"f" * 32)
ONE, TWO = ChunkId(b"1" * 32), ChunkId(b"2" * 32)
LAN = WINDOW_BYTES[Reach.LAN]


def chunk(number: int) -> ChunkId:
    return ChunkId(number.to_bytes(32, "big"))


def correspondent(number: int, reach: Reach = Reach.LAN) -> Correspondent:
    return Correspondent(FakePeer(device_key(number).device_id, reach).as_peer, FOLDER)


ANNA, BEN = correspondent(1), correspondent(2)


@pytest.fixture
def questions() -> Questions:
    return Questions(FOLDER)


def ask(questions: Questions, *ids: ChunkId, of: Correspondent = ANNA, size: int = 1000, now: float = 0.0) -> None:
    whats: dict[bytes, What] = dict.fromkeys(ids, What.CHUNK)
    questions.put(of, [Ask(of.device, id_, size) for id_ in ids], whats, now=now)


def question(questions: Questions, id_: ChunkId = ONE) -> Asked | None:
    return questions.asked.get(id_)


def arrival(id_: ChunkId, of: Correspondent = ANNA, status: Status = Status.OK, *, is_good: bool = False) -> Arrival:
    return Arrival(of.device, SessionAsked(1, FOLDER, What.CHUNK, id_, 0.0), status, is_good)


def source(questions: Questions, one: Correspondent = ANNA, *, now: float = 0.0) -> Source | None:
    return questions.sources([one], lambda *_: True, now=now).get(one.device)


def free(questions: Questions, one: Correspondent = ANNA, *, now: float = 0.0) -> int:
    found = source(questions, one, now=now)
    return 0 if found is None else found.free


# --- windows ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reach", list(Reach))
def test_a_window_is_as_wide_as_the_way_is_short(questions: Questions, reach: Reach) -> None:
    one = correspondent(3, reach)
    assert free(questions, one) == WINDOW_BYTES[reach]
    ask(questions, ONE, of=one, size=1000)
    assert free(questions, one) == WINDOW_BYTES[reach] - 1000
    assert free(questions, BEN) == LAN, "another one's window"


def test_a_window_with_little_room_is_left_until_there_is_more(questions: Questions) -> None:
    ask(questions, ONE, size=LAN - LAN // 4)
    assert free(questions) == LAN // 4
    ask(questions, TWO, size=1)
    assert source(questions) is None
    questions.close(TWO)
    assert free(questions) == LAN // 4


def test_one_open_window_lets_all_be_looked_at(questions: Questions) -> None:
    ask(questions, ONE, size=LAN + 5)
    found = questions.sources([ANNA, BEN], lambda *_: True, now=0.0)
    assert {device: one.free for device, one in found.items()} == {ANNA.device: 0, BEN.device: LAN}


def test_who_has_what_is_asked_of_whoever_knows(questions: Questions) -> None:
    found = questions.sources([ANNA, BEN], lambda one, id_: (one, id_) == (ANNA, ONE), now=0.0)
    assert [(found[one.device].has(ONE), found[one.device].has(TWO)) for one in (ANNA, BEN)] == [
        (True, False),
        (False, False),
    ]


class OneAtATime(FakePeer):
    """Its session has room for one ask."""

    def ask(self, folder: FolderId, wanted: Iterable[tuple[What, bytes]]) -> tuple[SessionAsked, ...]:
        return super().ask(folder, list(wanted)[:1])


def test_what_the_session_has_no_room_for_was_not_asked(questions: Questions) -> None:
    one = Correspondent(OneAtATime(device_key(3).device_id).as_peer, FOLDER)
    ask(questions, ONE, TWO, of=one)
    assert questions.asked.get(ONE) == Asked(one.device)
    assert questions.asked.get(TWO) is None
    assert free(questions, one) == LAN - 1000


def test_what_is_here_is_no_question_any_more(questions: Questions) -> None:
    ask(questions, ONE)
    questions.close(ONE)
    questions.close(ONE)
    assert questions.asked.get(ONE) is None
    assert free(questions) == LAN


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [Status.NOT_HELD, Status.GONE])
def test_who_has_it_not_is_not_asked_for_it_again_but_for_other_things(questions: Questions, status: Status) -> None:
    ask(questions, ONE)
    questions.refused(arrival(ONE, status=status), now=0.0)
    assert questions.asked.get(ONE) == Asked(None, frozenset({ANNA.device}))
    assert free(questions) == LAN
    assert not questions.is_benched(ANNA.device, now=5.0)


def test_who_learned_something_new_may_have_it_now(questions: Questions) -> None:
    for one in (ANNA, BEN):
        ask(questions, ONE, of=one)
        questions.refused(arrival(ONE, one, Status.NOT_HELD), now=0.0)
    questions.hopeful(ANNA.device)
    assert questions.asked.get(ONE) == Asked(None, frozenset({BEN.device}))


def test_a_refusal_of_one_who_is_not_asked_any_more_changes_nothing(questions: Questions) -> None:
    ask(questions, ONE, of=BEN)
    questions.refused(arrival(ONE, ANNA, Status.NOT_HELD), now=0.0)
    questions.refused(arrival(TWO, ANNA, Status.NOT_HELD), now=0.0)
    assert questions.asked.get(ONE) == Asked(BEN.device)
    assert questions.asked.get(TWO) is None


def test_a_lie_is_forgiven_once(questions: Questions) -> None:
    ask(questions, ONE)
    questions.refused(arrival(ONE), now=5.0)
    assert questions.asked.get(ONE) == Asked(None), "it is asked once more"
    assert not questions.is_benched(ANNA.device, now=5.0)
    ask(questions, ONE)
    questions.refused(arrival(ONE), now=5.0)
    assert questions.asked.get(ONE) == Asked(None, frozenset({ANNA.device}))
    assert questions.is_benched(ANNA.device, now=5.0)
    found = source(questions, now=6.0)
    assert found is not None
    assert found.benched_until == 5.0 + BENCH_S


def test_who_does_not_answer_is_benched_and_another_one_is_asked(questions: Questions) -> None:
    ask(questions, ONE, now=10.0)
    assert free(questions, now=10.0 + ANSWER_TIMEOUT_S) == LAN - 1000
    assert questions.asked.get(ONE) == Asked(ANNA.device)
    late = 10.0 + ANSWER_TIMEOUT_S + 1
    found = source(questions, now=late)
    assert found is not None
    assert (found.free, found.benched_until) == (LAN, late + BENCH_S)
    assert questions.asked.get(ONE) == Asked(None, frozenset({ANNA.device}))


def test_what_a_lost_peer_was_asked_for_is_open_again(questions: Questions) -> None:
    ask(questions, ONE)
    ask(questions, TWO, of=BEN)
    questions.lost(ANNA.device)
    assert questions.asked.get(ONE) == Asked(None)
    assert questions.asked.get(TWO) == Asked(BEN.device)
    assert free(questions) == LAN
    assert questions.answered(arrival(TWO, BEN, is_good=True), 1000), "it is the last one that is still awaited"


# --- answers ----------------------------------------------------------------------------------------------------------


def test_the_thread_is_woken_by_the_last_answer_that_is_awaited(questions: Questions) -> None:
    ask(questions, ONE, TWO)
    first, second = arrival(ONE, is_good=True), arrival(TWO, status=Status.GONE)
    assert not questions.answered(first, 1000)
    assert questions.answered(second, 0)
    assert questions.taken() == [first, second]
    assert questions.taken() == []


def test_the_thread_is_woken_once_much_has_come(questions: Questions) -> None:
    ask(questions, *map(chunk, range(10)))
    assert not questions.answered(arrival(chunk(0)), WAKE_BYTES - 1)
    assert questions.answered(arrival(chunk(1)), 1)
    assert not questions.answered(arrival(chunk(2)), 1), "it was told already"
    questions.taken()
    assert not questions.answered(arrival(chunk(3)), WAKE_BYTES - 1), "what was taken counts no more"


def test_the_thread_is_woken_once_many_have_come(questions: Questions) -> None:
    ask(questions, *map(chunk, range(WAKE_ANSWERS + 1)), size=1)
    woken = [questions.answered(arrival(chunk(number)), 1) for number in range(WAKE_ANSWERS)]
    assert woken == [False] * (WAKE_ANSWERS - 1) + [True]
    assert len(questions.taken()) == WAKE_ANSWERS


def test_a_neighbour_that_sends_nothing_is_passed_over_and_benched_the_second_time_unless_it_is_alone() -> None:
    questions = Questions(FOLDER)

    def at(now: float, *linked: Correspondent) -> None:
        questions.sources(linked, lambda *_: True, now=now)

    ask(questions, ONE, now=0.0)
    at(2.1, ANNA)
    assert question(questions) == Asked(ANNA.device), "nobody else could be asked"
    at(2.1, ANNA, BEN)
    assert question(questions) == Asked(None, frozenset([ANNA.device]))
    assert not questions.is_benched(ANNA.device, now=2.1)
    ask(questions, TWO, now=3.0)
    at(5.1, ANNA, BEN)
    assert questions.is_benched(ANNA.device, now=5.1)
    questions.heard_again(ANNA.device)
    assert not questions.is_benched(ANNA.device, now=5.1), "it was out of reach"
    for number in range(10):
        ask(questions, chunk(number), now=10.0 * number + 10)
        at(10.0 * number + 12.1, ANNA, BEN)
        questions.heard_again(ANNA.device)
    assert questions.is_benched(ANNA.device, now=102.2), "and not for ever again"


def test_over_the_wan_an_answer_may_take_its_time() -> None:
    questions = Questions(FOLDER)
    far = correspondent(5, Reach.WAN)
    ask(questions, ONE, of=far, now=0.0)
    questions.sources([far, BEN], lambda *_: True, now=ANSWER_TIMEOUT_S - 1)
    assert question(questions) == Asked(far.device)
    assert questions.released(ONE, far.device)
    assert not questions.released(ONE, far.device)
    assert question(questions) == Asked()
