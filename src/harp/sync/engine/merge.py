# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a folder shows at one path: a function of that path's heads, the same on every device.

The heads of a path are the entries there that count and that no counted entry names in ``replaces``. The set of heads
is all that matters: not the order in which entries came, nor how often. Nobody authors an entry because a conflict
copy lies on a disk; each device derives the same copies under the same names.
"""

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple

from harp.sync.model import ID_BYTES, MAX_NAME_BYTES, MAX_PATH_BYTES, Entry, EntryId, Hlc, Kind, Metadata, Path

HLC_COUNTER_BITS: Final = 16
MAX_HLC: Final = 2**63 - 1
MAX_EXTENSION_BYTES: Final = 32
"""A longer one, the dot included, counts as part of the stem."""
CONFLICT_ID_DIGITS: Final = 8

_RESERVED_PREFIX: Final = b".harp"


class Content(NamedTuple):
    """What makes two entries the same bytes: kind, size, and manifest root or symlink target."""

    kind: Kind
    size: int
    what: bytes


@dataclass(frozen=True, slots=True)
class PathView:
    """What lies at a path, and the conflict copies that lie beside it, by name.

    ``implied_directory``: a directory has to be there only because something lives below it, and ``at_path`` is None.
    """

    at_path: Entry | None
    implied_directory: bool = False
    copies: tuple[tuple[Path, Entry], ...] = ()

    @property
    def is_directory(self) -> bool:
        return self.implied_directory or (self.at_path is not None and self.at_path.meta.kind is Kind.DIRECTORY)

    @property
    def is_empty(self) -> bool:
        return self.at_path is None and not self.implied_directory


NOTHING: Final = PathView(None)
IMPLIED_DIRECTORY: Final = PathView(None, implied_directory=True)


def content(meta: Metadata) -> Content:
    """What is compared to tell whether two entries hold the same bytes; all directories do, all tombstones do."""
    match meta.kind:
        case Kind.FILE:
            return Content(Kind.FILE, meta.size, meta.root)
        case Kind.SYMLINK:
            return Content(Kind.SYMLINK, 0, meta.target)
        case _:
            return Content(meta.kind, 0, b"")


def rank(entry: Entry) -> tuple[Hlc, EntryId]:
    """The order of a path's heads; the greatest has the name."""
    return entry.meta.hlc, entry.id


def view(path: Path, heads: Sequence[Entry], *, lives_below: bool) -> PathView:
    """What ``path`` shows of its ``heads``, where something does or does not live strictly below it."""
    if len(heads) == 1 and not lives_below:
        return NOTHING if heads[0].meta.kind is Kind.TOMBSTONE else PathView(heads[0])
    live = sorted((head for head in heads if head.meta.kind is not Kind.TOMBSTONE), key=rank, reverse=True)
    directory = next((head for head in live if head.meta.kind is Kind.DIRECTORY), None)
    others = _distinct(head for head in live if head.meta.kind is not Kind.DIRECTORY)
    if directory is not None:
        return PathView(directory, copies=_named(path, others))
    if lives_below:
        return PathView(None, implied_directory=True, copies=_named(path, others)) if others else IMPLIED_DIRECTORY
    return PathView(others[0], copies=_named(path, others[1:])) if others else NOTHING


def shown(entry: Entry, heads: Sequence[Entry]) -> tuple[EntryId, ...]:
    """The heads whose content lies on a disk where ``entry`` does, the greatest first: ``OnDisk.applied``."""
    if len(heads) == 1 and heads[0] is entry:
        return (entry.id,)
    same = content(entry.meta)
    alike = sorted((head for head in heads if content(head.meta) == same), key=rank, reverse=True)
    return tuple([head.id for head in alike]) or (entry.id,)


def merged_heads(
    heads: Sequence[Entry], new: Entry, is_superseded: Callable[[EntryId], bool] = lambda _: False
) -> tuple[Entry, ...]:
    """The heads of a path once ``new``, a counted entry there, is merged; in the order of their rank.

    ``is_superseded`` says of an id whether some counted entry merged before names it in ``replaces``.
    """
    if any(head.id == new.id for head in heads):
        return tuple(heads)
    replaced = new.meta.replaces
    kept = [head for head in heads if head.id not in replaced] if replaced else list(heads)
    if not is_superseded(new.id):
        kept.append(new)
    return tuple(sorted(kept, key=rank)) if len(kept) > 1 else tuple(kept)


def surviving(entries: Iterable[Entry], superseded: Container[EntryId]) -> tuple[Entry, ...]:
    """The heads among a path's counted entries, each once, in the order of their rank."""
    heads = {entry.id: entry for entry in entries if entry.id not in superseded}
    return tuple(sorted(heads.values(), key=rank))


def next_hlc(heads: Iterable[Entry], *, now_ms: int) -> Hlc:
    """The clock of a new entry: the wall's, or one more than its path's heads if they are ahead; below 2^63."""
    ahead = max((head.meta.hlc for head in heads), default=-1) + 1
    return Hlc(min(max(now_ms << HLC_COUNTER_BITS, ahead, 0), MAX_HLC))


def conflict_path(path: Path, entry: Entry, *, digits: int = CONFLICT_ID_DIGITS) -> Path:
    """Where the loser ``entry`` of ``path`` appears: ``stem (conflict 2026-11-23 041500Z 1a2b3c4d).ext``.

    The extension begins at the name's last dot, unless that is its first byte or the extension has more than
    ``MAX_EXTENSION_BYTES``. The stem is cut so that the name has at most 255 bytes and the path 4,096, in UTF-8 between
    characters; where the directory leaves no room for the rest, the copy appears in the nearest one above that does. A
    copy of the folder's own ``.harpignore`` loses the leading dot, since ``.harp*`` is reserved.
    """
    directory, slash, name = path.rpartition(b"/")
    if not slash and name.lower().startswith(_RESERVED_PREFIX):
        name = name.lstrip(b".")
    dot = name.rfind(b".")
    has_extension = dot > 0 and len(name) - dot <= MAX_EXTENSION_BYTES
    stem, extension = (name[:dot], name[dot:]) if has_extension else (name, b"")
    tag = f" (conflict {_stamp(entry.meta.hlc)} {entry.id.hex()[:digits]})".encode() + extension
    while len(directory) + len(slash) + len(tag) > MAX_PATH_BYTES:
        directory, slash, _ = directory.rpartition(b"/")
    room = min(MAX_NAME_BYTES, MAX_PATH_BYTES - len(directory) - len(slash)) - len(tag)
    return Path(directory + slash + _shortened(stem, room) + tag)


def _stamp(hlc: Hlc) -> str:
    when = datetime.fromtimestamp((hlc >> HLC_COUNTER_BITS) // 1000, UTC)
    return f"{when:%Y-%m-%d %H%M%S}Z"


def _shortened(stem: bytes, room: int) -> bytes:
    if len(stem) <= room:
        return stem
    try:
        stem.decode()
    except UnicodeDecodeError:
        return stem[:room]
    return stem[:room].decode(errors="ignore").encode()


def _distinct(ranked: Iterable[Entry]) -> list[Entry]:
    """The first of each content."""
    first: dict[Content, Entry] = {}
    for entry in ranked:
        first.setdefault(content(entry.meta), entry)
    return list(first.values())


def _named(path: Path, losers: Sequence[Entry]) -> tuple[tuple[Path, Entry], ...]:
    """The losers under their names; whoever forges an id that begins like another gets a longer name, not the place."""
    taken: dict[Path, Entry] = {}
    for entry in losers:
        digits = CONFLICT_ID_DIGITS
        while (name := conflict_path(path, entry, digits=digits)) in taken and digits < 2 * ID_BYTES:
            digits *= 2
        taken[name] = entry
    return tuple(taken.items())
