# SPDX-License-Identifier: AGPL-3.0-or-later
"""What was logged last: bounded, in order, and without what is secret."""

import logging

import pytest

from harp.base.logbook import MOST_CHARACTERS, Logbook, without_secrets


def logged(book: Logbook, text: str, level: int = logging.WARNING) -> None:
    book.handle(logging.LogRecord("harp", level, __file__, 1, text, None, None))


def test_the_last_lines_are_kept_the_oldest_first() -> None:
    book = Logbook(most=3)
    for number in range(5):
        logged(book, f"line {number}", logging.ERROR)
    assert [(line.level, line.text) for line in book.lines(10)] == [("error", f"line {n}") for n in (2, 3, 4)]
    assert [line.text for line in book.lines(1)] == ["line 4"]


def test_a_line_is_as_long_as_it_may_be() -> None:
    book = Logbook()
    logged(book, "x" * 10_000)
    assert len(book.lines(1)[0].text) == MOST_CHARACTERS


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("the ticket harp1acbyowban2bv5eqbsmme34bgcvz was used", "acbyowban2bv5eqbsmme34bgcvz"),
        ("HP_SHARED_KEY=very-secret-thing is wrong", "very-secret-thing"),
        ("Authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("AUTHORIZATION-APP-API: dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("Cookie: nc_session=abc; other=def", "def"),
        ("password = 'hunter22'", "hunter22"),
        ("GET http://127.0.0.1:8785/in/L2Ct55IQxFtggSDlgv2udCCe6_L0fl0J", "L2Ct55IQxFtggSDlgv2udCCe6_L0fl0J"),
        ("https://ada:hunter22@cloud.example/dav failed", "hunter22"),
    ],
)
def test_secrets_are_taken_out_and_the_rest_stays(text: str, secret: str) -> None:
    said = without_secrets(text)
    assert secret not in said
    assert "…" in said
    assert said[:6] == text[:6]


def test_what_is_no_secret_stays_as_it_is() -> None:
    text = "folder Harp: 3 files, http://127.0.0.1:8785/, the key is only yours"
    assert without_secrets(text) == text
