# SPDX-License-Identifier: AGPL-3.0-or-later
"""The texts: every link within the repository leads somewhere, and the commands they name are there."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from harp.base import config, errors
from harp.cli import main

ROOT = Path(__file__).resolve().parents[2]
TEXTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/**/*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
NAMED_TEST = re.compile(r"`((?:unit|integration|property|contract|browser)/\w+\.py)::(\w+)`")
ROW = re.compile(r"^\| (.*) \|$", re.MULTILINE)
VERB = re.compile(r"(?:^|`|\$ )harp ([a-z][a-z-]+)", re.MULTILINE)
MAKE = re.compile(r"^make ([a-z0-9-]+)|`make ([a-z0-9-]+)", re.MULTILINE)


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_are_texts() -> None:
    assert ROOT / "README.md" in TEXTS
    assert ROOT / "docs" / "README.md" in TEXTS


@pytest.mark.parametrize("text", TEXTS, ids=relative)
def test_every_link_within_the_repository_leads_somewhere(text: Path) -> None:
    links = [link.partition("#")[0] for link in LINK.findall(text.read_text(encoding="utf-8")) if "://" not in link]
    dead = [link for link in links if link and not (text.parent / link).exists()]
    assert not dead


@pytest.mark.parametrize("text", TEXTS, ids=relative)
def test_every_make_target_that_is_named_exists(text: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {first or second for first, second in MAKE.findall(text.read_text(encoding="utf-8"))}
    assert named <= targets


def rows(text: Path) -> Iterator[list[str]]:
    """The cells of each row of the tables in a text."""
    for row in ROW.findall(text.read_text(encoding="utf-8")):
        yield [cell.strip() for cell in re.split(r"(?<!\\)\|", row)]


@pytest.mark.parametrize("text", TEXTS, ids=relative)
def test_every_verb_that_is_named_exists(text: Path) -> None:
    assert isinstance(main.harp, click.Group)
    known = set(main.harp.list_commands(click.Context(main.harp)))
    assert set(VERB.findall(text.read_text(encoding="utf-8"))) <= known


@pytest.mark.parametrize("text", TEXTS, ids=relative)
def test_every_heading_that_is_linked_to_is_there(text: Path) -> None:
    for link in LINK.findall(text.read_text(encoding="utf-8")):
        target, _, anchor = link.partition("#")
        if not anchor or "://" in link or (text.parent / target).suffix != ".md":
            continue
        headings = re.findall(r"^#+ (.*)$", (text.parent / target).read_text(encoding="utf-8"), re.MULTILINE)
        anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert anchor in anchors, link


def test_every_test_that_shows_a_claim_exists() -> None:
    text = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
    named = NAMED_TEST.findall(text)
    assert len(named) > 50
    missing = [
        f"{file}::{test}"
        for file, test in named
        if f"def {test}(" not in (ROOT / "tests" / file).read_text(encoding="utf-8")
    ]
    assert not missing


def test_each_attacker_has_a_test() -> None:
    text = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
    attackers = re.split(r"^## (?=\d+\. )", text, flags=re.MULTILINE)[1:]
    assert len(attackers) == 22
    for number, attacker in enumerate(attackers, start=1):
        assert attacker.startswith(f"{number}. ")
        assert NAMED_TEST.search(attacker.partition("\n## ")[0]), attacker.splitlines()[0]


def test_the_settings_are_those_that_there_are() -> None:
    table = {row[0].strip("`"): row[1].strip("`") for row in rows(ROOT / "docs" / "reference" / "settings.md")}
    for key, setting in config.SETTINGS.items():
        assert table[key] == ("the host's name" if key == "device_name" else setting.default()), key
    assert {key for key in table if re.fullmatch("[a-z_]+", key)} - {"key", "variable"} == set(config.SETTINGS)


def test_the_exit_codes_are_those_that_there_are() -> None:
    told = {
        name.strip(" `"): int(row[0])
        for row in rows(ROOT / "docs" / "reference" / "exit-codes.md")
        if row[0].isdigit() and row[1]
        for name in row[1].split(",")
    }
    for name, code in told.items():
        assert getattr(errors, name).exit_code == code
    known = [
        found for found in vars(errors).values() if isinstance(found, type) and issubclass(found, errors.HarpError)
    ]
    assert {found.exit_code for found in known} == set(told.values())


def test_every_decision_is_in_the_list() -> None:
    listed = (ROOT / "docs" / "adr" / "README.md").read_text(encoding="utf-8")
    for decision in (ROOT / "docs" / "adr").glob("0*.md"):
        title = decision.read_text(encoding="utf-8").splitlines()[0].partition(": ")[2]
        assert f"({decision.name}) | {title} |" in listed


def test_every_text_is_in_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / link).resolve() for link in LINK.findall(index.read_text(encoding="utf-8"))}
    texts = {text for text in (ROOT / "docs").rglob("*.md") if text.parent.name != "adr"} - {index}
    assert texts <= linked


def test_every_module_that_the_texts_name_exists() -> None:
    for name in ("architecture.md", "explanation/how-it-works.md"):
        text = (ROOT / "docs" / name).read_text(encoding="utf-8")
        for folder, module in re.findall(r"`(protocol|engine|store|folder|transport|service)/(\w+)`", text):
            assert (ROOT / "src" / "harp" / "sync" / folder / f"{module}.py").exists(), f"{folder}/{module}"


def test_the_licence_is_the_agpl_word_for_word() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert text.split(maxsplit=5)[:5] == ["GNU", "AFFERO", "GENERAL", "PUBLIC", "LICENSE"]
    assert len(text.encode()) == 34_523
