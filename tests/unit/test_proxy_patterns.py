# SPDX-License-Identifier: AGPL-3.0-or-later
"""harp.proxy.policy.patterns: which expressions HAProxy may decide. That both engines agree: integration."""

import pytest

from harp.proxy.policy.patterns import MAX_LENGTH, for_haproxy, is_valid


@pytest.mark.parametrize(
    ("author", "text"),
    [
        ("^/hello$", r"^\A/hello\z"),
        ("^/(echo|sse)$", r"^\A/(?:(?:echo|sse))\z"),
        ("^/user/.*", r"^\A/user/.*"),
        (r"^/api(/.*)?$", r"^\A/api(?:(?:/.*)|)\z"),
        ("a{,2}", "^a{0,2}"),
        ("#a b", r"^\x23a(?!)b"),
        ("", "^"),
        ("%[src]\"'", r"^\x25[\x63\x72-\x73]\x22\x27"),
        ("^/x/[^/]+/y/[^/]+$", r"^\A/x/[^\x2f]+/y/[^\x2f]+\z"),
        ("/a+?b", "^/a+b"),
    ],
)
def test_the_text_is_written_anew(author: str, text: str) -> None:
    assert for_haproxy(author) == text


@pytest.mark.parametrize(
    "author",
    [
        "(a+)+",
        r"^/admin/(\w|-)*$",
        ".*.*x",
        "a?a?a",
        "^.*/[^/]+/x",
        "(?i)abc",
        "(?i:abc)",
        r"\bx",
        r"(a)\1",
        "(?=a)a",
        "(?>a*)b",
        "a*+b",
        "a{65}",
        "(ab){2}",
        "(ab|ba)" * 7,
        "x" * (MAX_LENGTH + 1),
    ],
)
def test_what_may_take_long_or_be_read_differently_goes_to_the_agent(author: str) -> None:
    assert is_valid(author)
    assert for_haproxy(author) is None


@pytest.mark.parametrize("author", ["(", "[", "a**", "(?P<1>x)", "*"])
def test_what_python_cannot_compile_is_no_route(author: str) -> None:
    assert not is_valid(author)
    assert for_haproxy(author) is None


def test_the_text_for_a_map_has_neither_blank_nor_comment_nor_line_end() -> None:
    for author in ("# x", "a b", "a\nb", "\t", "é", "[ -~]"):
        text = for_haproxy(author)
        assert text is not None
        assert not text.startswith("#")
        assert not any(c.isspace() for c in text)
        assert text.isascii()


def test_an_expression_that_nests_too_deep_is_not_skipped() -> None:
    deep = "(" * 3000 + "a" + ")" * 3000

    assert is_valid(deep)
    assert for_haproxy(deep) is None
