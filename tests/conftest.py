# SPDX-License-Identifier: AGPL-3.0-or-later
"""What all tests share: the two hypothesis profiles, and a home that is not the tester's own."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# No deadline: a bound in time is a benchmark, and a busy machine must not fail a law.
_SLOW_MACHINE = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
settings.register_profile("dev", max_examples=50, deadline=None, suppress_health_check=_SLOW_MACHINE)
settings.register_profile("ci", max_examples=500, deadline=None, suppress_health_check=_SLOW_MACHINE, print_blob=True)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI", "").lower() == "true" else "dev")
)


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the home, the settings or the daemon of whoever runs it."""
    for name in list(os.environ):
        if name.startswith("HARP_") and not name.startswith("HARP_TEST_"):
            monkeypatch.delenv(name)
    home: Path = tmp_path_factory.getbasetemp() / "own-home"
    home.mkdir(exist_ok=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))
