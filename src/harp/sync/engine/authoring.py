# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a device says of a change on its own disk: from what lay at a path and what lies there now to drafts.

``replaces`` names what lay on this disk and nothing that was merely received, so an edit made while a newer version
waits for its chunks is concurrent with it. Where nothing lay, the path's tombstones are what said so: a new file
replaces them, so that a name that comes and goes has one head and not one for each time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from harp.sync.engine.chain import Draft
from harp.sync.engine.form import replaces_room
from harp.sync.engine.manifest import EMPTY_ROOT
from harp.sync.engine.merge import content, next_hlc
from harp.sync.model import Entry, EntryId, FileKind, Hlc, Kind, OnDisk, Path, RootId, Stat

_KINDS = {FileKind.FILE: Kind.FILE, FileKind.DIRECTORY: Kind.DIRECTORY, FileKind.SYMLINK: Kind.SYMLINK}


@dataclass(frozen=True, slots=True)
class Observed:
    """What was found at a path: ``root`` for a file that was hashed, ``target`` for a symlink."""

    path: Path
    stat: Stat
    root: RootId = EMPTY_ROOT
    target: bytes = b""


def is_same(before: OnDisk | None, after: Observed | None) -> bool:
    """Whether nothing changed for the folder: compared with what was read back, never with what was wanted.

    A directory is the same as any other, and a symlink is its target: their times and modes are not synced.
    """
    if before is None or after is None:
        return before is None and after is None
    if before.stat.kind is not after.stat.kind:
        return False
    match after.stat.kind:
        case FileKind.FILE:
            return _same_bytes(before, after) and (
                (before.stat.mtime_ns, before.stat.executable) == (after.stat.mtime_ns, after.stat.executable)
            )
        case FileKind.SYMLINK:
            return before.target == after.target
        case _:
            return True


def adoptable(after: Observed, heads: Iterable[Entry]) -> tuple[EntryId, ...]:
    """The heads that have these very bytes already, so that nothing need be said of them (a join with ``--merge``)."""
    kind = _KINDS.get(after.stat.kind)
    if kind is None:
        return ()
    size = after.stat.size if kind is Kind.FILE else 0
    what = {Kind.FILE: after.root, Kind.SYMLINK: after.target}.get(kind, b"")
    return tuple([head.id for head in heads if content(head.meta) == (kind, size, what)])


def changed(
    path: Path,
    before: OnDisk | None,
    after: Observed | None,
    applied: Sequence[Entry],
    heads: Sequence[Entry],
    copies: Sequence[tuple[Path, OnDisk, Entry]],
    *,
    now_ms: int,
    hlc_zero: bool = False,
) -> list[Draft]:
    """The drafts, of one batch, that say how ``path`` went from ``before`` to ``after``; none if it did not change.

    ``applied`` are the entries that ``before.applied`` names. ``heads`` are those of ``path`` and, for a shown conflict
    copy, those of ``before.copy_of`` too. ``copies`` are the copies of ``path`` that lie on this disk unchanged; a copy
    that changed itself is a call of its own. ``hlc_zero``: it lay there before a join or before the ledger was made, so
    it has HLC 0 and replaces nothing. A FIFO, socket or device says nothing, not even that what lay there is gone.
    """
    if is_same(before, after) or (after is not None and after.stat.kind is FileKind.OTHER):
        return []
    author = _Author((*heads, *applied), now_ms, hlc_zero)
    if before is not None and before.copy_of is not None:
        own = [] if after is None else author.says(path, before, after, ())
        return author.says(before.copy_of, None, None, before.applied) + own
    if before is not None and after is not None and _is_file_alike(before, after):
        return author.says(path, before, after, before.applied)
    losers = [id for _, on_disk, entry in copies for id in (entry.id, *on_disk.applied)]
    lay = _tombstones(path, heads) if before is None else before.applied
    return author.says(path, before, after, (*lay, *losers)) + author.settles(copies)


@dataclass(frozen=True, slots=True)
class _Author:
    heads: Sequence[Entry]
    now_ms: int
    hlc_zero: bool

    def says(
        self, path: Path, before: OnDisk | None, after: Observed | None, replaced: Iterable[EntryId]
    ) -> list[Draft]:
        """What lies at ``path`` now, in place of what is replaced."""
        ids = () if self.hlc_zero else tuple(dict.fromkeys(replaced))
        hlc = self._clock(path)
        return _tombs(path, hlc, ids) if after is None else in_place_of(ids, _draft(path, before, after, hlc))

    def settles(self, copies: Sequence[tuple[Path, OnDisk, Entry]]) -> list[Draft]:
        """For each copy shown an entry at its own path, with the content of the loser that it was."""
        return [
            Draft(
                kind=loser.meta.kind,
                path=path,
                target=loser.meta.target,
                size=loser.meta.size,
                mtime_ns=loser.meta.mtime_ns,
                executable=loser.meta.executable,
                root=loser.meta.root,
                hlc=self._clock(path),
            )
            for path, _, loser in copies
        ]

    def _clock(self, path: Path) -> Hlc:
        if self.hlc_zero:
            return Hlc(0)
        return next_hlc((head for head in self.heads if head.meta.path == path), now_ms=self.now_ms)


def in_place_of(replaced: Sequence[EntryId], draft: Draft) -> list[Draft]:
    """``draft``, replacing as many of these as an entry has room for, and tombstones for the rest."""
    room = replaces_room(draft.path, draft.target)
    return [replace(draft, replaces=tuple(replaced[:room])), *_tombs(draft.path, draft.hlc, replaced[room:])]


def _tombs(path: Path, hlc: Hlc, replaced: Sequence[EntryId]) -> list[Draft]:
    room = replaces_room(path, b"")
    parts = [tuple(replaced[i : i + room]) for i in range(0, len(replaced), room)]
    return [Draft(kind=Kind.TOMBSTONE, path=path, hlc=hlc, replaces=part) for part in parts]


def _draft(path: Path, before: OnDisk | None, after: Observed, hlc: Hlc) -> Draft:
    kind = _KINDS[after.stat.kind]
    if kind is Kind.DIRECTORY:
        return Draft(kind=kind, path=path, hlc=hlc)
    if kind is Kind.SYMLINK:
        mtime_ns = after.stat.mtime_ns
        return Draft(kind=kind, path=path, target=after.target, mtime_ns=mtime_ns, hlc=hlc)
    mtime_ns, executable = _attributes(before, after.stat)
    return Draft(
        kind=kind,
        path=path,
        size=after.stat.size,
        mtime_ns=mtime_ns,
        executable=executable,
        root=after.root,
        hlc=hlc,
    )


def _attributes(before: OnDisk | None, after: Stat) -> tuple[int, bool]:
    """What reads as it did when it was applied is still what was wanted then, whatever this disk makes of it."""
    mtime_ns, executable = after.mtime_ns, after.executable
    if before is not None and before.stat.kind is FileKind.FILE:
        if before.wanted_mtime_ns is not None and mtime_ns == before.stat.mtime_ns:
            mtime_ns = before.wanted_mtime_ns
        if before.wanted_executable is not None and executable == before.stat.executable:
            executable = before.wanted_executable
    return mtime_ns, executable


def _tombstones(path: Path, heads: Iterable[Entry]) -> tuple[EntryId, ...]:
    return tuple([head.id for head in heads if head.meta.kind is Kind.TOMBSTONE and head.meta.path == path])


def _is_file_alike(before: OnDisk, after: Observed) -> bool:
    return before.stat.kind is after.stat.kind is FileKind.FILE and _same_bytes(before, after)


def _same_bytes(before: OnDisk, after: Observed) -> bool:
    return before.root == after.root and before.stat.size == after.stat.size
