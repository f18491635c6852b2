# SPDX-License-Identifier: AGPL-3.0-or-later
"""Counting a folder: not anew for each who asks."""

import time
from pathlib import Path as FilePath

import pytest

from harp.sync.service.census import EVERY_S, Census
from tests.fakes.replicas import Device


def test_a_count_is_kept_for_a_second(tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    anna = Device(tmp_path / "anna", 1).found()
    counted = Census(anna.replica.places)
    assert counted.totals() == (0, 0)
    anna.put("a", b"12345")
    monkeypatch.undo()
    anna.looks()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert counted.totals() == (0, 0)
    now += EVERY_S + 0.1
    assert counted.totals() == (1, 5)
