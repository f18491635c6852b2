# SPDX-License-Identifier: AGPL-3.0-or-later
"""Renames that arrived in two halves: another device's come as a new file and, a moment later, as one that is gone.

On the device itself the inode tells a rename. Here the new file has one of its own, so that size, time and content tell
it; what was agreed of the old name then speaks of the new file, and the plan finds the rename as any other.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace

from harp.base.errors import StaleError
from harp.sync.cloud.nodes import Agreed, CloudPath, Local, Remote, parent
from harp.sync.service.mirrordisk import MirrorDisk
from harp.sync.service.mirrornotes import Notes

HALF_S = 1.0
"""How long a new file that looks like one that is still there waits for that one to go."""


class Renames:
    """Belongs to one event loop."""

    def __init__(self, disk: MirrorDisk, notes: Notes) -> None:
        self._disk = disk
        self._notes = notes
        self._young: dict[CloudPath, float] = {}
        """When (monotonic, s) a new file was first seen that may be half of a rename."""

    async def recognise(
        self, local: Mapping[CloudPath, Local], remote: Mapping[CloudPath, Remote], *, now: float
    ) -> set[CloudPath]:
        """Notes what was renamed; answers with the new files that wait, as their other halves may follow."""
        young: dict[CloudPath, float] = {}
        renamed: list[tuple[CloudPath, CloudPath]] = []
        for new, alike in _alike(self._notes.agreed, local, remote):
            gone = [old for old in alike if old not in local]
            source = await self._source(new, local[new], gone)
            if source is not None:
                self._notes.note(source, replace(self._notes.agreed[source], local=local[new]))
                renamed.append((source, new))
            elif not gone:
                young[new] = self._young.get(new, now)
        self._young = young
        for old, new in _directories(renamed, self._notes.agreed, local, remote):
            self._notes.note(old, replace(self._notes.agreed[old], local=local[new]))
        return {path for path, since in young.items() if now - since < HALF_S}

    async def _source(self, new: CloudPath, found: Local, gone: list[CloudPath]) -> CloudPath | None:
        """Which of the files that are gone has become ``new``."""
        by_sha = {self._notes.agreed[old].sha256: old for old in gone if self._notes.agreed[old].local != found}
        if not by_sha:
            return None
        try:
            return by_sha.get(await asyncio.to_thread(self._disk.sha256, new, found))
        except StaleError:
            return None


def _alike(
    agreed: Mapping[CloudPath, Agreed], local: Mapping[CloudPath, Local], remote: Mapping[CloudPath, Remote]
) -> Iterator[tuple[CloudPath, list[CloudPath]]]:
    """New files with content, each with the known ones of the same size and time."""
    fresh = [
        path
        for path, found in local.items()
        if not found.is_directory and found.size and path not in agreed and path not in remote
    ]
    if not fresh:
        return
    known: defaultdict[tuple[int, int], list[CloudPath]] = defaultdict(list)
    for path, one in agreed.items():
        if one.sha256:
            known[one.local.size, one.local.mtime_ns].append(path)
    for path in fresh:
        alike = known.get((local[path].size, local[path].mtime_ns))
        if alike:
            yield path, list(alike)


def _directories(
    renamed: list[tuple[CloudPath, CloudPath]],
    agreed: Mapping[CloudPath, Agreed],
    local: Mapping[CloudPath, Local],
    remote: Mapping[CloudPath, Remote],
) -> Iterator[tuple[CloudPath, CloudPath]]:
    """Directories that are gone and of which all that was renamed went into one new directory."""
    became: defaultdict[CloudPath, set[CloudPath]] = defaultdict(set)
    for old, new in renamed:
        above, below = parent(old), parent(new)
        while (
            above and below and above in agreed and above not in local and below not in agreed and below not in remote
        ):
            became[above].add(below)
            if above.rpartition("/")[2] != below.rpartition("/")[2]:
                break
            above, below = parent(above), parent(below)
    for old, targets in became.items():
        if len(targets) == 1 and (target := next(iter(targets))) in local:
            yield old, target
