# SPDX-License-Identifier: AGPL-3.0-or-later
"""The texts: every link within the repository leads somewhere, and the commands they name are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/**/*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
MAKE = re.compile(r"^make ([a-z-]+)|`make ([a-z-]+)", re.MULTILINE)


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
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {first or second for first, second in MAKE.findall(text.read_text(encoding="utf-8"))}
    assert named <= targets


def test_the_licence_is_the_agpl_word_for_word() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert text.split(maxsplit=5)[:5] == ["GNU", "AFFERO", "GENERAL", "PUBLIC", "LICENSE"]
    assert len(text.encode()) == 34_523
