# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who is asked for what, by example."""

from collections.abc import Mapping
from dataclasses import replace

from harp.identity.device import DeviceId
from harp.sync.engine.fetcher import (
    FULL_BYTES,
    LOOK_AHEAD,
    Ask,
    Asked,
    Reach,
    Source,
    Want,
    Why,
    assign,
    in_order,
    next_deadline,
    why,
)
from harp.sync.model import MAX_CHUNK, ChunkId

A, B, C = (DeviceId(bytes([i]) * 32) for i in (1, 2, 3))
X, Y, Z = (ChunkId(bytes([i]) * 32) for i in (11, 12, 13))
SIZE = 200_000
NOW = 50.0


def peer(device: DeviceId, *chunks: ChunkId, reach: Reach = Reach.LAN, free: int = 8 * MAX_CHUNK) -> Source:
    return Source(device, reach, free, frozenset(chunks).__contains__)


def ask(*peers: Source, asked: Mapping[ChunkId, Asked] | None = None, wants: tuple[ChunkId, ...] = (X,)) -> list[Ask]:
    return assign([Want(id, SIZE) for id in wants], {one.device: one for one in peers}, asked or {}, now=NOW)


def reason(*peers: Source, asked: Mapping[ChunkId, Asked] | None = None) -> Why:
    return why(Want(X, SIZE), {one.device: one for one in peers}, asked or {}, now=NOW)


def others(_: ChunkId) -> bool:
    """Everything is left to neighbours."""
    return False


def test_whoever_has_it_is_asked() -> None:
    assert ask(peer(A), peer(B, X)) == [Ask(B, X, SIZE)]
    assert reason(peer(B, X)) is Why.READY


def test_nobody_has_it() -> None:
    assert ask(peer(A, Y)) == ask() == []
    assert reason(peer(A, Y)) is reason() is Why.NOBODY


def test_the_lan_comes_before_the_wan_whatever_the_load() -> None:
    far = peer(A, X, reach=Reach.WAN, free=100 * MAX_CHUNK)
    assert ask(far, peer(B, X)) == [Ask(B, X, SIZE)]
    assert ask(far, peer(B, X, free=0)) == []
    assert reason(far, peer(B, X, free=0)) is Why.FULL


def test_the_wan_is_not_asked_for_what_is_left_to_a_neighbour() -> None:
    far, near = peer(A, X, reach=Reach.WAN), peer(B, X)
    assert assign([Want(X, SIZE)], {A: far}, {}, now=NOW, is_ours=others) == []
    assert why(Want(X, SIZE), {A: far}, {}, now=NOW, is_ours=others) is Why.NEIGHBOUR
    assert assign([Want(X, SIZE)], {A: far, B: near}, {}, now=NOW, is_ours=others) == [Ask(B, X, SIZE)]
    assert why(Want(X, SIZE), {A: far, B: near}, {}, now=NOW, is_ours=others) is Why.READY


def test_the_roomiest_is_asked_and_the_load_is_spread() -> None:
    peers = peer(A, X, Y, Z, free=MAX_CHUNK), peer(B, X, Y, Z, free=MAX_CHUNK + SIZE + 1)
    assert [one.device for one in ask(*peers, wants=(X, Y, Z))] == [B, B, A]
    assert ask(peer(B, X), peer(A, X)) == [Ask(A, X, SIZE)]


def test_who_refused_is_not_asked_again_for_that_chunk() -> None:
    asked = {X: Asked(refused=frozenset([A]))}
    assert ask(peer(A, X, Y), peer(B, X), asked=asked) == [Ask(B, X, SIZE)]
    assert ask(peer(A, X, Y), asked=asked, wants=(X, Y)) == [Ask(A, Y, SIZE)]
    assert reason(peer(A, X), asked=asked) is Why.REFUSED


def test_after_a_refusal_on_the_lan_the_wan_is_asked() -> None:
    peers = peer(A, X), peer(B, X, reach=Reach.WAN)
    assert ask(*peers, asked={X: Asked(refused=frozenset([A]))}) == [Ask(B, X, SIZE)]


def test_what_is_asked_for_is_not_asked_for_again() -> None:
    assert ask(peer(A, X), asked={X: Asked(A)}) == []
    assert reason(peer(A, X), asked={X: Asked(A)}) is Why.ASKED
    assert ask(peer(A, X), wants=(X, X)) == [Ask(A, X, SIZE)]


def test_who_is_benched_is_not_asked() -> None:
    benched = replace(peer(A, X), benched_until=NOW + 1)
    assert ask(benched) == []
    assert reason(benched) is Why.BENCHED
    assert ask(benched, peer(B, Y, reach=Reach.WAN), wants=(Y,)) == [Ask(B, Y, SIZE)]
    assert ask(replace(benched, benched_until=NOW)) == [Ask(A, X, SIZE)]


def test_the_window_is_filled_and_not_overrun() -> None:
    full = peer(A, X, Y, Z, free=2 * SIZE + FULL_BYTES - 1)
    assert [one.id for one in ask(full, wants=(X, Y, Z))] == [X, Y]
    assert ask(peer(A, X, free=SIZE - 1)) == []
    assert reason(peer(A, X, free=SIZE - 1)) is Why.FULL
    assert reason(peer(A, X, free=SIZE)) is Why.READY
    assert ask(peer(A, X, free=SIZE)) == [Ask(A, X, SIZE)]


def test_once_the_windows_are_full_the_other_wants_are_not_even_looked_at() -> None:
    looked_at = []

    def has(id: ChunkId) -> bool:
        looked_at.append(id)
        return True

    wants = [Want(ChunkId(number.to_bytes(32, "big")), MAX_CHUNK) for number in range(10_000)]
    assert len(assign(wants, {A: Source(A, Reach.LAN, 4 * MAX_CHUNK, has)}, {}, now=NOW)) == 4
    assert len(looked_at) == 4


def test_an_idle_peer_gets_work_from_behind_what_waits_but_the_search_ends() -> None:
    ids = [ChunkId(number.to_bytes(32, "big")) for number in range(LOOK_AHEAD)]
    wants = [*(Want(id, SIZE) for id in ids[1:]), Want(X, SIZE)]
    peers = {A: peer(A, *ids, free=0), B: peer(B, X, reach=Reach.WAN)}
    assert assign(wants, peers, {}, now=NOW) == [Ask(B, X, SIZE)]
    assert assign([Want(ids[0], SIZE), *wants], peers, {}, now=NOW) == []


def test_what_nobody_has_does_not_keep_others_waiting() -> None:
    nobodys = [Want(ChunkId(number.to_bytes(32, "big")), SIZE) for number in range(2 * LOOK_AHEAD)]
    assert assign([*nobodys, Want(X, SIZE)], {A: peer(A, X)}, {}, now=NOW) == [Ask(A, X, SIZE)]


def test_what_does_not_fit_lets_smaller_ones_pass() -> None:
    wants = [Want(X, MAX_CHUNK), Want(Y, SIZE)]
    assert assign(wants, {A: peer(A, X, Y, free=SIZE)}, {}, now=NOW) == [Ask(A, Y, SIZE)]


def test_a_smaller_priority_is_asked_for_sooner() -> None:
    wants = in_order([Want(X, SIZE, 2), Want(Y, SIZE, 1), Want(Z, SIZE, 1)])
    assert [one.id for one in assign(wants, {A: peer(A, X, Y, Z)}, {}, now=NOW)] == [Y, Z, X]


def test_the_next_deadline_is_when_a_bench_ends() -> None:
    benched = replace(peer(B), benched_until=NOW + 9)
    assert next_deadline({A: peer(A), B: benched}, now=NOW) == NOW + 9
    assert next_deadline({A: peer(A)}, now=NOW) is None
