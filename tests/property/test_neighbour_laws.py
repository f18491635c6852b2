# SPDX-License-Identifier: AGPL-3.0-or-later
"""Laws of the office: once over the WAN, nothing wanted for ever, a liar costs two seconds, and everybody does a share.

The first ones run whole offices with a clock of their own (:mod:`benchmarks.offices`).
"""

import dataclasses
from collections import Counter

from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmarks.offices import Office, Outcome
from benchmarks.officescenes import Scene, drawn
from harp.identity.device import DeviceId
from harp.sync.engine.claims import STALL_S, Tidings
from harp.sync.engine.neighbours import GREET_S, HEAR_S, Neighbourhood
from harp.sync.model import ChunkId

CLOUD = DeviceId(b"\xff" * 32)
OWN = DeviceId(b"o" * 32)
DEVICES = [DeviceId(bytes([number]) * 32) for number in range(1, 8)]
CHUNKS = [ChunkId(bytes([number]) * 32) for number in range(40, 60)]
seeds = st.integers(0, 2**32)


def ran(scene: Scene, *, devices: int = 6) -> Outcome:
    """What comes of a scene of moderate size."""
    if scene.devices <= devices:
        return Office(scene).run()
    few = dataclasses.replace(
        scene,
        devices=devices,
        starts_s=scene.starts_s[:devices],
        deaths=tuple(one for one in scene.deaths if one[0] < devices),
        hangs=tuple(one for one in scene.hangs if one[0] < devices),
        cuts=tuple(one for one in scene.cuts if max(one[:2]) < devices),
        liars=frozenset(one for one in scene.liars if one < devices),
    )
    return Office(few).run()


@settings(max_examples=8, deadline=None)
@given(seeds)
@example(1683)
def test_while_all_live_and_see_each_other_nothing_crosses_the_wan_twice(seed: int) -> None:
    outcome = ran(drawn(seed, fails=False))
    assert outcome.twice == []
    assert outcome.wan_bytes == outcome.ideal_bytes
    assert outcome.unfinished == {}


@settings(max_examples=8, deadline=None)
@given(seeds)
def test_whoever_dies_hangs_lies_or_leaves_the_others_get_everything(seed: int) -> None:
    outcome = ran(drawn(seed))
    assert outcome.unfinished == {}


@settings(max_examples=2, deadline=None)
@given(seeds)
def test_work_is_spread_within_a_factor_of_two(seed: int) -> None:
    sizes = (256 * 1024,) * 160
    outcome = Office(Scene(4, sizes, 5e6, 0.02, seed=seed)).run()
    shares = [outcome.fetched_by.get(number, 0) for number in range(4)]
    assert max(shares) <= 2 * min(shares)


def hood(*devices: DeviceId, now: float = 0.0) -> Neighbourhood:
    """We reach the cloud, and so do all neighbours."""
    found = Neighbourhood(OWN)
    found.stand(sources=frozenset([CLOUD]), is_cache=False)
    for device in devices:
        found.came(device, now=now)
        found.placed(device, reaches=True, is_cache=False, linked=[OWN, *devices])
    return found


@given(st.sets(st.sampled_from(DEVICES), min_size=1), st.sampled_from(CHUNKS))
def test_of_those_that_want_a_chunk_exactly_one_asks_the_wan(devices: set[DeviceId], id_: ChunkId) -> None:
    everyone = sorted(devices | {OWN})
    asking = []
    for own in everyone:
        one = Neighbourhood(own)
        one.stand(sources=frozenset([CLOUD]), is_cache=False)
        for other in everyone:
            if other != own:
                one.came(other, now=0.0)
                one.placed(other, reaches=True, is_cache=False, linked=everyone)
                one.heard(other, Tidings(missing={id_: None}), now=0.0)
        one.want(id_, now=0.0)
        if one.verdict(id_, now=HEAR_S).is_ours:
            asking.append(own)
    assert len(asking) == 1


@given(st.sampled_from(CHUNKS), st.sampled_from(DEVICES))
def test_the_standing_cache_goes_first_and_who_reaches_nobody_never(id_: ChunkId, device: DeviceId) -> None:
    one = hood(device)
    one.want(id_, now=0.0)
    one.heard(device, Tidings(missing={id_: None}), now=0.0)
    one.placed(device, reaches=False, is_cache=True, linked=[OWN])
    assert one.verdict(id_, now=1.0).is_ours
    one.placed(device, reaches=True, is_cache=True, linked=[OWN])
    assert not one.verdict(id_, now=1.0).is_ours


@given(st.sampled_from(CHUNKS), st.sets(st.sampled_from(DEVICES), min_size=1, max_size=4))
def test_a_claim_that_is_not_kept_delays_a_chunk_by_two_seconds_and_is_punished(
    id_: ChunkId, liars: set[DeviceId]
) -> None:
    one = hood(*liars)
    one.want(id_, now=0.0)
    for liar in liars:
        one.heard(liar, Tidings(fetching={id_: CLOUD}), now=0.1)
    assert not one.verdict(id_, now=0.1 + STALL_S - 0.01).is_ours
    assert one.verdict(id_, now=0.1 + STALL_S).is_ours
    one.asked(id_, CLOUD, now=2.2)
    for liar in liars:
        one.heard(liar, Tidings(), now=2.9)
    one.came_in(id_, CLOUD, now=3.0)
    assert all(one.benched_until(liar) == 63.0 for liar in liars)
    other = CHUNKS[0] if id_ != CHUNKS[0] else CHUNKS[1]
    one.want(other, now=4.0)
    for liar in liars:
        one.heard(liar, Tidings(fetching={other: CLOUD}), now=4.0)
    assert one.verdict(other, now=4.0 + HEAR_S).is_ours, "who is benched is not waited for"


@given(st.sampled_from(CHUNKS), st.sampled_from(DEVICES))
def test_each_offence_is_paid_for_twice_as_long(id_: ChunkId, liar: DeviceId) -> None:
    one = hood(liar)
    now, benches = 0.0, []
    for _ in range(4):
        one.bench(liar, now=now)
        benches.append(one.benched_until(liar) - now)
        now = one.benched_until(liar)
    assert benches == [60.0, 120.0, 240.0, 480.0]
    one.went(liar, now=now)
    one.came(liar, now=now)
    assert one.benched_until(liar) == now, "who comes back is who it was"


@given(st.sampled_from(CHUNKS), st.sampled_from(DEVICES))
def test_what_the_source_confirms_is_waited_for(id_: ChunkId, device: DeviceId) -> None:
    one = hood(device)
    one.want(id_, now=0.0)
    one.heard(device, Tidings(fetching={id_: CLOUD}), now=0.0)
    assert one.verdict(id_, now=STALL_S).is_ours
    one.asked(id_, CLOUD, now=STALL_S)
    one.elsewhere(id_, device, now=2.1)
    assert one.verdict(id_, now=2.2).awaited == device
    assert one.verdict(id_, now=2.1 + STALL_S).is_ours
    stranger = DeviceId(b"s" * 32)
    one.elsewhere(id_, stranger, now=5.0)
    assert one.verdict(id_, now=5.0).is_ours, "a device that we do not know is not waited for"


def test_a_queue_that_moves_is_waited_for_as_long_as_what_stood_before_comes() -> None:
    near = DEVICES[0]
    one = hood(near)
    first, second, third = CHUNKS[:3]
    for id_ in (first, second, third):
        one.want(id_, now=0.0)
    one.heard(near, Tidings(fetching={first: CLOUD}), now=1.0)
    one.heard(near, Tidings(fetching={second: CLOUD}), now=2.0)
    one.heard(near, Tidings(fetching={third: CLOUD}), now=3.0)
    one.heard(near, Tidings(held={first: None}), now=3.9)
    assert not one.verdict(second, now=5.8).is_ours
    one.heard(near, Tidings(held={third: None}), now=5.8)
    assert one.verdict(second, now=5.9).is_ours, "what was claimed after it has come, and it has not"


def test_a_neighbour_that_has_just_come_may_speak_first_and_a_silent_one_is_not_waited_for() -> None:
    one = hood(now=0.0)
    one.came(DEVICES[0], now=0.0)
    one.want(CHUNKS[0], now=0.0)
    assert not one.verdict(CHUNKS[0], now=GREET_S - 0.01).is_ours
    assert one.verdict(CHUNKS[0], now=GREET_S).is_ours


@given(st.lists(st.sampled_from(DEVICES), unique=True, min_size=2, max_size=5), st.sampled_from(CHUNKS))
def test_claims_go_on_by_one_hop_to_those_who_do_not_see_the_claimer(devices: list[DeviceId], id_: ChunkId) -> None:
    claimer, *others = devices
    one = hood(*devices)
    one.placed(claimer, reaches=True, is_cache=False, linked=[OWN])
    for other in others:
        one.placed(other, reaches=True, is_cache=False, linked=[OWN, *others])
    one.want(id_, now=0.0)
    for other in others:
        one.heard(other, Tidings(missing={id_: None}), now=0.0)
    one.outgoing(now=1.0)
    one.heard(claimer, Tidings(fetching={id_: CLOUD}), now=1.0)
    told = {device: tidings.expected for device, tidings in one.outgoing(now=2.0)}
    assert told == {other: {id_: None} for other in others}
    far = hood(*others)
    far.want(id_, now=0.0)
    far.heard(others[0], Tidings(expected={id_: None}), now=0.0)
    assert far.verdict(id_, now=0.1).awaited == others[0]
    assert not any(tidings.expected for _, tidings in far.outgoing(now=9.0)), "and no further"


@given(st.permutations([*DEVICES, OWN]))
def test_the_order_is_a_matter_of_chunk_and_device_alone(devices: list[DeviceId]) -> None:
    firsts = Counter(max(devices, key=lambda device: Neighbourhood.rank(id_, device, is_cache=False)) for id_ in CHUNKS)
    again = Counter(
        max(sorted(devices), key=lambda device: Neighbourhood.rank(id_, device, is_cache=False)) for id_ in CHUNKS
    )
    assert firsts == again
    assert len(firsts) > 1


@given(st.sampled_from(CHUNKS), st.sampled_from(DEVICES))
def test_who_was_out_of_reach_is_taken_back_when_it_is_heard_a_few_times(id_: ChunkId, device: DeviceId) -> None:
    one = hood(device)
    one.want(id_, now=0.0)
    now = 0.0
    for offence in range(5):
        one.heard(device, Tidings(missing={id_: None}), now=now)
        now += STALL_S
        one.bench(device, now=now)
        now += 1.0
        one.heard(device, Tidings(missing={id_: None}), now=now)
        is_benched = one.benched_until(device) > now
        assert is_benched == (offence >= 3)
        now += 10_000.0
    talking = hood(device)
    talking.heard(device, Tidings(missing={id_: None}), now=1.9)
    talking.bench(device, now=2.0)
    talking.heard(device, Tidings(missing={id_: None}), now=2.1)
    assert talking.benched_until(device) == 62.0, "who lies while it talks is benched"
