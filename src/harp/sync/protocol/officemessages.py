# SPDX-License-Identifier: AGPL-3.0-or-later
"""What devices of one office tell each other, and their sources, so that each byte crosses the WAN once.

All of it is a hint: whoever does not know these types ignores them, and gets everything all the same.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from harp.identity.device import DEVICE_ID_BYTES, DeviceId
from harp.sync.model import ID_BYTES, ChunkId, FolderId
from harp.sync.protocol import wire

SITE_TOKEN_BYTES = 16
MAX_TIDINGS = 16_384
"""Ids in one Availability, all lists and the sources together."""
MAX_CIRCLE = 4096
"""Devices that one device is linked to on its LAN."""


@dataclass(frozen=True, slots=True)
class Site:
    """Which site I am at, to everyone: devices with one token share a line."""

    TYPE: ClassVar[int] = 128
    token: bytes
    limit: int
    """Bytes a second, as they lie on the wire, that all of you may send to my site together over a WAN; 0: no limit."""
    sending: bool
    """I send over the WAN just now, and have my share of the limit that my site keeps for that."""

    def __post_init__(self) -> None:
        wire.check_bytes(self.token, "a site's token", SITE_TOKEN_BYTES)
        wire.check_uint(self.limit, "a site's limit")
        wire.check(type(self.sending) is bool, "whether a device sends")

    def fields(self) -> tuple[object, ...]:
        return (self.token, self.limit, self.sending)

    @classmethod
    def of(cls, token: Any, limit: Any, sending: Any) -> Self:
        return cls(token, limit, sending)


@dataclass(frozen=True, slots=True)
class Circle:
    """How I stand in this folder's office, to a neighbour on the LAN."""

    TYPE: ClassVar[int] = 129
    folder: FolderId
    reaches: bool
    """I may use the WAN, and am linked to a member beyond it."""
    cache: bool
    """I am the office's standing cache: leave it to me."""
    linked: tuple[DeviceId, ...]
    """The members on the LAN that I am linked to, in ascending order."""

    def __post_init__(self) -> None:
        wire.check_bytes(self.folder, "a folder id", ID_BYTES)
        wire.check(type(self.reaches) is bool, "whether a device reaches a source")
        wire.check(type(self.cache) is bool, "whether a device is a cache")
        wire.check_count(self.linked, "the neighbours", MAX_CIRCLE)
        for device in self.linked:
            wire.check_bytes(device, "a neighbour", DEVICE_ID_BYTES)
        wire.check(list(self.linked) == sorted(set(self.linked)), "the order of the neighbours")

    def fields(self) -> tuple[object, ...]:
        return (self.folder, self.reaches, self.cache, self.linked)

    @classmethod
    def of(cls, folder: Any, reaches: Any, cache: Any, linked: Any) -> Self:
        return cls(folder, reaches, cache, linked)


@dataclass(frozen=True, slots=True)
class Availability:
    """What I lack, hold and fetch of this folder's chunks and nodes, to a neighbour on the LAN: only what is new."""

    TYPE: ClassVar[int] = 130
    folder: FolderId
    missing: tuple[ChunkId, ...] = ()
    """I lack these and do not fetch them (any more)."""
    held: tuple[ChunkId, ...] = ()
    """I can serve these."""
    fetching: tuple[tuple[DeviceId, tuple[ChunkId, ...]], ...] = ()
    """I have asked these of that source, over the WAN."""
    expected: tuple[ChunkId, ...] = ()
    """Somebody fetches these, and I will hold them then."""
    dropped: tuple[ChunkId, ...] = ()
    """I do not want these any more."""

    def __post_init__(self) -> None:
        wire.check_bytes(self.folder, "a folder id", ID_BYTES)
        wire.check_count(self.fetching, "the sources", MAX_TIDINGS)
        lists = [self.missing, self.held, self.expected, self.dropped]
        for source, ids in self.fetching:
            wire.check_bytes(source, "a source", DEVICE_ID_BYTES)
            lists.append(ids)
        for ids in lists:
            wire.check_count(ids, "the chunk ids", MAX_TIDINGS)
            for id_ in ids:
                wire.check_bytes(id_, "a chunk id", ID_BYTES)
        wire.check(sum(map(len, lists)) + len(self.fetching) <= MAX_TIDINGS, "the number of chunk ids")

    def fields(self) -> tuple[object, ...]:
        return (self.folder, self.missing, self.held, self.fetching, self.expected, self.dropped)

    @classmethod
    def of(cls, *fields: Any) -> Self:
        return cls(*fields)
