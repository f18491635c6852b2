# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which paths the two ignore files keep out, told as a person would write them."""

import time

import pytest

from harp.sync.folder.ignore import MAX_BYTES, MAX_RULES, NO_RULES, IgnoreRules
from harp.sync.model import Path


def ignored(rules: str | bytes, path: str | bytes, *, directory: bool = False, local: bytes = b"") -> bool:
    written = rules.encode() if isinstance(rules, str) else rules
    named = path.encode() if isinstance(path, str) else path
    parsed = IgnoreRules.parse(written, local)
    assert parsed.problems == ()
    return parsed.ignores(Path(named), directory)


def test_without_rules_nothing_is_ignored() -> None:
    assert not NO_RULES.ignores(Path(b"a/b"), False)
    assert not ignored("# only a comment\n\n", "a")


@pytest.mark.parametrize(
    ("rules", "path", "directory"),
    [
        ("*.o", "a.o", False),
        ("*.o", "deep/down/a.o", False),
        ("/top", "top", False),
        ("build/", "build", True),
        ("build/", "a/build", True),
        ("build/", "a/build/x/y", False),
        ("a/*.txt", "a/x.txt", False),
        ("a/**", "a/x/y", False),
        ("a/**/b", "a/b", False),
        ("a/**/b", "a/x/y/b", False),
        ("**/x", "x", False),
        ("*", "anything", False),
        ("[ab]c", "bc", False),
        ("[!a]c", "bc", False),
        ("f?o", "f\u00fco", False),
        ("\\#x", "#x", False),
        ("\\!x", "!x", False),
        ("x\\ ", "x ", False),
        ("name", "name", True),
        ("new\\nline".replace("\\n", "?"), "new\nline", False),
        ("*.log\r\n*.o\r\n", "x.o", False),
    ],
)
def test_these_are_ignored(rules: str, path: str, directory: bool) -> None:
    assert ignored(rules, path, directory=directory)


@pytest.mark.parametrize(
    ("rules", "path", "directory"),
    [
        ("*.o", "a.oo", False),
        ("*.o", "x.o\n", False),
        ("/top", "a/top", False),
        ("build/", "build", False),
        ("a/*.txt", "a/b/x.txt", False),
        ("a/**", "a", True),
        ("*", ".harpignore", False),
        ("fo[!x]", "fo", True),
        ("a[+-1]b", "a/b", False),
        ("*.o\n!keep.o", "keep.o", False),
        ("a/*\n!a/keep", "a/keep/x", False),
        ("*\n!*/\n!*.txt", "d/x.txt", False),
        ("a*b", "acbd", False),
    ],
)
def test_these_are_not(rules: str, path: str, directory: bool) -> None:
    assert not ignored(rules, path, directory=directory)


def test_what_lies_below_an_ignored_directory_cannot_be_taken_back() -> None:
    assert ignored("a/\n!a/keep", "a/keep")


def test_the_local_file_has_the_last_word() -> None:
    assert ignored("", "x", local=b"x")
    assert not ignored("*.iso", "big.iso", local=b"!big.iso")


def test_names_that_are_not_utf8_are_matched_byte_by_byte() -> None:
    assert ignored(b"caf\xe9", b"caf\xe9")
    assert ignored(b"caf?", b"caf\xe9")
    assert not ignored(b"caf\xe9", "caf\u00e9")


def test_a_rule_that_cannot_be_followed_is_named_and_the_others_hold() -> None:
    rules = IgnoreRules.parse(b"[[:alpha:]]\n*.o\n" + b"x" * 2000 + b"\nend\\\n", b"[[")
    assert rules.ignores(Path(b"a.o"), False)
    assert [problem.partition(":")[0] for problem in rules.problems] == [
        ".harpignore, line 1",
        ".harpignore, line 3",
        ".harpignore, line 4",
        ".harp/ignore, line 1",
    ]


def test_only_so_much_is_read() -> None:
    long = IgnoreRules.parse(b"#" * (MAX_BYTES + 1), b"")
    many = IgnoreRules.parse(b"a\n" * MAX_RULES + b"last\n", b"")
    assert "longer than" in long.problems[0]
    assert "more than" in many.problems[0]
    assert not many.ignores(Path(b"last"), False)


@pytest.mark.parametrize(
    "rule", [b"*a*a*a*a*a*a*a*b", b"**/a/**/a/**/a/**/b", b"**/*a*a*/**/*a*a*b", b"a**a**a**a**b", b"?*?*?*?*?*b"]
)
@pytest.mark.parametrize("path", [b"a" * 255, b"/".join([b"a"] * 128), b"/".join([b"a" * 31] * 127)])
def test_no_rule_and_name_together_cost_more_than_a_moment(rule: bytes, path: bytes) -> None:
    rules = IgnoreRules.parse(rule, b"")
    started = time.monotonic()
    assert not rules.ignores(Path(path), False)
    # Some ms here; without atomic groups minutes to years.
    assert time.monotonic() - started < 5


def test_verdicts_stay_right_for_more_directories_than_are_remembered() -> None:
    rules = IgnoreRules.parse(b"*7/\n", b"")
    for number in list(range(5000)) * 2:
        assert rules.ignores(Path(b"d%d/x" % number), False) == (number % 10 == 7)
