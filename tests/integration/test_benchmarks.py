# SPDX-License-Identifier: AGPL-3.0-or-later
"""A whole run of the benches at a small size, with a stand-in for `harp` whose `wait` copies, or lies."""

import json
import os
import shutil
import signal
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

import benchmarks.__main__ as program
from benchmarks import scenarios
from benchmarks.figures import Undone
from benchmarks.peers import harp
from benchmarks.processes import Running, family, wait_until

# The commands that the bench uses, over a JSON file in place of a daemon. `up` copies every 5 ms what is new.
STAND_IN = """#!{python}
import json, pathlib, shutil, signal, sys, time
LIES = {lies}
words = sys.argv[1:]
if words == ["--version"]:
    sys.exit(print("harp 0 (a stand-in)"))
home = pathlib.Path(words[words.index("--home") + 1])
state = home.parent / "state.json"
known = json.loads(state.read_text()) if state.exists() else {{}}
a, b = known.get("a"), known.get("b")
verb = words[0]

def know(now):
    # Both daemons read it at any moment: whole, or as it was.
    state.with_name("state.part").write_text(json.dumps(now))
    state.with_name("state.part").rename(state)

def copy():
    for path in sorted(pathlib.Path(a).rglob("*")):
        target = pathlib.Path(b) / path.relative_to(a)
        if path.is_dir():
            target.mkdir(exist_ok=True)
        elif not target.exists() or target.stat().st_mtime_ns != path.stat().st_mtime_ns:
            shutil.copy2(path, target.with_name(".part"))
            if LIES:
                target.with_name(".part").write_bytes(b"other bytes")
            target.with_name(".part").rename(target)

if verb == "up":
    if words[1] != "--home":
        know({{"a": words[1]}})
    (home.parent / (home.name + ".up")).touch()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while True:
        time.sleep(0.005)
        known = json.loads(state.read_text()) if state.exists() else {{}}
        a, b = known.get("a"), known.get("b")
        if b and home.name == "ha":
            copy()
elif verb == "join":
    assert words[1] == "a-ticket"
    know({{**known, "b": words[2]}})
elif verb == "wait":
    while not all((pathlib.Path(b) / path.relative_to(a)).exists() for path in pathlib.Path(a).rglob("*")):
        time.sleep(0.002)
elif verb == "down":
    pass
else:
    print(json.dumps({{
        "status": {{"device": {{"listen": "127.0.0.1:1"}}, "bytes_in": 1, "bytes_out": 2}},
        "folders": {{"folders": [{{"id": "f", "name": "a"}}]}},
        "invite": {{"ticket": "a-ticket"}},
        "peers": {{"peers": [{{"is_connected": b is not None}}]}},
    }}[verb]))
"""


def stand_in(folder: Path, *, lies: bool) -> Path:
    path = folder / "harp"
    path.write_text(STAND_IN.format(python=sys.executable, lies=lies))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def run(tmp_path: Path, *words: str) -> tuple[int, dict[str, Any]]:
    target = tmp_path / "run.json"
    argv = ["--rounds", "1", "--divide", "1000", "--work", str(tmp_path / "work"), "--json", str(target), *words]
    return program.main(argv), json.loads(target.read_text())


def test_a_run_measures_harp_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(harp, "_PROGRAM", stand_in(tmp_path, lies=False))
    monkeypatch.setattr(scenarios, "_IDLE_SHARE", 9.0)
    monkeypatch.setattr(scenarios, "_IDLE_WATCHED_S", 0.1)

    code, found = run(tmp_path, "--peers", "Harp")

    assert found["failures"] == []
    assert code == 0
    measured = {(figure["row"], figure["peer"]) for figure in found["figures"]}
    assert {row for row, peer in measured if peer == "Harp"} == {
        "1 GiB new",
        "1 MiB edit in 1 GiB",
        "1 byte before 256 MiB",
        "10,000 x 4 KiB",
        "1 KiB file",
        "100,000 x 1 KiB, first copy",
        "100,000 x 1 KiB, restart",
    }
    assert {peer for _row, peer in measured} == {"Harp", "cp", "cp + sync", "dd fsync"}
    assert all(figure["wall_s"] > 0 for figure in found["figures"])
    assert list((tmp_path / "work").iterdir()) == []
    assert "only 1/1000" in capsys.readouterr().out.lower()


def test_other_bytes_at_the_receiver_end_the_run_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(harp, "_PROGRAM", stand_in(tmp_path, lies=True))

    code, found = run(tmp_path, "--peers", "Harp", "--rows", "big")

    assert code == 1
    assert {failure["is_wrong"] for failure in found["failures"]} == {True}
    assert "WRONG CONTENT" in capsys.readouterr().out


def test_a_harp_that_does_not_start_is_said_and_ends_the_run_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = stand_in(tmp_path, lies=False)
    broken.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('no key' if 'up' in sys.argv else None)\n")
    monkeypatch.setattr(harp, "_PROGRAM", broken)

    code, found = run(tmp_path, "--peers", "Harp", "--rows", "many")

    assert code == 1
    [failure] = found["failures"]
    assert "no key" in failure["why"]


def test_a_row_that_is_not_known_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="wide is none of"):
        run(tmp_path, "--rows", "wide")


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
def test_rsync_delivers_what_is_asked_of_it(tmp_path: Path) -> None:
    code, found = run(tmp_path, "--peers", "rsync", "--rows", "big,insert,many")

    assert code == 0
    assert found["failures"] == []
    counted = {figure["row"]: figure["wire_bytes"] for figure in found["figures"] if figure["peer"] == "rsync"}
    assert counted["1 GiB new"] > 1_000_000
    assert counted["1 MiB edit in 1 GiB"] < 200_000
    assert all(figure["cpu_s"] is not None for figure in found["figures"] if figure["peer"] == "rsync")


def test_the_time_of_children_that_live_and_that_are_gone_counts(tmp_path: Path) -> None:
    burn = "import time; end = time.process_time() + 0.2\nwhile time.process_time() < end: pass\n"
    script = tmp_path / "parent.py"
    script.write_text(
        "import subprocess, sys, time\n"
        f"burn = {burn!r}\n"
        "subprocess.run([sys.executable, '-c', burn], check=True)\n"
        "child = subprocess.Popen([sys.executable, '-c', burn + 'time.sleep(600)'])\n"
        "try:\n    time.sleep(600)\nfinally:\n    child.kill()\n"
    )
    running = Running([sys.executable, str(script)], log=tmp_path / "log")
    try:
        wait_until(lambda: running.cpu_s() >= 0.4, deadline_s=30, every_s=0.02, what="two times 0.2 s")
        assert len(family(running.pid)) == 2
        assert running.rss_bytes() > 1_000_000
        assert running.peak_rss_bytes() >= running.rss_bytes() // 2
    finally:
        for pid in reversed(family(running.pid)):
            os.kill(pid, signal.SIGTERM)
        running.stop()


def test_a_program_that_has_ended_is_undone_with_its_last_words(tmp_path: Path) -> None:
    running = Running([sys.executable, "-c", "raise SystemExit('no such folder')"], log=tmp_path / "log")

    def has_ended() -> bool:
        running.check_alive()
        return False

    with pytest.raises(Undone, match=r"ended with 1: no such folder"):
        wait_until(has_ended, deadline_s=30, every_s=0.01, what="its end")


def test_what_is_edited_during_a_run_is_neither_measured_nor_stumbled_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source" / "harp"
    source.mkdir(parents=True)
    (source / "__init__.py").write_text("WHOLE = True\n")
    asks = tmp_path / "harp"
    asks.write_text(f"#!{sys.executable}\nimport harp\nprint(harp.WHOLE, harp.__file__)\n")
    asks.chmod(asks.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(harp, "_PROGRAM", asks)
    monkeypatch.setattr(harp, "PACKAGE", source)
    side = harp.Side(tmp_path / "home", tmp_path / "folder")
    first = side.run("status")
    (source / "__init__.py").write_text("an edit that is not finis")
    assert side.run("status") == first
    assert first.startswith("True ")
    assert str(source) not in first
