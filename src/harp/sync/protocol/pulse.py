# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether the peer is still there: when it was heard, when to ping it, when to give it up."""

HANDSHAKE_S = 30.0
"""From the start until everything may be said."""
PING_AFTER_S = 15.0
"""Of silence; then after as much again."""
DEAD_AFTER_S = 45.0
"""Of silence."""


class Pulse:
    """The clockwork of one link; ``now`` is a monotonic clock in seconds."""

    def __init__(self, *, now: float) -> None:
        self.round_trip_s: float | None = None
        """As the last answered ping showed it."""
        self._started_at = self._heard_at = self._pinged_at = now
        self._nonce = 0
        self._is_awaited = False

    def heard(self, *, now: float) -> None:
        """Any byte is a sign of life. May be called from any thread."""
        self._heard_at = max(self._heard_at, now)

    def ping(self, *, now: float) -> int:
        """The nonce of a new ping."""
        self._nonce += 1
        self._pinged_at, self._is_awaited = now, True
        return self._nonce

    def pong(self, nonce: int, *, now: float) -> None:
        """Measures the round trip; a pong for no ping, or an old one, says nothing."""
        if self._is_awaited and nonce == self._nonce:
            self._is_awaited = False
            self.round_trip_s = max(0.0, now - self._pinged_at)

    def dead_at(self, *, is_open: bool) -> float:
        """When the peer is given up, unless it is heard before."""
        return self._heard_at + DEAD_AFTER_S if is_open else self._started_at + HANDSHAKE_S

    def ping_at(self) -> float:
        """When the next ping is due, unless the peer is heard before."""
        return max(self._heard_at, self._pinged_at) + PING_AFTER_S
