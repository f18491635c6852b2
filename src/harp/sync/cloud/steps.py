# SPDX-License-Identifier: AGPL-3.0-or-later
"""The steps by which disk and account become the same; each carries the state of both that it was planned from."""

from dataclasses import dataclass
from typing import TypeAlias

from harp.sync.cloud.nodes import (
    CloudPath,
    Local,
    Remote,
)


@dataclass(frozen=True, slots=True)
class MoveRemote:
    """Rename in the account, where nothing lies at ``target``."""

    source: CloudPath
    target: CloudPath
    remote: Remote


@dataclass(frozen=True, slots=True)
class MoveLocal:
    """Rename on the disk, where nothing lies at ``target``."""

    source: CloudPath
    target: CloudPath
    local: Local


@dataclass(frozen=True, slots=True)
class MakeRemote:
    path: CloudPath


@dataclass(frozen=True, slots=True)
class MakeLocal:
    path: CloudPath


@dataclass(frozen=True, slots=True)
class Upload:
    """Put the disk's content there; ``over`` is what lies there, None for nothing."""

    path: CloudPath
    local: Local
    over: Remote | None


@dataclass(frozen=True, slots=True)
class Download:
    """Put the account's content here; ``over`` is what lies here, None for nothing."""

    path: CloudPath
    remote: Remote
    over: Local | None


@dataclass(frozen=True, slots=True)
class Reconcile:
    """Both have a version of their own: the same bytes are agreed, else the disk's is set aside and goes up as well."""

    path: CloudPath
    local: Local
    remote: Remote


@dataclass(frozen=True, slots=True)
class SetAside:
    """A file on the disk where the account has a directory, which keeps the name."""

    path: CloudPath
    local: Local


@dataclass(frozen=True, slots=True)
class SetAsideRemote:
    """A file in the account where the disk has a directory, which keeps the name."""

    path: CloudPath
    remote: Remote


@dataclass(frozen=True, slots=True)
class RemoveRemote:
    path: CloudPath
    remote: Remote


@dataclass(frozen=True, slots=True)
class RemoveLocal:
    path: CloudPath
    local: Local


@dataclass(frozen=True, slots=True)
class Agree:
    """Directories on both sides, or a state that is only to be noted."""

    path: CloudPath
    local: Local
    remote: Remote


@dataclass(frozen=True, slots=True)
class Forget:
    path: CloudPath


@dataclass(frozen=True, slots=True)
class Refuse:
    """A change here that the account does not permit; the file stays as it is on both sides."""

    path: CloudPath
    why: str


Action: TypeAlias = (
    MoveRemote
    | MoveLocal
    | MakeRemote
    | MakeLocal
    | Upload
    | Download
    | Reconcile
    | SetAside
    | SetAsideRemote
    | RemoveRemote
    | RemoveLocal
    | Agree
    | Forget
    | Refuse
)


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in the order in which they are taken: moves, directories, files, and removals from the inside out."""

    moves: tuple[MoveRemote | MoveLocal | MakeRemote | MakeLocal, ...]
    makes: tuple[MakeRemote | MakeLocal, ...]
    files: tuple[Action, ...]
    removals: tuple[RemoveRemote | RemoveLocal, ...]

    @property
    def is_empty(self) -> bool:
        return not (self.moves or self.makes or self.files or self.removals)
