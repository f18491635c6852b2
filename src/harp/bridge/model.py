# SPDX-License-Identifier: AGPL-3.0-or-later
"""The nouns of ``/v1``: what is answered, as msgspec structs (JSON field names are these names); see also ``requests``.

Ids are text: devices as :func:`harp.identity.device.text` writes them, folders and entries in hexadecimal. Times are
seconds since 1970 (UTC), sizes are bytes. Text that came from a peer or a disk has been through
:func:`harp.bridge.naming.printable`: JSON cannot hold a lone surrogate, nor a terminal be trusted with more. A ``path``
is for people; where it is not exact, ``path_b64`` is (:func:`harp.bridge.naming.path_fields`). Requests take
``path_b64`` before ``path``.
"""

from enum import Enum

import msgspec

MOST_PROBLEMS = 100
"""Of one folder, in one answer."""


class Noun(msgspec.Struct, frozen=True, kw_only=True):
    """What the API says or is told; unknown fields are ignored, so that a newer side may add some."""


class PathForm(Noun, frozen=True, kw_only=True):
    """A path of any bytes; make the two fields with ``**naming.path_fields(raw)``."""

    path: str
    path_b64: str | None = None


class Done(Noun, frozen=True, kw_only=True):
    """It is done; ``message`` says in one line what that was."""

    message: str


class ErrorAnswer(Noun, frozen=True, kw_only=True):
    """A :class:`harp.base.errors.HarpError` as it crosses the socket."""

    error: str
    message: str
    hint: str = ""
    exit_code: int = 1


class DeviceInfo(Noun, frozen=True, kw_only=True):
    """This device. ``listen`` is where it is bound, ``addresses`` what a ticket tells others."""

    id: str
    name: str
    version: str = ""
    home: str = ""
    listen: str = ""
    addresses: list[str] = []


class Problem(PathForm, frozen=True, kw_only=True):
    """A file that waits, and why; everything else goes on."""

    why: str


class FolderState(Enum):
    IDLE = "idle"
    SCANNING = "scanning"
    SYNCING = "syncing"
    PAUSED = "paused"
    HELD = "held"
    STOPPED = "stopped"


class Carried(Noun, frozen=True, kw_only=True):
    """Bytes of content by where they came from: peers on the LAN, peers beyond the WAN, this device's own disk."""

    lan: int = 0
    wan: int = 0
    local: int = 0


class CarriedDay(Carried, frozen=True, kw_only=True):
    day: str
    """As in 2026-11-25, by this device's clock."""


class MirrorState(Enum):
    SAME = "same"
    WORKING = "working"
    WAITING = "waiting"
    ASKING = "asking"
    STOPPED = "stopped"


class MirrorStatus(Noun, frozen=True, kw_only=True):
    """What a folder mirrors: ``path`` of a Nextcloud account, and how that is going."""

    account: str
    path: str
    state: MirrorState
    error: str = ""
    """Why it stands still, in one line; ``remedy`` says what to do."""
    remedy: str = ""
    note: str = ""
    """What is good to know although nothing is wrong, in one line."""
    settled_at: float | None = None
    """When both sides were the same last."""
    changes: int = 0
    """Carried from one side to the other since the daemon started."""


class FolderStatus(Noun, frozen=True, kw_only=True):
    """One folder on this device. ``location`` is where it lies; ``needed_*`` is what this device still lacks."""

    id: str
    name: str
    location: str
    role: str
    state: FolderState
    files: int = 0
    bytes: int = 0
    needed_files: int = 0
    needed_bytes: int = 0
    arrived_bytes: int = 0
    """What is here of the files that are still being put together."""
    members: int = 1
    connected: int = 0
    held: int = 0
    conflicts: int = 0
    local_only: int = 0
    problems: list[Problem] = []
    """The first hundred; ``problem_count`` counts all."""
    problem_count: int = 0
    error: str = ""
    """Why the folder is stopped, or its mirror stands still, in one line."""
    mirror: MirrorStatus | None = None
    content: Carried = Carried()
    """Since the daemon started."""
    content_days: list[CarriedDay] = []
    """The last seven days with any, the newest first."""
    last_scan_at: float | None = None
    scan_seconds: float | None = None


class PeerFolder(Noun, frozen=True, kw_only=True):
    """A folder shared with a peer; ``lacks_*`` is what the peer has not yet durably (None: it has not said)."""

    id: str
    name: str
    role: str
    lacks_files: int | None = None
    lacks_bytes: int | None = None


class PeerStatus(Noun, frozen=True, kw_only=True):
    """One other device. Bytes are those on the wire since the daemon started, rates are bytes a second, just now."""

    id: str
    name: str
    is_connected: bool
    reach: str | None = None
    """``lan`` or ``wan`` while connected."""
    address: str = ""
    known_addresses: list[str] = []
    bytes_in: int = 0
    bytes_out: int = 0
    rate_in: float = 0.0
    rate_out: float = 0.0
    last_seen_at: float | None = None
    clock_skew_s: float | None = None
    """How far the peer's clock is ahead of this one's."""
    error: str = ""
    """Why the last attempt to connect failed."""
    content: Carried = Carried()
    """What it sent us since the daemon started."""
    content_days: list[CarriedDay] = []
    folders: list[PeerFolder] = []


class Status(Noun, frozen=True, kw_only=True):
    """The whole daemon at one moment."""

    device: DeviceInfo
    started_at: float
    bytes_in: int = 0
    bytes_out: int = 0
    folders: list[FolderStatus] = []
    peers: list[PeerStatus] = []
    problems: list[str] = []
    """What concerns the device as a whole, e.g. that inotify's limit is reached."""


class FolderList(Noun, frozen=True, kw_only=True):
    folders: list[FolderStatus]


class PeerList(Noun, frozen=True, kw_only=True):
    peers: list[PeerStatus]


class Invitation(Noun, frozen=True, kw_only=True):
    """``ticket`` is a secret until it is used: whoever has it first is in."""

    ticket: str
    folder: str
    name: str
    role: str
    expires_at: float


class Phase(Enum):
    SCANNING = "scanning"
    SYNCING = "syncing"
    VERIFYING = "verifying"
    DONE = "done"
    FAILED = "failed"

    @property
    def is_last(self) -> bool:
        return self in (Phase.DONE, Phase.FAILED)


class Progress(Noun, frozen=True, kw_only=True):
    """One line of a long answer; the last one, and only that, is ``done`` or ``failed`` (with ``reason``, ``hint``).

    While waiting, what is left is what this device lacks and what its connected peers lack together. While verifying,
    ``finding`` names one thing that is wrong.
    """

    phase: Phase
    done_files: int = 0
    total_files: int = 0
    done_bytes: int = 0
    total_bytes: int = 0
    finding: Problem | None = None
    reason: str = ""
    hint: str = ""


class Version(PathForm, frozen=True, kw_only=True):
    """One entry of a path's history. ``at`` is its hybrid logical clock; ``entry`` is what ``PATH@ENTRY`` names."""

    entry: str
    kind: str
    """``file``, ``directory``, ``symlink`` or ``tombstone``."""
    at: float
    author: str
    author_name: str = ""
    size: int = 0
    mtime: float | None = None
    target: str = ""
    is_current: bool = False
    """It is a head of the path: nothing replaces it."""
    is_restorable: bool = False
    """Its content lies on this device: in the folder or in its trash."""
    shown_as: str = ""
    """Where a conflict's loser lies: the path of its copy, for people."""
    replaces: list[str] = []


class History(Noun, frozen=True, kw_only=True):
    """Newest first."""

    versions: list[Version]


class Conflict(PathForm, frozen=True, kw_only=True):
    """A path with more than one head; the first version has the name, the others lie beside it as copies."""

    versions: list[Version]


class ConflictList(Noun, frozen=True, kw_only=True):
    conflicts: list[Conflict]


class WhyPiece(Noun, frozen=True, kw_only=True):
    """A part of a file's content that is missing; ``peer`` is whom it is asked of, or left to."""

    id: str
    size: int
    peer: str = ""
    reach: str | None = None
    why: str


class Why(PathForm, frozen=True, kw_only=True):
    """Why a path is not here yet. The first hundred pieces; ``missing_*`` count all."""

    state: str
    size: int = 0
    missing_pieces: int = 0
    missing_bytes: int = 0
    pieces: list[WhyPiece] = []


class HeldSet(Noun, frozen=True, kw_only=True):
    """Changes that wait for a person. ``id`` is bound to this very set: should it grow, it gets another."""

    id: str
    kind: str
    """``deletions``, ``marker``, ``mount``, ``fork``, ``rate``, ``account`` …"""
    what: str
    """In one line, what would happen."""
    author: str = ""
    since: float = 0.0
    files: int = 0
    sample: list[PathForm] = []
    """The first twenty paths."""
    can_be_approved: bool = True
    remedy: str = ""
    """What to do where it cannot be approved."""


class HeldList(Noun, frozen=True, kw_only=True):
    held: list[HeldSet]


class Forgotten(Noun, frozen=True, kw_only=True):
    """``cut_from``: folders in which this device, an owner, ended the other's membership; ``still_in``: the others."""

    device: str
    cut_from: list[str] = []
    still_in: list[str] = []


class Setting(Noun, frozen=True, kw_only=True):
    key: str
    value: str
    default: str
    summary: str
    needs_restart: bool = False


class SettingList(Noun, frozen=True, kw_only=True):
    settings: list[Setting]


class Check(Noun, frozen=True, kw_only=True):
    """One line of the self-test; a failed one says in ``remedy`` what to do."""

    name: str
    ok: bool
    text: str
    remedy: str = ""


class Report(Noun, frozen=True, kw_only=True):
    checks: list[Check]
    is_running: bool = True


class BackupMade(Noun, frozen=True, kw_only=True):
    location: str
    size_bytes: int
