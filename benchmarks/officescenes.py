# SPDX-License-Identifier: AGPL-3.0-or-later
"""What can happen in an office, and random ones."""

import random
from collections.abc import Iterable
from dataclasses import dataclass

from harp.sync.model import MAX_CHUNK


@dataclass(frozen=True)
class Scene:
    """One office. ``deaths`` and ``hangs`` are (device, second), ``cuts`` (device, device, from, until)."""

    devices: int
    sizes: tuple[int, ...]
    wan_rate: float
    wan_delay_s: float
    loss: float = 0.0
    starts_s: tuple[float, ...] = ()
    deaths: tuple[tuple[int, float], ...] = ()
    hangs: tuple[tuple[int, float], ...] = ()
    cuts: tuple[tuple[int, int, float, float], ...] = ()
    liars: frozenset[int] = frozenset()
    lan_only: frozenset[int] = frozenset()
    seed: int = 0


def drawn(seed: int, *, fails: bool = True) -> Scene:
    """A random office of 2 to 50 devices."""
    dice = random.Random(seed)
    devices = dice.randint(2, 50)
    sizes = tuple(dice.randint(16 * 1024, MAX_CHUNK) for _ in range(dice.randint(10, 40)))
    wan_rate = 10 ** dice.uniform(5.2, 7.1)
    length_s = sum(sizes) / wan_rate
    starts = tuple(dice.uniform(0, 0.02) if dice.random() < 0.8 else dice.uniform(0, length_s) for _ in range(devices))
    numbers = list(range(1, devices))
    dice.shuffle(numbers)

    def some(most: int) -> Iterable[int]:
        count = dice.randint(0, most) if fails and dice.random() < 0.3 else 0
        taken, numbers[:] = numbers[:count], numbers[count:]
        return taken

    deaths = tuple((number, dice.uniform(0, length_s)) for number in some(devices // 4))
    hangs = tuple((number, dice.uniform(0, length_s)) for number in some(devices // 8))
    liars = frozenset(some(devices // 8))
    cuts: list[tuple[int, int, float, float]] = []
    for one in some(devices // 3):
        begin = dice.uniform(0, length_s)
        # Device 0 sees all, so that whatever one has can reach everyone.
        cuts += [(one, other, begin, begin + dice.uniform(0.1, length_s)) for other in range(1, one)]
    return Scene(
        devices,
        sizes,
        wan_rate,
        dice.uniform(0.005, 0.15),
        loss=dice.choice([0.0, 0.0, 0.01, 0.05]),
        starts_s=starts,
        deaths=deaths,
        hangs=hangs,
        cuts=tuple(cuts),
        liars=liars,
        seed=seed,
    )
