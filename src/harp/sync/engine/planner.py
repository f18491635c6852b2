# SPDX-License-Identifier: AGPL-3.0-or-later
"""What to do to a disk so that it shows what its folder's history says, path by path, and in which order.

Nothing is removed that this device does not know: where the ledger holds nothing of a path, the action expects nothing
to lie there, and the disk refuses if something does. What is removed or replaced goes to the trash, so a plan that is
cut at any step has lost no content, and planning again from what lies there then ends in the same tree.
"""

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from harp.sync.engine.merge import Content, PathView, content
from harp.sync.model import (
    Action,
    Entry,
    FileKind,
    Kind,
    MakeDirectory,
    OnDisk,
    Path,
    RemoveDirectory,
    RemoveFile,
    RootId,
    SetAttributes,
    WriteFile,
    WriteSymlink,
)

Creation = WriteFile | WriteSymlink
Removal = RemoveFile | RemoveDirectory
_A = TypeVar("_A", bound=Action)


@dataclass(frozen=True, slots=True)
class Move:
    """The content that ``source`` takes away is what ``target`` puts: one rename, then the target's attributes."""

    source: RemoveFile
    target: WriteFile


def plan(path: Path, view: PathView, on_disk: OnDisk | None) -> list[Action]:
    """The actions, in order, after which ``path`` shows ``view``, its copies aside; none if it does already.

    A shown conflict copy of another path is left alone unless this path has something of its own to show. What was
    found on the disk and never authored (no applied entries) is only ever adopted, where its bytes are the right ones.
    """
    if view.is_directory:
        return _directory(path, view.at_path, on_disk)
    if view.at_path is None:
        return [] if on_disk is None or on_disk.copy_of is not None else _removed(path, on_disk)
    return _file(path, view.at_path, on_disk, copy_of=None)


def plan_copies(
    path: Path, view: PathView, on_disk: Mapping[Path, OnDisk], owned: Container[Path] = frozenset()
) -> list[Action]:
    """The actions after which exactly the copies of ``view`` lie beside ``path``.

    ``on_disk`` holds what lies at the copies' places and every copy of ``path`` that is shown. ``owned`` are those of
    these places that have a live entry of their own: it has the name, and :func:`plan` is what sees to it.
    """
    actions: list[Action] = []
    wanted = dict(view.copies)
    for place, entry in wanted.items():
        lies = on_disk.get(place)
        if place not in owned and (lies is None or lies.copy_of == path):
            actions += _file(place, entry, lies, copy_of=path)
    for place, lies in on_disk.items():
        if lies.copy_of == path and place not in wanted and place not in owned:
            actions += _removed(place, lies)
    return actions


def shows(entry: Entry, on_disk: OnDisk) -> bool:
    """Whether the bytes of ``entry`` lie there (times, mode and applied entries aside)."""
    return content(entry.meta) == _lying(on_disk)


def ordered(actions: Iterable[Action]) -> list[Action]:
    """The actions in the one order that works and loses least, the same for the same set.

    Directories before what is put into them, new files before replaced ones, and removals last and from below, so that
    the content of a moved file is still at hand. What stands in the way goes as soon as all that does not need its
    place is done: a file where a directory has to be, a directory where a file has to be. Where one action keeps what
    lies at a path and another takes it away, it is kept.
    """
    makes: list[MakeDirectory] = []
    news: list[Creation] = []
    changes: list[Action] = []
    removals: list[Removal] = []
    for action in sorted(actions, key=_path):
        match action:
            case MakeDirectory():
                makes.append(action)
            case RemoveFile() | RemoveDirectory():
                removals.append(action)
            case WriteFile() | WriteSymlink() if action.expected is None:
                news.append(action)
            case _:
                changes.append(action)
    if not removals:
        return [*makes, *news, *changes]
    kept = {action.path for action in changes}
    removals = [action for action in reversed(removals) if action.path not in kept]
    stands_in = _in_the_way(makes, news, removals)
    blockers, last = _split(removals, stands_in)
    waiting_makes, free_makes = _split(makes, stands_in)
    waiting_news, free_news = _split(news, stands_in)
    return [*free_makes, *free_news, *blockers, *waiting_makes, *waiting_news, *changes, *last]


def moves(actions: Sequence[Action]) -> tuple[list[Move], list[Action]]:
    """The files of an ordered plan that are only renamed, and the rest of the plan in its order.

    Paired are a file that goes and a file that comes where nothing is, of the same bytes and at least one, unless one
    is in the way of something or the other has to wait for that. The directories that begin the rest are the moves'
    parents: make these, then move, then do what is left. A move that the disk refuses falls back to its target and
    its source.
    """
    sources: defaultdict[tuple[int, RootId], list[RemoveFile]] = defaultdict(list)
    for action in reversed(actions):
        if not isinstance(action, Removal):
            break
        if isinstance(action, RemoveFile) and _is_file(action.expected) and action.expected.stat.size:
            sources[(action.expected.stat.size, action.expected.root)].append(action)
    if not sources:
        return [], list(actions)
    pairs: list[Move] = []
    moved: set[int] = set()
    for action in actions:
        if isinstance(action, Removal):
            break
        if isinstance(action, WriteFile) and action.expected is None:
            of_same_bytes = sources.get((action.entry.meta.size, action.entry.meta.root))
            if of_same_bytes:
                pairs.append(Move(of_same_bytes.pop(), action))
                moved |= {id(pairs[-1].source), id(action)}
    return pairs, [action for action in actions if id(action) not in moved]


def _directory(path: Path, entry: Entry | None, on_disk: OnDisk | None) -> list[Action]:
    make = MakeDirectory(path, entry)
    if on_disk is None:
        return [make]
    if on_disk.stat.kind is FileKind.DIRECTORY:
        return [] if entry is None or entry.id in on_disk.applied else [make]
    return [*_removed(path, on_disk), make]


def _file(path: Path, entry: Entry, on_disk: OnDisk | None, *, copy_of: Path | None) -> list[Action]:
    if on_disk is None:
        return [_written(path, entry, None, copy_of)]
    if shows(entry, on_disk):
        return [] if _is_as_stated(entry, on_disk, copy_of) else [SetAttributes(path, entry, on_disk, copy_of)]
    if on_disk.stat.kind is FileKind.DIRECTORY:
        return [RemoveDirectory(path, on_disk), _written(path, entry, None, copy_of)]
    return [_written(path, entry, on_disk if on_disk.applied else None, copy_of)]


def _written(path: Path, entry: Entry, expected: OnDisk | None, copy_of: Path | None) -> Creation:
    if entry.meta.kind is Kind.SYMLINK:
        return WriteSymlink(path, entry, expected, copy_of)
    return WriteFile(path, entry, expected, copy_of)


def _removed(path: Path, on_disk: OnDisk) -> list[Action]:
    match on_disk.stat.kind:
        case FileKind.DIRECTORY:
            return [RemoveDirectory(path, on_disk)]
        case FileKind.FILE | FileKind.SYMLINK if on_disk.applied:
            return [RemoveFile(path, on_disk)]
        case _:
            return []


def _is_as_stated(entry: Entry, on_disk: OnDisk, copy_of: Path | None) -> bool:
    if entry.id not in on_disk.applied or on_disk.copy_of != copy_of:
        return False
    if entry.meta.kind is Kind.SYMLINK:
        return True
    stat, mtime_ns, executable = on_disk.stat, on_disk.wanted_mtime_ns, on_disk.wanted_executable
    return (entry.meta.mtime_ns == (stat.mtime_ns if mtime_ns is None else mtime_ns)) and entry.meta.executable == (
        stat.executable if executable is None else executable
    )


def _lying(on_disk: OnDisk) -> Content | None:
    match on_disk.stat.kind:
        case FileKind.FILE:
            return Content(Kind.FILE, on_disk.stat.size, on_disk.root)
        case FileKind.SYMLINK:
            return Content(Kind.SYMLINK, 0, on_disk.target)
        case FileKind.DIRECTORY:
            return Content(Kind.DIRECTORY, 0, b"")
        case FileKind.OTHER:
            return None


def _is_file(on_disk: OnDisk) -> bool:
    return on_disk.stat.kind is FileKind.FILE


def _in_the_way(
    makes: Iterable[MakeDirectory], news: Iterable[Creation], removals: Iterable[Removal]
) -> frozenset[bytes]:
    """The paths where something has to go before something else can come, there or below."""
    places = {action.path for action in news}
    directories = {action.path for action in makes} | _parents([*places, *(action.path for action in makes)])
    return frozenset(
        action.path
        for action in removals
        if action.path in places or (isinstance(action, RemoveFile) and action.path in directories)
    )


def _parents(paths: Iterable[bytes]) -> set[bytes]:
    found: set[bytes] = set()
    for path in paths:
        end = path.rfind(b"/")
        while end > 0 and path[:end] not in found:
            found.add(path[:end])
            end = path.rfind(b"/", 0, end)
    return found


def _split(actions: Sequence[_A], places: frozenset[bytes]) -> tuple[list[_A], list[_A]]:
    """Those at or below one of ``places``, and the others."""
    if not places:
        return [], list(actions)
    within: list[_A] = []
    others: list[_A] = []
    for action in actions:
        is_within = action.path in places or not places.isdisjoint(_parents([action.path]))
        (within if is_within else others).append(action)
    return within, others


def _path(action: Action) -> Path:
    return action.path
