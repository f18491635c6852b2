# SPDX-License-Identifier: AGPL-3.0-or-later
"""A limit of a line, kept by whoever sends: a bucket of at most 64 KiB that counts bytes as they lie on the wire."""

from typing import Final

MAX_BUCKET_BYTES: Final = 64 * 1024
RECORD_BYTES: Final = 16 * 1024
"""The most that is sent at once on a line with a limit: one full TLS record."""
BUCKET_S: Final = 0.005
"""A bucket holds what passes in this time, and so does a record: any second has at most 1 % above the limit."""
SEGMENT_BYTES: Final = 1448
"""What one packet carries on Ethernet: 1500 bytes without the headers of IPv4 and TCP, with timestamps."""
HEADER_BYTES: Final = 66
"""Ethernet (14), IPv4 (20), TCP (20) with timestamps (12)."""


def on_the_wire(payload_bytes: int) -> int:
    """How many bytes of a line so many bytes of a TCP stream take.

    >>> on_the_wire(16384)
    17176
    """
    return payload_bytes + -(-payload_bytes // SEGMENT_BYTES) * HEADER_BYTES


class Bucket:
    """Lets bytes go at ``rate`` bytes a second; 0 is no limit. ``now`` is a monotonic clock in seconds."""

    def __init__(self, rate: float, *, now: float) -> None:
        self._rate = rate
        self._free_at = now
        """When the bucket is full again if nothing more is sent; it lies ahead by what was taken."""

    @property
    def rate(self) -> float:
        return self._rate

    @property
    def record_bytes(self) -> int:
        """How much is to be sent at once."""
        return max(SEGMENT_BYTES, min(RECORD_BYTES, int(self._rate * BUCKET_S))) if self._rate else RECORD_BYTES

    def change(self, rate: float, *, now: float) -> None:
        """From now on another rate; what was taken before is paid back at it."""
        owed = max(0.0, self._free_at - now) * self._rate
        self._rate = rate
        self._free_at = now + owed / rate if rate else now

    def take(self, payload_bytes: int, *, now: float) -> float:
        """Takes what ``payload_bytes`` are on the wire; how long (s) to wait before they are sent."""
        if not self._rate:
            return 0.0
        depth_s = min(BUCKET_S, MAX_BUCKET_BYTES / self._rate)
        begins_at = max(self._free_at, now - depth_s)
        self._free_at = begins_at + on_the_wire(payload_bytes) / self._rate
        return max(0.0, begins_at - now)
