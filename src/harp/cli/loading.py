# SPDX-License-Identifier: AGPL-3.0-or-later
"""The import of a verb's modules, which for the daemon are some six hundred."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Nobody looks for cycles within: what is imported stays, and each look at it costs a start of the daemon more."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
