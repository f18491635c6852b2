# SPDX-License-Identifier: AGPL-3.0-or-later
"""The law of ignore rules: git, asked about the same files, says the same."""

import os
import subprocess
import tempfile
from pathlib import Path as OsPath

from hypothesis import example, given
from hypothesis import strategies as st

from harp.sync.folder.ignore import IgnoreRules
from harp.sync.model import Path

components = st.sampled_from(["a", "b", "ab", "foo", "fo", "x.o", "a\nb", " s", "a]"])
paths = st.lists(components, min_size=1, max_size=4).map("/".join)
known_rules = st.sampled_from(
    rb"""* *.o a a/ /a /a/ a/* a/** **/b a/**/b */ !a !a/ !*/ f?o [ab]b [!a]* fo[!x] !x.o /* !/foo foo/* *o* a*b*
    **/ab/** a/b/ !a/b ? */*/b **/a/**/b fo*o a\* #c \#c a[+-1]b ** a\] a/**/ */**/**/ !a/**/""".decode().split()
)
odd_rules = st.text("ab*?/!o.", min_size=1, max_size=8)
rule_lists = st.lists(st.one_of(known_rules, odd_rules), min_size=1, max_size=5)


@given(st.sets(paths, min_size=1, max_size=10), rule_lists)
@example({"a/a", "a/b/a"}, ["?/**/"])
@example({"a/a"}, ["*", "!/"])
def test_what_is_ignored_is_what_git_ignores(files: set[str], lines: list[str]) -> None:
    directories = {file[:cut] for file in files for cut in range(len(file)) if file[cut] == "/"}
    written = "\n".join(lines).encode()
    rules = IgnoreRules.parse(written, b"")
    with tempfile.TemporaryDirectory() as place:
        at = OsPath(place)
        for directory in directories:
            (at / directory).mkdir(parents=True, exist_ok=True)
        for file in files - directories:
            (at / file).touch()
        (at / ".git" / "objects").mkdir(parents=True)
        (at / ".git" / "refs").mkdir()
        (at / ".git" / "info").mkdir()
        (at / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
        (at / ".git" / "info" / "exclude").write_bytes(written)
        asked = sorted(files | directories)
        answer = _git_ignores(at, asked)
    for path in asked:
        assert rules.ignores(Path(path.encode()), path in directories) == (path in answer), (path, lines)


def _git_ignores(at: OsPath, paths: list[str]) -> set[str]:
    settings = {"PATH": os.environ["PATH"], "HOME": str(at), "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        ["git", "-C", str(at), "check-ignore", "-z", "--stdin", "--no-index"],
        input="\0".join(paths).encode() + b"\0",
        capture_output=True,
        env=settings,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    return {name.decode() for name in done.stdout.split(b"\0") if name}
