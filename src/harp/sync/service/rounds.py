# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is done from time to time, whatever happens: full scans, a second look, the marker, the trash."""

import logging
import time
from collections.abc import Callable

from harp.base.errors import FolderError
from harp.sync.service.observer import Observer
from harp.sync.service.replica import Replica
from harp.sync.service.settings import FolderSettings

_log = logging.getLogger(__name__)

MARKER_EVERY_S = 5.0
RULES_AGAIN_S = 2.0
"""Rules that were not to be read, or not there, are looked for again after this."""
RACY_AFTER_S = 2.5
"""A file that was hashed too soon after its last change is looked at again after this."""
TRASH_EVERY_S = 3600.0


class Rounds:
    """For the folder's thread. Times are monotonic."""

    def __init__(
        self, replica: Replica, settings: FolderSettings, observer: Observer, look_for_marker: Callable[[], object]
    ) -> None:
        self._replica = replica
        self._settings = settings
        self._observer = observer
        self._look_for_marker = look_for_marker
        now = time.monotonic()
        self._scan_at = now + settings.scan_interval_s
        self._marker_at = now
        self._rules_at = now
        self._racy_at = now + RACY_AFTER_S
        self._trash_at = now

    def next_deadline(self) -> float:
        rules_at = self._rules_at if self._replica.ignore.is_doubtful else self._scan_at
        return min(self._scan_at, self._marker_at, self._racy_at, self._trash_at, rules_at)

    def go(self, now: float) -> None:
        """Does what is due."""
        if now >= self._marker_at:
            self._look_for_marker()
            self._marker_at = now + MARKER_EVERY_S
        if self._replica.ignore.is_doubtful and now >= self._rules_at:
            self._replica.ignore.learn()
            self._rules_at = now + RULES_AGAIN_S
        if now >= self._scan_at:
            self._observer.scan()
            self._scan_at = now + self._settings.scan_interval_s
        if now >= self._racy_at:
            racy = self._replica.places.racy()
            self._observer.look(place.path for place in racy)
            self._racy_at = now + (RACY_AFTER_S if racy else MARKER_EVERY_S)
        if now >= self._trash_at:
            self._tend_trash()
            self._trash_at = now + TRASH_EVERY_S

    def _tend_trash(self) -> None:
        try:
            removed = self._replica.trash.expire(
                now=time.time(), max_age_days=self._settings.trash_days, max_share=self._settings.trash_share
            )
            self._replica.forget_trashed([item.place for item in removed])
            # A daemon that was killed in between has not told what it put there.
            self._replica.note_trashed(self._replica.trash.list())
        except FolderError as error:
            _log.warning("folder %s: %s", self._replica.name, error.message)
