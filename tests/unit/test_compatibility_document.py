# SPDX-License-Identifier: AGPL-3.0-or-later
"""docs/harp-compatibility.md says of each number of the contract what tests/contract and tests/e2e hold."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "harp-compatibility.md"
WORDS = {"holds", "deviates"}


def numbers_in(text: str) -> list[int]:
    """``1, 3–5`` is 1, 3, 4, 5."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("–")
        found += range(int(first), int(last or first) + 1)
    return found


def said() -> dict[int, str]:
    """By number, the last column of the table."""
    found: dict[int, str] = {}
    for numbers, word in re.findall(r"^\| ([\d, –]+) \|.*\| ([a-z ]+) \|$", DOCUMENT.read_text(), re.M):
        for number in numbers_in(numbers):
            assert number not in found, f"{number} stands twice"
            found[number] = word
    return found


def marks() -> Iterator[tuple[str, int | str]]:
    """Every mark ``contract(number)`` and ``deviates(why)`` of the suite, test by test in the order of decorators."""
    for path in sorted(each for suite in ("contract", "e2e") for each in (ROOT / "tests" / suite).glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield "test", node.name
                for call in (inner for each in node.decorator_list for inner in ast.walk(each)):
                    if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
                        name = call.func.attr
                        if name in ("contract", "deviates"):
                            assert isinstance(call.args[0], ast.Constant)
                            said = call.args[0].value
                            assert isinstance(said, int | str)
                            yield name, said


def in_suite() -> tuple[set[int], set[int]]:
    """The numbers that have a test, and those whose test deviates."""
    with_test: set[int] = set()
    deviating: set[int] = set()
    numbers: set[int] = set()
    is_deviation = False
    for kind, value in (*marks(), ("test", "")):
        if kind == "test":
            with_test |= numbers
            deviating |= numbers if is_deviation else set()
            numbers, is_deviation = set(), False
        elif kind == "contract":
            numbers.add(int(value))
        else:
            is_deviation = True
    return with_test, deviating


def test_every_number_stands_in_the_table() -> None:
    assert said().keys() == set(range(1, 151))
    assert set(said().values()) == WORDS


def test_what_holds_or_deviates_has_a_test_and_nothing_else_has() -> None:
    with_test, deviating = in_suite()

    assert said().keys() == with_test
    assert {number for number, word in said().items() if word == "deviates"} == deviating


def test_every_deviation_has_a_paragraph() -> None:
    _with_test, deviating = in_suite()
    headings = re.findall(r"^### ([\d, ]+):", DOCUMENT.read_text(), re.M)

    assert {number for heading in headings for number in numbers_in(heading)} == deviating
