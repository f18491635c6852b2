# SPDX-License-Identifier: AGPL-3.0-or-later
"""200 successive commits of a repository are checked out in one folder, one after the other; the other shows each."""

import os
import time
from pathlib import Path

import pytest

from tests.fakes.repository import commits_of, git, made
from tests.integration.office import Item, Office, tree

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(400)]

COMMITS = int(os.environ.get("HARP_TEST_COMMITS", "200"))
_HERE = Path(__file__).resolve().parents[2]
_SEED = 20261123


def _each_arrives(office: Office, tmp_path: Path, source: Path, commits: list[str]) -> list[dict[bytes, Item]]:
    ada, ben = office.pair(guard_files="1000000")
    clone = tmp_path / "clone"
    # The checkouts are this test's own: the repository is only read.
    git("clone", "-q", "--no-checkout", str(source), str(clone), cwd=tmp_path)
    git("config", "core.worktree", str(ada.folder), cwd=clone)
    seen = []
    for commit in commits:
        git("--git-dir", str(clone / ".git"), "--work-tree", str(ada.folder), "checkout", "-q", "-f", commit, cwd=clone)
        seen.append(office.agreed(ada, ben))
    assert ada.status().conflicts == 0
    ada.verified()
    ben.verified()
    # It was git's tree that arrived, not merely the same twice.
    last = tmp_path / "last"
    git("worktree", "add", "-q", "--detach", str(last), commits[-1], cwd=clone)
    expected = {path: item._replace(mtime_ns=0) for path, item in tree(last).items() if path != b".git"}
    arrived = {path: item._replace(mtime_ns=0) for path, item in tree(ben.folder).items()}
    assert {path: item for path, item in arrived.items() if item.kind != "directory"} == {
        path: item for path, item in expected.items() if item.kind != "directory"
    }
    return seen


def test_each_commit_of_this_projects_history_arrives_as_it_is(office: Office, tmp_path: Path) -> None:
    commits = commits_of(_HERE)
    if len(commits) < COMMITS:
        pytest.skip(f"this clone has {len(commits)} commits, not {COMMITS}: a made history stands in, in the next test")
    seen = _each_arrives(office, tmp_path, _HERE, commits[-COMMITS:])
    assert len({repr(sorted(found.items())) for found in seen}) > COMMITS // 2


def test_each_commit_of_a_made_history_arrives_as_it_is(office: Office, tmp_path: Path) -> None:
    if len(commits_of(_HERE)) >= COMMITS:
        pytest.skip("this clone has a real history that is long enough: the test before this one takes that")
    source = made(tmp_path / "made", COMMITS, seed=_SEED)
    seen = _each_arrives(office, tmp_path, source, commits_of(source))
    assert len(seen) == COMMITS
    assert len({repr(sorted(found.items())) for found in seen}) > COMMITS * 9 // 10
    kinds = {(item.kind, item.executable) for found in seen for item in found.values()}
    assert kinds >= {("file", False), ("file", True), ("symlink", False), ("directory", False)}


def test_a_tree_shows_what_was_written_over_with_the_same_size_and_time(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"bread")
    os.utime(file, ns=(1, 1))
    time.sleep(0.2)  # so long that its content is not read again for as long as nothing touches it
    before = tree(tmp_path)
    assert tree(tmp_path) == before
    file.write_bytes(b"BREAD")
    os.utime(file, ns=(1, 1))
    assert tree(tmp_path) != before
