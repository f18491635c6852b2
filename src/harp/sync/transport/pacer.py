# SPDX-License-Identifier: AGPL-3.0-or-later
"""Keeps limits while sending: a bucket is shared by all links that it is for, and each waits as long as it says."""

import threading
import time
from collections.abc import Sequence

from harp.sync.engine.pacing import RECORD_BYTES, Bucket


class Limit:
    """One limit, for every thread; no rate is no limit."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bucket = Bucket(0.0, now=time.monotonic())

    @property
    def rate(self) -> float:
        """Bytes a second, 0 for no limit."""
        return self._bucket.rate

    @property
    def record_bytes(self) -> int:
        return self._bucket.record_bytes

    def change(self, rate: float) -> None:
        with self._lock:
            if rate != self._bucket.rate:
                self._bucket.change(rate, now=time.monotonic())

    def take(self, size: int) -> float:
        """How long (s) to wait before ``size`` bytes are sent; they are taken."""
        with self._lock:
            return self._bucket.take(size, now=time.monotonic())


class Pacer:
    """What holds for one link."""

    def __init__(self, limits: Sequence[Limit]) -> None:
        self._limits = limits

    @property
    def record_bytes(self) -> int | None:
        """How much to send at once; None while there is no limit."""
        sizes = [limit.record_bytes for limit in self._limits if limit.rate]
        return min(*sizes, RECORD_BYTES) if sizes else None

    def wait(self, size: int) -> None:
        """Waits until ``size`` bytes may be sent."""
        delay_s = max(limit.take(size) for limit in self._limits)
        if delay_s > 0:
            time.sleep(delay_s)
