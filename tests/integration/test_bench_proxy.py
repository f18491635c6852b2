# SPDX-License-Identifier: AGPL-3.0-or-later
"""A run of the app plane's bench itself, small, with a real HAProxy and a real wrk, without Harp."""

import json
import shutil
from pathlib import Path

import pytest

import benchmarks.proxy.__main__ as program
from benchmarks.proxy import scenarios
from benchmarks.proxy.figures import ONE_APP, PLAIN, PUBLIC, UPSTREAM
from benchmarks.proxy.reference import what_is_missing

pytestmark = pytest.mark.skipif(
    shutil.which("haproxy") is None or shutil.which("wrk") is None, reason="haproxy or wrk is not installed"
)


@pytest.mark.slow
def test_a_run_measures_plain_haproxy_beside_its_upstream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(scenarios, "_WARM_S", 1)
    monkeypatch.setattr(scenarios, "_EXPIRING_S", 1)
    monkeypatch.setattr(scenarios, "_SOCKETS", 20)
    target = tmp_path / "run.json"

    words = ["--without-harp", "--rounds", "1", "--threads", "1", "--seconds", "1", "--work", str(tmp_path / "work")]
    assert program.main([*words, "--json", str(target)]) == 0

    found = json.loads(target.read_text())
    assert not found["failures"]
    assert {(load["row"]["apps"], load["row"]["caller"], load["peer"]) for load in found["loads"]} >= {
        (ONE_APP, PUBLIC, UPSTREAM),
        (ONE_APP, PUBLIC, PLAIN),
    }
    for load in found["loads"]:
        assert load["errors"] == 0
        assert load["requests"] > 100
        assert load["cpu_s"][load["peer"]] > 0
    assert [figure["peer"] for figure in found["figures"]] == [PLAIN]
    assert all(goal["is_met"] is None for goal in found["goals"]), "nothing of Harp was measured"
    assert list((tmp_path / "work").iterdir()) == []
    assert "p99 ms" in capsys.readouterr().out


def test_a_checkout_that_is_none_is_said(tmp_path: Path) -> None:
    said = what_is_missing(tmp_path, tmp_path / "python")

    assert said is not None
    assert "no checkout of the reference" in said
