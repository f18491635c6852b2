# SPDX-License-Identifier: AGPL-3.0-or-later
"""The rules of the house that no linter knows, each with its reason."""

import ast
import functools
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "src" / "harp"
LICENCE_LINE = "# SPDX-License-Identifier: AGPL-3.0-or-later"
MAX_LINES = 500
NAMELESS = {"utils", "util", "helpers", "helper", "common", "manager", "misc", "types", "core", "handlers"}

# Modules that no test names, each with the reason. A test elsewhere runs them.
TESTED_THROUGH_ANOTHER: dict[str, str] = {}


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCES.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


ALL = python_files("src", "tests", "benchmarks")
PRODUCTION = python_files("src")


def test_there_are_sources_to_look_at() -> None:
    assert len(PRODUCTION) > 5
    assert len(ALL) > len(PRODUCTION)


@pytest.mark.parametrize("path", ALL, ids=relative)
def test_every_file_names_its_licence_and_says_what_it_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    assert lines, f"{relative(path)} is empty: say at least what the folder is"
    first = lines[1] if lines[0].startswith("#!") else lines[0]
    assert first == LICENCE_LINE
    said = ast.get_docstring(parsed(path))
    assert said, f"{relative(path)} has no module docstring"
    opening = said.splitlines()[0].strip()
    assert opening.endswith((".", "?", ":")), f"the first line of {relative(path)} is not a sentence: {opening!r}"
    assert not opening.lower().startswith("this module"), "say what it is, not that it is a module"


@pytest.mark.parametrize("path", ALL, ids=relative)
def test_no_file_gets_away(path: Path) -> None:
    count = len(path.read_text(encoding="utf-8").splitlines())
    assert count <= MAX_LINES, f"{relative(path)} has {count} lines: it is more than one thing, split it by noun"


@pytest.mark.parametrize("path", PRODUCTION, ids=relative)
def test_every_module_has_a_name_of_its_own(path: Path) -> None:
    nameless = NAMELESS & {part.strip("_") for part in module_name(path).split(".")}
    assert not nameless, f"{relative(path)}: a drawer, not a thing; if no name fits, it is two things"


def has_code(path: Path) -> bool:
    """Whether a file holds more than its docstring: an empty front door needs no test."""
    return len(parsed(path).body) > 1


def imported_names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@functools.cache
def names_in_tests() -> tuple[frozenset[str], str]:
    """What the tests import, and all their text: a verb of the command line is named in a docstring, not imported."""
    texts = {path: path.read_text(encoding="utf-8") for path in python_files("tests")}
    imported = frozenset(name for path in texts for name in imported_names(parsed(path)))
    return imported, "\n".join(texts.values())


def is_named(module: str) -> bool:
    imported, text = names_in_tests()
    return module in imported or re.search(rf"\b{re.escape(module)}\b(?!\.\w)", text) is not None


@pytest.mark.parametrize("path", PRODUCTION, ids=relative)
def test_every_production_module_has_a_test_that_names_it(path: Path) -> None:
    module = module_name(path)
    if module not in TESTED_THROUGH_ANOTHER and has_code(path):
        assert is_named(module), f"no test names {module}: write tests/unit/test_{path.stem}.py"


def test_the_list_of_exceptions_only_shrinks() -> None:
    known = {module_name(path) for path in PRODUCTION}
    gone = {module for module in TESTED_THROUGH_ANOTHER if module not in known}
    imported, _text = names_in_tests()
    assert not gone, "these modules are no more: take them off the list"
    assert not TESTED_THROUGH_ANOTHER.keys() & imported, "these have a test by now: take them off the list"


def test_no_folder_of_tests_is_forgotten() -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
    assert sorted(told["testpaths"]) == sorted({relative(path.parent) for path in (ROOT / "tests").rglob("test_*.py")})
