# SPDX-License-Identifier: AGPL-3.0-or-later
"""When so much of a folder goes away, or goes back in time, that a person has to decide.

What counts is content lost from view: a file that was removed and whose bytes did not appear elsewhere, and a file
that went back to a version which the present one had replaced. The counts of the last ten minutes are taken together,
against the files there were when these began.
"""

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from harp.sync.engine.merge import Content, content
from harp.sync.model import Entry, EntryId, Kind

HELD_ID_DIGITS: Final = 12
MAX_ANCESTORS: Final = 256
"""How far back a version is looked for; one that is farther back counts as new."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Held is what passes ``files`` and ``share`` both, or the whole of a folder of ``whole_folder_files`` or more."""

    files: int = 100
    share: float = 0.25
    whole_folder_files: int = 10
    window_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Losses:
    """What a change does to a folder's files; ``moved`` ones are gone from their place, but not lost."""

    removed: int = 0
    reverted: int = 0
    moved: int = 0

    @property
    def count(self) -> int:
        return self.removed + self.reverted


@dataclass(frozen=True, slots=True)
class Pass:
    """Go on."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Stop, and ask: ``reason`` is what the person is told."""

    reason: str


Verdict = Pass | Hold
History = Sequence[tuple[float, int]]
"""When, and how many losses were let pass then."""


@dataclass(frozen=True, slots=True)
class Guard:
    """Judges changes before they are authored, or before a peer's are applied."""

    limits: Limits = field(default_factory=Limits)

    def recent(self, history: History, *, now: float) -> list[tuple[float, int]]:
        """What of ``history`` still counts: the rest may be forgotten."""
        begin = now - self.limits.window_s
        return [(when, count) for when, count in history if when > begin]

    def verdict(self, history: History, files_at_start: int, new: Losses, *, now: float) -> Verdict:
        """Whether ``new`` may pass after ``history``, in a folder that had ``files_at_start`` when the window began."""
        if new.count == 0:
            return Pass()
        lost = new.count + sum(count for _, count in self.recent(history, now=now))
        limits = self.limits
        is_all = files_at_start >= limits.whole_folder_files and lost >= files_at_start
        is_mass = lost > limits.files and lost > limits.share * files_at_start
        return Hold(_reason(lost, files_at_start, new, limits)) if is_all or is_mass else Pass()


def losses(gone: Iterable[Content], came: Iterable[Content], reverted: int = 0) -> Losses:
    """What is lost where files (and symlinks) ``gone`` went and ``came`` appeared, here or before within the window.

    One that came makes up for one of the same content that went. Directories, having no content, count as nothing.
    """
    went = Counter(one for one in gone if _is_counted(one))
    moved = (went & Counter(came)).total()
    return Losses(removed=went.total() - moved, reverted=reverted, moved=moved)


def is_reverted(new: Content, replaces: Iterable[EntryId], entry_of: Callable[[EntryId], Entry | None]) -> bool:
    """Whether ``new`` is an earlier version: the content of an entry that those it ``replaces`` had replaced in turn.

    ``entry_of`` looks an entry up, None if it is not kept any more. At most ``MAX_ANCESTORS`` are looked at, the
    nearest first. A change that leaves the content as it is goes back to nothing.
    """
    if not _is_counted(new):
        return False
    present = [entry for id in replaces if (entry := entry_of(id)) is not None]
    if any(content(entry.meta) == new for entry in present):
        return False
    seen: set[EntryId] = set()
    to_see = deque(id for entry in present for id in entry.meta.replaces)
    while to_see and len(seen) < MAX_ANCESTORS:
        id = to_see.popleft()
        if id in seen:
            continue
        seen.add(id)
        entry = entry_of(id)
        if entry is None:
            continue
        if content(entry.meta) == new:
            return True
        to_see.extend(entry.meta.replaces)
    return False


def held_id(items: Iterable[bytes]) -> str:
    """What a person types to approve or reject exactly the set of ``items`` (entry ids or paths) that was shown.

    The first 12 hex digits of SHA3-256 over the sorted set, each item after its length in four bytes.
    """
    hasher = hashlib.sha3_256()
    for item in sorted(set(items)):
        hasher.update(len(item).to_bytes(4, "big"))
        hasher.update(item)
    return hasher.hexdigest()[:HELD_ID_DIGITS]


def _is_counted(one: Content) -> bool:
    return one.kind in (Kind.FILE, Kind.SYMLINK)


def _reason(lost: int, files_at_start: int, new: Losses, limits: Limits) -> str:
    parts = []
    if new.removed:
        parts.append(f"{new.removed} removed")
    if new.reverted:
        parts.append(f"{new.reverted} back to an earlier version")
    minutes = round(limits.window_s / 60)
    return f"{lost} of {files_at_start} files lost within {minutes} minutes: {', '.join(parts)} now"
