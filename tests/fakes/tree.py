# SPDX-License-Identifier: AGPL-3.0-or-later
"""A disk in memory that applies actions as strictly as a real one, with a trash, and entries to fill it with."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from harp.identity.device import DeviceId
from harp.sync.engine.merge import Content, content
from harp.sync.engine.planner import Move
from harp.sync.model import (
    NO_ENTRY,
    Action,
    Applied,
    Entry,
    EntryId,
    FileKind,
    FolderId,
    Hlc,
    Incarnation,
    Kind,
    MakeDirectory,
    Metadata,
    OnDisk,
    Outcome,
    Path,
    RemoveDirectory,
    RemoveFile,
    RootId,
    SetAttributes,
    Skipped,
    Stat,
    WriteFile,
    WriteSymlink,
    append_metadata,
)

_FILE_KINDS = {Kind.FILE: FileKind.FILE, Kind.DIRECTORY: FileKind.DIRECTORY, Kind.SYMLINK: FileKind.SYMLINK}
_KINDS = {file_kind: kind for kind, file_kind in _FILE_KINDS.items()}


def head(
    path: bytes,
    *,
    bytes_: bytes | None = None,
    kind: Kind = Kind.FILE,
    target: bytes = b"",
    hlc: int = 1,
    author: int = 1,
    sequence: int = 1,
    mtime_ns: int = 0,
    executable: bool = False,
    replaces: Iterable[EntryId] = (),
) -> Entry:
    """An entry of a made-up chain; its root is made from ``bytes_``, which stand for a file's content."""
    held = bytes_ or b""
    meta = Metadata(
        folder=FolderId(bytes(32)),
        author=DeviceId(bytes([author]) * 32),
        incarnation=Incarnation(bytes(16)),
        sequence=sequence,
        kind=kind,
        path=Path(path),
        target=target,
        size=len(held),
        mtime_ns=mtime_ns,
        executable=executable,
        root=RootId(held.ljust(32, b"~")) if held else RootId(b""),
        hlc=Hlc(hlc),
        replaces=tuple(replaces),
    )
    return Entry(append_metadata(NO_ENTRY, meta), NO_ENTRY, meta)


def directory(path: bytes, **fields: int) -> Entry:
    return head(path, kind=Kind.DIRECTORY, **fields)  # type: ignore[arg-type]


def symlink(path: bytes, target: bytes, **fields: int) -> Entry:
    return head(path, kind=Kind.SYMLINK, target=target, **fields)  # type: ignore[arg-type]


def tombstone(path: bytes, *, replaces: Iterable[EntryId] = (), **fields: int) -> Entry:
    return head(path, kind=Kind.TOMBSTONE, replaces=replaces, **fields)  # type: ignore[arg-type]


def lying(
    entry: Entry, *, inode: int = 1, copy_of: Path | None = None, applied: Sequence[EntryId] | None = None
) -> OnDisk:
    """What lies on a disk that has ``entry``."""
    meta = entry.meta
    stat = Stat(_FILE_KINDS[meta.kind], meta.size, meta.mtime_ns, 0, inode, meta.executable)
    ids = (entry.id,) if applied is None else tuple(applied)
    return OnDisk(stat, ids, meta.root, meta.target, copy_of=copy_of)


def lying_content(on_disk: OnDisk) -> Content:
    kind = _KINDS[on_disk.stat.kind]
    what = {Kind.FILE: on_disk.root, Kind.SYMLINK: on_disk.target}.get(kind, b"")
    return Content(kind, on_disk.stat.size if kind is Kind.FILE else 0, what)


@dataclass
class Tree:
    """``nodes`` is what lies there, ``trash`` all that ever went, ``foreign`` what nobody recorded."""

    nodes: dict[Path, OnDisk] = field(default_factory=dict)
    trash: list[OnDisk] = field(default_factory=list)
    foreign: set[Path] = field(default_factory=set)
    inode: int = 0

    def contents(self) -> dict[Path, Content]:
        return {path: lying_content(node) for path, node in self.nodes.items()}

    def kept(self) -> set[Content]:
        """Every content of a file or symlink that is still to be had, in the tree or in the trash."""
        all_nodes = (*self.nodes.values(), *self.trash)
        return {lying_content(node) for node in all_nodes if node.stat.kind is not FileKind.DIRECTORY}

    def apply_all(self, actions: Iterable[Action]) -> list[Outcome]:
        return [self.apply(action) for action in actions]

    def apply(self, action: Action) -> Outcome:
        if action.path in self.foreign:
            return Skipped(action, "something unknown lies there", changed=True)
        if not self._has_parents(action.path):
            return Skipped(action, "its directory is not there")
        match action:
            case MakeDirectory():
                return self._make(action)
            case WriteFile() | WriteSymlink():
                return self._write(action)
            case SetAttributes():
                return self._set(action)
            case RemoveFile():
                return self._remove(action)
            case RemoveDirectory():
                return self._remove_directory(action)

    def move(self, move: Move) -> Outcome:
        source, target = move.source, move.target
        free = target.path not in self.nodes and target.path not in self.foreign
        if not self._is(source.path, source.expected) or not free or not self._has_parents(target.path):
            return Skipped(target, "it cannot be renamed", changed=True)
        self.nodes[target.path] = lying(
            target.entry, inode=self.nodes.pop(source.path).stat.inode, copy_of=target.copy_of
        )
        return Applied(target, self.nodes[target.path].stat)

    def _make(self, action: MakeDirectory) -> Outcome:
        there = self.nodes.get(action.path)
        if there is not None and there.stat.kind is not FileKind.DIRECTORY:
            return Skipped(action, "a file stands in the way", changed=True)
        ids = () if action.entry is None else (action.entry.id,)
        stat = there.stat if there is not None else Stat(FileKind.DIRECTORY, 0, 0, 0, self._next_inode(), False)
        self.nodes[action.path] = OnDisk(stat, ids)
        return Applied(action, stat)

    def _write(self, action: WriteFile | WriteSymlink) -> Outcome:
        there = self.nodes.get(action.path)
        if not self._is(action.path, action.expected) or (there and there.stat.kind is FileKind.DIRECTORY):
            return Skipped(action, "not what was expected", changed=True)
        if there is not None:
            self.trash.append(there)
        self.nodes[action.path] = lying(action.entry, inode=self._next_inode(), copy_of=action.copy_of)
        return Applied(action, self.nodes[action.path].stat)

    def _set(self, action: SetAttributes) -> Outcome:
        there = self.nodes.get(action.path)
        if there is None or not self._is(action.path, action.expected):
            return Skipped(action, "not what was expected", changed=True)
        if lying_content(there) != content(action.entry.meta):
            raise AssertionError("attributes of an entry with other bytes")
        self.nodes[action.path] = lying(action.entry, inode=there.stat.inode, copy_of=action.copy_of)
        return Applied(action, self.nodes[action.path].stat)

    def _remove(self, action: RemoveFile) -> Outcome:
        there = self.nodes.get(action.path)
        if there is None or not self._is(action.path, action.expected) or there.stat.kind is FileKind.DIRECTORY:
            return Skipped(action, "not what was expected", changed=True)
        self.trash.append(self.nodes.pop(action.path))
        return Applied(action, None)

    def _remove_directory(self, action: RemoveDirectory) -> Outcome:
        if not self._is(action.path, action.expected):
            return Skipped(action, "not what was expected", changed=True)
        if any(path.startswith(action.path + b"/") for path in (*self.nodes, *self.foreign)):
            return Skipped(action, "it is not empty")
        del self.nodes[action.path]
        return Applied(action, None)

    def _is(self, path: Path, expected: OnDisk | None) -> bool:
        there = self.nodes.get(path)
        return (there and there.stat) == (expected and expected.stat)

    def _has_parents(self, path: Path) -> bool:
        parent = path.rpartition(b"/")[0]
        return not parent or (Path(parent) in self.nodes and self.nodes[Path(parent)].stat.kind is FileKind.DIRECTORY)

    def _next_inode(self) -> int:
        self.inode += 1
        return self.inode
