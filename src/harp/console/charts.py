# SPDX-License-Identifier: AGPL-3.0-or-later
"""The geometry of the pictures: what came from where, and who gives whom how much. Pure; templates draw them as SVG."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

SOURCES = ("lan", "wan", "local")


@dataclass(frozen=True, slots=True)
class Bar:
    """One piece of a day's bar; numbers are of the picture's own units."""

    source: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Column:
    """One day, with its pieces from the bottom up, and its bytes by source."""

    day: str
    bars: tuple[Bar, ...]
    carried: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Flow:
    """A line between this device and another one: how thick each way is, from 0 to 1."""

    peer: Mapping[str, Any]
    y: float
    given: float
    taken: float


def columns(
    days: Sequence[Mapping[str, Any]], today: str, count: int, *, width: float = 620.0, height: float = 120.0
) -> list[Column]:
    """The last ``count`` days up to ``today``, oldest first; a day that is not in ``days`` had nothing."""
    known = {str(day["day"]): day for day in days}
    last = date.fromisoformat(today)
    wanted = [(last - timedelta(days=count - 1 - place)).isoformat() for place in range(count)]
    sums = {day: {source: int(known.get(day, {}).get(source, 0)) for source in SOURCES} for day in wanted}
    most = max((sum(carried.values()) for carried in sums.values()), default=0)
    step = width / count
    return [
        Column(day, tuple(_bars(sums[day], most, place * step + step * 0.12, step * 0.76, height)), sums[day])
        for place, day in enumerate(wanted)
    ]


def _bars(carried: Mapping[str, int], most: int, x: float, width: float, height: float) -> list[Bar]:
    bars, bottom = [], height
    for source in SOURCES:
        if most and carried[source]:
            tall = max(1.0, height * carried[source] / most)
            bottom -= tall
            bars.append(Bar(source, round(x, 1), round(max(0.0, bottom), 1), round(width, 1), round(tall, 1)))
    return bars


def strip(carried: Mapping[str, int], *, width: float = 620.0, height: float = 14.0) -> list[Bar]:
    """All of ``carried`` in one lying bar: nothing where there was nothing."""
    whole, bars, left = sum(carried[source] for source in SOURCES), [], 0.0
    for source in SOURCES:
        if carried[source]:
            long = width * carried[source] / whole
            bars.append(Bar(source, round(left, 1), 0.0, round(long, 1), height))
            left += long
    return bars


def total(days: Sequence[Mapping[str, Any]], first: str = "") -> dict[str, int]:
    """Bytes by source, from the day ``first`` on."""
    wanted = [day for day in days if str(day["day"]) >= first]
    return {source: sum(int(day.get(source, 0)) for day in wanted) for source in SOURCES}


def share(carried: Mapping[str, int]) -> float:
    """How much of what was needed did not come over the WAN, from 0 to 1."""
    whole = sum(carried.values())
    return (whole - carried["wan"]) / whole if whole else 0.0


def flows(peers: Sequence[Mapping[str, Any]], *, step: float = 56.0) -> list[Flow]:
    """A line for each device, one below the other; a kilobyte a second is thin, a gigabyte thick."""
    return [
        Flow(peer, step * place + step / 2, thickness(peer["rate_out"]), thickness(peer["rate_in"]))
        for place, peer in enumerate(peers)
    ]


def thickness(bytes_s: float) -> float:
    """From 0 (nothing that counts) to 1, by the logarithm."""
    return 0.0 if bytes_s < 1024 else round(min(1.0, 0.15 + 0.85 * math.log10(bytes_s / 1024) / 6), 2)


@dataclass(frozen=True, slots=True)
class Advance:
    """How far a folder is. ``share`` is from 0 to 1; ``left_s`` is None where nobody can tell."""

    share: float
    left_s: float | None


def advance(folder: Mapping[str, Any], rate_in: float) -> Advance | None:
    """The progress of a folder that lacks something; None of one that has all."""
    lacking, files = int(folder["needed_files"]), int(folder["files"])
    needed_bytes, size = int(folder["needed_bytes"]), int(folder["bytes"])
    if not lacking and not needed_bytes:
        return None
    # A folder that has just been joined knows the sizes of the next files only: the others count as those here do.
    guessed = max(needed_bytes, lacking * size // files if files else 0)
    here = size + int(folder["arrived_bytes"])
    whole = here + guessed
    left_s = guessed / rate_in if rate_in >= 1024 else None
    return Advance(min(0.999, here / whole) if whole else 0.0, left_s)
