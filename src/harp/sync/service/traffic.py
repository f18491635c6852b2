# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where content came from, by folder and by peer: the LAN, the WAN, this disk; since the start, and by day."""

import contextlib
import datetime as dt
import functools
import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from harp.base.runtime import Counter, Counters
from harp.identity import device as device_id
from harp.identity.device import DeviceId
from harp.sync.engine.fetcher import Reach
from harp.sync.model import FolderId

_log = logging.getLogger(__name__)

KEPT_DAYS: Final = 92
FILE_NAME: Final = "traffic.json"
HERE: Final = DeviceId(b"")
"""Stands for this device's own disk."""
_LOCAL: Final = "local"
_QUARTER_S: Final = 15 * 60


class Carried(NamedTuple):
    """Bytes of content."""

    lan: int = 0
    wan: int = 0
    local: int = 0


class _Key(NamedTuple):
    folder: FolderId
    device: DeviceId
    source: str


class Traffic:
    """For every thread. What is counted by day outlives the daemon, in HOME/traffic.json; None: it does not."""

    def __init__(self, counters: Counters | None = None, file: Path | None = None) -> None:
        self._counters = counters or Counters()
        self._file = file
        self._lock = threading.Lock()
        self._started: dict[_Key, Counter] = {}
        self._days: dict[str, dict[_Key, int]] = {}
        self._found: dict[FolderId, int] = {}
        self._is_new = False
        if file is not None:
            self._load(file)

    # --- counting -----------------------------------------------------------------------------------------------------

    def received(self, folder: FolderId, device: DeviceId, reach: Reach, size: int) -> None:
        """A peer sent content of ``size`` bytes."""
        self._add(_Key(folder, device, reach.value), size)

    def found(self, folder: FolderId, total: int) -> None:
        """So much was found on this disk in place of being fetched, since the folder was opened."""
        with self._lock:
            before = self._found.get(folder, 0)
            self._found[folder] = total
        self._add(_Key(folder, HERE, _LOCAL), total - before if total >= before else total)

    def _add(self, key: _Key, size: int) -> None:
        if not size:
            return
        today = _day(int(time.time()) // _QUARTER_S)
        with self._lock:
            counter = self._started.get(key)
            if counter is None:
                counter = self._started[key] = self._counter(key)
            day = self._days.setdefault(today, {})
            day[key] = day.get(key, 0) + size
            self._is_new = True
        counter.add(size)

    def _counter(self, key: _Key) -> Counter:
        return self._counters.counter(
            "harp_content_bytes_total",
            "Content received, by where it came from.",
            folder=key.folder.hex()[:16],
            peer=device_id.short(key.device) if key.device else "",
            source=key.source,
        )

    # --- telling ------------------------------------------------------------------------------------------------------

    def since_start(self, *, folder: FolderId | None = None, device: DeviceId | None = None) -> Carried:
        """Of one folder, from one device, or both; None is any."""
        with self._lock:
            counted = [(key, counter.value) for key, counter in self._started.items()]
        return _sum(counted, folder, device)

    def days(
        self, most: int, *, folder: FolderId | None = None, device: DeviceId | None = None
    ) -> Iterator[tuple[str, Carried]]:
        """The last days on which there was something, the newest first."""
        with self._lock:
            known = [(day, list(keys.items())) for day, keys in sorted(self._days.items(), reverse=True)]
        told = ((day, _sum(counted, folder, device)) for day, counted in known)
        return (one for one, _ in zip((one for one in told if any(one[1])), range(most), strict=False))

    # --- keeping ------------------------------------------------------------------------------------------------------

    def keep(self) -> None:
        """Writes what is counted by day, if there is something new; a disk that refuses costs a line in the log."""
        with self._lock:
            if self._file is None or not self._is_new:
                return
            self._is_new = False
            self._days = dict(sorted(self._days.items())[-KEPT_DAYS:])
            rows = [
                [day, key.folder.hex(), key.device.hex(), key.source, size]
                for day, keys in self._days.items()
                for key, size in keys.items()
            ]
        temporary = self._file.with_name(f".{self._file.name}.new")
        try:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as out:
                json.dump(rows, out)
            temporary.replace(self._file)
        except OSError as error:
            _log.warning("%s cannot be written: %s", self._file, error.strerror)

    def _load(self, file: Path) -> None:
        """What was kept; a file that is damaged is begun anew, since nothing hangs on it."""
        try:
            rows = json.loads(file.read_text(encoding="utf-8"))
            for day, folder, device, source, size in rows:
                key = _Key(FolderId(bytes.fromhex(folder)), DeviceId(bytes.fromhex(device)), str(source))
                self._days.setdefault(dt.date.fromisoformat(day).isoformat(), {})[key] = int(size)
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError) as error:
            _log.warning("%s is begun anew: %s", file, error)
            self._days.clear()
            with contextlib.suppress(OSError):
                file.unlink()


@functools.lru_cache(maxsize=1)
def _day(quarter: int) -> str:
    """The day as the people here have it; wherever they are, it begins with a quarter of an hour of UTC."""
    return dt.date.fromtimestamp(quarter * _QUARTER_S).isoformat()  # noqa: DTZ012


def _sum(counted: list[tuple[_Key, int]], folder: FolderId | None, device: DeviceId | None) -> Carried:
    sums = dict.fromkeys(Carried._fields, 0)
    for key, size in counted:
        if folder in (None, key.folder) and device in (None, key.device) and key.source in sums:
            sums[key.source] += size
    return Carried(**sums)
