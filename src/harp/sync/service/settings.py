# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a person can set about how folders are kept."""

from dataclasses import dataclass, field

from harp.sync.engine.guard import Limits
from harp.sync.engine.quota import ENTRIES_PER_HOUR


@dataclass(frozen=True, slots=True)
class OfficeSettings:
    """How content crosses the WAN."""

    lan_only: bool = False
    """Content is taken from devices on the LAN alone."""
    is_cache: bool = False
    """The others of the office leave it to this device to fetch over the WAN."""


@dataclass(frozen=True, slots=True)
class FolderSettings:
    """Times in seconds and days; ``trash_share`` of the disk at most."""

    scan_interval_s: float = 3600.0
    trash_days: float = 30.0
    trash_share: float = 0.10
    guard: Limits = field(default_factory=Limits)
    author_entries: int = ENTRIES_PER_HOUR
    """Of one author within an hour; above them it waits for a person."""
    office: OfficeSettings = field(default_factory=OfficeSettings)
