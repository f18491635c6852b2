# SPDX-License-Identifier: AGPL-3.0-or-later
"""What two members say about a folder they share: its history, its content, and what is on the way.

The first field of each is the folder. Every message checks itself when it is made.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, ClassVar, NamedTuple, Self

from harp.sync.model import ID_BYTES, MAX_CHUNK, MIN_CHUNK, ChainId, ChunkId, ChunkRef, FolderId, RootId, Vector
from harp.sync.protocol import wire
from harp.sync.protocol.batchform import MAX_BATCH_BYTES, check_written
from harp.sync.protocol.linkmessages import MAX_PROOF_BATCHES

MAX_ASKS = 4096
"""In one message, and unanswered at any moment in one direction of a link."""
MAX_BATCHES = 4096
"""In one message; more than fit into 512 KiB, however small they are."""
MAX_CONTENT_BYTES = 1024 * 1024
MAX_CONTENT_ITEMS = 1024
MAX_OFFERED = 4096
MAX_REQUEST = 2**32 - 1
TIP_BYTES = 8


class What(IntEnum):
    """What an ask is for."""

    CHUNK = 0
    NODE = 1


class Wanted(NamedTuple):
    """One ask: its number, chosen by who asks, and what for."""

    request: int
    what: What
    id: bytes


@dataclass(frozen=True, slots=True)
class State:
    """How far I am in a folder of which I know you to be a member."""

    TYPE: ClassVar[int] = 2
    folder: FolderId
    vector: Vector
    """What I have merged."""
    settled: bool
    """All of that is durably on my disk, or ignored on purpose."""
    waiting: int
    """Paths that wait for content or for the disk."""
    held: int
    """Changes that wait for a person."""
    tips: tuple[bytes, ...] = ()
    """For each chain of the vector, in its order on the wire, the first 8 bytes of its last entry's id; or nothing.

    Two branches of a fork may be equally long: their vectors are equal, and only this tells them apart.
    """

    def __post_init__(self) -> None:
        _check_folder(self.folder)
        wire.check_vector(self.vector, "a vector")
        wire.check(type(self.tips) is tuple and len(self.tips) in (0, len(self.vector)), "the tips of a vector")
        for tip in self.tips:
            wire.check_bytes(tip, "the tip of a chain", TIP_BYTES)
        wire.check(type(self.settled) is bool, "whether a folder is settled")
        wire.check_uint(self.waiting, "how many paths wait")
        wire.check_uint(self.held, "how many changes are held")

    def fields(self) -> tuple[object, ...]:
        return (self.folder, wire.vector_rows(self.vector), self.settled, self.waiting, self.held, self.tips)

    @classmethod
    def of(cls, folder: Any, vector: Any, settled: Any, waiting: Any, held: Any, tips: Any) -> Self:
        return cls(folder, wire.vector_of(vector), settled, waiting, held, tips)

    def tip_of(self, chain: ChainId) -> bytes | None:
        """What the peer has at the end of a chain; None where it has nothing of it, or does not say."""
        tips = dict(zip(sorted(self.vector), self.tips, strict=False))
        return tips.get(chain)


@dataclass(frozen=True, slots=True)
class Proof:
    """I am a member, although you may not know yet: the grants from the founder to me, causes first."""

    TYPE: ClassVar[int] = 3
    folder: FolderId
    batches: tuple[bytes, ...] = field(repr=False)

    def __post_init__(self) -> None:
        _check_folder(self.folder)
        check_written(self.batches, MAX_PROOF_BATCHES)

    def fields(self) -> tuple[object, ...]:
        return (self.folder, self.batches)

    @classmethod
    def of(cls, folder: Any, batches: Any) -> Self:
        return cls(folder, batches)


@dataclass(frozen=True, slots=True)
class Get:
    """Send me the batches that lie beyond this vector."""

    TYPE: ClassVar[int] = 4
    folder: FolderId
    vector: Vector

    def __post_init__(self) -> None:
        _check_folder(self.folder)
        wire.check_vector(self.vector, "a vector")

    def fields(self) -> tuple[object, ...]:
        return (self.folder, wire.vector_rows(self.vector))

    @classmethod
    def of(cls, folder: Any, vector: Any) -> Self:
        return cls(folder, wire.vector_of(vector))


@dataclass(frozen=True, slots=True)
class Batches:
    """Batches in their written form, each one's causes before it or known to the receiver."""

    TYPE: ClassVar[int] = 5
    folder: FolderId
    batches: tuple[bytes, ...] = field(repr=False)

    def __post_init__(self) -> None:
        _check_folder(self.folder)
        check_written(self.batches, MAX_BATCHES)

    def fields(self) -> tuple[object, ...]:
        return (self.folder, self.batches)

    @classmethod
    def of(cls, folder: Any, batches: Any) -> Self:
        return cls(folder, batches)


@dataclass(frozen=True, slots=True)
class Content:
    """Small content that goes unasked with the entries that need it, on LAN links only."""

    TYPE: ClassVar[int] = 6
    folder: FolderId
    items: tuple[tuple[ChunkId, bytes], ...] = field(repr=False)

    def __post_init__(self) -> None:
        _check_folder(self.folder)
        wire.check_count(self.items, "the contents", MAX_CONTENT_ITEMS)
        total = 0
        for id, data in self.items:
            wire.check_bytes(id, "a chunk id", ID_BYTES)
            wire.check(type(data) is bytes and 0 < len(data) <= MIN_CHUNK, "a small content")
            total += len(data)
        wire.check(total <= MAX_CONTENT_BYTES, "the sum of the contents")

    def fields(self) -> tuple[object, ...]:
        return (self.folder, self.items)

    @classmethod
    def of(cls, folder: Any, items: Any) -> Self:
        return cls(folder, items)


@dataclass(frozen=True, slots=True)
class Ask:
    """Send me these chunks or manifest nodes; each request number is mine, and new among the unanswered ones."""

    TYPE: ClassVar[int] = 7
    folder: FolderId
    wanted: tuple[Wanted, ...]

    def __post_init__(self) -> None:
        _check_folder(self.folder)
        wire.check_count(self.wanted, "the asks", MAX_ASKS)
        for request, what, id in self.wanted:
            wire.check_uint(request, "a request number", MAX_REQUEST)
            wire.check(type(what) is What, "what an ask is for")
            wire.check_bytes(id, "what an ask names", ID_BYTES)
        wire.check(len({wanted.request for wanted in self.wanted}) == len(self.wanted), "a request number")

    def fields(self) -> tuple[object, ...]:
        return (self.folder, tuple((request, int(what), id) for request, what, id in self.wanted))

    @classmethod
    def of(cls, folder: Any, wanted: Any) -> Self:
        wire.check_count(wanted, "the asks", MAX_ASKS)
        return cls(folder, tuple(Wanted(request, _what(what), id) for request, what, id in wanted))


@dataclass(frozen=True, slots=True)
class Cancel:
    """I no longer want these; an answer that is already on its way is dropped."""

    TYPE: ClassVar[int] = 9
    requests: tuple[int, ...]

    def __post_init__(self) -> None:
        wire.check_count(self.requests, "the cancelled asks", MAX_ASKS)
        for request in self.requests:
            wire.check_uint(request, "a request number", MAX_REQUEST)

    def fields(self) -> tuple[object, ...]:
        return (self.requests,)

    @classmethod
    def of(cls, requests: Any) -> Self:
        return cls(requests)


@dataclass(frozen=True, slots=True)
class Offer:
    """Chunks of a file that I am still reading and that can be asked for already; more follow under this number."""

    TYPE: ClassVar[int] = 10
    folder: FolderId
    offer: int
    size_hint: int
    """How long the file was when reading began; 0: unknown."""
    chunks: tuple[ChunkRef, ...]

    def __post_init__(self) -> None:
        _check_folder(self.folder)
        wire.check_uint(self.offer, "an offer's number", MAX_REQUEST)
        wire.check_uint(self.size_hint, "an offer's size")
        wire.check_count(self.chunks, "the offered chunks", MAX_OFFERED)
        for id, size in self.chunks:
            wire.check_bytes(id, "a chunk id", ID_BYTES)
            wire.check_uint(size, "a chunk's size", MAX_CHUNK)
            wire.check(size > 0, "a chunk's size")

    def fields(self) -> tuple[object, ...]:
        return (self.folder, self.offer, self.size_hint, self.chunks)

    @classmethod
    def of(cls, folder: Any, offer: Any, size_hint: Any, chunks: Any) -> Self:
        wire.check_count(chunks, "the offered chunks", MAX_OFFERED)
        return cls(folder, offer, size_hint, tuple(ChunkRef(id, size) for id, size in chunks))


@dataclass(frozen=True, slots=True)
class OfferEnd:
    """The offered file is read to its end and has this root; with an empty root the offer is void."""

    TYPE: ClassVar[int] = 11
    folder: FolderId
    offer: int
    root: RootId

    def __post_init__(self) -> None:
        _check_folder(self.folder)
        wire.check_uint(self.offer, "an offer's number", MAX_REQUEST)
        wire.check(type(self.root) is bytes and len(self.root) in (0, ID_BYTES), "a root")

    def fields(self) -> tuple[object, ...]:
        return (self.folder, self.offer, self.root)

    @classmethod
    def of(cls, folder: Any, offer: Any, root: Any) -> Self:
        return cls(folder, offer, root)


@dataclass(frozen=True, slots=True)
class Forked:
    """The proof that one author signed two entries for one place of its chain."""

    TYPE: ClassVar[int] = 18
    folder: FolderId
    one: bytes = field(repr=False)
    other: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _check_folder(self.folder)
        for batch in (self.one, self.other):
            wire.check(type(batch) is bytes and 0 < len(batch) <= MAX_BATCH_BYTES, "a batch")

    def fields(self) -> tuple[object, ...]:
        return (self.folder, self.one, self.other)

    @classmethod
    def of(cls, folder: Any, one: Any, other: Any) -> Self:
        return cls(folder, one, other)


def _check_folder(folder: object) -> None:
    wire.check_bytes(folder, "a folder id", ID_BYTES)


def _what(number: Any) -> What:
    wire.check_uint(number, "what an ask is for", max(What))
    return What(number)
