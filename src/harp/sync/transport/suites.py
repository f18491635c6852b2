# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which TLS 1.3 cipher suite this processor is fastest at; a small ARM board has no AES instructions."""

import functools
import time
from collections.abc import Callable, Mapping
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

AES = "TLS_AES_256_GCM_SHA384"
CHACHA = "TLS_CHACHA20_POLY1305_SHA256"

AEADS: Final[Mapping[str, type[AESGCM] | type[ChaCha20Poly1305]]] = {AES: AESGCM, CHACHA: ChaCha20Poly1305}
"""What a suite encrypts by; both take a key of 32 bytes."""

_RECORD = bytes(16 * 1024)
_NONCE = bytes(12)
_ROUNDS = 8
_TURNS = 4


@functools.cache
def prefers_aes() -> bool:
    """Whether AES-256-GCM is at least as fast here as ChaCha20-Poly1305: measured once a process, in a few ms."""
    aes, chacha = AESGCM(bytes(32)), ChaCha20Poly1305(bytes(32))
    return _best_s(lambda: aes.encrypt(_NONCE, _RECORD, None)) <= _best_s(lambda: chacha.encrypt(_NONCE, _RECORD, None))


def suites(*, aes_first: bool) -> bytes:
    """The two suites offered and accepted, the preferred one first, as OpenSSL writes them."""
    return ":".join((AES, CHACHA) if aes_first else (CHACHA, AES)).encode()


def _best_s(work: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        for _ in range(_TURNS):
            work()
        best = min(best, time.perf_counter() - began)
    return best
