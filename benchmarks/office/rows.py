# SPDX-License-Identifier: AGPL-3.0-or-later
"""The work in an office, row by row; each in a laboratory of its own, with devices that have never met."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import content
from benchmarks.figures import Failure, Figure, Undone
from benchmarks.lab.site import Lab
from benchmarks.office.fleet import Fleet, HarpFleet, SyncthingFleet, seen_at
from benchmarks.office.hub import HubFleet
from benchmarks.office.reference import Reference

MB = 1_000_000
NAME = "file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Bytes; smaller only to try the bench itself."""

    put: int = 50 * MB
    many: int = 1_000
    many_size: int = 50_000
    big: int = 1_000 * MB
    saved: int = 10 * MB

    def divided(self, by: int) -> "Sizes":
        return Sizes(
            put=self.put // by, many=max(1, self.many // by), big=self.big // by, saved=self.saved // by
        )  # small files stay as small as they are


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """What a row is done with, and held against."""

    row: str
    round: int
    sizes: Sizes
    reference: Reference

    def figure(self, fleet: Fleet, wall_s: float, cpu_s: float, **extra: float) -> Figure:
        return Figure(row=self.row, peer=fleet.name, round=self.round, wall_s=wall_s, cpu_s=cpu_s, extra=extra)

    def wrong(self, fleet: Fleet, why: str) -> Failure:
        return Failure(row=self.row, peer=fleet.name, round=self.round, why=why, is_wrong=True)

    def line_s(self, size: int) -> float:
        """The time of one copy on the line, down."""
        return size / self.reference.down

    def patience_s(self, fleet: Fleet, size: int) -> float:
        """Enough for as many copies on the line as there are devices, and a bit, but for ten at most."""
        return 60 + 1.5 * self.line_s(size) * min(10, len(fleet.daemons))


def put(fleet: Fleet, measure: Measure, offices: int) -> Figure | Failure:
    """One file is put into the cloud."""
    prepared = fleet.staging / NAME
    content.random_file(prepared, measure.sizes.put)
    fleet.start(offices)
    return _arrival(fleet, measure, prepared, [NAME], size=measure.sizes.put)


def upload(fleet: Fleet, measure: Measure, offices: int) -> Figure | Failure:
    """One file is put into Nextcloud, by a browser, and a hub stands beside it."""
    assert isinstance(fleet, HubFleet)
    return put(fleet, measure, offices)


def many(fleet: Fleet, measure: Measure, offices: int) -> Figure | Failure:
    """A directory of small files is put into the cloud."""
    prepared = fleet.staging / "many"
    content.random_tree(prepared, measure.sizes.many, measure.sizes.many_size)
    fleet.start(offices)
    names = [f"many/{name}" for name in content.listing(prepared)]
    return _arrival(fleet, measure, prepared, names, size=measure.sizes.many * measure.sizes.many_size)


def edit(fleet: Fleet, measure: Measure, offices: int) -> Figure | Failure:
    """All have a big file; then a hundredth of it, in two regions, is changed in the cloud."""
    prepared = fleet.staging / NAME
    content.random_file(prepared, measure.sizes.big)
    region = measure.sizes.big // 200
    changed = _changed(prepared, fleet.staging / "changed", region)
    with fleet.lab.site.near_the_cloud():
        fleet.start(offices)
        prepared.rename(fleet.folders[0] / NAME)
        seen_at(fleet, source=0, names=[NAME], deadline_s=300)
    # What a daemon has learned about its links must not come from the short way.
    fleet.restart()
    return _arrival(fleet, measure, changed, [NAME], size=2 * region)


def _changed(source: Path, target: Path, region: int) -> Path:
    content.copied_file(source, target)
    with target.open("r+b", buffering=0) as file:
        for third in (1, 2):
            file.seek(third * target.stat().st_size // 3)
            file.write(os.urandom(region))
    return target


def _arrival(fleet: Fleet, measure: Measure, prepared: Path, names: list[str], *, size: int) -> Figure | Failure:
    """Put what is prepared into the cloud's folder; from there to all of the office having it.

    The line's bytes are those since the laboratory was built: meeting and joining are in them.
    """
    content.settle(fleet.staging)
    cpu_s = fleet.cpu_s()
    started = time.monotonic()
    fleet.put_in(prepared, NAME if prepared.is_file() else prepared.name)
    put_s = time.monotonic() - started
    seen = seen_at(fleet, source=0, names=names, deadline_s=measure.patience_s(fleet, size))
    cpu_s = fleet.cpu_s() - cpu_s
    carried = fleet.lab.site.wan.traffic()
    if differs := _differences(fleet):
        return measure.wrong(fleet, differs)
    wall_s = max(seen) - started
    return measure.figure(
        fleet,
        wall_s,
        cpu_s,
        put_s=put_s,
        first_s=min(seen) - started,
        wan_down=carried.down,
        wan_up=carried.up,
        wan_ratio=carried.down / size,
        time_ratio=wall_s / measure.line_s(size),
    )


def second(fleet: Fleet, measure: Measure, offices: int) -> Figure | Failure:
    """The cloud and one of the office have a big file; a second one joins, with a ticket of the cloud's."""
    assert isinstance(fleet, HarpFleet)
    assert offices == 2
    size = measure.sizes.big
    content.random_file(fleet.staging / NAME, size)
    with fleet.lab.site.near_the_cloud():
        fleet.start(1)
        (fleet.staging / NAME).rename(fleet.folders[0] / NAME)
        seen_at(fleet, source=0, names=[NAME], deadline_s=300)
    fleet.restart()
    fleet.daemons.append(fleet.sides[2].up())
    ticket = fleet.ticket()
    content.settle(fleet.staging)
    before = fleet.lab.site.wan.traffic()
    cpu_s, started = fleet.cpu_s(), time.monotonic()
    fleet.redeem(2, ticket)
    joined = time.monotonic()
    seen = seen_at(fleet, source=0, names=[NAME], deadline_s=measure.patience_s(fleet, size))
    cpu_s = fleet.cpu_s() - cpu_s
    after = fleet.lab.site.wan.traffic()
    if differs := _differences(fleet):
        return measure.wrong(fleet, differs)
    wall_s = max(seen) - started
    return measure.figure(
        fleet,
        wall_s,
        cpu_s,
        join_s=joined - started,
        wan_down=after.down - before.down,
        wan_up=after.up - before.up,
        wan_ratio=(after.down - before.down) / size,
        lan_ratio=size / wall_s / measure.reference.lan,
    )


def saved(fleet: Fleet, measure: Measure, offices: int) -> Figure | Failure:
    """A file is saved on the office's first device."""
    size = measure.sizes.saved
    prepared = fleet.staging / NAME
    content.random_file(prepared, size)
    fleet.start(offices)
    content.settle(fleet.staging)
    before = fleet.lab.site.wan.traffic()
    cpu_s, started = fleet.cpu_s(), time.monotonic()
    prepared.rename(fleet.folders[1] / NAME)
    in_cloud, *near = seen_at(fleet, source=1, names=[NAME], deadline_s=measure.patience_s(fleet, size))
    cpu_s = fleet.cpu_s() - cpu_s
    after = fleet.lab.site.wan.traffic()
    if differs := _differences(fleet):
        return measure.wrong(fleet, differs)
    return measure.figure(
        fleet,
        in_cloud - started,
        cpu_s,
        neighbour_s=max(near) - started,
        wan_down=after.down - before.down,
        wan_up=after.up - before.up,
        wan_ratio=(after.up - before.up) / size,
        time_ratio=(in_cloud - started) / (size / measure.reference.up),
    )


def _differences(fleet: Fleet) -> str | None:
    """Every byte of every folder is compared with the cloud's; in one line what is not the same."""
    sought = content.listing(fleet.folders[0])
    for index in range(1, len(fleet.daemons)):
        if differs := content.deviation(sought, content.listing(fleet.folders[index])):
            return f"device {index}: {differs}"
    return None


Work = Callable[[Fleet, Measure, int], Figure | Failure]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of the table: the work, in an office of how many, and who does it."""

    title: str
    work: Work
    offices: int
    fleets: Sequence[type[Fleet]] = field(default=(HarpFleet,))


_BOTH = (HarpFleet, SyncthingFleet)
_HUB = (HubFleet,)
ROWS = {
    "put1": Row(title="50 MB into the cloud, N=1", work=put, offices=1),
    "put2": Row(title="50 MB into the cloud, N=2", work=put, offices=2, fleets=_BOTH),
    "put5": Row(title="50 MB into the cloud, N=5", work=put, offices=5),
    "put20": Row(title="50 MB into the cloud, N=20", work=put, offices=20),
    "nextcloud1": Row(title="50 MB into Nextcloud, N=1", work=upload, offices=1, fleets=_HUB),
    "nextcloud2": Row(title="50 MB into Nextcloud, N=2", work=upload, offices=2, fleets=_HUB),
    "nextcloud5": Row(title="50 MB into Nextcloud, N=5", work=upload, offices=5, fleets=_HUB),
    "many": Row(title="1,000 x 50 KB into the cloud, N=5", work=many, offices=5),
    "second": Row(title="1 GB, a second device joins", work=second, offices=2),
    "edit2": Row(title="1 GB, 1 % changed, N=2", work=edit, offices=2, fleets=_BOTH),
    "edit5": Row(title="1 GB, 1 % changed, N=5", work=edit, offices=5),
    "saved": Row(title="10 MB saved in the office, N=2", work=saved, offices=2),
}
"""By the name that ROWS takes, in the order of the table."""


def done(lab: Lab, row: Row, kind: type[Fleet], measure: Measure, place: Path) -> Figure | Failure:
    """One row by one program; what it could not do is an outcome too."""
    fleet = kind(place, lab)
    try:
        return row.work(fleet, measure, row.offices)
    except Undone as error:
        return Failure(row=measure.row, peer=fleet.name, round=measure.round, why=str(error))
    finally:
        fleet.stop()
