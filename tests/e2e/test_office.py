# SPDX-License-Identifier: AGPL-3.0-or-later
"""An office with a slow line to a real Nextcloud and its hub: the bench's own row, at a small size."""

import json
import shutil
from pathlib import Path

import pytest

import benchmarks.office.__main__ as program
from benchmarks.lab.namespace import why_not


@pytest.mark.root
def test_what_is_uploaded_in_nextcloud_crosses_the_line_once_for_two_devices(tmp_path: Path) -> None:
    if reason := why_not():
        pytest.skip(f"no laboratory can be built here: {reason}")
    if shutil.which("iperf3") is None:
        pytest.skip("iperf3 is not installed: the bench of the office was not tried")
    asked = ["--rows", "nextcloud2", "--divide", "25", "--work", str(tmp_path / "w")]

    code = program.main([*asked, "--json", str(tmp_path / "run.json")])

    found = json.loads((tmp_path / "run.json").read_text())
    assert found["failures"] == []
    assert code == 0
    [figure] = found["figures"]
    assert figure["row"] == "50 MB into Nextcloud, N=2"
    assert figure["extra"]["put_s"] < figure["extra"]["first_s"] <= figure["wall_s"]
    assert 1.0 < figure["extra"]["wan_ratio"] < 1.2, "a second copy would make it 2"
