# SPDX-License-Identifier: AGPL-3.0-or-later
"""Successive commits of a real repository are checked out in one folder; the other shows each."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.integration.office import Item, Office

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(400)]

COMMITS = int(os.environ.get("HARP_TEST_COMMITS", "40"))
_HERE = Path(__file__).resolve().parents[2]


def _git(*words: str, cwd: Path) -> str:
    environ = {**os.environ, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    for key in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        environ.pop(key, None)
    done = subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "safe.directory=*", *words],
        cwd=cwd,
        capture_output=True,
        check=True,
        env=environ,
    )
    return done.stdout.decode()


def _made(place: Path) -> Path:
    """A repository with a history of its own, for where this project's is not at hand."""
    place.mkdir()
    _git("init", "-q", cwd=place)
    for number in range(COMMITS):
        for part in range(20):
            if (number + part) % 3 == 0:
                file = place / f"package {part % 4}" / f"module {part}.py"
                file.parent.mkdir(exist_ok=True)
                file.write_text(f"# {number}\n" * (part * 50 + 1))
        if number % 7 == 6:
            (place / "package 1").rename(place / f"package of {number}")
        _git("add", "-A", cwd=place)
        _git("commit", "-q", "--allow-empty", "-m", str(number), cwd=place)
    return place


def _history(tmp_path: Path) -> tuple[Path, list[str]]:
    try:
        commits = _git("rev-list", "--reverse", "--first-parent", "HEAD", cwd=_HERE).split()
    except (OSError, subprocess.CalledProcessError):
        commits = []
    if len(commits) >= 10:
        return _HERE, commits[-COMMITS:]
    made = _made(tmp_path / "made")
    return made, _git("rev-list", "--reverse", "HEAD", cwd=made).split()


def test_each_commit_of_a_history_arrives_as_it_is(office: Office, tmp_path: Path) -> None:
    ada, ben = office.pair(guard_files="1000000")
    source, commits = _history(tmp_path)
    clone = tmp_path / "clone"
    # The checkouts are this test's own: the repository is only read.
    _git("clone", "-q", "--no-checkout", str(source), str(clone), cwd=tmp_path)
    _git("config", "core.worktree", str(ada.folder), cwd=clone)
    seen: list[dict[bytes, Item]] = []
    for commit in commits:
        _git(
            "--git-dir", str(clone / ".git"), "--work-tree", str(ada.folder), "checkout", "-q", "-f", commit, cwd=clone
        )
        seen.append(office.agreed(ada, ben))
    assert len({repr(sorted(tree.items())) for tree in seen}) > len(commits) // 2
    assert ada.status().conflicts == 0
    ada.verified()
    ben.verified()
