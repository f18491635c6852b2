# SPDX-License-Identifier: AGPL-3.0-or-later
"""The Nextcloud app: its PHP is sound, its tests pass, it keeps the app store's rules, its archive is whole."""

import json
import re
import shutil
import subprocess
import tarfile
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
APP = ROOT / "harpbridge"
PHP_FILES = sorted(APP.rglob("*.php"))
# The sequence of the app store's schema (apps.nextcloud.com/schema/apps/info.xsd), as far as it is used.
ORDER = [
    *("id", "name", "summary", "description", "version", "licence", "author", "namespace", "types", "documentation"),
    *("category", "website", "discussion", "bugs", "repository", "screenshot", "dependencies", "background-jobs"),
    *("repair-steps", "commands", "settings", "activity", "openmetrics"),
]
CATEGORIES = {"customization", "files", "integration", "monitoring", "multimedia", "office", "security", "tools"}
needs_php = pytest.mark.skipif(shutil.which("php") is None, reason="no php (apt install php-cli)")


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.fixture(scope="module")
def info() -> ET.Element:
    return ET.fromstring((APP / "appinfo" / "info.xml").read_bytes())


def text(info: ET.Element, name: str) -> str:
    found = info.findtext(name)
    assert found, f"info.xml has no {name}"
    return found


def class_file(name: str) -> Path:
    """Where Nextcloud looks for a class of this app."""
    return APP / "lib" / (name.removeprefix("OCA\\HarpBridge\\").replace("\\", "/") + ".php")


# --- the PHP ------------------------------------------------------------------------------------


@needs_php
def test_all_php_is_php() -> None:
    for path in PHP_FILES:
        checked = subprocess.run(["php", "-l", str(path)], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stdout


@needs_php
@pytest.mark.skipif(shutil.which("phpunit") is None, reason="no phpunit (apt install phpunit)")
def test_its_own_tests_pass() -> None:
    modules = subprocess.run(["php", "-m"], capture_output=True, text=True, check=True).stdout.lower().split()
    if missing := {"mbstring", "pdo_sqlite", "dom", "curl"} - set(modules):
        pytest.skip(f"PHP has no {', '.join(sorted(missing))} (apt install php-mbstring php-sqlite3 php-xml php-curl)")
    ran = subprocess.run(
        ["phpunit", "-c", str(APP / "tests" / "phpunit.xml")], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout
    assert "OK (" in ran.stdout


@pytest.mark.parametrize("path", PHP_FILES, ids=relative)
def test_each_file_names_its_licence_and_stays_small(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert any("SPDX-License-Identifier: AGPL-3.0-or-later" in line for line in lines[:6])
    assert len(lines) <= 500


@pytest.mark.parametrize(
    "path", [p for p in PHP_FILES if "tests" not in p.parts and "templates" not in p.parts], ids=relative
)
def test_each_class_lies_where_nextcloud_looks_for_it(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    namespace = re.search(r"^namespace ([\w\\]+);", source, re.MULTILINE)
    named = re.search(r"^(?:abstract |final )*(?:class|enum) (\w+)", source, re.MULTILINE)
    assert namespace is not None
    assert named is not None
    assert class_file(f"{namespace[1]}\\{named[1]}") == path
    assert "declare(strict_types=1);" in source


@pytest.mark.parametrize("path", sorted((APP / "templates").glob("*.php")), ids=relative)
def test_a_template_prints_nothing_unescaped_and_holds_no_script(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert "<?php p(" in source
    assert not re.search(r"print_unescaped|\becho\b|<\?=|<script|\bon\w+=|style=", source)


@pytest.mark.parametrize("path", sorted((APP / "js").glob("*")), ids=relative)
def test_a_page_needs_no_looser_content_security_policy(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert path.suffix == ".mjs", "Nextcloud loads a module by this ending"
    assert not re.search(
        r"innerHTML|insertAdjacentHTML|\beval\b|new Function|document\.write|https?://(?!www\.w3\.org)", source
    )


def test_the_listener_neither_asks_the_daemon_nor_waits() -> None:
    """What runs in a person's upload sends a datagram and knows no other way to the daemon."""
    hooks = (APP / "lib" / "Hooks.php").read_text(encoding="utf-8")
    datagram = (APP / "lib" / "Daemon" / "Datagram.php").read_text(encoding="utf-8")
    assert "Daemon\\Client" not in hooks
    assert "stream_set_blocking($stream, false)" in datagram
    assert not re.search(r"\bfread|\bfgets|stream_get|sleep", datagram)


# --- what the app store asks ------------------------------------------------------------------------------------


def test_the_elements_stand_in_the_order_of_the_schema(info: ET.Element) -> None:
    places = [ORDER.index(element.tag) for element in info]
    assert places == sorted(places)


def test_it_says_who_it_is(info: ET.Element) -> None:
    assert text(info, "id") == APP.name
    assert re.fullmatch(r"[a-z_]+", text(info, "id"))
    assert re.fullmatch(r"\d+\.\d+\.\d+", text(info, "version"))
    assert text(info, "licence") == "AGPL-3.0-or-later"
    assert text(info, "namespace") == "HarpBridge"
    assert info.find("types/filesystem") is not None, "without it no event of a WebDAV request is heard"
    assert {category.text for category in info.findall("category")} <= CATEGORIES
    for name in ("bugs", "repository", "website"):
        assert text(info, name).startswith("https://")


def test_each_text_is_there_once_a_language(info: ET.Element) -> None:
    for name in ("name", "summary", "description"):
        assert [element.get("lang") for element in info.findall(name)] == [None, "de"]
    assert all(len(element.text or "") <= 128 for element in info.findall("summary"))


def test_it_asks_for_what_it_needs(info: ET.Element) -> None:
    php, nextcloud = info.find("dependencies/php"), info.find("dependencies/nextcloud")
    assert php is not None
    assert nextcloud is not None
    assert php.attrib == {"min-version": "8.2", "min-int-size": "64"}
    assert nextcloud.attrib == {"min-version": "32", "max-version": "35"}


def test_every_class_that_is_named_is_there(info: ET.Element) -> None:
    named = [element.text or "" for element in info.iter() if (element.text or "").startswith("OCA\\")]
    assert len(named) == 14
    assert [name for name in named if not class_file(name).is_file()] == []


def test_the_migration_comes_before_the_rows() -> None:
    (migration,) = (APP / "lib" / "Migration").glob("*.php")
    assert re.fullmatch(r"Version\d{6}Date\d{14}", migration.stem)


# --- languages ------------------------------------------------------------------------------------


TEXT = r"\s*'((?:[^'\\]|\\.)*)'"
"""What PHP's single quotes hold."""
SOURCES = [*(APP / "lib").rglob("*.php"), *(APP / "templates").glob("*.php")]


def words() -> dict[str, list[str]]:
    """What the sources have translated, as Nextcloud looks it up, and its form or forms in English."""
    found: dict[str, list[str]] = {}
    for path in SOURCES:
        source = path.read_text(encoding="utf-8")
        one = [text.replace("\\'", "'") for text in re.findall(rf"->t\({TEXT}", source)]
        many = re.findall(rf"->n\({TEXT},{TEXT}", source)
        assert len(one) + len(many) == len(re.findall(r"->[tn]\(", source)), f"{path}: a text that is not written there"
        found |= {text: [text] for text in one} | {
            f"_{singular}_::_{plural}_": [singular, plural] for singular, plural in many
        }
    return found


@pytest.mark.parametrize("language", ["de", "de_DE"])
def test_german_is_whole(language: str) -> None:
    said = json.loads((APP / "l10n" / f"{language}.json").read_text(encoding="utf-8"))["translations"]
    assert set(said) == set(words())
    for key, english in words().items():
        german = [said[key]] if isinstance(said[key], str) else said[key]
        assert [form and placeholders(form) for form in german] == [placeholders(form) for form in english], key


def placeholders(text: str) -> list[str]:
    return sorted(re.findall(r"%(?:\d\$)?\w", text))


@pytest.mark.parametrize("name", ["SelfTest.php", "Daemon/Delivery.php", "Daemon/Client.php", "Config.php"])
def test_what_an_administrator_reads_is_translated_but_for_commands(name: str) -> None:
    source = (APP / "lib" / name).read_text(encoding="utf-8")
    translated_or_comment = rf"->[tn]\({TEXT}(?:,{TEXT})?|/\*.*?\*/|//[^\n]*"
    quoted = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
    found = re.finditer(rf"{translated_or_comment}|({quoted})", source, re.DOTALL)
    left = {one[3][1:-1] for one in found if one[3]}
    sentences = {text for text in left if re.search(r"[a-z] [a-z]", text) and not text.startswith("occ ")}
    # What a program knows a check by stays as it is.
    assert sentences <= {"bridge socket", "background jobs"}


# --- what is handed out ------------------------------------------------------------------------------------


def test_make_harpbridge_makes_a_repository_and_an_archive(tmp_path: Path) -> None:
    if subprocess.run(
        ["git", "-C", str(ROOT), "cat-file", "-e", "HEAD:harpbridge"], check=False, capture_output=True
    ).returncode:
        pytest.skip("this is no checkout of the repository")
    subprocess.run([str(ROOT / "packaging" / "harpbridge"), str(tmp_path)], check=True, capture_output=True)
    made = tmp_path / "harpbridge"
    tracked = subprocess.run(
        ["git", "-C", str(made), "ls-files"], capture_output=True, text=True, check=True
    ).stdout.split()
    assert {"appinfo/info.xml", "LICENSE", "README.md", "tests/phpunit.xml"} <= set(tracked)
    (archive,) = tmp_path.glob("harpbridge-*.tar.gz")
    with tarfile.open(archive) as opened:
        names = opened.getnames()
    assert {name.split("/")[0] for name in names} == {"harpbridge"}
    assert "harpbridge/appinfo/info.xml" in names
    assert not [name for name in names if "/.git" in name or "/tests" in name]
