# SPDX-License-Identifier: AGPL-3.0-or-later
"""The nouns of the file plane: what an entry, a batch, a manifest, a disk's state and an action are.

Pure and frozen. ``docs/protocol.md`` is the normative text for everything that is hashed, signed or sent.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple, NewType

import cbor2

from harp.identity.device import DeviceId

FolderId = NewType("FolderId", bytes)
"""32 bytes: the entry id of the founder's first entry."""
EntryId = NewType("EntryId", bytes)
"""32 bytes: :func:`append_metadata` of the entry and its predecessor in the chain."""
ChunkId = NewType("ChunkId", bytes)
"""32 bytes: BLAKE3 of a chunk, keyed with the folder's chunk key."""
NodeId = NewType("NodeId", bytes)
"""32 bytes: BLAKE3 of a manifest node, keyed with the folder's node key."""
RootId = NewType("RootId", bytes)
"""What an entry says of its content: empty (no bytes), a ChunkId (up to MIN_CHUNK), else the NodeId of a root node."""
Incarnation = NewType("Incarnation", bytes)
"""16 random bytes, made with a ledger: a rebuilt ledger starts a new chain and forks nothing."""
Path = NewType("Path", bytes)
"""Relative, ``/``-separated, any bytes but NUL; the folder itself is the empty path."""
Hlc = NewType("Hlc", int)
"""Hybrid logical clock: milliseconds since 1970 times 65,536, plus a counter. 0 for what lay there before a join."""

FORMAT_VERSION = 1
ID_BYTES = 32
INCARNATION_BYTES = 16
NO_ENTRY = EntryId(bytes(ID_BYTES))
"""The ``prev_hash`` of a chain's first entry."""
NO_FOLDER = FolderId(bytes(ID_BYTES))
"""The folder named in a genesis entry, whose own id becomes the folder's."""

MAX_ENTRY_BYTES = 16 * 1024
MAX_PATH_BYTES = 4096
MAX_NAME_BYTES = 255
MAX_DEPTH = 128
MAX_REPLACES = 256
MAX_BATCH_ENTRIES = 1000
MAX_SEGMENT_CHUNKS = 1024
MIN_CHUNK = 64 * 1024
AVERAGE_CHUNK = 256 * 1024
MAX_CHUNK = 1024 * 1024


class Kind(IntEnum):
    """What an entry says of its path, or of the folder's members."""

    FILE = 0
    DIRECTORY = 1
    SYMLINK = 2
    TOMBSTONE = 3
    GRANT = 4
    CUT = 5
    APPROVE = 6
    LEAVE = 7

    @property
    def is_about_path(self) -> bool:
        return self <= Kind.TOMBSTONE


class Role(IntEnum):
    """What a member may do; each role may do what a smaller one may. ``SEALED`` is reserved (protocol version 1)."""

    SEALED = 0
    READ_ONLY = 1
    READ_WRITE = 2
    OWNER = 3


class ChainId(NamedTuple):
    """Whose chain, within one folder."""

    author: DeviceId
    incarnation: Incarnation


Vector = Mapping[ChainId, int]
"""For each chain the sequence of the last entry known; a chain that is absent counts as 0. Sequences start at 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """One change, as its author states it; :meth:`serialize` is what is hashed."""

    folder: FolderId
    author: DeviceId
    incarnation: Incarnation
    sequence: int
    kind: Kind
    path: Path = Path(b"")
    target: bytes = b""
    size: int = 0
    mtime_ns: int = 0
    executable: bool = False
    root: RootId = RootId(b"")
    hlc: Hlc = Hlc(0)
    replaces: tuple[EntryId, ...] = ()
    detail: bytes = b""
    """CBOR, for grants, cuts, approvals and leaves; empty for entries about a path."""

    @property
    def chain(self) -> ChainId:
        return ChainId(self.author, self.incarnation)

    def body(self) -> tuple[object, ...]:
        """The fields that differ within a batch, in their order on the wire."""
        return (
            int(self.kind),
            self.path,
            self.target,
            self.size,
            self.mtime_ns,
            self.executable,
            self.root,
            self.hlc,
            self.replaces,
            self.detail,
        )

    def serialize(self) -> bytes:
        """Deterministic CBOR (RFC 8949, section 4.2.1): one array of fixed order."""
        head = (FORMAT_VERSION, self.folder, self.author, self.incarnation, self.sequence)
        return cbor2.dumps(head + self.body())


def append_metadata(prev_hash: EntryId, meta: Metadata) -> EntryId:
    """The hash chain: SHA3-256 over ``meta.serialize()`` and then ``prev_hash``."""
    hasher = hashlib.sha3_256(meta.serialize())
    hasher.update(prev_hash)
    return EntryId(hasher.digest())


@dataclass(frozen=True, slots=True)
class Entry:
    """Metadata in its place in a chain."""

    id: EntryId
    prev: EntryId
    meta: Metadata


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Successive entries of one chain under one signature, with what their author had merged when it made them."""

    folder: FolderId
    author: DeviceId
    incarnation: Incarnation
    vector: Vector
    entries: tuple[Entry, ...]
    signature: bytes

    @property
    def chain(self) -> ChainId:
        return ChainId(self.author, self.incarnation)

    @property
    def first_sequence(self) -> int:
        return self.entries[0].meta.sequence

    @property
    def last_sequence(self) -> int:
        return self.entries[-1].meta.sequence


class ChunkRef(NamedTuple):
    """One chunk of a file: its id and its length in bytes."""

    id: ChunkId
    size: int


class SegmentRef(NamedTuple):
    """One segment of a manifest: its node, how many chunks it lists and how many bytes they hold."""

    id: NodeId
    chunks: int
    size: int


class FileKind(IntEnum):
    """What lies on a disk; ``OTHER`` is a FIFO, a socket or a device, which is skipped with a note."""

    FILE = 0
    DIRECTORY = 1
    SYMLINK = 2
    OTHER = 3


class Stat(NamedTuple):
    """What ``lstat`` says, as far as it tells one state of a file from another. Times in ns. Never ``st_dev``."""

    kind: FileKind
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    executable: bool


@dataclass(frozen=True, slots=True)
class OnDisk:
    """What this device knows to lie on its disk at a path.

    ``applied`` are the entries whose content that is (one, unless equal bytes merged). ``wanted`` is what was asked of
    a disk that could not hold it exactly (mtime or executable bit): a difference between the two is never a change.
    """

    stat: Stat
    applied: tuple[EntryId, ...]
    root: RootId = RootId(b"")
    target: bytes = b""
    wanted_mtime_ns: int | None = None
    wanted_executable: bool | None = None
    copy_of: Path | None = None
    """Set where a conflict copy lies here: the path whose loser it is."""


# --- what should happen -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MakeDirectory:
    """``entry`` is None for a directory that is only implied by what lives below it."""

    path: Path
    entry: Entry | None


@dataclass(frozen=True, slots=True)
class WriteFile:
    """Put ``entry``'s content at ``path`` in place of exactly ``expected`` (None: of nothing)."""

    path: Path
    entry: Entry
    expected: OnDisk | None
    copy_of: Path | None = None


@dataclass(frozen=True, slots=True)
class WriteSymlink:
    path: Path
    entry: Entry
    expected: OnDisk | None
    copy_of: Path | None = None


@dataclass(frozen=True, slots=True)
class SetAttributes:
    """The same bytes lie there already: only mtime, executable bit and the applied entries change."""

    path: Path
    entry: Entry
    expected: OnDisk
    copy_of: Path | None = None


@dataclass(frozen=True, slots=True)
class RemoveFile:
    """Move what lies at ``path`` (a file or a symlink), if it is still ``expected``, to the trash."""

    path: Path
    expected: OnDisk


@dataclass(frozen=True, slots=True)
class RemoveDirectory:
    """Remove the directory if it is empty; one that holds ignored or unknown files stays."""

    path: Path
    expected: OnDisk


Action = MakeDirectory | WriteFile | WriteSymlink | SetAttributes | RemoveFile | RemoveDirectory


@dataclass(frozen=True, slots=True)
class Applied:
    """``stat`` is what was read back (None after a removal); ``trashed`` is where what lay there before lies now."""

    action: Action
    stat: Stat | None
    trashed: Path | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """The action was not done. ``changed``: the disk is not what was expected, so look at the path again."""

    action: Action
    why: str
    changed: bool = False


Outcome = Applied | Skipped


@dataclass(frozen=True, slots=True)
class Member:
    """A device that the folder's history admits."""

    device: DeviceId
    role: Role
    name: str
    granted_by: EntryId
    hlc: Hlc = Hlc(0)


@dataclass(frozen=True, slots=True)
class FolderKeys:
    """A folder's secrets. ``content`` never changes; ``epochs`` are the knocking secrets, the newest last."""

    content: bytes = field(repr=False)
    epochs: Sequence[bytes] = field(repr=False)
