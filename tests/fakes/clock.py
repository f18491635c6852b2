# SPDX-License-Identifier: AGPL-3.0-or-later
"""A clock that is set by the test: devices whose loops are turned by hand need no time but what they wait for."""

import sys
import time as real_time
from types import ModuleType

import pytest

_LOOK_S = 1e-5


class Clock(ModuleType):
    """Stands in for the module ``time``: ``monotonic`` goes on by what is slept, and a little with each look at it.

    All else is as it is.
    """

    def __init__(self) -> None:
        super().__init__("time")
        self._now = 1000.0

    def monotonic(self) -> float:
        """In seconds."""
        self._now += _LOOK_S
        return self._now

    def sleep(self, seconds: float) -> None:
        """At once."""
        self._now += seconds

    def __getattr__(self, name: str) -> object:
        return getattr(real_time, name)


def chosen_clock(monkeypatch: pytest.MonkeyPatch, *prefixes: str) -> Clock:
    """The clock that all modules below these names have from now on, until the test has ended."""
    clock = Clock()
    for name, module in list(sys.modules.items()):
        if name.startswith(prefixes) and getattr(module, "time", None) is real_time:
            monkeypatch.setattr(module, "time", clock)
    return clock
