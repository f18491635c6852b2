# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tags say "I know this secret" to whoever knows it too, and look like noise to anyone else."""

import hmac
from collections.abc import Sequence

TAG_BYTES = 16


def tag(secret: bytes, message: bytes) -> bytes:
    """The first 16 bytes of HMAC-SHA256 (RFC 2104) of ``message`` under ``secret``."""
    return hmac.digest(secret, message, "sha256")[:TAG_BYTES]


def tag_field(secrets: Sequence[bytes], message: bytes, *, count: int, padding: bytes) -> bytes:
    """One tag a secret, filled up with ``padding`` to exactly ``count`` tags, in ascending order.

    ``padding`` is at least ``count`` times 16 random bytes. Tags and padding look equally random, so their order by
    value tells nothing about which are tags, nor how many, nor which folder stands first.
    Raises :class:`ValueError` for more than ``count`` secrets or too little padding.
    """
    if len(secrets) > count or len(padding) < count * TAG_BYTES:
        raise ValueError("too many secrets or too little padding for this many tags")
    noise = [padding[i * TAG_BYTES : (i + 1) * TAG_BYTES] for i in range(len(secrets), count)]
    return b"".join(sorted([tag(secret, message) for secret in secrets] + noise))


def holds(field: bytes, expected: bytes) -> bool:
    """Whether one of the tags in ``field`` is ``expected``; takes equally long wherever it stands."""
    found = False
    for start in range(0, len(field), TAG_BYTES):
        found |= hmac.compare_digest(field[start : start + TAG_BYTES], expected)
    return found
