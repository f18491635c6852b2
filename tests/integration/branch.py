# SPDX-License-Identifier: AGPL-3.0-or-later
"""Branch offices: desks on a LAN, in a laboratory, with a desk in the cloud at the far end of one slow line."""

import contextlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.lab.namespace import why_not
from benchmarks.lab.site import Lab, Site, built
from benchmarks.lab.wan import LineForm
from tests.integration.office import SOON_S, Desk, Office, opened, until

FAST_LINE = LineForm(rate=20_000_000)
"""Fast enough for short tests, and slow enough that a second copy shows."""
MB = 1_000_000


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


@dataclass(frozen=True)
class Branches:
    """``desks`` are those of each site, in the order of its hosts."""

    lab: Lab
    office: Office
    cloud: Desk
    desks: Sequence[Sequence[Desk]]

    @property
    def site(self) -> Site:
        return self.lab.site

    def everyone(self) -> list[Desk]:
        return [self.cloud, *(desk for desks in self.desks for desk in desks)]

    def has_carried(self, size: int, site: Site | None = None) -> None:
        """Waits until so many bytes came down the line."""
        line = (site or self.site).wan
        until(lambda: line.traffic().down >= size, f"{size} bytes have come down the line")

    def have(self, path: str, content: bytes, *desks: Desk, timeout_s: float = SOON_S) -> None:
        """Waits until the desks show the file, and compares every byte."""
        for desk in desks:
            until(lambda: desk.at(path).exists(), f"{desk.name} has {path}", timeout_s)  # noqa: B023
            assert desk.read(path) == content, f"{desk.name} has other bytes in {path}"


@contextlib.contextmanager
def branches(
    place: Path, *sizes: int, form: LineForm = FAST_LINE, joined: int | None = None, **settings: str
) -> Iterator[Branches]:
    """A cloud with a folder, and offices of so many desks that have joined it and are linked to each other and to the
    cloud; of each office only the first ``joined`` do, where that is given, and the others have not been started. The
    ``settings`` are those of the offices' desks."""
    if reason := why_not():
        pytest.skip(f"no laboratory can be built here: {reason}")
    with built(*sizes, form=form) as lab, opened(place) as office:
        cloud = office.desk("cloud", lab.cloud)
        desks = [
            [office.desk(f"desk{number}{index}", host, **settings) for index, host in enumerate(site.hosts, start=1)]
            for number, site in enumerate(lab.sites, start=1)
        ]
        cloud.launch(cloud.folder)
        present = [site_desks[:joined] for site_desks in desks]
        for desk in (desk for site_desks in present for desk in site_desks):
            desk.launch()
        cloud.ready()
        for site_desks in present:
            for desk in site_desks:
                desk.ready().join(cloud.invites())
        for site_desks in present:
            office.linked(cloud, *site_desks)
        yield Branches(lab, office, cloud, desks)
