# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which folders of a server a mirror keeps: another person's mirror keeps the same where the numbers are (pure).

A file has one number within an instance, whoever sees it and under whatever name (``cloud/nodes``).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from harp.sync.cloud.nodes import MOUNT, CloudPath, FileId, Remote


@dataclass(frozen=True, slots=True)
class Extent:
    """``tops`` are those of ``folders`` at which something of somebody else begins, and the mirrored one itself."""

    instance: str = ""
    tops: frozenset[FileId] = frozenset()
    folders: frozenset[FileId] = frozenset()

    def meets(self, other: "Extent") -> bool:
        """Whether both keep some folder of the same server: one of the two sees it as shared, or as its whole."""
        is_same_server = bool(self.instance) and self.instance == other.instance
        return is_same_server and not (self.tops.isdisjoint(other.folders) and other.tops.isdisjoint(self.folders))


def extent(root_id: str, instance: str, found: Mapping[CloudPath, Remote]) -> Extent:
    """``root_id`` is the mirrored folder's number with the id of its ``instance`` behind it."""
    root = FileId(root_id.removesuffix(instance).lstrip("0"))
    folders = {one.fileid: one for one in found.values() if one.is_directory}
    tops = {number for number, one in folders.items() if one.may(MOUNT)}
    return Extent(instance, frozenset(tops | {root}), frozenset(folders.keys() | {root}))
