# SPDX-License-Identifier: AGPL-3.0-or-later
"""What was said once is not heard twice: time slots of a minute, and a bounded memory of nonces."""

import threading
from collections import OrderedDict

NONCE_BYTES = 16
SLOT_SECONDS = 60
SLOTS_OF_GRACE = 10
"""How far two clocks may differ, either way."""
MAX_SLOT = 2**64 - 1

_MAX_NONCES = 65_536


def slot_of(now: float) -> int:
    """The time slot of ``now`` (seconds since 1970)."""
    return max(0, int(now // SLOT_SECONDS))


def is_fresh(slot: int, *, now: float) -> bool:
    """Whether ``slot`` lies within ten slots of now."""
    return abs(slot - slot_of(now)) <= SLOTS_OF_GRACE


class ReplayMemory:
    """The nonces heard in slots that still count; thread-safe.

    Only nonces that came with a valid tag belong here, so only those who know a secret can fill it. When it is full the
    oldest is forgotten: refusing all others instead would let one member shut out the rest.
    """

    def __init__(self, max_nonces: int = _MAX_NONCES) -> None:
        self._max_nonces = max_nonces
        self._slots: OrderedDict[bytes, int] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._slots)

    def is_first(self, nonce: bytes, slot: int, *, now: float) -> bool:
        """Whether ``nonce`` is heard for the first time; it is remembered for as long as its slot is fresh."""
        with self._lock:
            self._forget_stale(now)
            if nonce in self._slots:
                return False
            self._slots[nonce] = slot
            if len(self._slots) > self._max_nonces:
                self._slots.popitem(last=False)
            return True

    def _forget_stale(self, now: float) -> None:
        # In order of arrival: a nonce from a fast clock may keep older ones a little longer than they need, never less.
        while self._slots:
            nonce, slot = next(iter(self._slots.items()))
            if slot + SLOTS_OF_GRACE >= slot_of(now):
                return
            del self._slots[nonce]
