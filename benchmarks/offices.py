# SPDX-License-Identifier: AGPL-3.0-or-later
"""Random offices with a clock of their own: how much crosses the WAN relative to what has to, whoever fails.

Run as ``python -m benchmarks.offices``. Devices are the engine's own decisions (neighbours, fetcher, sitequeue) between
simulated links: one WAN line that all share, with a rate, a delay and losses (which TCP turns into waiting), and a LAN
on which devices die, hang, lie, and lose sight of each other. No socket, no disk, no thread.
"""

import argparse
import functools
import heapq
import itertools
import json
import math
import random
import statistics
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from benchmarks.officescenes import Scene, drawn
from harp.identity.device import DeviceId
from harp.sync.engine import fetcher
from harp.sync.engine.claims import STALL_S, Tidings
from harp.sync.engine.fetcher import Asked, Reach, Source, Want
from harp.sync.engine.neighbours import Neighbourhood
from harp.sync.engine.sitequeue import Line, Request, SiteQueue
from harp.sync.model import MAX_CHUNK, ChunkId

LAN_RATE = 110e6
LAN_DELAY_S = 0.0005
LAN_WINDOW = 16 * MAX_CHUNK
WAN_WINDOW = 4 * MAX_CHUNK
POLL_S = 0.05
GATHER_S = 0.01
"""What happens to a device within this time it looks at together."""
RESEND_S = 0.25
"""What a loss costs on a line whose other packets wait behind it."""
HANG_NOTICED_S = 45.0
GIVE_UP_S = 3600.0
CLOUD = DeviceId(b"\xff" * 32)


@dataclass
class Outcome:
    """What came of it: bytes over the WAN and what had to cross it, seconds, and what went wrong."""

    wan_bytes: int = 0
    ideal_bytes: int = 0
    done_s: float = 0.0
    ideal_s: float = 0.0
    twice: list[str] = field(default_factory=list)
    """Chunks that two devices asked for in vain or got, while both lived and saw each other."""
    unfinished: dict[int, int] = field(default_factory=dict)
    """Devices, and how many chunks they lack in the end."""
    fetched_by: dict[int, int] = field(default_factory=dict)
    """Bytes over the WAN by device."""
    lied_to_s: float = 0.0
    """The longest that a chunk was waited for after the first claim of a liar."""

    @property
    def bytes_ratio(self) -> float:
        return self.wan_bytes / self.ideal_bytes

    @property
    def time_ratio(self) -> float:
        return self.done_s / self.ideal_s


class _Desk:
    """One device of the office."""

    def __init__(self, office: "Office", number: int) -> None:
        self.office = office
        self.number = number
        self.device = DeviceId(bytes([number + 1]) * 32)
        self.hood = Neighbourhood(self.device)
        self.is_alive = False
        self.here: set[ChunkId] = set()
        self.asked: dict[ChunkId, tuple[DeviceId, float]] = {}
        self.refused: dict[ChunkId, set[DeviceId]] = {}
        self.in_flight: dict[DeviceId, int] = {}
        self.answered_at: dict[DeviceId, float] = {}
        self.is_due = False
        self.wakes_at = math.inf

    @property
    def is_liar(self) -> bool:
        return self.number in self.office.scene.liars

    # --- events -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        now = self.office.now
        self.is_alive = True
        if self.number not in self.office.scene.lan_only:
            self.hood.stand(sources=frozenset([CLOUD]), is_cache=False)
        for other in self.office.desks:
            if other is not self and other.is_alive and not self.office.is_cut(self.number, other.number):
                self.meet(other)
                other.meet(self)
        for id_ in self.office.ids:
            self.hood.want(id_, now=now)
        self.act()

    def meet(self, other: "_Desk") -> None:
        self.hood.came(other.device, now=self.office.now)
        self._tell()
        for desk in self.office.desks:
            if desk.device in self.hood:
                desk.told_place(self)
        self.office.later(LAN_DELAY_S, lambda: other.told_place(self))

    def told_place(self, other: "_Desk") -> None:
        self.hood.placed(other.device, reaches=other.hood.reaches, is_cache=False, linked=other.hood.neighbours)

    def part(self, other: "_Desk") -> None:
        self.hood.went(other.device, now=self.office.now)
        self._free(other.device)
        self.soon()

    def hear(self, giver: DeviceId, tidings: Tidings) -> None:
        if not self.is_alive:
            return
        now = self.office.now
        heard = self.hood.heard(giver, tidings, now=now)
        self.hood.have(giver, [id_ for id_ in heard.sought if id_ in self.here], now=now)
        if self.is_liar:
            self._lie(giver, tidings)
        self.soon()

    def _lie(self, giver: DeviceId, tidings: Tidings) -> None:
        claims = Tidings(fetching=dict.fromkeys(tidings.missing, CLOUD))
        if claims:
            for id_ in claims.fetching:
                self.office.lies.setdefault(id_, self.office.now)
            self.office.send(self, giver, claims)

    def answer(self, giver: DeviceId, id_: ChunkId, data: bool, elsewhere: DeviceId | None = None) -> None:
        if not self.is_alive:
            return
        now = self.office.now
        self.answered_at[giver] = now
        asked = self.asked.get(id_)
        if asked is not None and asked[0] == giver:
            self._release(id_)
        if data:
            if id_ not in self.here:
                self.here.add(id_)
                self._release(id_)
                self.hood.came_in(id_, giver, now=now)
                self.office.came_in(self, id_)
        elif elsewhere is not None:
            self.hood.elsewhere(id_, elsewhere, now=now)
        else:
            self.refused.setdefault(id_, set()).add(giver)
            self.hood.unasked(id_, now=now)
        self.soon()

    # --- deciding -----------------------------------------------------------------------------------------------------

    def soon(self) -> None:
        if not self.is_due:
            self.is_due = True
            self.office.later(GATHER_S, self.act)

    def act(self) -> None:
        self.is_due = False
        if not self.is_alive:
            return
        now = self.office.now
        if not self.is_liar:
            self._stalled(now)
            self._ask(now)
        self._tell()
        wake = min(self.hood.next_deadline(), self.hood.wake_at)
        if any(who != CLOUD for who, _ in self.asked.values()):
            wake = min(wake, now + STALL_S / 4)
        if wake < self.wakes_at and len(self.here) < len(self.office.ids):
            self.wakes_at = max(now + 0.0005, wake)
            self.office.later(self.wakes_at - now, self._wake)

    def _wake(self) -> None:
        if self.wakes_at <= self.office.now:
            self.wakes_at = math.inf
            self.soon()

    def _ask(self, now: float) -> None:
        self.hood.wake_at = math.inf
        sources = {
            desk.device: Source(
                desk.device,
                Reach.LAN,
                max(0, LAN_WINDOW - self.in_flight.get(desk.device, 0)),
                functools.partial(self.hood.holds, desk.device),
                self.hood.benched_until(desk.device),
            )
            for desk in self.office.desks
            if desk.device in self.hood
        }
        if self.hood.reaches:
            free = max(0, WAN_WINDOW - self.in_flight.get(CLOUD, 0))
            sources[CLOUD] = Source(CLOUD, Reach.WAN, free, lambda _: True)
        asked = {id_: Asked(who) for id_, (who, _) in self.asked.items()}
        asked |= {id_: Asked(None, frozenset(who)) for id_, who in self.refused.items() if id_ not in asked}
        wants = (Want(id_, self.office.size[id_]) for id_ in self.office.ids if id_ not in self.here)
        is_ours = lambda id_: self.hood.verdict(id_, now=now).is_ours  # noqa: E731
        for ask in fetcher.assign(wants, sources, asked, now=now, is_ours=is_ours):
            self.asked[ask.id] = (ask.device, now)
            self.in_flight[ask.device] = self.in_flight.get(ask.device, 0) + ask.size
            if ask.device == CLOUD:
                self.hood.asked(ask.id, CLOUD, now=now)
                self.office.ask_cloud(self, ask.id)
            else:
                self.office.ask_neighbour(self, ask.device, ask.id)

    def _stalled(self, now: float) -> None:
        for id_, (who, at) in list(self.asked.items()):
            if who != CLOUD and now - max(at, self.answered_at.get(who, 0.0)) >= STALL_S:
                self._release(id_)
                self.refused.setdefault(id_, set()).add(who)
                self.hood.bench(who, now=now)

    def _tell(self) -> None:
        for device, tidings in self.hood.outgoing(now=self.office.now):
            self.office.send(self, device, tidings)

    def _release(self, id_: ChunkId) -> None:
        asked = self.asked.pop(id_, None)
        if asked is not None:
            self.in_flight[asked[0]] -= self.office.size[id_]

    def _free(self, device: DeviceId) -> None:
        for id_ in [id_ for id_, (who, _) in self.asked.items() if who == device]:
            self._release(id_)


class Office:
    """Runs one scene."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.random = random.Random(scene.seed)
        self.now = 0.0
        self.ids = [ChunkId(self.random.randbytes(32)) for _ in scene.sizes]
        self.size = dict(zip(self.ids, scene.sizes, strict=True))
        self.desks = [_Desk(self, number) for number in range(scene.devices)]
        self.by_device = {desk.device: desk for desk in self.desks}
        self.outcome = Outcome(ideal_bytes=sum(scene.sizes))
        self.lies: dict[ChunkId, float] = {}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._queue: SiteQueue[int] = SiteQueue()
        self._numbers = itertools.count()
        self._line_free_at = 0.0
        self._flows: dict[DeviceId, list[tuple[float, float, int]]] = {}
        self._is_polled = False
        self._hung: set[int] = set()
        self._first_here: dict[ChunkId, tuple[int, float]] = {}

    def run(self) -> Outcome:
        scene = self.scene
        starts = scene.starts_s or (0.0,) * scene.devices
        for desk, at in zip(self.desks, starts, strict=True):
            self.later(at, desk.start)
        for number, at in scene.deaths:
            self.later(at, functools.partial(self._die, number))
        for number, at in scene.hangs:
            self.later(at, functools.partial(self._hang, number))
        for one, other, begin, end in scene.cuts:
            self.later(begin, functools.partial(self._part, one, other))
            self.later(end, functools.partial(self._join, one, other))
        while self._events and not self._is_done():
            self.now, _, event = heapq.heappop(self._events)
            if self.now > GIVE_UP_S:
                break
            event()
        self.outcome.unfinished = {
            desk.number: len(self.ids) - len(desk.here) for desk in self._counting() if len(desk.here) < len(self.ids)
        }
        self.outcome.done_s = self.now
        at_best_s = max(*starts, min(starts) + sum(scene.sizes) / scene.wan_rate)
        self.outcome.ideal_s = at_best_s + 2 * scene.wan_delay_s
        for id_, lied_at in self.lies.items():
            if id_ in self._first_here:
                self.outcome.lied_to_s = max(self.outcome.lied_to_s, self._first_here[id_][1] - lied_at)
        return self.outcome

    def _counting(self) -> list[_Desk]:
        """Those that are to have everything in the end."""
        gone = {number for number, _ in (*self.scene.deaths, *self.scene.hangs)}
        return [desk for desk in self.desks if desk.number not in gone and not desk.is_liar]

    def _is_done(self) -> bool:
        return all(len(desk.here) == len(self.ids) for desk in self._counting())

    def later(self, delay_s: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + delay_s, next(self._order), event))

    # --- the LAN ------------------------------------------------------------------------------------------------------

    def is_cut(self, one: int, other: int) -> bool:
        return any({one, other} == {a, b} and begin <= self.now < end for a, b, begin, end in self.scene.cuts)

    def _sees(self, one: _Desk, device: DeviceId) -> bool:
        return one.number not in self._hung and device in one.hood and one.is_alive

    def send(self, one: _Desk, device: DeviceId, tidings: Tidings) -> None:
        other = self.by_device[device]
        if self._sees(one, device) and other.number not in self._hung:
            self.later(LAN_DELAY_S, lambda: other.hear(one.device, tidings))

    def ask_neighbour(self, one: _Desk, device: DeviceId, id_: ChunkId) -> None:
        other = self.by_device[device]
        if other.number in self._hung or other.is_liar:
            return
        has = id_ in other.here
        delay_s = 2 * LAN_DELAY_S + (self.size[id_] / LAN_RATE if has else 0.0)
        self.later(delay_s, lambda: one.answer(device, id_, has) if other.is_alive and device in one.hood else None)

    def _die(self, number: int) -> None:
        """Its connections are reset, as those of a process that was killed."""
        desk = self.desks[number]
        desk.is_alive = False
        self._queue.left(desk.device)
        self._flows.pop(desk.device, None)
        for other in self.desks:
            if desk.device in other.hood:
                other.part(desk)

    def _hang(self, number: int) -> None:
        """It says nothing any more, and nobody is told."""
        self._hung.add(number)
        self.later(HANG_NOTICED_S, lambda: self._die(number))

    def _part(self, one: int, other: int) -> None:
        a, b = self.desks[one], self.desks[other]
        if b.device in a.hood:
            a.part(b)
            b.part(a)

    def _join(self, one: int, other: int) -> None:
        a, b = self.desks[one], self.desks[other]
        if a.is_alive and b.is_alive and b.device not in a.hood:
            a.meet(b)
            b.meet(a)
            a.soon()
            b.soon()

    # --- the WAN ------------------------------------------------------------------------------------------------------

    def ask_cloud(self, desk: _Desk, id_: ChunkId) -> None:
        self.later(self.scene.wan_delay_s, lambda: self._asked(desk, id_))

    def _asked(self, desk: _Desk, id_: ChunkId) -> None:
        if not desk.is_alive:
            return
        elsewhere = self._queue.ask(Request(desk.device, next(self._numbers), id_), now=self.now)
        if elsewhere is not None:
            self.later(self.scene.wan_delay_s, lambda: desk.answer(CLOUD, id_, data=False, elsewhere=elsewhere))
        self._serve()

    def _serve(self) -> None:
        lines = {desk.device: self._line(desk) for desk in self.desks if desk.is_alive}
        for device, _, id_ in self._queue.take(lines, now=self.now):
            self._transmit(self.by_device[device], ChunkId(id_))
        if len(self._queue) and not self._is_polled:
            self._is_polled = True
            self.later(POLL_S, self._poll)

    def _line(self, desk: _Desk) -> Line:
        """What the cloud's kernel shows of the connection: acknowledgements come a round trip after the bytes left."""
        flows = self._flows.get(desk.device, [])
        seen = self.now - 2 * self.scene.wan_delay_s
        acked = sum(int(size * min(1.0, max(0.0, seen - begin) / (end - begin))) for begin, end, size in flows)
        unacked = sum(size for _, _, size in flows) - acked
        # Of those that hang half have left, and nothing answers; the others' kernels still do.
        is_lost = unacked > 0 and desk.number in self._hung and desk.number % 2 == 1
        return Line(unacked, acked, 2 * self.scene.wan_delay_s, is_lost)

    def _poll(self) -> None:
        self._is_polled = False
        self._serve()

    def _transmit(self, desk: _Desk, id_: ChunkId) -> None:
        size = self.size[id_]
        flows = self._flows.setdefault(desk.device, [])
        if desk.number in self._hung:
            # The kernel's first window is lost, and no more of it leaves.
            self.outcome.wan_bytes += min(size, 64 * 1024)
            flows.append((GIVE_UP_S, 2 * GIVE_UP_S, size))
            return
        begins = max(self.now, self._line_free_at)
        self._line_free_at = begins + size / self.scene.wan_rate
        flows.append((begins, self._line_free_at, size))
        self._queue.sent(desk.device, id_, self._line(desk))
        lost_s = RESEND_S if self.random.random() < self.scene.loss else 0.0
        self.outcome.wan_bytes += size
        self.outcome.fetched_by[desk.number] = self.outcome.fetched_by.get(desk.number, 0) + size
        self.later(self._line_free_at - self.now + self.scene.wan_delay_s + lost_s, lambda: self._arrived(desk, id_))

    def _arrived(self, desk: _Desk, id_: ChunkId) -> None:
        if desk.number in self._hung or not desk.is_alive:
            return
        earlier = self._first_here.get(id_)
        if earlier is not None and not self._excused(earlier[0], desk.number):
            self.outcome.twice.append(f"{id_.hex()[:8]} by {earlier[0]} and {desk.number} at {self.now:.3f}")
        desk.answer(CLOUD, id_, data=True)
        self.later(self.scene.wan_delay_s, self._serve)

    def _excused(self, one: int, other: int) -> bool:
        """Whether the two did not see each other all the time."""
        failed = {number for number, _ in (*self.scene.deaths, *self.scene.hangs)}
        cut = any({one, other} == {a, b} for a, b, _, _ in self.scene.cuts)
        return bool({one, other} & (failed | self.scene.liars)) or cut

    def came_in(self, desk: _Desk, id_: ChunkId) -> None:
        self._first_here.setdefault(id_, (desk.number, self.now))


def _simulated(seed: int, *, fails: bool) -> Outcome:
    return Office(drawn(seed, fails=fails)).run()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.offices", description=__doc__)
    parser.add_argument("--offices", type=int, default=1000, help="how many (default 1000)")
    parser.add_argument("--seed", type=int, default=1, help="of the first one (default 1)")
    parser.add_argument("--well", action="store_true", help="nothing fails in them")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(arguments)
    seeds = range(asked.seed, asked.seed + asked.offices)
    simulated = functools.partial(_simulated, fails=not asked.well)
    with ProcessPoolExecutor() as processes:
        outcomes = dict(zip(seeds, processes.map(simulated, seeds, chunksize=4), strict=True))
    bytes_ratios = {seed: outcome.bytes_ratio for seed, outcome in outcomes.items()}
    worst = max(bytes_ratios, key=lambda seed: bytes_ratios[seed])
    figures = {
        "offices": len(outcomes),
        "wan_bytes_median": statistics.median(bytes_ratios.values()),
        "wan_bytes_worst": bytes_ratios[worst],
        "wan_bytes_worst_seed": worst,
        "time_median": statistics.median(outcome.time_ratio for outcome in outcomes.values()),
        "time_worst": max(outcome.time_ratio for outcome in outcomes.values()),
        "unfinished": sum(bool(outcome.unfinished) for outcome in outcomes.values()),
        "twice": sum(bool(outcome.twice) for outcome in outcomes.values()),
    }
    for seed, outcome in outcomes.items():
        if outcome.unfinished:
            print(f"seed {seed} did not come to an end: {outcome.unfinished}", file=sys.stderr)
    if asked.json:
        print(json.dumps(figures, indent=2))
    else:
        for name, value in figures.items():
            print(f"{name:22} {value:.6g}")
    return 1 if figures["unfinished"] else 0


if __name__ == "__main__":
    sys.exit(main())
