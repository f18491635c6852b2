# SPDX-License-Identifier: AGPL-3.0-or-later
"""Completion in real shells: harp.cli.completion."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harp.cli.main import run


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_own(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", shell]) == 0
    assert f"_HARP_COMPLETE={shell}_complete" in capsys.readouterr().out


def test_another_shell_is_refused_with_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", "tcsh"]) == 2
    assert "'bash', 'zsh', 'fish'" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("typed", "offers"),
    [
        ("harp inv", ["invite"]),
        ("harp re", ["resume", "restore", "resolve", "reject", "restore-backup"]),
        ("harp invite --q", ["--qr"]),
        ("harp completion z", ["zsh"]),
    ],
)
def test_bash_completes_verbs_and_options(typed: str, offers: list[str]) -> None:
    words = typed.split()
    script = (
        'eval "$(harp completion bash)"\n'
        f"COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}\n"
        f'_harp_completion harp {words[-1]} {words[-2]}; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    said = subprocess.run(
        ["bash", "-c", script], env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    assert said.stdout.split() == offers, said.stderr
