# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may speak of which folder on one link: the folders we admit the peer to, and those it spoke of itself."""

from harp.sync.model import FolderId

MAX_CLAIMED = 1024
"""Folders of one link; a peer that speaks of more is in none of the others."""
CLAIM_BURST = 1024
CLAIMS_PER_S = 16.0
"""How fast claims of folders that are not admitted come up; those above are dropped."""


class Gate:
    """Closed for every folder until it is admitted."""

    def __init__(self, *, now: float) -> None:
        self._admitted: set[FolderId] = set()
        self._claimed: set[FolderId] = set()
        self._tokens = float(CLAIM_BURST)
        self._filled_at = now

    def __len__(self) -> int:
        return len(self._admitted)

    def admit(self, folder: FolderId) -> None:
        self._admitted.add(folder)

    def withdraw(self, folder: FolderId) -> bool:
        """Whether it was admitted."""
        was_admitted = folder in self._admitted
        self._admitted.discard(folder)
        return was_admitted

    def is_admitted(self, folder: FolderId) -> bool:
        return folder in self._admitted

    def is_shared(self, folder: FolderId) -> bool:
        """Whether it is admitted here, and the peer's claim shows that it admits us."""
        return folder in self._admitted and folder in self._claimed

    def claim(self, folder: FolderId, *, now: float) -> bool:
        """Note that the peer spoke of a folder; whether that is to be heard: if admitted always, else not too often."""
        if len(self._claimed) < MAX_CLAIMED:
            self._claimed.add(folder)
        return folder in self._admitted or self._has_token(now)

    def _has_token(self, now: float) -> bool:
        elapsed_s = max(0.0, now - self._filled_at)
        self._tokens = min(float(CLAIM_BURST), self._tokens + elapsed_s * CLAIMS_PER_S)
        self._filled_at = max(self._filled_at, now)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
