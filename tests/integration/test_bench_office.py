# SPDX-License-Identifier: AGPL-3.0-or-later
"""The bench of the office at a small size, with real daemons in a real laboratory; and what it says where it cannot."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import benchmarks.office.__main__ as program
from benchmarks.figures import Figure, summaries
from benchmarks.goals import verdicts
from benchmarks.lab.namespace import why_not
from benchmarks.office import fleet, reference
from benchmarks.office.goals import goals
from benchmarks.office.rows import ROWS

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def laboratory(monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := why_not():
        pytest.skip(f"no laboratory can be built here: {reason}")
    if shutil.which("iperf3") is None:
        pytest.skip("iperf3 is not installed: the bench of the office was not tried")
    monkeypatch.setattr(reference, "_LAN_S", 1)
    monkeypatch.setattr(reference, "_WAN_S", 1)


def run(tmp_path: Path, *words: str) -> tuple[int, dict[str, Any]]:
    target = tmp_path / "run.json"
    argv = ["--divide", "100", "--work", str(tmp_path / "w"), "--json", str(target), *words]
    return program.main(argv), json.loads(target.read_text())


@pytest.mark.root
@pytest.mark.real
@pytest.mark.slow
def test_a_run_measures_the_line_and_leaves_nothing_behind(
    laboratory: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = run(tmp_path, "--rows", "put1,edit2,second,saved", "--programs", "Harp")

    assert found["failures"] == []
    assert code == 0
    measured = {figure["row"]: figure["extra"] for figure in found["figures"]}
    assert list(measured) == [ROWS[row].title for row in ("put1", "second", "edit2", "saved")]
    assert 500_000 < measured[ROWS["put1"].title]["wan_down"] < 1_000_000
    assert measured[ROWS["edit2"].title]["wan_down"] > 100_000
    assert 100_000 < measured[ROWS["saved"].title]["wan_up"] < 400_000
    assert all(found["machine"]["reference"][link] > 100_000 for link in ("lan", "down", "up"))
    assert list((tmp_path / "w").iterdir()) == []
    assert "x line's time" in capsys.readouterr().out


@pytest.mark.root
@pytest.mark.real
@pytest.mark.slow
def test_other_bytes_at_a_device_end_the_run_with_1(
    laboratory: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen_at = fleet.seen_at

    def spoiled(*words: Any, **named: Any) -> list[float]:
        found = seen_at(*words, **named)
        target = words[0].folders[2] / "file"
        target.write_bytes(target.read_bytes()[:-1] + b"?")
        return found

    monkeypatch.setattr("benchmarks.office.rows.seen_at", spoiled)

    code, found = run(tmp_path, "--rows", "saved", "--programs", "Harp")

    assert code == 1
    assert [failure["is_wrong"] for failure in found["failures"]] == [True]
    # Harp takes them for an edit: a comparison that comes late finds them at the first device already.
    assert re.search(r"device [12]: 0 missing, 0 too many, 1 with other bytes", capsys.readouterr().out)


def test_where_no_laboratory_can_be_built_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(program, "why_not", lambda: "network namespaces need the rights of root")

    assert program.main([]) == 2
    assert "cannot be built here: network namespaces need the rights of root" in capsys.readouterr().err


@pytest.mark.root
@pytest.mark.real
@pytest.mark.slow
def test_a_row_without_its_nextcloud_says_so_and_the_others_run(
    laboratory: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NEXTCLOUD", raising=False)
    silent = "nextcloud1 does not run: NEXTCLOUD names no tree of a Nextcloud (NEXTCLOUD=/path/to/nextcloud)"

    code, found = run(tmp_path, "--rows", "put1,nextcloud1", "--programs", "Harp")

    assert code == 0
    assert [figure["row"] for figure in found["figures"]] == [ROWS["put1"].title]
    assert silent in capsys.readouterr().out
    assert program.main(["--rows", "nextcloud1", "--work", str(tmp_path / "w")]) == 2
    assert silent in capsys.readouterr().out


def test_the_goals_are_held_against_harp_alone() -> None:
    def figure(peer: str, ratio: float) -> Figure:
        return Figure(
            row=ROWS["put2"].title, peer=peer, round=1, wall_s=1.0, extra={"wan_ratio": ratio, "time_ratio": 1.1}
        )

    found = summaries([figure("Harp", 1.06), figure("Syncthing", 1.0)])
    judged = verdicts(found, goals(["put2", "second", "nextcloud5"]))
    assert [(verdict.value, verdict.is_met) for verdict in judged] == [
        (1.06, False),
        (1.1, True),
        *[(None, None)] * 4,
    ]
    assert [verdict.goal.bound_text for verdict in judged] == [
        "at most 1.05",
        "at most 1.1",
        "at least 0.9",
        "under 0.01",
        "at most 1.05",
        "at most 1.15",
    ]
