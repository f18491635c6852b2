# SPDX-License-Identifier: AGPL-3.0-or-later
"""Laws of fetching: locality first, no window overrun, nothing asked twice, and nobody idle who could help."""

from collections import Counter, defaultdict
from dataclasses import dataclass, replace

from hypothesis import given
from hypothesis import strategies as st

from harp.identity.device import DeviceId
from harp.sync.engine.fetcher import (
    FULL_BYTES,
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

NOW = 100.0
DEVICES = [DeviceId(bytes([i]) * 32) for i in range(1, 5)]
CHUNKS = [ChunkId(bytes([i]) * 32) for i in range(1, 13)]
SIZES = {id: 1 + (i * 99_991) % MAX_CHUNK for i, id in enumerate(CHUNKS)}


@dataclass(frozen=True)
class Scene:
    wants: list[Want]
    peers: dict[DeviceId, Source]
    asked: dict[ChunkId, Asked]
    left_to_others: frozenset[ChunkId]

    def assign(self, *, now: float = NOW) -> list[Ask]:
        return assign(self.wants, self.peers, self.asked, now=now, is_ours=self.is_ours)

    def why(self, id: ChunkId) -> Why:
        return why(Want(id, SIZES[id]), self.peers, self.asked, now=NOW, is_ours=self.is_ours)

    def is_ours(self, id: ChunkId) -> bool:
        return id not in self.left_to_others

    def holders(self, id: ChunkId, reach: Reach) -> list[Source]:
        refused = self.asked.get(id, Asked()).refused
        return [
            peer
            for peer in self.peers.values()
            if peer.reach is reach and peer.benched_until <= NOW and peer.device not in refused and peer.has(id)
        ]


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    some = st.frozensets(st.sampled_from(CHUNKS))
    peers = {
        device: Source(
            device,
            draw(st.sampled_from(Reach)),
            draw(st.sampled_from([0, 1, FULL_BYTES, 500_000, 2 * MAX_CHUNK, 100 * MAX_CHUNK])),
            draw(some).__contains__,
            draw(st.sampled_from([0.0, 0.0, NOW, NOW + 60])),
        )
        for device in draw(st.sets(st.sampled_from(DEVICES)))
    }
    asked = {
        id: Asked(draw(st.none() | st.sampled_from(DEVICES)), draw(st.frozensets(st.sampled_from(DEVICES), max_size=2)))
        for id in draw(some)
    }
    wants = [Want(id, SIZES[id], draw(st.integers(0, 3))) for id in draw(st.lists(st.sampled_from(CHUNKS)))]
    return Scene(in_order(wants), peers, asked, draw(some))


@given(scenes())
def test_no_chunk_is_asked_twice_at_once(scene: Scene) -> None:
    asks = scene.assign()
    assert max(Counter(ask.id for ask in asks).values(), default=1) == 1
    assert all(scene.asked.get(ask.id, Asked()).device is None for ask in asks)


@given(scenes())
def test_no_window_is_overrun(scene: Scene) -> None:
    taken: defaultdict[DeviceId, int] = defaultdict(int)
    for ask in scene.assign():
        assert ask.size == SIZES[ask.id]
        taken[ask.device] += ask.size
    assert all(size <= scene.peers[device].free for device, size in taken.items())


@given(scenes())
def test_only_those_are_asked_that_have_it_and_may_be_asked(scene: Scene) -> None:
    for ask in scene.assign():
        peer = scene.peers[ask.device]
        assert peer in scene.holders(ask.id, peer.reach)


@given(scenes())
def test_the_wan_is_asked_only_for_what_the_lan_has_not_and_leaves_to_us(scene: Scene) -> None:
    for ask in scene.assign():
        if scene.peers[ask.device].reach is Reach.WAN:
            assert not scene.holders(ask.id, Reach.LAN)
            assert scene.is_ours(ask.id)


@given(scenes())
def test_every_chunk_whose_holder_has_room_is_asked_for(scene: Scene) -> None:
    asks = scene.assign()
    left = {device: peer.free for device, peer in scene.peers.items()}
    for ask in asks:
        left[ask.device] -= ask.size
    for want in scene.wants:
        if scene.asked.get(want.id, Asked()).device is None and want.id not in {ask.id for ask in asks}:
            near, far = scene.holders(want.id, Reach.LAN), scene.holders(want.id, Reach.WAN)
            holders = near or (far if scene.is_ours(want.id) else [])
            assert all(left[peer.device] < max(want.size, FULL_BYTES) for peer in holders)


@given(scenes())
def test_the_answer_is_a_function_of_the_scene_and_not_of_the_order_of_peers(scene: Scene) -> None:
    turned = replace(scene, peers=dict(reversed(scene.peers.items())))
    assert turned.assign() == scene.assign()


@given(scenes())
def test_why_agrees_with_what_is_asked(scene: Scene) -> None:
    asks = {ask.id for ask in scene.assign()}
    for want in scene.wants:
        reason = scene.why(want.id)
        if want.id in asks:
            assert reason is Why.READY
        elif scene.holders(want.id, Reach.LAN) or scene.holders(want.id, Reach.WAN):
            assert reason in (Why.ASKED, Why.FULL, Why.NEIGHBOUR, Why.READY)
        else:
            assert reason in (Why.ASKED, Why.NEIGHBOUR, Why.BENCHED, Why.REFUSED, Why.NOBODY)


@given(scenes(), st.floats(0, 100))
def test_before_the_next_deadline_time_changes_nothing(scene: Scene, later: float) -> None:
    deadline = next_deadline(scene.peers, now=NOW)
    assert deadline is None or deadline > NOW
    if deadline is None or NOW + later < deadline:
        assert scene.assign(now=NOW + later) == scene.assign()
