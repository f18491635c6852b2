# SPDX-License-Identifier: AGPL-3.0-or-later
"""How things look: sizes, times, tables, bars; and how durations and paths are read (harp.cli.options)."""

import os
from pathlib import Path

import click
import pytest

from harp.bridge.model import Phase, Progress
from harp.bridge.naming import raw_path
from harp.cli import options, show
from harp.cli.client import at


@pytest.mark.parametrize(
    ("amount", "shown"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (5 << 40, "5.0 TiB"), (1 << 63, "8192.0 PiB")],
)
def test_sizes(amount: int, shown: str) -> None:
    assert show.size(amount) == shown


def test_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    assert show.moment(None) == "–"
    assert show.moment(0.0) == "–"
    assert show.moment(1_790_000_000.0).startswith("2026-09-2")
    assert show.moment(1e300) == "1e+300"


def test_counts() -> None:
    assert [show.count(n, "file") for n in (0, 1, 2, 1200)] == ["0 files", "1 file", "2 files", "1,200 files"]


def test_a_table_has_straight_columns_whatever_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    show.table(("A", "B"), [("x\ny", "1"), ("z", "22")])
    assert capsys.readouterr().out == "A     B\nx\\ny  1\nz     22\n"


def test_a_bar_never_runs_over() -> None:
    assert "100%" in show.bar(Progress(phase=Phase.SYNCING, done_bytes=30, total_bytes=10))
    assert "0%" in show.bar(Progress(phase=Phase.SCANNING))
    assert "50%  1 of 2 files" in show.bar(Progress(phase=Phase.SCANNING, done_files=1, total_files=2))


def test_json_of_a_noun_has_an_indent(capsys: pytest.CaptureFixture[str]) -> None:
    show.json(Progress(phase=Phase.DONE))
    assert '\n  "phase": "done",\n' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("1.5m", 90), ("5 min", 300), ("1h", 3600), ("2D", 172_800), ("1w", 604_800)],
)
def test_durations(text: str, seconds: float) -> None:
    context = click.Context(click.Command("x"))
    assert options.duration(context, click.Option(["--x"]), text) == seconds


@pytest.mark.parametrize("text", ["", "h", "-1", "1y", "1h30m", "٣s", "1e3"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(click.BadParameter):
        options.duration(click.Context(click.Command("x")), click.Option(["--x"]), text)


def test_local_paths_are_made_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert options.local_path("a/../b")["path"] == f"{tmp_path}/b"
    assert options.local_path("~/x")["path"] == os.path.expanduser("~/x")
    assert raw_path(**options.relative_path("./a//b\udcff/")) == b"a/b\xff"


def test_parts_of_an_address_are_quoted_whole() -> None:
    assert at("folders", "Büro / 1 %", "pause") == "/v1/folders/B%C3%BCro%20%2F%201%20%25/pause"
